//! The superblock of btrfs: what it is called, and whether the file system can be believed.
//!
//! In: 4096 bytes of each copy. Out: content for people, and the fields that the trees need.
//! Promise: an unknown flag, a wrong sum, copies that disagree and anything left to replay are named.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0x00 | checksum | | 0xac, 0xb4, 0xbc | compat, compat_ro, incompat flags |
//! | 0x20 | file system's UUID | | 0xc4 | checksum type |
//! | 0x30 | where this copy lies | | 0xc6, 0xc7 | level of the root tree, of the chunk tree |
//! | 0x38 | flags | | 0xc9 | this device: id |
//! | 0x40 | magic | | 0xd1, 0xd9 | its bytes in all, in chunks |
//! | 0x48 | generation | | 0x10b, 0x11b | its UUID, that of its file system |
//! | 0x50, 0x58, 0x60 | root tree, chunk tree, log tree | | 0x12b | label |
//! | 0x70, 0x78 | bytes in all, used | | 0x23b | UUID in the nodes (metadata_uuid) |
//! | 0x88 | devices | | 0x32b | system chunks |
//! | 0x90, 0x94 | sector, node size | | 0xa0 | their length |
//! | 0xa4 | generation of the chunk tree | | | |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h, btrfs.h and fs/btrfs/disk-io.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::super::peek::read;
use super::checksum::Sum;
use crate::disk::source::ReadAt;

/// Where the copies lie, in bytes from the start of the device, and the length of each.
pub(super) const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
pub(super) const LEN: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";
/// The checksum and the place of a copy: what differs from copy to copy.
const OF_COPY: [std::ops::Range<usize>; 2] = [0..0x20, 0x30..0x38];
/// What differs from device to device, too.
const DEVICE: std::ops::Range<usize> = 0xc9..0x12b;
/// The only flag of a superblock that promises nothing unusual.
const WRITTEN: u64 = 1;

/// Bits of `incompat_flags`.
pub(super) mod incompat {
    pub const MIXED_BACKREF: u64 = 1 << 0;
    pub const DEFAULT_SUBVOL: u64 = 1 << 1;
    pub const MIXED_GROUPS: u64 = 1 << 2;
    pub const COMPRESS_LZO: u64 = 1 << 3;
    pub const COMPRESS_ZSTD: u64 = 1 << 4;
    pub const BIG_METADATA: u64 = 1 << 5;
    pub const EXTENDED_IREF: u64 = 1 << 6;
    pub const RAID56: u64 = 1 << 7;
    pub const SKINNY_METADATA: u64 = 1 << 8;
    pub const NO_HOLES: u64 = 1 << 9;
    pub const METADATA_UUID: u64 = 1 << 10;
    pub const RAID1C34: u64 = 1 << 11;
    pub const ZONED: u64 = 1 << 12;
    pub const EXTENT_TREE_V2: u64 = 1 << 13;
    pub const RAID_STRIPE_TREE: u64 = 1 << 14;
    pub const SIMPLE_QUOTA: u64 = 1 << 16;
    /// What this reader understands.
    pub const KNOWN: u64 = MIXED_BACKREF
        | DEFAULT_SUBVOL
        | MIXED_GROUPS
        | COMPRESS_LZO
        | COMPRESS_ZSTD
        | BIG_METADATA
        | EXTENDED_IREF
        | RAID56
        | SKINNY_METADATA
        | NO_HOLES
        | METADATA_UUID
        | RAID1C34
        | SIMPLE_QUOTA;
    /// What it knows by name only.
    pub const REFUSED: [(u64, &str); 3] =
        [(ZONED, "zoned"), (EXTENT_TREE_V2, "extent-tree-v2"), (RAID_STRIPE_TREE, "raid-stripe-tree")];
}

/// Bits of `compat_ro_flags`.
pub(super) mod compat_ro {
    pub const FREE_SPACE_TREE: u64 = 1 << 0;
    pub const FREE_SPACE_TREE_VALID: u64 = 1 << 1;
    pub const VERITY: u64 = 1 << 2;
    pub const BLOCK_GROUP_TREE: u64 = 1 << 3;
    /// What this reader understands.
    pub const KNOWN: u64 = FREE_SPACE_TREE | FREE_SPACE_TREE_VALID | VERITY | BLOCK_GROUP_TREE;
}

