//! The superblock of ext2, ext3 and ext4: what it is called, and whether it can be believed.
//!
//! In: 1024 bytes from offset 1024. Out: content for people, or a checked geometry (`geometry.rs`).
//! Promise: an unknown flag, a wrong sum or anything left to replay is named.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0x00 | inodes | | 0x5a | group of this copy |
//! | 0x04, 0x150 | blocks | | 0x5c, 0x60, 0x64 | compat, incompat, ro_compat flags |
//! | 0x14 | first data block | | 0x68, 0x78 | UUID, label |
//! | 0x18, 0x1c | log2 of block, cluster size / 1 KiB | | 0xce | reserved descriptor blocks |
//! | 0x20, 0x24, 0x28 | blocks, clusters, inodes per group | | 0xd0, 0xe0 | journal's UUID, inode |
//! | 0x38 | magic 0xef53 | | 0xe8 | first orphaned inode |
//! | 0x3a | state | | 0xfe | descriptor size |
//! | 0x4c, 0x3e | revision, minor | | 0x104 | first meta_bg |
//! | 0x58 | inode size | | 0x160, 0x168 | flags, MMP block |
//! | 0x175 | checksum type | | 0x24c, 0x270 | sparse_super2 backups, checksum seed |
//! | 0x3fc | checksum | | | |
//!
//! Source: the kernel's Documentation/filesystems/ext4 and e2fsprogs' lib/ext2fs/ext2_fs.h.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::checksum::crc32c;

/// Where it lies, in bytes from the start of the partition, and its length.
pub(super) const AT: u64 = 1024;
pub(super) const LEN: usize = 1024;
const MAGIC: u16 = 0xef53;
const EXTERNAL_JOURNAL: &str = "ext-journal";

/// Bits of `s_feature_compat`.
pub(super) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const RESIZE_INODE: u32 = 0x10;
    pub const SPARSE_SUPER2: u32 = 0x200;
}

/// Bits of `s_feature_incompat`.
pub(super) mod incompat {
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEV: u32 = 0x8;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BITS_64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const ENCRYPT: u32 = 0x1_0000;
    pub const CASEFOLD: u32 = 0x2_0000;
    /// What the kernel mounts and this reader understands.
    pub const KNOWN: u32 = FILETYPE
        | RECOVER
        | JOURNAL_DEV
        | META_BG
        | EXTENTS
        | BITS_64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;
    /// What ext2 and ext3 may have; more makes it ext4.
    pub const EXT3: u32 = FILETYPE | RECOVER | META_BG;
}

/// Bits of `s_feature_ro_compat`.
pub(super) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const BTREE_DIR: u32 = 0x4;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const DIR_NLINK: u32 = 0x20;
    pub const EXTRA_ISIZE: u32 = 0x40;
    pub const QUOTA: u32 = 0x100;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
    pub const READONLY: u32 = 0x1000;
    pub const PROJECT: u32 = 0x2000;
    pub const VERITY: u32 = 0x8000;
    pub const ORPHAN_PRESENT: u32 = 0x1_0000;
    /// What the kernel mounts for writing and this reader understands.
    pub const KNOWN: u32 = SPARSE_SUPER
        | LARGE_FILE
        | BTREE_DIR
        | HUGE_FILE
        | GDT_CSUM
        | DIR_NLINK
        | EXTRA_ISIZE
        | QUOTA
        | BIGALLOC
        | METADATA_CSUM
        | READONLY
        | PROJECT
        | VERITY
        | ORPHAN_PRESENT;
    /// What ext2 and ext3 may have; more makes it ext4.
    pub const EXT3: u32 = SPARSE_SUPER | LARGE_FILE | BTREE_DIR;
}

/// Bits of `s_state`.
const VALID_FS: u16 = 1;
const ERROR_FS: u16 = 2;
const ORPHAN_FS: u16 = 4;

/// The raw superblock.
#[derive(Clone, Debug)]
pub(super) struct Superblock(Vec<u8>);

