//! XFS: another UUID in the superblocks of all AGs and in the log.
//!
//! In: a checked file system whose log was closed by an unmount. Out: superblocks, and the unmount record's header.
//! Promise: metadata of version 5 keeps the UUID that it carries (`sb_meta_uuid`), as with `xfs_admin -U`.
//!
//! | offset in a superblock | field |
//! |---|---|
//! | 32, 248 | UUID, that of the metadata |
//! | 84, 88, 102 | blocks per AG, AGs, sector size |
//! | 100, 216, 224 | version, incompat flags (4: the second UUID counts), checksum |
//!
//! A kernel reads the log's last record at every mount and refuses one of another file system, so its header follows;
//! records before it are never read again.

use super::format::{Change, Keep, because, bytes, last_counts};
use super::patch::Patch;
use crate::disk::source::ReadAt;
use crate::extent::{Fields, xfs_renamed_log, xfs_sum};
use ramet_system::refer::Needs;
use uuid::Uuid;

const MAGIC: &[u8] = b"XFSB";
const META_UUID: u32 = 4;
const SUM_AT: usize = 224;
/// An AG has 16 MiB at least: more of them would be 16 TiB of the smallest.
const AGS_MAX: u64 = 1 << 20;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let head = bytes(part, 0, 512, "superblock")?;
    let fields = Fields(&head);
    let (block, ag_blocks, ags) = (fields.be32(4), fields.be32(84), u64::from(fields.be32(88)));
    let (sector, summed) = (usize::from(fields.be16(102)), fields.be16(100) & 0xf == 5);
    if ags > AGS_MAX {
        return because(format!("it has {ags} AGs, at most {AGS_MAX} are rewritten"));
    }
    let old = fields.bytes(32, 16).to_vec();
    let had = summed && fields.be32(216) & META_UUID != 0;
    let meta = if had { fields.bytes(248, 16).to_vec() } else { old };
    let mut copies = Vec::new();
    for ag in 0..ags {
        let at = ag.saturating_mul(u64::from(ag_blocks)).saturating_mul(u64::from(block));
        let raw = bytes(part, at, sector, "superblock")?;
        if !raw.starts_with(MAGIC) {
            return because(format!("the superblock of AG {ag} has no magic"));
        }
        copies.push(Patch::new(at, renamed(raw, id, summed.then_some(&meta[..]))));
    }
    let primary = copies.remove(0);
    copies.extend(xfs_renamed_log(part, id.into_bytes())?.into_iter().map(|(at, raw)| Patch::new(at, raw)));
    Ok(Change { groups: last_counts(copies, primary), needs: (summed && !had).then_some(Needs::XfsMetaUuid) })
}

/// One superblock with another UUID; `meta` is the one in the metadata of version 5.
fn renamed(mut raw: Vec<u8>, id: Uuid, meta: Option<&[u8]>) -> Vec<u8> {
    raw[32..48].copy_from_slice(id.as_bytes());
    if let Some(meta) = meta {
        let flags = Fields(&raw).be32(216) | META_UUID;
        raw[216..220].copy_from_slice(&flags.to_be_bytes());
        raw[248..264].copy_from_slice(meta);
        let sum = xfs_sum(&raw, SUM_AT);
        raw[SUM_AT..SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
    }
    raw
}
