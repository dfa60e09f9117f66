//! NTFS: another serial number in the boot sector and its copy.
//!
//! In: a checked, clean volume. Out: eight bytes of each boot sector.
//! Promise: a copy that is none is left alone.

use super::format::{Change, Keep, bytes, last_counts};
use super::patch::Patch;
use super::seed::eight;
use crate::disk::source::ReadAt;
use crate::extent::Fields;
use uuid::Uuid;

const SERIAL_AT: u64 = 72;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let raw = bytes(part, 0, 512, "boot sector")?;
    let fields = Fields(&raw);
    let serial = eight(id).to_le_bytes();
    // Behind the last sector that the volume counts.
    let copy = fields.le64(40).saturating_mul(u64::from(fields.le16(11)));
    let mut copies = Vec::new();
    if copy.saturating_add(512) <= part.size() && bytes(part, copy, 512, "copy of the boot sector")? == raw {
        copies.push(Patch::new(copy + SERIAL_AT, serial));
    }
    Change::of(last_counts(copies, Patch::new(SERIAL_AT, serial)))
}
