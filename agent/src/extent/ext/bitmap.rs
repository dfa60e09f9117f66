//! Block and inode bitmaps.
//!
//! In: the bytes of a bitmap and the descriptor that points to it. Out: runs of set bits, or a doubt.
//! Promise: checksum and number of free bits agree with the descriptor.

use super::super::ExtentError;
use super::super::bitruns::Bits;
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::checksum::crc32c;
use super::descriptor::Descriptor;
use super::geometry::{Geometry, Sums};

/// The clusters of `group`; `raw` is its bitmap block.
pub(super) fn clusters<'a>(
    geometry: &Geometry,
    group: u64,
    descriptor: &Descriptor,
    raw: &'a [u8],
) -> Result<Bits<'a>, ExtentError> {
    check_sum(geometry, group, "block", raw, geometry.clusters_per_group(), descriptor.block_bitmap_sum)?;
    let count = geometry.group_blocks(group).div_ceil(geometry.ratio);
    checked(group, "block", "clusters", raw, count, descriptor.free_clusters)
}

/// The inodes of `group`; `raw` is its bitmap block.
pub(super) fn inodes<'a>(
    geometry: &Geometry,
    group: u64,
    descriptor: &Descriptor,
    raw: &'a [u8],
) -> Result<Bits<'a>, ExtentError> {
    check_sum(geometry, group, "inode", raw, geometry.inodes_per_group, descriptor.inode_bitmap_sum)?;
    checked(group, "inode", "inodes", raw, geometry.inodes_per_group, descriptor.free_inodes)
}

/// `count` bits of `raw`, of which `free` are clear.
fn checked<'a>(
    group: u64,
    what: &str,
    of: &str,
    raw: &'a [u8],
    count: u64,
    free: u64,
) -> Result<Bits<'a>, ExtentError> {
    let bits = Bits { raw, bits: count };
    let clear = count - bits.count_set();
    believe!(clear == free, "{what} bitmap of group {group} has {clear} free {of}, its descriptor has {free}");
    Ok(bits)
}

fn check_sum(
    geometry: &Geometry,
    group: u64,
    what: &str,
    raw: &[u8],
    bits: u64,
    stored: u32,
) -> Result<(), ExtentError> {
    let Sums::Crc32c(seed) = geometry.sums else { return Ok(()) };
    let mask = if geometry.descriptor >= 64 { u32::MAX } else { 0xffff };
    let computed = crc32c(seed, &raw[..in_memory(bits / 8)?]) & mask;
    believe!(
        stored == computed,
        "checksum of the {what} bitmap of group {group} is {stored:#x}, its bytes give {computed:#x}"
    );
    Ok(())
}
