//! A metadata area: a header and a ring of texts, of which the header names the one that counts.
//!
//! In: the area's place. Out: the text, or nothing where none is kept.
//! Promise: header and text have the right checksums; a change that was begun and not ended is a doubt.
//!
//! | offset in the area | field (lvm2: lib/format_text/layout.h) |
//! |---|---|
//! | 0, 4 | CRC of bytes 4 to 512, magic |
//! | 20, 24, 32 | version 1, start and size of the area in bytes |
//! | 40 | text in use: offset from the area's start, size, CRC, flags (bit 0: this area is not kept up) |
//! | 64 | text of a change that was begun, likewise |
//! | 512 … size | the ring |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::label::crc;
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;

const HEADER: u64 = 512;
const MAGIC: &[u8] = b"\x20LVM2\x20x[5A%r0N*>";
/// Longest text that is read. A group with 10,000 volumes has 3 MiB.
const TEXT_MAX: u64 = 8 << 20;
const IGNORED: u32 = 1;

/// What an area holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The text of the group.
    Text(String),
    /// No group.
    Nothing,
    /// This area is not kept up; others of the group are.
    Ignored,
}

pub(super) fn kept(part: &dyn ReadAt, area: ByteRange) -> Result<Kept, ExtentError> {
    let mut raw = [0; 512];
    read(part, &mut raw, area.start(), "header of a metadata area")?;
    let fields = Fields(&raw);
    let (said, is) = (fields.le32(0), crc(&[fields.bytes(4, 508)]));
    believe!(said == is, "metadata area at {area} has checksum {said:#010x}, its header {is:#010x}");
    believe!(fields.bytes(4, 16) == MAGIC, "metadata area at {area} has another magic");
    let version = fields.le32(20);
    believe!(version == 1, "metadata area at {area} has version {version}, 1 expected");
    let (start, size) = (fields.le64(24), fields.le64(32));
    believe!(start == area.start() && size == area.len(), "metadata area at {area} says that it is at {start}+{size}");
    let begun = fields.le64(64);
    believe!(begun == 0, "metadata area at {area} has a change that was begun and not ended, at {begun}");
    if fields.le32(60) & IGNORED != 0 {
        return Ok(Kept::Ignored);
    }
    let flags = fields.le32(60);
    believe!(flags == 0, "metadata area at {area} has flags {flags:#x}, {IGNORED:#x} known");
    let (offset, len) = (fields.le64(40), fields.le64(48));
    if offset == 0 {
        return Ok(Kept::Nothing);
    }
    believe!((HEADER..size).contains(&offset), "text at {offset} of a metadata area of {size} bytes");
    let most = (size - HEADER).min(TEXT_MAX);
    believe!(len > 0 && len <= most, "text of {len} bytes in a metadata area, 1 to {most} expected");
    let first = len.min(size - offset);
    let mut text = vec![0; in_memory(len)?];
    let (head, rest) = text.split_at_mut(in_memory(first)?);
    read(part, head, area.start() + offset, "text of a volume group")?;
    // The ring goes on behind the header.
    read(part, rest, area.start() + HEADER, "text of a volume group")?;
    let (said, is) = (fields.le32(56), crc(&[&text]));
    believe!(said == is, "text of a volume group has checksum {said:#010x}, its bytes {is:#010x}");
    let text = String::from_utf8(text).map_err(|error| ExtentError::doubt(format!("text of a group: {error}")))?;
    Ok(Kept::Text(text))
}
