//! The bitmap of what an array was writing: how long it is.
//!
//! In: where it starts. Out: its range.
//! Promise: a bitmap of an unknown version, of a cluster or with a stale mark is a doubt.
//!
//! | offset | field, little endian (kernel: drivers/md/md-bitmap.h, struct bitmap_super_s) |
//! |---|---|
//! | 0, 4 | `bitm`, version 3 or 4 |
//! | 40, 48, 52 | sectors that it covers, state, bytes per bit |
//! | 64, 68 | sectors reserved for it (0: not known), number of nodes |
//! | 256 … | the bits |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::peek::read;
use super::SECTOR;
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;

const HEADER: u64 = 256;
/// Bitmaps are read and written by pages of up to 64 KiB, but never grow over what follows them.
const PAGE: u64 = 4096;

/// `used`: sectors of the array on each member.
pub(super) fn area(part: &dyn ReadAt, start: u64, used: u64) -> Result<ByteRange, ExtentError> {
    let size = part.size();
    believe!(
        start.checked_add(HEADER).is_some_and(|end| end <= size),
        "bitmap at byte {start}, the partition has {size}"
    );
    let mut raw = [0; 256];
    read(part, &mut raw, start, "bitmap of an array")?;
    let fields = Fields(&raw);
    believe!(fields.bytes(0, 4) == b"bitm", "bitmap at byte {start} has another magic");
    let (version, nodes, state) = (fields.le32(4), fields.le32(68), fields.le32(48));
    believe!(
        (3..=4).contains(&version) && nodes == 0,
        "bitmap has version {version} for {nodes} nodes, 3 or 4 for 0 known"
    );
    believe!(state == 0, "bitmap has the state {state:#x}, 0 expected");
    let (covered, chunk) = (fields.le64(40), u64::from(fields.le32(52)));
    believe!(covered == used, "bitmap covers {covered} sectors, the array uses {used}");
    believe!(chunk >= SECTOR && chunk.is_power_of_two(), "bitmap has chunks of {chunk} bytes");
    let bits = covered.div_ceil(chunk / SECTOR);
    let len = HEADER.saturating_add(bits.div_ceil(8)).saturating_add(PAGE - 1) / PAGE * PAGE;
    let len = len.max(u64::from(fields.le32(64)) * SECTOR);
    let range = ByteRange::new(start, len).ok().filter(|range| range.end() <= size);
    range.ok_or_else(|| ExtentError::doubt(format!("bitmap at {start}+{len}, the partition has {size} bytes")))
}
