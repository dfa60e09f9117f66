//! Swap: another UUID in its header.
//!
//! In: a checked header in which no machine sleeps. Out: 16 bytes of it.
//! Promise: nothing else changes, as with `swaplabel -U`.

use super::format::{Change, Keep, because, bytes};
use super::patch::Patch;
use crate::disk::source::ReadAt;
use crate::extent::Fields;
use uuid::Uuid;

/// Where the version lies, and behind it the UUID.
const VERSION_AT: u64 = 1024;
const UUID_AT: u64 = 1036;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let version = Fields(&bytes(part, VERSION_AT, 4, "swap header")?).le32(0);
    if version != 1 {
        return because(format!("its header has version {version}, UUIDs came with 1"));
    }
    Change::of(vec![vec![Patch::new(UUID_AT, id.as_bytes().to_vec())]])
}
