//! Group descriptors: where a group's bitmaps and inode table lie, and which of them were never written.
//!
//! In: a checked geometry. Out: one checked descriptor after the other.
//! Promise: its checksum is right, and what it points to lies inside the file system.
//!
//! | offset | field | | offset | high half (64 bytes and more) |
//! |---|---|---|---|---|
//! | 0x00 | block bitmap | | 0x20 | block bitmap |
//! | 0x04 | inode bitmap | | 0x24 | inode bitmap |
//! | 0x08 | inode table | | 0x28 | inode table |
//! | 0x0c, 0x0e | free clusters, free inodes | | 0x2c, 0x2e | free clusters, free inodes |
//! | 0x12 | flags | | | |
//! | 0x18, 0x1a | checksums of the bitmaps | | 0x38, 0x3a | checksums of the bitmaps |
//! | 0x1c | unused inodes | | 0x32 | unused inodes |
//! | 0x1e | checksum | | | |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::checksum::{crc16, crc32c};
use super::geometry::{Geometry, Sums};
use crate::disk::source::ReadAt;

const INODE_UNINIT: u16 = 1;
const BLOCK_UNINIT: u16 = 2;
/// Blocks of the descriptor table read at once.
const AT_ONCE: u64 = 64;

/// One checked group descriptor; locations are block numbers.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_clusters: u64,
    pub free_inodes: u64,
    /// Inodes at the end of the table that were never used.
    pub unused_inodes: u64,
    /// The block bitmap was never written: all is free but metadata.
    pub block_uninit: bool,
    /// The inode bitmap was never written: all is free.
    pub inode_uninit: bool,
    /// Checksums of the bitmaps: all 32 bits, or the lower 16 with small descriptors.
    pub block_bitmap_sum: u32,
    pub inode_bitmap_sum: u32,
}

/// Reads the table in large pieces and in ascending order.
pub(super) struct Descriptors<'a> {
    part: &'a dyn ReadAt,
    geometry: &'a Geometry,
    first: u64,
    raw: Vec<u8>,
}

impl<'a> Descriptors<'a> {
    pub const fn new(part: &'a dyn ReadAt, geometry: &'a Geometry) -> Self {
        Self { part, geometry, first: 0, raw: Vec::new() }
    }

    /// The descriptor of `group`, which is below the number of groups.
    pub fn get(&mut self, group: u64) -> Result<Descriptor, ExtentError> {
        let size = in_memory(self.geometry.descriptor)?;
        let held = self.raw.len() as u64 / self.geometry.descriptor;
        if group < self.first || group >= self.first + held {
            self.load(group)?;
        }
        let at = in_memory((group - self.first) * self.geometry.descriptor)?;
        parse(self.geometry, group, Fields(&self.raw).bytes(at, size))
    }

    fn load(&mut self, group: u64) -> Result<(), ExtentError> {
        let index = group / self.geometry.descriptors_per_block();
        let (block, follow) = self.geometry.descriptor_block(index);
        self.raw = vec![0; in_memory(follow.min(AT_ONCE) * self.geometry.block)?];
        self.first = index * self.geometry.descriptors_per_block();
        read(self.part, &mut self.raw, block * self.geometry.block, "group descriptors")
    }
}

fn parse(geometry: &Geometry, group: u64, raw: &[u8]) -> Result<Descriptor, ExtentError> {
    let fields = Fields(raw);
    let summed = geometry.sums != Sums::None;
    if let Some(computed) = checksum(geometry, group, fields) {
        let stored = fields.le16(0x1e);
        believe!(stored == computed, "checksum of descriptor {group} is {stored:#06x}, its bytes give {computed:#06x}");
    }
    // Without a checksum these fields are padding, and old file systems have garbage there.
    let flags = if summed { fields.le16(0x12) } else { 0 };
    believe!(flags < 8, "descriptor {group} has unknown flags {:#x} (known: 0x7)", flags & !7);
    let high = geometry.descriptor >= 64;
    let both32 = |low, up| u64::from(fields.le32(low)) | if high { u64::from(fields.le32(up)) << 32 } else { 0 };
    let both16 = |low, up| u32::from(fields.le16(low)) | if high { u32::from(fields.le16(up)) << 16 } else { 0 };
    let descriptor = Descriptor {
        block_bitmap: both32(0x00, 0x20),
        inode_bitmap: both32(0x04, 0x24),
        inode_table: both32(0x08, 0x28),
        free_clusters: u64::from(both16(0x0c, 0x2c)),
        free_inodes: u64::from(both16(0x0e, 0x2e)),
        unused_inodes: if summed { u64::from(both16(0x1c, 0x32)) } else { 0 },
        block_uninit: flags & BLOCK_UNINIT != 0,
        inode_uninit: flags & INODE_UNINIT != 0,
        block_bitmap_sum: both16(0x18, 0x38),
        inode_bitmap_sum: both16(0x1a, 0x3a),
    };
    check(geometry, group, &descriptor)?;
    Ok(descriptor)
}

fn check(geometry: &Geometry, group: u64, descriptor: &Descriptor) -> Result<(), ExtentError> {
    // Only flex_bg lets metadata leave its group.
    let (from, to) = if geometry.flex_bg {
        (geometry.first_block, geometry.blocks)
    } else {
        let start = geometry.group_start(group);
        (start, start + geometry.group_blocks(group))
    };
    let structures = [
        ("block bitmap", descriptor.block_bitmap, 1),
        ("inode bitmap", descriptor.inode_bitmap, 1),
        ("inode table", descriptor.inode_table, geometry.table_blocks()),
    ];
    for (what, start, count) in structures {
        let inside = start >= from && start.checked_add(count).is_some_and(|end| end <= to);
        believe!(inside, "{what} of group {group} is at block {start}+{count}, outside of {from} to {to}");
    }
    let (unused, all) = (descriptor.unused_inodes, geometry.inodes_per_group);
    believe!(unused <= all, "group {group} has {unused} unused inodes of {all}");
    Ok(())
}

/// What the sum should be, where there is one.
fn checksum(geometry: &Geometry, group: u64, fields: Fields<'_>) -> Option<u16> {
    // Groups are fewer than 2^32: there is at least one inode in each, and inodes are counted in 32 bits.
    let number = u32::try_from(group).unwrap_or(u32::MAX).to_le_bytes();
    let (before, after) = (fields.bytes(0, 0x1e), fields.bytes(0x20, fields.0.len().saturating_sub(0x20)));
    match geometry.sums {
        Sums::None => None,
        Sums::Crc16(seed) => Some(crc16(crc16(crc16(seed, &number), before), after)),
        Sums::Crc32c(seed) => {
            let sum = crc32c(crc32c(crc32c(crc32c(seed, &number), before), &[0, 0]), after);
            Some((sum & 0xffff) as u16)
        }
    }
}
