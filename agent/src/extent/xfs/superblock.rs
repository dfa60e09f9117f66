//! The superblock of XFS: what it is called, and whether it can be believed.
//!
//! In: the first sector of the partition. Out: content for people; the flags for `geometry.rs`.
//! Promise: an unknown flag, a wrong sum, a realtime device or a log elsewhere is named.
//!
//! | offset | field (big-endian) | | offset | field |
//! |---|---|---|---|---|
//! | 0 | magic `XFSB` | | 120 to 124 | log2 of block, sector, inode size, inodes per block, blocks per AG |
//! | 4 | block size | | 126 | mkfs is in progress |
//! | 8, 16 | data, realtime blocks | | 179 | shared version |
//! | 32 | UUID | | 193, 194 | log2 of the log's sector size, log's sector size |
//! | 48 | first block of the log | | 196 | stripe unit of the log |
//! | 84, 88 | blocks per AG, AGs | | 200, 204 | features2, and where old kernels wrote it |
//! | 96 | blocks of the log | | 208, 212, 216, 220 | compat, ro_compat, incompat, log_incompat |
//! | 100 | version and flags | | 224 | checksum (little-endian) |
//! | 102 | sector size | | 240 | LSN of its last write |
//! | 108 | label, 12 bytes | | 248 | UUID of the metadata |
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_format.h and xfs_sb.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::super::peek::read;
use super::checksum;
use crate::disk::source::ReadAt;

const MAGIC: &[u8] = b"XFSB";
/// The smallest sector; the fields above lie in it.
pub(super) const LEN: usize = 512;
/// Bytes of a sector.
pub(super) const SECTOR_SIZES: std::ops::RangeInclusive<u64> = 512..=32768;
const SUM_AT: usize = 224;

/// Bits of `sb_versionnum` above the number.
mod version {
    pub const NUMBER: u16 = 0x000f;
    pub const SHARED: u16 = 0x0200;
    pub const LOGV2: u16 = 0x0400;
    pub const SECTOR: u16 = 0x0800;
    pub const DIRV2: u16 = 0x2000;
    pub const MOREBITS: u16 = 0x8000;
}

/// Bits of `sb_features2`: lazy counters, attr2, 32-bit project numbers, file types in directories.
const FEATURES2: u32 = 0x0002 | 0x0008 | 0x0080 | 0x0200;
/// Checksums; only in version 5.
const FEATURES2_CRC: u32 = 0x0100;
/// finobt, rmapbt, reflink, inobtcount.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x4 | 0x8;
/// ftype, sparse inodes, metauuid, bigtime, needsrepair, nrext64, exchange range, parent pointers.
const INCOMPAT: u32 = 0x1 | 0x2 | METAUUID | 0x8 | NEEDSREPAIR | 0x20 | 0x40 | 0x80;
const METAUUID: u32 = 0x4;
const NEEDSREPAIR: u32 = 0x10;

/// The raw superblock: its whole sector, or the first [`LEN`] bytes of it.
#[derive(Clone, Debug)]
pub(super) struct Superblock(Vec<u8>);

impl Superblock {
    /// `None` without the magic.
    pub fn new(raw: Vec<u8>) -> Option<Self> {
        (raw.len() >= LEN && raw.starts_with(MAGIC)).then_some(Self(raw))
    }