/// Unusual states that a superblock's flags name.
const STATES: [(u64, &str); 5] = [
    (1 << 2, "the kernel found errors in it"),
    (1 << 32, "it is a seed"),
    (3 << 33, "it is a dump of metadata"),
    (3 << 35, "its UUID is being changed"),
    (7 << 38, "it is being converted"),
];

/// One raw copy.
#[derive(Clone, Debug)]
pub(super) struct Superblock(Vec<u8>);

impl Superblock {
    /// `None` without the magic.
    pub fn new(raw: Vec<u8>) -> Option<Self> {
        (raw.len() == LEN && Fields(&raw).bytes(0x40, 8) == MAGIC).then_some(Self(raw))
    }

    /// The copy that a mount reads; `None` where `part` holds no btrfs.
    ///
    /// # Errors
    /// [`ExtentError::Read`] from the device.
    pub fn primary(part: &dyn ReadAt) -> Result<Option<Self>, ExtentError> {
        Self::copy(part, COPIES[0])
    }

    fn copy(part: &dyn ReadAt, at: u64) -> Result<Option<Self>, ExtentError> {
        if part.size() < at + LEN as u64 {
            return Ok(None);
        }
        let mut raw = vec![0; LEN];
        read(part, &mut raw, at, "btrfs superblock")?;
        Ok(Self::new(raw))
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    pub fn generation(&self) -> u64 {
        self.fields().le64(0x48)
    }

    pub fn devices(&self) -> u64 {
        self.fields().le64(0x88)
    }

    pub fn devid(&self) -> u64 {
        self.fields().le64(0xc9)
    }

    pub fn device_uuid(&self) -> &[u8] {
        self.fields().bytes(0x10b, 16)
    }

    /// Bytes of this device that the file system has.
    pub fn device_bytes(&self) -> u64 {
        self.fields().le64(0xd1)
    }

    pub fn fsid(&self) -> &[u8] {
        self.fields().bytes(0x20, 16)
    }

    pub fn incompat(&self, bit: u64) -> bool {
        self.fields().le64(0xbc) & bit != 0
    }

    pub fn compat_ro(&self, bit: u64) -> bool {
        self.fields().le64(0xb4) & bit != 0
    }

    /// The UUID that nodes and devices carry.
    pub fn node_uuid(&self) -> &[u8] {
        if self.incompat(incompat::METADATA_UUID) { self.fields().bytes(0x23b, 16) } else { self.fsid() }
    }

    /// As `blkid` names it.
    pub fn content(&self) -> Content {
        let fields = self.fields();
        let mut state = if self.unreplayed().is_err() { "needs recovery" } else { "clean" }.to_owned();
        if self.devices() > 1 {
            state.push_str(&format!(", device {} of {}", self.devid(), self.devices()));
        }
        Content { uuid: fields.uuid(0x20), label: fields.text(0x12b, 256), state: Some(state), ..Content::of("btrfs") }
    }

    /// Files that were synced since the last commit lie in a log tree, in blocks that no other tree knows.
    ///
    /// # Errors
    /// The doubt that this is.
    pub fn unreplayed(&self) -> Result<(), ExtentError> {
        let log = self.fields().le64(0x60);
        believe!(log == 0, "its log tree at {log} needs to be replayed: files newer than the extent tree lie in it");
        Ok(())
    }

    /// Checksum, flags and sizes: may the rest be read at all?
    ///
    /// # Errors
    /// A doubt that names the field.
    pub fn check_format(&self, part_size: u64) -> Result<Sum, ExtentError> {
        let fields = self.fields();
        let sum = Sum::of(fields.le16(0xc4))?;
        sum.check(&self.0, "superblock")?;
        let at = fields.le64(0x30);
        believe!(at == COPIES[0], "superblock at {} says that it lies at {at}", COPIES[0]);
        self.check_flags()?;
        let (sector, node) = (fields.le32(0x90), fields.le32(0x94));
        let size = |size: u32| size.is_power_of_two() && (4 << 10..=64 << 10).contains(&size);
        believe!(size(sector), "superblock has sectors of {sector} bytes, 4096 to 65536 are possible");
        believe!(size(node) && node >= sector, "superblock has nodes of {node} bytes and sectors of {sector}");
        let bytes = self.device_bytes();
        believe!(bytes <= part_size, "the file system has {bytes} bytes of the device, the partition has {part_size}");
        let (own, all) = (fields.bytes(0x11b, 16), self.node_uuid());
        believe!(own == all, "the device belongs to file system {own:02x?}, its superblock to {all:02x?}");
        Ok(sum)
    }

    fn check_flags(&self) -> Result<(), ExtentError> {
        let fields = self.fields();
        let flags = fields.le64(0x38);
        for (bits, state) in STATES {
            believe!(flags & bits == 0, "{state} (superblock has flags {flags:#x}, {WRITTEN:#x} expected)");
        }
        believe!(flags == WRITTEN, "superblock has flags {flags:#x}, {WRITTEN:#x} expected");
        let incompat = fields.le64(0xbc);
        for (bit, name) in incompat::REFUSED {
            believe!(incompat & bit == 0, "superblock has incompat flags {incompat:#x}: {name} is not understood");
        }
        let unknown = incompat & !incompat::KNOWN;
        believe!(unknown == 0, "superblock has unknown incompat flags {unknown:#x} (known: {:#x})", incompat::KNOWN);
        believe!(
            incompat & incompat::MIXED_BACKREF != 0,
            "superblock has incompat flags {incompat:#x} without mixed_backref: its extent tree is of before 2009"
        );
        let unknown = fields.le64(0xb4) & !compat_ro::KNOWN;
        believe!(unknown == 0, "superblock has unknown compat_ro flags {unknown:#x} (known: {:#x})", compat_ro::KNOWN);
        let unknown = fields.le64(0xac);
        believe!(unknown == 0, "superblock has unknown compat flags {unknown:#x}, none are known");
        Ok(())
    }

    /// The other copies on the same device: a commit that ended between two of them is a doubt.
    ///
    /// # Errors
    /// A doubt that names the copy; [`ExtentError::Read`] from the device.
    pub fn check_copies(&self, part: &dyn ReadAt, sum: Sum) -> Result<(), ExtentError> {
        for at in COPIES.into_iter().skip(1).filter(|at| at + (LEN as u64) < self.device_bytes()) {
            let Some(copy) = Self::copy(part, at)? else {
                return Err(ExtentError::doubt(format!("superblock copy at {at} has no magic, the one at 65536 has")));
            };
            sum.check(&copy.0, format_args!("superblock copy at {at}"))?;
            let lies = copy.fields().le64(0x30);
            believe!(lies == at, "superblock copy at {at} says that it lies at {lies}");
            self.check_same(&copy, &OF_COPY, format_args!("superblock copy at {at}"))?;
        }
        Ok(())
    }

    /// The superblock of another device of the same file system: all but the device is the same.
    ///
    /// # Errors
    /// A doubt that names the device.
    pub fn check_sibling(&self, other: &Self, sum: Sum) -> Result<(), ExtentError> {
        let name = format!("superblock of device {}", other.devid());
        sum.check(&other.0, &name)?;
        let [sum_room, at] = OF_COPY;
        self.check_same(other, &[sum_room, at, DEVICE], name)
    }

    fn check_same(
        &self,
        other: &Self,
        apart: &[std::ops::Range<usize>],
        name: impl std::fmt::Display,
    ) -> Result<(), ExtentError> {
        let (ours, theirs) = (self.generation(), other.generation());
        believe!(ours == theirs, "{name} has generation {theirs}, this device's first one has {ours}");
        let differs = |at: &usize| self.0.get(*at) != other.0.get(*at) && !apart.iter().any(|range| range.contains(at));
        if let Some(at) = (0..LEN).find(differs) {
            let (ours, theirs) = (self.fields().u8(at), other.fields().u8(at));
            return Err(ExtentError::doubt(format!(
                "{name} has {theirs:#04x} at byte {at:#x}, this device's first one has {ours:#04x}"
            )));
        }
        Ok(())
    }
}
