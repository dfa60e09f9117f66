//! ext2, ext3 and ext4: block bitmaps, and the metadata that every group has.
//!
//! In: a partition with an ext superblock. Out: used clusters and metadata; unused inode tables become zero.
//! Promise: what waits in the journal counts as replayed, every flag is known and every checksum right, or it is a doubt.

mod bitmap;
mod blocks;
mod checksum;
mod descriptor;
mod geometry;
mod journal;
mod metadata;
mod mmp;
mod places;
mod room;
mod superblock;
mod walk;

pub use room::room;

use super::ExtentError;
use super::error::believe;
use super::map::{Content, Layout, Part, Pieces};
use super::peek::Peek;
use super::steps::Steps;
use crate::disk::source::ReadAt;
pub(crate) use checksum::{crc16, crc32c};
use descriptor::Descriptors;
use geometry::Geometry;
use journal::Replayed;
use metadata::Piece;
pub(crate) use places::{Places, places};
use std::ops::Range;
use std::sync::Arc;
use superblock::{Superblock, incompat};

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(superblock::AT, superblock::LEN)? else { return Ok(None) };
    let Some(superblock) = Superblock::new(raw) else { return Ok(None) };
    let mut content = superblock.content();
    if let Ok(geometry) = Geometry::new(&superblock, peek.size()) {
        match mmp::check(peek.part(), &superblock, &geometry) {
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            Err(ExtentError::MountedElsewhere(by)) => content.state = Some(by),
            Err(ExtentError::Contradiction(_)) | Ok(_) => {}
        }
    }
    Ok(Some(content))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let raw = Peek::new(&*part)?.bytes(superblock::AT, superblock::LEN)?.unwrap_or_default();
    let Some(superblock) = Superblock::new(raw) else {
        return Err(ExtentError::doubt("superblock has lost its magic since it was recognised"));
    };
    if superblock.incompat(incompat::JOURNAL_DEV) {
        return Ok(None);
    }
    superblock.check_format()?;
    let geometry = Geometry::new(&superblock, part.size())?;
    let mmp = mmp::check(&*part, &superblock, &geometry)?.map(|block| block..block + 1);
    superblock.sound()?;
    if superblock.incompat(incompat::RECOVER) {
        let (replayed, mut fixed) = journal::replay(&part, &superblock, &geometry)?;
        fixed.extend(mmp);
        return behind_the_journal(replayed, &geometry, &fixed).map(Some);
    }
    superblock.without_orphans()?;
    let mut fixed = journal::check(&*part, &superblock, &geometry, &mut Descriptors::new(&*part, &geometry))?;
    fixed.extend(mmp);
    Ok(Some(Box::new(Ext::new(part, geometry, &fixed, Vec::new())?)))
}

/// The file system as its next mount finds it. Orphans are no doubt here: what belongs to them is in use until that mount
/// removes them.
fn behind_the_journal(
    replayed: Replayed,
    before: &Geometry,
    fixed: &[Range<u64>],
) -> Result<Box<dyn Layout>, ExtentError> {
    let raw = Peek::new(&replayed)?.bytes(superblock::AT, superblock::LEN)?.unwrap_or_default();
    let Some(superblock) = Superblock::new(raw) else {
        return Err(ExtentError::doubt("its journal has a superblock without magic"));
    };
    superblock.check_format()?;
    superblock.sound()?;
    let geometry = Geometry::new(&superblock, replayed.size())?;
    believe!(
        geometry == *before,
        "its journal changes its geometry: {} blocks in {} groups before, {} in {} after",
        before.blocks,
        before.groups,
        geometry.blocks,
        geometry.groups
    );
    let warnings = vec![replayed.notice()];
    Ok(Box::new(Ext::new(Arc::new(replayed), geometry, fixed, warnings)?))
}

/// A file system that needs recovery, as its replay leaves it.
#[cfg(test)]
pub(super) fn replayed(part: &Arc<dyn ReadAt>) -> Result<impl ReadAt + use<>, ExtentError> {
    let raw = Peek::new(&**part)?.bytes(superblock::AT, superblock::LEN)?.unwrap_or_default();
    let superblock = Superblock::new(raw).ok_or_else(|| ExtentError::doubt("no superblock"))?;
    Ok(journal::replay(part, &superblock, &Geometry::new(&superblock, part.size())?)?.0)
}

/// The tail of an inode table is unused only if the inode bitmap says so, too.
fn check_inodes(part: &dyn ReadAt, geometry: &Geometry) -> Result<(), ExtentError> {
    let mut descriptors = Descriptors::new(part, geometry);
    let mut bitmaps = blocks::Blocks::new(part, geometry.block, "inode bitmap");
    for group in 0..geometry.groups {
        let descriptor = descriptors.get(group)?;
        if descriptor.inode_uninit {
            let (free, all) = (descriptor.free_inodes, geometry.inodes_per_group);
            believe!(free == all, "group {group} has no inode bitmap and {free} free inodes, {all} expected");
            continue;
        }
        let bits = bitmap::inodes(geometry, group, &descriptor, bitmaps.get(descriptor.inode_bitmap)?)?;
        let (unused, used) = (descriptor.unused_inodes, bits.end_of_set());
        let limit = geometry.inodes_per_group - unused;
        believe!(
            used <= limit,
            "inode bitmap of group {group} uses inode {used}, its descriptor has {limit} used ones"
        );
    }
    Ok(())
}

/// An ext file system whose maps are believed.
struct Ext {
    part: Arc<dyn ReadAt>,
    geometry: Geometry,
    /// Sorted and disjoint; at most 16 MiB.
    metadata: Vec<Piece>,
    warnings: Vec<String>,
}

impl Ext {
    fn new(
        part: Arc<dyn ReadAt>,
        geometry: Geometry,
        fixed: &[Range<u64>],
        warnings: Vec<String>,
    ) -> Result<Self, ExtentError> {
        let mut descriptors = Descriptors::new(&*part, &geometry);
        let metadata = metadata::collect(&geometry, &mut descriptors, fixed, part.size())?;
        check_inodes(&*part, &geometry)?;
        Ok(Self { part, geometry, metadata, warnings })
    }
}

impl Layout for Ext {
    fn pieces(&self) -> Pieces<'_> {
        let mut walk = walk::Walk::new(&*self.part, &self.geometry, &self.metadata);
        Box::new(Steps::new(move || walk.step()))
    }

    fn end(&self) -> u64 {
        self.geometry.blocks * self.geometry.block
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}
