//! ext2, ext3 and ext4: another UUID in the superblock and all its copies.
//!
//! In: a checked, clean file system. Out: superblocks, and with `uninit_bg` group descriptors with new sums.
//! Promise: does what `tune2fs -U` does to a mounted file system: no other checksum changes.
//!
//! With `metadata_csum` all checksums start with that of the UUID. The old start is kept in the superblock
//! (`s_checksum_seed`, incompatible feature `metadata_csum_seed`) instead of writing all metadata anew: that would be
//! every inode, folder and bitmap, and an end in the middle would leave a file system that nobody can read. The price: a
//! kernel since 4.4 and a GRUB that ignores this flag (2.12, and those before it to which distributions added it). What
//! the image has is looked at ([`Needs::ExtSeed`]), and a file system that it could no longer read keeps its UUID.
//!
//! The journal's own UUID starts the checksums of its blocks and is nobody's name: it stays, as with `tune2fs`.

use super::format::{Change, Keep, because, bytes, last_counts};
use super::patch::{Groups, Patch};
use crate::disk::source::ReadAt;
use crate::extent::{ExtPlaces, Fields, ext_crc16, ext_crc32c, ext_places};
use ramet_system::refer::Needs;
use uuid::Uuid;

const LEN: usize = 1024;
const MAGIC: u16 = 0xef53;
const UUID_AT: usize = 0x68;
const SEED_AT: usize = 0x270;
const SUM_AT: usize = 0x3fc;
/// Inode numbers and UUID are part of keys of encrypted files.
const STABLE_INODES: u32 = 0x800;
const CSUM_SEED: u32 = 0x2000;
const META_BG: u32 = 0x10;
const GDT_CSUM: u32 = 0x10;
const METADATA_CSUM: u32 = 0x400;
const HAS_JOURNAL: u32 = 0x4;
/// Where a descriptor has its checksum.
const DESCRIPTOR_SUM: usize = 0x1e;
/// Most bytes of descriptors that are rewritten, all copies together: those of 8 TiB.
const TABLE_MAX: u64 = 128 << 20;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let places = ext_places(part)?;
    let first = bytes(part, places.superblocks[0], LEN, "superblock")?;
    let fields = Fields(&first);
    if fields.le32(0x5c) & STABLE_INODES != 0 {
        return because("keys of its encrypted files are made from it (stable_inodes)");
    }
    if fields.le32(0x5c) & HAS_JOURNAL != 0 && fields.le32(0xe0) == 0 {
        return because("its journal lies on another device, which knows it by its UUID");
    }
    let (summed, uninit) = (fields.le32(0x64) & METADATA_CSUM != 0, fields.le32(0x64) & GDT_CSUM != 0);
    let seeded = fields.le32(0x60) & CSUM_SEED != 0;
    let seed = (summed && !seeded).then(|| ext_crc32c(!0, fields.bytes(UUID_AT, 16)));
    let mut copies = Vec::new();
    for &at in &places.superblocks[1..] {
        let copy = bytes(part, at, LEN, "copy of the superblock")?;
        // Whatever lies there instead is no worse afterwards.
        if Fields(&copy).le16(0x38) == MAGIC {
            copies.push(Patch::new(at, renamed(copy, id, seed, summed)));
        }
    }
    let primary = Patch::new(places.superblocks[0], renamed(first.clone(), id, seed, summed));
    let mut groups: Groups = Vec::new();
    if uninit {
        if fields.le32(0x60) & META_BG != 0 {
            return because("its group descriptors lie in pieces (meta_bg) with sums that start with the UUID");
        }
        groups.push(descriptors(part, &places, id)?);
    }
    groups.extend(last_counts(copies, primary));
    Ok(Change { groups, needs: seed.map(|_| Needs::ExtSeed) })
}

/// One copy of the superblock with another UUID.
fn renamed(mut raw: Vec<u8>, id: Uuid, seed: Option<u32>, summed: bool) -> Vec<u8> {
    raw[UUID_AT..UUID_AT + 16].copy_from_slice(id.as_bytes());
    if let Some(seed) = seed {
        let flags = Fields(&raw).le32(0x60) | CSUM_SEED;
        raw[0x60..0x64].copy_from_slice(&flags.to_le_bytes());
        raw[SEED_AT..SEED_AT + 4].copy_from_slice(&seed.to_le_bytes());
    }
    if summed {
        let sum = ext_crc32c(!0, &raw[..SUM_AT]);
        raw[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    }
    raw
}

/// With `uninit_bg` every descriptor has a CRC-16 that starts with the UUID.
fn descriptors(part: &dyn ReadAt, places: &ExtPlaces, id: Uuid) -> Result<Vec<Patch>, Keep> {
    let tables = places.descriptors.as_deref().unwrap_or_default();
    let len = places.groups.saturating_mul(places.descriptor);
    let all = len.saturating_mul(tables.len() as u64);
    let (Ok(len), Ok(size)) = (usize::try_from(len), usize::try_from(places.descriptor)) else {
        return because(format!("its group descriptors take {len} bytes"));
    };
    if all > TABLE_MAX {
        return because(format!("its group descriptors take {all} bytes, at most {TABLE_MAX} are rewritten"));
    }
    let seed = ext_crc16(!0, id.as_bytes());
    let mut patches = Vec::new();
    for &at in tables {
        let mut table = bytes(part, at, len, "group descriptors")?;
        for (descriptor, number) in table.chunks_exact_mut(size).zip(0_u32..) {
            let sum = ext_crc16(seed, &number.to_le_bytes());
            let sum = ext_crc16(sum, descriptor.get(..DESCRIPTOR_SUM).unwrap_or_default());
            let sum = ext_crc16(sum, descriptor.get(DESCRIPTOR_SUM + 2..).unwrap_or_default());
            if let Some(field) = descriptor.get_mut(DESCRIPTOR_SUM..DESCRIPTOR_SUM + 2) {
                field.copy_from_slice(&sum.to_le_bytes());
            }
        }
        patches.push(Patch::new(at, table));
    }
    Ok(patches)
}
