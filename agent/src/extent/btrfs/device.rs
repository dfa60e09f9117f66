//! The stripes of one device, and what each chunk on it has used.
//!
//! In: all chunks and the trees' roots. Out: this device's stripes in their order on it.
//! Promise: the device tree has the same stripes and no other, no two overlap, and the block groups' sums are the
//! superblock's.
//!
//! | offset | field of a device extent | | offset | field of a block group |
//! |---|---|---|---|---|
//! | 16 | chunk's logical address | | 0 | bytes in use |
//! | 24 | length | | 16 | type, as its chunk's |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h and fs/btrfs/block-group.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::chunk::kind;
use super::node::{Key, Link};
use super::superblock::Superblock;
use super::tree::Cursor;
use super::volume::Volume;
use ramet_wire::ByteRange;

const DEV_EXTENT: u8 = 204;
const BLOCK_GROUP: u8 = 192;

/// A stripe on the device that is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// Bytes from the start of the device.
    pub range: ByteRange,
    /// Index of its chunk, and of the stripe in it.
    pub chunk: usize,
    pub stripe: usize,
}

/// The stripes on the device that is mapped, ascending.
///
/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn stripes(volume: &Volume, devices: Link) -> Result<Vec<Own>, ExtentError> {
    let mut own = Vec::new();
    for (index, chunk) in volume.chunks.list().iter().enumerate() {
        for (stripe, place) in volume.chunks.stripes(chunk).iter().enumerate().filter(|(_, place)| place.member == 0) {
            let range = ByteRange::between(place.offset, place.offset + chunk.stripe_len());
            own.push(Own { range, chunk: index, stripe });
        }
    }
    own.sort_unstable_by_key(|own| own.range.start());
    for pair in own.windows(2) {
        let (before, after) = (pair[0].range, pair[1].range);
        believe!(before.end() <= after.start(), "a stripe at {after} overlaps the one at {before}");
    }
    let devid = volume.members.first().map_or(0, |member| member.devid);
    let mut cursor = Cursor::new(volume, devices);
    cursor.seek(Key::new(devid, DEV_EXTENT, 0))?;
    for stripe in &own {
        let chunk = volume.chunks.list().get(stripe.chunk).map_or(0, |chunk| chunk.range.start());
        let found = cursor.next_before(Key::new(devid, DEV_EXTENT + 1, 0))?;
        let found = found.map(|(key, item)| (key.offset, Fields(item).le64(16), Fields(item).le64(24)));
        let expected = (stripe.range.start(), chunk, stripe.range.len());
        believe!(
            found == Some(expected),
            "device tree has {found:?} (offset, chunk, length) on device {devid}, the chunks have {expected:?}"
        );
    }
    if let Some((key, _)) = cursor.next_before(Key::new(devid, DEV_EXTENT + 1, 0))? {
        let count = own.len();
        return Err(ExtentError::doubt(format!("device tree has a stripe {key} behind the {count} of the chunks")));
    }
    Ok(own)
}

/// Bytes in use of each chunk, as the block groups say.
///
/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn used(superblock: &Superblock, volume: &Volume, groups: Link) -> Result<Vec<u64>, ExtentError> {
    let mut cursor = Cursor::new(volume, groups);
    let mut all = Vec::with_capacity(volume.chunks.list().len());
    let mut sum: u64 = 0;
    for chunk in volume.chunks.list() {
        let (start, len) = (chunk.range.start(), chunk.range.len());
        let item = cursor.find(Key::new(start, BLOCK_GROUP, len))?;
        let Some(item) = item.filter(|item| item.len() == 24) else {
            return Err(ExtentError::doubt(format!("chunk {start} with {len} bytes has no block group")));
        };
        let (used, bits) = (Fields(item).le64(0), Fields(item).le64(16));
        believe!(used <= len, "block group {start} has {used} bytes in use of {len}");
        let same = (bits ^ chunk.kind) & kind::HOLDS == 0;
        believe!(same, "block group {start} has type {bits:#x}, its chunk {:#x}", chunk.kind);
        sum = sum.saturating_add(used);
        all.push(used);
    }
    let total = superblock.fields().le64(0x78);
    believe!(sum == total, "block groups have {sum} bytes in use, the superblock has {total}");
    Ok(all)
}
