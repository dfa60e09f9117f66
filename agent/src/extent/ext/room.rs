//! How small an ext2, ext3 or ext4 can become.
//!
//! In: its superblock. Out: its size, and a size that is certainly enough.
//! Promise: resize2fs never needs more (`resize2fs -P` is the oracle of the test); what it does not shrink safely is a doubt.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::peek::Peek;
use super::super::room::Room;
use super::geometry::Geometry;
use super::superblock::{self, Superblock, compat};
use crate::disk::source::ReadAt;
use ramet_wire::MIB;

/// All blocks in use, tables of groups that will go included; 3 % of them and 1 % of the whole for extent trees that are
/// split, as resize2fs counts it; 16 MiB for tables that move; and groups enough for all inodes.
///
/// # Errors
/// A doubt about the superblock, or the reason why it can not be shrunk; [`ExtentError::Read`].
pub fn room(part: &dyn ReadAt) -> Result<Room, ExtentError> {
    let raw = Peek::new(part)?.bytes(superblock::AT, superblock::LEN)?.unwrap_or_default();
    let superblock = Superblock::new(raw).ok_or_else(|| ExtentError::doubt("no superblock"))?;
    superblock.check_format()?;
    superblock.sound()?;
    let geometry = Geometry::new(&superblock, part.size())?;
    let fields = superblock.fields();
    believe!(geometry.ratio == 1, "clusters of several blocks (bigalloc) are not shrunk");
    let own_journal = fields.le32(0xe0) != 0 || !superblock.compat(compat::HAS_JOURNAL);
    believe!(own_journal, "its journal lies on another device");
    let free = u64::from(fields.le32(0x0c)) | (u64::from(fields.le32(0x158)) << 32);
    let (inodes, free_inodes) = (u64::from(fields.le32(0)), u64::from(fields.le32(0x10)));
    believe!(free <= geometry.blocks, "{free} of {} blocks are free", geometry.blocks);
    believe!(free_inodes <= inodes, "{free_inodes} of {inodes} inodes are free");
    let used = (geometry.blocks - free) * geometry.block;
    let groups = (inodes - free_inodes).div_ceil(geometry.inodes_per_group.max(1));
    let for_inodes = groups.saturating_mul(geometry.blocks_per_group * geometry.block);
    let size = geometry.blocks * geometry.block;
    let least = (used + used / 32 + size / 100 + 16 * MIB).max(for_inodes).min(size);
    Ok(Room { size, least, device: 0 })
}
