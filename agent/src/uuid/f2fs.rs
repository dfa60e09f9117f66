//! F2FS: another UUID in both superblocks.
//!
//! In: a checked, clean file system. Out: both superblocks, with their checksums where they have some.
//! Promise: where checksums of inodes or keys of encrypted files start with the UUID, it stays.

use super::format::{Change, Keep, because, bytes, last_counts};
use super::patch::Patch;
use crate::disk::source::ReadAt;
use crate::extent::{Fields, f2fs_sum};
use uuid::Uuid;

const COPIES: [u64; 2] = [1024, 1024 + 4096];
const LEN: usize = 3072;
const SUM_AT: usize = 3068;
const UUID_AT: usize = 108;
const ENCRYPT: u32 = 0x1;
const INODE_CHKSUM: u32 = 0x20;
const SB_CHKSUM: u32 = 0x800;

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let renamed = |at: u64| -> Result<Patch, Keep> {
        let mut raw = bytes(part, at, LEN, "superblock")?;
        let features = Fields(&raw).le32(2180);
        if features & INODE_CHKSUM != 0 {
            return because("checksums of its inodes start with it (inode_checksum)");
        }
        if features & ENCRYPT != 0 {
            return because("keys of its encrypted files may be made from it (encrypt)");
        }
        raw[UUID_AT..UUID_AT + 16].copy_from_slice(id.as_bytes());
        if features & SB_CHKSUM != 0 {
            let sum = f2fs_sum(&raw[..SUM_AT]);
            raw[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        }
        Ok(Patch::new(at, raw))
    };
    Change::of(last_counts(vec![renamed(COPIES[1])?], renamed(COPIES[0])?))
}
