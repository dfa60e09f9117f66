//! XFS, versions 4 and 5: everything but the extents in the free-space trees.
//!
//! In: a partition with an XFS superblock. Out: used blocks of each AG: files, metadata, AGFL blocks, and the log.
//! Promise: the log ends with an unmount record, and flags, sums and both ends of every number are right, or it is a doubt.

mod ag;
mod checksum;
mod geometry;
mod log;
mod record;
mod superblock;
mod tree;
mod walk;

use super::ExtentError;
use super::error::believe;
use super::map::{Content, Layout, Part, Pieces};
use super::peek::Peek;
use crate::disk::source::ReadAt;
pub(crate) use checksum::sum;
use geometry::Geometry;
use log::Lsn;
use std::sync::Arc;
use superblock::Superblock;

/// The headers in the log that name the file system, with another `uuid`, and where they lie in bytes.
///
/// # Errors
/// A doubt unless the log was closed by an unmount; [`ExtentError::Read`] from the device.
pub(crate) fn renamed_log(part: &dyn ReadAt, uuid: [u8; 16]) -> Result<Vec<(u64, Vec<u8>)>, ExtentError> {
    let raw = Peek::new(part)?.bytes(0, superblock::LEN)?.unwrap_or_default();
    let superblock = Superblock::new(raw).ok_or_else(|| ExtentError::doubt("superblock has no magic"))?;
    log::renamed(part, &Geometry::read(part, &superblock)?, uuid)
}

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(0, superblock::LEN)? else { return Ok(None) };
    let Some(superblock) = Superblock::new(raw) else { return Ok(None) };
    let state = match Volume::read(peek.part(), &superblock) {
        Ok(_) => Some("clean"),
        Err(error @ ExtentError::Read { .. }) => return Err(error),
        Err(_) if superblock.needs_repair() => Some("needs repair"),
        // A log that cannot be looked at says nothing of its state.
        Err(_) => Geometry::read(peek.part(), &superblock).is_ok().then_some("needs recovery"),
    };
    Ok(Some(Content { state: state.map(str::to_owned), ..superblock.content() }))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let raw = Peek::new(&*part)?.bytes(0, superblock::LEN)?.unwrap_or_default();
    let Some(superblock) = Superblock::new(raw) else {
        return Err(ExtentError::doubt("superblock has lost its magic since it was recognised"));
    };
    let volume = Volume::read(&*part, &superblock)?;
    Ok(Some(Box::new(Xfs { part, volume })))
}

/// A checked geometry, and the end of its clean log.
struct Volume {
    geometry: Geometry,
    head: Lsn,
}

impl Volume {
    fn read(part: &dyn ReadAt, superblock: &Superblock) -> Result<Self, ExtentError> {
        let geometry = Geometry::read(part, superblock)?;
        let head = log::clean_head(part, &geometry)?;
        let volume = Self { geometry, head };
        volume.check_lsn(volume.geometry.lsn, || "superblock".to_owned())?;
        Ok(volume)
    }

    /// Nothing was written after the log ended: a log that was zeroed or is another one's says nothing.
    fn check_lsn(&self, lsn: u64, what: impl FnOnce() -> String) -> Result<(), ExtentError> {
        let (written, head) = (Lsn::from(lsn), self.head);
        believe!(
            lsn == log::NEVER || written <= head,
            "{} was written at {written} of the log, which ends at {head}",
            what()
        );
        Ok(())
    }

    /// Checksum, UUID and LSN of a structure of version 5; nothing in version 4.
    fn check_owner(
        &self,
        what: impl Fn() -> String,
        raw: &[u8],
        sum_at: usize,
        uuid: &[u8],
        lsn: u64,
    ) -> Result<(), ExtentError> {
        let Some(expected) = &self.geometry.sums else { return Ok(()) };
        checksum::check(raw, sum_at, &what)?;
        believe!(
            uuid == expected,
            "{} belongs to file system {:#x}, not to {:#x}",
            what(),
            value(uuid),
            value(expected)
        );
        self.check_lsn(lsn, what)
    }
}

/// A big-endian number of at most 16 bytes.
fn value(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u128::from(byte))
}

/// An XFS whose trees are believed.
struct Xfs {
    part: Arc<dyn ReadAt>,
    volume: Volume,
}

impl Layout for Xfs {
    fn pieces(&self) -> Pieces<'_> {
        Box::new(walk::Walk::new(&*self.part, &self.volume))
    }

    fn end(&self) -> u64 {
        self.volume.geometry.blocks * self.volume.geometry.block
    }
}
