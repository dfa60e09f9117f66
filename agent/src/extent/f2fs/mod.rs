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
use super::bitruns::Bits;
use super::bytes::{Fields, in_memory};
use super::error::believe;
use super::map::{Content, Extent, ExtentKind, Layout, Part, Pieces};
use super::peek::{Peek, read as read_at};
use crate::disk::source::ReadAt;
use checkpoint::Checkpoint;
use ramet_wire::ByteRange;
use sit::{Sit, Valid};
use std::sync::Arc;
use superblock::{BLOCK, SEGMENT, Superblock};

/// Where the version of the checkpoint before it stands in a node block (`struct node_footer`).
const NODE_VERSION_AT: usize = 4084;

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    superblock::content(peek)
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let superblock = Superblock::read(&Peek::new(&*part)?)?;
    let checkpoint = Checkpoint::read(&*part, &superblock)?;
    check_roll_forward(&*part, &superblock, &checkpoint)?;
    Sit::new(&*part, &superblock, &checkpoint)?.check()?;
    Ok(Some(Box::new(F2fs { part, superblock, checkpoint })))
}

/// Nothing was written and synced by a file's owner after the last checkpoint.
///
/// The kernel compares more than the lower half of the version where it wrote more; the lower half is the safe one.
fn check_roll_forward(part: &dyn ReadAt, superblock: &Superblock, checkpoint: &Checkpoint) -> Result<(), ExtentError> {
    let (segment, block) = checkpoint.next_node;
    let at = superblock.main + segment * SEGMENT + block;
    let mut raw = vec![0; in_memory(BLOCK)?];
    read_at(part, &mut raw, at * BLOCK, "F2FS node")?;
    let (written, version) = (Fields(&raw).le64(NODE_VERSION_AT), checkpoint.version);
    believe!(
        written & 0xffff_ffff != version & 0xffff_ffff,
        "the file system is dirty: block {at} was written after the last checkpoint \
         (versions {written:#x}, {version:#x})"
    );
    Ok(())
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
        if segment == next_segment
            && let Some(byte) = usize::try_from(next / 8).ok().and_then(|at| valid.get_mut(at))
        {
            *byte |= 1 << (next % 8);
        }
        let first = self.superblock.main + segment * SEGMENT;
        let runs = Bits { raw: &valid, bits: SEGMENT }.runs();
        runs.map(|run| data(first + run.start, first + run.end)).collect()
    }
}

impl Layout for F2fs {
    fn pieces(&self) -> Pieces<'_> {
        let main_end = self.superblock.main + self.superblock.main_segments * SEGMENT;
        let before = data(0, self.superblock.main);
        let range = ByteRange::between(main_end * BLOCK, self.part.size());
        let after = Extent { range, kind: ExtentKind::Data };
        let sit = match Sit::new(&*self.part, &self.superblock, &self.checkpoint) {
            Ok(sit) => sit,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let valid = sit.flat_map(|step| match step {
            Ok((segment, valid)) => self.segment(segment, valid).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        Box::new(std::iter::once(Ok(before)).chain(valid).chain(std::iter::once(Ok(after))))
    }
}

/// Blocks `from` to `to`.
const fn data(from: u64, to: u64) -> Extent {
    Extent { range: ByteRange::between(from * BLOCK, to * BLOCK), kind: ExtentKind::Data }
}
