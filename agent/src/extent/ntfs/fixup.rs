//! The update sequence: how a torn write of a record shows.
//!
//! In: a record as it lies on the disk, and the magic it must have. Out: the record as it is meant.
//! Promise: every 512 bytes end in the record's update sequence number, or the record is refused.
//!
//! | offset | field |
//! |---|---|
//! | 0 | magic: `FILE`, `INDX`, `RSTR` |
//! | 4 | offset of the update sequence: its number, then the two bytes that belong at the end of each 512 |
//! | 6 | its length in pairs of bytes: 1 + record length / 512 |
//!
//! Source: ntfs-3g, `layout.h` (`NTFS_RECORD`) and `mst.c`.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use std::fmt::Display;

/// The unit that a torn write leaves whole, whatever the sector size.
const STRIDE: usize = 512;

/// Where the update sequence lies in a record: offset and length in bytes.
pub(super) fn place(record: &[u8]) -> (usize, usize) {
    let fields = Fields(record);
    (fields.le16(4).into(), usize::from(fields.le16(6)) * 2)
}

/// Checks the magic and puts the true bytes back to the ends of the sectors; `what` names the record in errors.
pub(super) fn undo(record: &mut [u8], magic: &[u8; 4], what: &dyn Display) -> Result<(), ExtentError> {
    let found = Fields(record).bytes(0, 4);
    believe!(
        found == magic,
        "{what} starts with {}, {} expected",
        found.escape_ascii(),
        magic.as_slice().escape_ascii()
    );
    let (at, len) = place(record);
    let strides = record.len() / STRIDE;
    believe!(
        len == (strides + 1) * 2 && record.len().is_multiple_of(STRIDE),
        "{what} has an update sequence of {len} bytes for {} bytes",
        record.len()
    );
    believe!(
        at >= 8 && at.is_multiple_of(2) && at + len <= STRIDE - 2,
        "{what} has its update sequence of {len} bytes at byte {at} of the first {STRIDE}"
    );
    let sequence = record[at..at + len].to_vec();
    let (number, true_ends) = sequence.split_at(2);
    for (stride, (bytes, end)) in record.chunks_exact_mut(STRIDE).zip(true_ends.chunks_exact(2)).enumerate() {
        let tail = &mut bytes[STRIDE - 2..];
        believe!(
            tail == number,
            "{what} was torn: sector {stride} ends in {tail:02x?}, its update sequence number is {number:02x?}"
        );
        tail.copy_from_slice(end);
    }
    Ok(())
}
