//! Where the UUID of an ext file system lies, and the sums that start with it.
//!
//! In: a partition with a checked superblock. Out: all copies of the superblock, and with each its group descriptors.
//! Promise: everything lies inside the partition.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::peek::Peek;
use super::geometry::Geometry;
use super::superblock::{self, Superblock};
use crate::disk::source::ReadAt;

/// Places in bytes from the start of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// The superblock first, then its copies.
    pub superblocks: Vec<u64>,
    /// The table of group descriptors behind each of them; none where it lies in pieces (`meta_bg`).
    pub descriptors: Option<Vec<u64>>,
    /// Groups, each with one descriptor of `descriptor` bytes in every table.
    pub groups: u64,
    pub descriptor: u64,
}

/// # Errors
/// A doubt where there is no such file system, [`ExtentError::Read`] from the device.
pub(crate) fn places(part: &dyn ReadAt) -> Result<Places, ExtentError> {
    let raw = Peek::new(part)?.bytes(superblock::AT, superblock::LEN)?.unwrap_or_default();
    let superblock = Superblock::new(raw).ok_or_else(|| ExtentError::doubt("superblock has no magic"))?;
    superblock.check_format()?;
    let geometry = Geometry::new(&superblock, part.size())?;
    let with_copy = (1..geometry.groups).filter(|&group| geometry.has_superblock(group));
    let mut superblocks = vec![superblock::AT];
    let mut tables = vec![geometry.descriptor_block(0).0 * geometry.block];
    let table = geometry.descriptor_blocks() * geometry.block;
    for block in with_copy.map(|group| geometry.superblock_at(group)) {
        let at = block * geometry.block;
        superblocks.push(at);
        tables.push(at + geometry.block);
        let end = at + geometry.block + table;
        believe!(end <= part.size(), "descriptors at block {block} end at byte {end} of {}", part.size());
    }
    Ok(Places {
        superblocks,
        descriptors: (geometry.first_meta_bg == u64::MAX).then_some(tables),
        groups: geometry.groups,
        descriptor: geometry.descriptor,
    })
}