    /// The superblock at `offset` (bytes) with all of its sector of `sector` bytes.
    pub fn read_at(part: &dyn ReadAt, offset: u64, sector: usize) -> Result<Option<Self>, ExtentError> {
        let mut raw = vec![0; sector];
        read(part, &mut raw, offset, "superblock")?;
        Ok(Self::new(raw))
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    /// As `blkid` names it; it knows no version of XFS.
    pub fn content(&self) -> Content {
        Content { uuid: self.fields().uuid(32), label: self.fields().text(108, 12), ..Content::of("xfs") }
    }

    pub fn number(&self) -> u16 {
        self.fields().be16(100) & version::NUMBER
    }

    /// Version 5: metadata has checksums and names its owner.
    pub fn summed(&self) -> bool {
        self.number() == 5
    }

    fn flag(&self, bit: u16) -> bool {
        self.fields().be16(100) & bit != 0
    }

    /// Records of the log may be longer than 32 KiB.
    pub fn log_v2(&self) -> bool {
        self.summed() || self.flag(version::LOGV2)
    }

    /// `xfs_repair` was told to change something and has not done so yet.
    pub fn needs_repair(&self) -> bool {
        self.summed() && self.fields().be32(216) & NEEDSREPAIR != 0
    }

    /// What metadata of version 5 carries; `xfs_admin -U` changes the other one.
    pub fn metadata_uuid(&self) -> &[u8] {
        let own = self.summed() && self.fields().be32(216) & METAUUID != 0;
        self.fields().bytes(if own { 248 } else { 32 }, 16)
    }

    /// Version, checksum and flags: may the rest be read at all? `what` is its name in a doubt.
    pub fn check_format(&self, what: &str) -> Result<(), ExtentError> {
        let number = self.number();
        believe!(number == 4 || number == 5, "{what} has version {number}, 4 and 5 are known");
        if self.summed() {
            checksum::check(&self.0, SUM_AT, || what.to_owned())?;
        }
        Ok(())
    }

    /// Flags that change what lies where, and devices that are not here.
    pub fn check_features(&self) -> Result<(), ExtentError> {
        let fields = self.fields();
        let busy = fields.u8(126);
        believe!(busy == 0, "superblock says that mkfs.xfs is still at work ({busy}, 0 expected)");
        believe!(self.flag(version::DIRV2), "superblock has directories of version 1, 2 is known");
        let shared = fields.u8(179);
        believe!(!self.flag(version::SHARED) && shared == 0, "superblock has shared version {shared}, 0 is known");
        let more = self.summed() || self.flag(version::MOREBITS);
        let features2 = if more { fields.be32(200) | fields.be32(204) } else { 0 };
        let known = FEATURES2 | if self.summed() { FEATURES2_CRC } else { 0 };
        let unknown = features2 & !known;
        believe!(unknown == 0, "superblock has unknown features2 flags {unknown:#x} (known: {known:#x})");
        if self.summed() {
            for (name, at, known) in [
                ("compat", 208, 0),
                ("ro_compat", 212, RO_COMPAT),
                ("incompat", 216, INCOMPAT),
                ("log_incompat", 220, 0),
            ] {
                let unknown = fields.be32(at) & !known;
                believe!(unknown == 0, "superblock has unknown {name} flags {unknown:#x} (known: {known:#x})");
            }
            believe!(!self.needs_repair(), "it needs xfs_repair (incompat flags {:#x})", fields.be32(216));
        }
        let realtime = fields.be64(16);
        believe!(realtime == 0, "it has a realtime device of {realtime} blocks, which is not read here");
        believe!(fields.be64(48) != 0, "its log lies on another device: whether it is clean cannot be seen here");
        self.check_log_units()
    }

    /// The log's sector and stripe unit, in bytes.
    fn check_log_units(&self) -> Result<(), ExtentError> {
        let fields = self.fields();
        let (log2, sector) = (u32::from(fields.u8(193)), u64::from(fields.be16(194)));
        let expected = if self.flag(version::SECTOR) { 1_u64.checked_shl(log2).unwrap_or(0) } else { 0 };
        let fits = sector == expected && (expected == 0 && log2 == 0 || SECTOR_SIZES.contains(&sector));
        believe!(fits, "superblock has log sectors of {sector} bytes, {expected} expected (1 << {log2})");
        let (unit, block) = (fields.be32(196), fields.be32(4));
        let fits = unit <= 1 || unit <= 256 << 10 && block > 0 && unit.is_multiple_of(block);
        believe!(
            fits,
            "superblock has a log stripe unit of {unit} bytes, whole blocks of {block} up to 256 KiB expected"
        );
        Ok(())
    }
}
