//! Whether a program for UEFI firmware is signed.
//!
//! In: the bytes of a file. Out: yes or no.
//! Promise: what is no program, or cannot be read as one, counts as signed: it is not changed.
//!
//! | offset | field (PE format, "Optional Header Data Directories") |
//! |---|---|
//! | 0, 60 | `MZ`, offset of the header |
//! | header + 0, 24 | `PE\0\0`, 0x20b (64 bits) or 0x10b (32 bits) |
//! | header + 24 + 144 or 128 | certificate table: offset, size in bytes |

/// It is a program, and without a table of certificates.
pub(super) fn unsigned(bytes: &[u8]) -> bool {
    certificates(bytes) == Some((0, 0))
}

/// Offset and size of the table of certificates.
fn certificates(bytes: &[u8]) -> Option<(u32, u32)> {
    let le32 = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let header = usize::try_from(le32(60)?).ok()?;
    if bytes.get(header..header.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let optional = header.checked_add(24)?;
    let table = match le32(optional)? & 0xffff {
        0x20b => optional.checked_add(112 + 4 * 8)?,
        0x10b => optional.checked_add(96 + 4 * 8)?,
        _ => return None,
    };
    Some((le32(table)?, le32(table.checked_add(4)?)?))
}
