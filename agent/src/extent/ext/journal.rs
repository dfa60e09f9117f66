//! The journal inside an ext file system: is it as empty as the superblock says?
//!
//! In: a superblock without `needs_recovery`. Out: nothing, or the doubt that the journal holds something after all.
//! Promise: believes neither of two that disagree; follows at most five levels of an extent tree.
//!
//! | inode | field | | journal superblock (big-endian) | field |
//! |---|---|---|---|---|
//! | 0x20 | flags: 0x80000 extents | | 0x00 | magic 0xc03b3998 |
//! | 0x28 | 15 block numbers, or the root of the extent tree | | 0x1c | first block of the log, 0 when empty |
//! | | | | 0x20 | error that the journal ended with |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::descriptor::Descriptors;
use super::geometry::Geometry;
use super::superblock::{Superblock, compat};
use crate::disk::source::ReadAt;

const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
const DEPTH_LIMIT: u16 = 5;
const JOURNAL_MAGIC: u32 = 0xc03b_3998;
/// Bytes of an inode that every revision has.
const INODE: usize = 128;

/// # Errors
/// A doubt where the journal waits to be replayed or cannot be found.
pub(super) fn check(
    part: &dyn ReadAt,
    superblock: &Superblock,
    geometry: &Geometry,
    descriptors: &mut Descriptors<'_>,
) -> Result<(), ExtentError> {
    let number = u64::from(superblock.fields().le32(0xe0));
    if !superblock.compat(compat::HAS_JOURNAL) || number == 0 {
        return Ok(());
    }
    let inodes = geometry.groups * geometry.inodes_per_group;
    believe!(number <= inodes, "journal is inode {number}, the last one is {inodes}");
    let (group, index) = ((number - 1) / geometry.inodes_per_group, (number - 1) % geometry.inodes_per_group);
    let table = descriptors.get(group)?.inode_table * geometry.block;
    let mut inode = vec![0; INODE];
    read(part, &mut inode, table + index * geometry.inode_size, "journal inode")?;
    let first = first_block(part, geometry, Fields(&inode))?;
    let mut raw = vec![0; 1024];
    read(part, &mut raw, first * geometry.block, "journal superblock")?;
    let fields = Fields(&raw);
    let magic = fields.be32(0);
    believe!(
        magic == JOURNAL_MAGIC,
        "journal superblock in block {first} has magic {magic:#x}, {JOURNAL_MAGIC:#x} expected"
    );
    let (start, error) = (fields.be32(0x1c), fields.be32(0x20));
    believe!(
        start == 0,
        "its journal starts at block {start}, though the superblock says that nothing is to be recovered"
    );
    believe!(error == 0, "its journal ended with error {error}, 0 expected");
    Ok(())
}

/// The block that holds the start of an inode's file.
fn first_block(part: &dyn ReadAt, geometry: &Geometry, inode: Fields<'_>) -> Result<u64, ExtentError> {
    if inode.le32(0x20) & EXTENTS_FLAG == 0 {
        return inside(geometry, u64::from(inode.le32(0x28)));
    }
    let mut node = inode.bytes(0x28, 60).to_vec();
    for _ in 0..=DEPTH_LIMIT {
        let fields = Fields(&node);
        let (magic, entries, depth) = (fields.le16(0), fields.le16(2), fields.le16(6));
        believe!(magic == EXTENT_MAGIC, "extent tree of the journal has magic {magic:#x}, {EXTENT_MAGIC:#x} expected");
        believe!(
            entries > 0 && depth <= DEPTH_LIMIT,
            "extent tree of the journal has {entries} entries and depth {depth}"
        );
        let logical = fields.le32(12);
        believe!(logical == 0, "extent tree of the journal starts at block {logical} of the file, 0 expected");
        if depth == 0 {
            return inside(geometry, u64::from(fields.le16(18)) << 32 | u64::from(fields.le32(20)));
        }
        let child = inside(geometry, u64::from(fields.le16(20)) << 32 | u64::from(fields.le32(16)))?;
        node = vec![0; in_memory(geometry.block)?];
        read(part, &mut node, child * geometry.block, "extent tree of the journal")?;
    }
    Err(ExtentError::doubt(format!("extent tree of the journal is deeper than {DEPTH_LIMIT}")))
}

fn inside(geometry: &Geometry, block: u64) -> Result<u64, ExtentError> {
    let (first, end) = (geometry.first_block, geometry.blocks);
    believe!(block > first && block < end, "journal is at block {block}, outside of {first} to {end}");
    Ok(block)
}
