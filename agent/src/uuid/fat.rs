//! FAT: another serial number in the boot sector and its copy.
//!
//! In: a checked, clean volume. Out: four bytes of each boot sector.
//! Promise: a volume without a serial number (an extended boot signature other than 0x29) gets none.

use super::format::{Change, Keep, because, bytes, last_counts};
use super::patch::Patch;
use super::seed::four;
use crate::disk::source::ReadAt;
use crate::extent::Fields;
use uuid::Uuid;

/// The signature behind which a serial number lies.
const EXTENDED: u8 = 0x29;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let raw = bytes(part, 0, 512, "boot sector")?;
    let fields = Fields(&raw);
    // FAT32 has no short number of sectors per table.
    let wide = fields.le16(22) == 0;
    let at = if wide { 67 } else { 39 };
    let signature = fields.u8(at - 1);
    if signature != EXTENDED {
        return because(format!("its boot sector has signature {signature:#04x}, serial numbers go with 0x29"));
    }
    let serial = four(id).to_le_bytes();
    let (sector, reserved, copy) = (fields.le16(11), fields.le16(14), fields.le16(50));
    let mut copies = Vec::new();
    if wide && (1..reserved).contains(&copy) {
        let start = u64::from(copy) * u64::from(sector);
        let other = bytes(part, start, 512, "copy of the boot sector")?;
        if other[at - 1] == EXTENDED && other[510..] == [0x55, 0xaa] {
            copies.push(Patch::new(start + at as u64, serial));
        }
    }
    Change::of(last_counts(copies, Patch::new(at as u64, serial)))
}
