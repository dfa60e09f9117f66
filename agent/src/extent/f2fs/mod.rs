//! F2FS: a block matters if it is metadata or if the segment information table calls it valid.
//!
//! In: a partition with an F2FS superblock. Out: all before the main area, valid blocks of it, all behind it.
//! Promise: a checkpoint of no unmount, a roll-forward to be done, an unknown feature or a contradiction is a doubt.
//!
//! After the kernel's include/linux/f2fs_fs.h and fs/f2fs (6.6). Free blocks of the segments that are written to next
//! need not be copied, but for one: at every mount, also after a clean unmount, the kernel looks at the next block of
//! the log of warm nodes, and rolls forward from there if that was written since the last checkpoint. It is looked at
//! here for the same reason, and copied, so that no block of an older life of the target can stand in its place.

mod checkpoint;
mod checksum;
mod sit;
mod superblock;

use super::ExtentError;
use super::bitruns::{Bits, set};
use super::bytes::{Fields, in_memory};
use super::map::{Content, Extent, Layout, Part, Pieces};
use super::peek::{Peek, read as read_at};
use crate::disk::source::ReadAt;
use checkpoint::{Checkpoint, Last};
use sit::{Sit, Valid};
use std::sync::Arc;
use superblock::{BLOCK, SEGMENT, Superblock};

/// Where the version of the checkpoint before it stands in a node block (`struct node_footer`).
const NODE_VERSION_AT: usize = 4084;

/// The checksum of a superblock's bytes.
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    checksum::crc32(checksum::SEED, bytes)
}

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(content) = superblock::content(peek)? else { return Ok(None) };
    let state = match open(peek) {
        Ok((_, Last::Clean(_))) => "clean",
        Ok((_, Last::Dirty(_))) => "dirty",
        Err(error @ ExtentError::Read { .. }) => return Err(error),
        Err(_) => "damaged",
    };
    Ok(Some(Content { state: Some(state.to_owned()), ..content }))
}

/// Superblock and last checkpoint, or why something waits to be done at the next mount.
fn open(peek: &Peek<'_>) -> Result<(Superblock, Last), ExtentError> {
    let superblock = Superblock::read(peek)?;
    let mut last = Checkpoint::last(peek.part(), &superblock)?;
    if let Last::Clean(checkpoint) = &last
        && let Some(reason) = roll_forward(peek.part(), &superblock, checkpoint)?
    {
        last = Last::Dirty(reason);
    }
    Ok((superblock, last))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let (superblock, checkpoint) = match open(&Peek::new(&*part)?)? {
        (superblock, Last::Clean(checkpoint)) => (superblock, checkpoint),
        (_, Last::Dirty(reason)) => return Err(ExtentError::doubt(reason)),
    };
    Sit::new(&*part, &superblock, &checkpoint)?.check()?;
    Ok(Some(Box::new(F2fs { part, superblock, checkpoint })))
}

/// What was written and synced by a file's owner after the last checkpoint.
///
/// The kernel compares more than the lower half of the version where it wrote more; the lower half is the safe one.
fn roll_forward(
    part: &dyn ReadAt,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<Option<String>, ExtentError> {
    let (segment, block) = checkpoint.next_node;
    let at = superblock.main + segment * SEGMENT + block;
    let mut raw = vec![0; in_memory(BLOCK)?];
    read_at(part, &mut raw, at * BLOCK, "F2FS node")?;
    let (written, version) = (Fields(&raw).le64(NODE_VERSION_AT), checkpoint.version);
    let reason = || {
        format!(
            "the file system is dirty: block {at} was written after the last checkpoint \
             (versions {written:#x}, {version:#x})"
        )
    };
    Ok((written & 0xffff_ffff == version & 0xffff_ffff).then(reason))
}

/// An F2FS that was unmounted cleanly.
struct F2fs {
    part: Arc<dyn ReadAt>,
    superblock: Superblock,
    checkpoint: Checkpoint,
}

impl F2fs {
    /// The extents of one segment.
    fn segment(&self, segment: u64, mut valid: Valid) -> Vec<Extent> {
        let (next_segment, next) = self.checkpoint.next_node;
        if segment == next_segment {
            set(&mut valid, next);
        }
        let first = self.superblock.main + segment * SEGMENT;
        let runs = Bits { raw: &valid, bits: SEGMENT }.runs();
        runs.map(|run| data(first + run.start, first + run.end)).collect()
    }
}

impl Layout for F2fs {
    fn pieces(&self) -> Pieces<'_> {
        let before = data(0, self.superblock.main);
        let sit = match Sit::new(&*self.part, &self.superblock, &self.checkpoint) {
            Ok(sit) => sit,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let valid = sit.flat_map(|step| match step {
            Ok((segment, valid)) => self.segment(segment, valid).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        Box::new(std::iter::once(Ok(before)).chain(valid))
    }

    fn end(&self) -> u64 {
        (self.superblock.main + self.superblock.main_segments * SEGMENT) * BLOCK
    }

    fn unit(&self) -> u64 {
        SEGMENT * BLOCK
    }
}

/// Blocks `from` to `to`.
const fn data(from: u64, to: u64) -> Extent {
    Extent::data(from * BLOCK, to * BLOCK)
}
