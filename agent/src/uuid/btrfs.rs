//! btrfs: another UUID in all copies of the superblock.
//!
//! In: one device of a checked file system without a log tree. Out: its superblocks.
//! Promise: nodes and devices keep the UUID that they carry (`metadata_uuid`), as with `btrfstune -m`.
//!
//! | offset in a superblock | field |
//! |---|---|
//! | 0x00, 0xc4 | checksum of all behind byte 0x20, its type |
//! | 0x20, 0x23b | UUID, that of the metadata |
//! | 0xbc | incompat flags (1024: the second UUID counts) |

use super::format::{Change, Keep, because, bytes, last_counts};
use super::patch::Patch;
use crate::disk::source::ReadAt;
use crate::extent::{Fields, btrfs_sum};
use ramet_system::refer::Needs;
use uuid::Uuid;

const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const LEN: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";
const METADATA_UUID: u64 = 1 << 10;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let mut patches = Vec::new();
    let mut needs = None;
    let mut device_bytes = u64::MAX;
    for at in COPIES {
        // As the kernel and the map take it: a copy that would end at the device's end is none.
        if at + LEN as u64 > part.size() || at + LEN as u64 >= device_bytes {
            break;
        }
        let raw = bytes(part, at, LEN, "superblock")?;
        if Fields(&raw).bytes(0x40, 8) != MAGIC {
            return because(format!("the superblock at byte {at} has no magic"));
        }
        device_bytes = Fields(&raw).le64(0xd1);
        if Fields(&raw).le64(0xbc) & METADATA_UUID == 0 {
            needs = Some(Needs::BtrfsMetadataUuid);
        }
        patches.push(Patch::new(at, renamed(raw, id)?));
    }
    if patches.is_empty() {
        return because("it has no superblock");
    }
    let primary = patches.remove(0);
    Ok(Change { groups: last_counts(patches, primary), needs })
}

fn renamed(mut raw: Vec<u8>, id: Uuid) -> Result<Vec<u8>, Keep> {
    let flags = Fields(&raw).le64(0xbc);
    if flags & METADATA_UUID == 0 {
        raw.copy_within(0x20..0x30, 0x23b);
        raw[0xbc..0xc4].copy_from_slice(&(flags | METADATA_UUID).to_le_bytes());
    }
    raw[0x20..0x30].copy_from_slice(id.as_bytes());
    let kind = Fields(&raw).le16(0xc4);
    let Some(sum) = btrfs_sum(kind, &raw[0x20..]) else {
        return because(format!("its checksums are of the unknown type {kind}"));
    };
    raw[..0x20].fill(0);
    raw[..sum.len()].copy_from_slice(&sum);
    Ok(raw)
}