impl Superblock {
    /// `None` without the magic.
    pub fn new(raw: Vec<u8>) -> Option<Self> {
        (raw.len() == LEN && Fields(&raw).le16(0x38) == MAGIC).then_some(Self(raw))
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    pub fn compat(&self, bit: u32) -> bool {
        self.fields().le32(0x5c) & bit != 0
    }

    pub fn incompat(&self, bit: u32) -> bool {
        self.fields().le32(0x60) & bit != 0
    }

    pub fn ro_compat(&self, bit: u32) -> bool {
        self.fields().le32(0x64) & bit != 0
    }

    /// Where CRC-32C sums of metadata start.
    pub fn checksum_seed(&self) -> u32 {
        if self.incompat(incompat::CSUM_SEED) {
            return self.fields().le32(0x270);
        }
        crc32c(!0, self.uuid_bytes())
    }

    pub fn uuid_bytes(&self) -> &[u8] {
        self.fields().bytes(0x68, 16)
    }

    /// As `blkid` names them, by features, whatever made it; only its name for a journal device, jbd, tells nobody
    /// what it is.
    pub fn content(&self) -> Content {
        let fields = self.fields();
        let extra = fields.le32(0x60) & !incompat::EXT3 != 0 || fields.le32(0x64) & !ro_compat::EXT3 != 0;
        let kind = if self.incompat(incompat::JOURNAL_DEV) {
            EXTERNAL_JOURNAL
        } else if extra {
            "ext4"
        } else if self.compat(compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        };
        Content {
            kind: kind.to_owned(),
            uuid: fields.uuid(0x68),
            label: fields.text(0x78, 16),
            version: Some(format!("{}.{}", fields.le32(0x4c), fields.le16(0x3e))),
            state: (kind != EXTERNAL_JOURNAL).then(|| self.state()),
        }
    }

    fn state(&self) -> String {
        let mut state = if self.incompat(incompat::RECOVER) {
            "needs recovery"
        } else if self.sound().and(self.without_orphans()).is_err() {
            "dirty"
        } else {
            "clean"
        }
        .to_owned();
        if let Some(journal) = self.external_journal() {
            state.push_str(", external journal ");
            state.push_str(&journal);
        }
        state
    }

    /// UUID of the device with its journal, where that is another one.
    fn external_journal(&self) -> Option<String> {
        let outside = self.compat(compat::HAS_JOURNAL) && self.fields().le32(0xe0) == 0;
        outside.then(|| self.fields().uuid(0xd0)).flatten()
    }

    /// Flags, checksum and revision: may the rest be read at all?
    pub fn check_format(&self) -> Result<(), ExtentError> {
        let fields = self.fields();
        let unknown = fields.le32(0x60) & !incompat::KNOWN;
        believe!(unknown == 0, "superblock has unknown incompat flags {unknown:#x} (known: {:#x})", incompat::KNOWN);
        let unknown = fields.le32(0x64) & !ro_compat::KNOWN;
        believe!(unknown == 0, "superblock has unknown ro_compat flags {unknown:#x} (known: {:#x})", ro_compat::KNOWN);
        let metadata_csum = self.ro_compat(ro_compat::METADATA_CSUM);
        if metadata_csum {
            let kind = fields.u8(0x175);
            believe!(kind == 1, "superblock has checksum type {kind}, 1 (CRC-32C) is known");
            let (stored, computed) = (fields.le32(0x3fc), crc32c(!0, fields.bytes(0, 0x3fc)));
            believe!(stored == computed, "superblock's checksum is {stored:#010x}, its bytes give {computed:#010x}");
        }
        believe!(
            !(metadata_csum && self.ro_compat(ro_compat::GDT_CSUM)),
            "superblock has both metadata_csum and uninit_bg, which exclude each other"
        );
        believe!(
            metadata_csum || !self.incompat(incompat::CSUM_SEED),
            "superblock has a checksum seed, but no metadata_csum"
        );
        let revision = fields.le32(0x4c);
        believe!(revision <= 1, "superblock has revision {revision}, 0 and 1 are known");
        let flagged = [0x5c, 0x60, 0x64].iter().any(|&at| fields.le32(at) != 0);
        believe!(revision == 1 || !flagged, "superblock of revision 0 has feature flags, which came with 1");
        let group = fields.le16(0x5a);
        believe!(revision == 0 || group == 0, "superblock at the start calls itself the copy of group {group}");
        Ok(())
    }

    /// What only a check may change.
    pub fn sound(&self) -> Result<(), ExtentError> {
        let state = self.fields().le16(0x3a);
        believe!(state & ERROR_FS == 0, "the kernel found errors in it (state {state:#x}): it needs a check");
        believe!(state & VALID_FS != 0, "it was not cleanly unmounted (state {state:#x})");
        believe!(state & ORPHAN_FS == 0, "orphaned inodes were being removed (state {state:#x})");
        Ok(())
    }

    /// What a mount would still remove.
    pub fn without_orphans(&self) -> Result<(), ExtentError> {
        let orphan = self.fields().le32(0xe8);
        believe!(orphan == 0, "orphaned inodes wait to be removed, the first is {orphan}");
        let present = self.ro_compat(ro_compat::ORPHAN_PRESENT);
        believe!(!present, "orphaned inodes wait to be removed (orphan_present)");
        Ok(())
    }
}
