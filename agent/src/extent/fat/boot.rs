//! The boot sector of a FAT volume.
//!
//! In: 512 bytes and the length of the partition. Out: where tables and clusters lie, all inside the partition.
//! Promise: every number was bounded and fits the others, or the sector is refused with both numbers.
//!
//! | offset | field | | offset | field (FAT32) |
//! |---|---|---|---|---|
//! | 11 | bytes per sector | | 36 | sectors per table |
//! | 13 | sectors per cluster | | 40 | flags: bit 7 mirroring off |
//! | 14 | reserved sectors | | 42 | version, 0 |
//! | 16 | tables | | 44 | first cluster of the root |
//! | 17 | root entries | | 65 | state: bit 0 dirty, bit 1 bad surface |
//! | 19, 32 | sectors | | 67 | serial |
//! | 22 | sectors per table | | | (FAT12/16: state at 37, serial at 39, name at 54) |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;

/// Bits of an entry in the allocation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// Below these numbers of clusters a volume is FAT12 or FAT16: the only rule there is.
const FAT16_FROM: u64 = 4085;
const FAT32_FROM: u64 = 65525;
/// The last number a FAT32 cluster can have.
const CLUSTERS_LIMIT: u64 = 0x0fff_fff5;

/// A checked boot sector; offsets and lengths in bytes from the start of the partition.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub width: Width,
    pub media: u8,
    pub state: u8,
    pub tables: u64,
    pub table_start: u64,
    pub table_len: u64,
    pub root_start: u64,
    pub root_len: u64,
    /// First cluster of the root directory (FAT32).
    pub root_cluster: u64,
    pub data_start: u64,
    pub cluster_len: u64,
    pub clusters: u64,
    serial: u32,
}

/// As `blkid` tells FAT from other boot sectors: a name or a jump, and the fields that have few legal values.
pub(super) fn resembles_fat(raw: &[u8]) -> bool {
    let fields = Fields(raw);
    let named = fields.bytes(82, 8) == b"FAT32   "
        || [&b"FAT12   "[..], b"FAT16   ", b"FAT     ", b"MSDOS   "].contains(&fields.bytes(54, 8))
        || fields.bytes(82, 5) == b"MSWIN"
        || fields.bytes(54, 5) == b"MSWIN";
    let boots = [0xeb, 0xe9].contains(&fields.u8(0)) && fields.bytes(510, 2) == [0x55, 0xaa];
    (named || boots)
        && [512, 1024, 2048, 4096].contains(&fields.le16(11))
        && fields.u8(13).is_power_of_two()
        && fields.le16(14) != 0
        && fields.u8(16) != 0
        && (fields.u8(21) == 0xf0 || fields.u8(21) >= 0xf8)
}

impl Boot {
    /// Bounds and cross-checks every field; `size` is the partition's length in bytes.
    pub fn parse(raw: &[u8], size: u64) -> Result<Self, ExtentError> {
        let fields = Fields(raw);
        let sector = u64::from(fields.le16(11));
        believe!(
            [512, 1024, 2048, 4096].contains(&sector),
            "boot sector has {sector} bytes per sector, 512 to 4096 are known"
        );
        let per_cluster = u64::from(fields.u8(13));
        believe!(
            per_cluster.is_power_of_two(),
            "boot sector has {per_cluster} sectors per cluster, a power of two is expected"
        );
        let reserved = u64::from(fields.le16(14));
        believe!(reserved > 0, "boot sector has {reserved} reserved sectors, at least 1 expected");
        let tables = u64::from(fields.u8(16));
        believe!((1..=2).contains(&tables), "boot sector has {tables} allocation tables, 1 or 2 expected");
        let short = u64::from(fields.le16(22));
        let table_sectors = if short != 0 { short } else { u64::from(fields.le32(36)) };
        believe!(
            table_sectors > 0,
            "boot sector has allocation tables of {table_sectors} sectors, at least 1 expected"
        );
        let sectors = match u64::from(fields.le16(19)) {
            0 => u64::from(fields.le32(32)),
            few => few,
        };
        believe!(
            sectors <= size / sector,
            "boot sector has {sectors} sectors of {sector} bytes, the partition has {size} bytes"
        );
        let root_len = u64::from(fields.le16(17)) * 32;
        let root_sectors = root_len.div_ceil(sector);
        let before = reserved + tables * table_sectors + root_sectors;
        believe!(before < sectors, "boot sector puts the first cluster at sector {before} of {sectors}");
        let clusters = (sectors - before) / per_cluster;
        let width = width(fields, short != 0, root_len, clusters)?;
        let bits = match width {
            Width::Twelve => 12,
            Width::Sixteen => 16,
            Width::ThirtyTwo => 32,
        };
        let (have, need) = (table_sectors * sector, ((clusters + 2) * bits).div_ceil(8));
        believe!(have >= need, "an allocation table has {have} bytes, {need} are needed for {clusters} clusters");
        let wide = width == Width::ThirtyTwo;
        let boot = Self {
            width,
            media: fields.u8(21),
            state: fields.u8(if wide { 65 } else { 37 }),
            tables,
            table_start: reserved * sector,
            table_len: have,
            root_start: (reserved + tables * table_sectors) * sector,
            root_len,
            root_cluster: if wide { u64::from(fields.le32(44)) } else { 0 },
            data_start: before * sector,
            cluster_len: per_cluster * sector,
            clusters,
            serial: fields.le32(if wide { 67 } else { 39 }),
        };
        if wide {
            let root = boot.root_cluster;
            believe!(
                (2..clusters + 2).contains(&root),
                "root directory starts at cluster {root}, the last one is {}",
                clusters + 1
            );
        }
        Ok(boot)
    }

    /// As `blkid` prints it.
    pub fn uuid(&self) -> Option<String> {
        (self.serial != 0).then(|| format!("{:04X}-{:04X}", self.serial >> 16, self.serial & 0xffff))
    }
}

/// The number of clusters decides, as it does for every driver; the form of the boot sector must agree with it.
///
/// A FAT32 form with few clusters is legal only as FAT32 (small EFI system partitions are made so), because FAT12 and
/// FAT16 have no 32-bit table length.
fn width(fields: Fields<'_>, short: bool, root_len: u64, clusters: u64) -> Result<Width, ExtentError> {
    believe!(
        clusters > 0 && clusters <= CLUSTERS_LIMIT,
        "boot sector has {clusters} clusters, 1 to {CLUSTERS_LIMIT} expected"
    );
    if !short {
        believe!(root_len == 0, "a FAT32 boot sector has a fixed root directory of {root_len} bytes, 0 expected");
        let (flags, version) = (fields.le16(40), fields.le16(42));
        believe!(
            flags & 0x80 == 0,
            "mirroring of the allocation tables is off (flags {flags:#x}): only table {} is kept",
            flags & 15
        );
        believe!(version == 0, "FAT32 has version {version}, 0 is known");
        return Ok(Width::ThirtyTwo);
    }
    believe!(root_len > 0, "a FAT12 or FAT16 boot sector has a root directory of {root_len} bytes");
    believe!(
        clusters < FAT32_FROM,
        "boot sector has {clusters} clusters in the form of FAT16, which ends at {FAT32_FROM}"
    );
    let (width, other) =
        if clusters < FAT16_FROM { (Width::Twelve, b"FAT16   ") } else { (Width::Sixteen, b"FAT12   ") };
    let named_otherwise = fields.bytes(54, 8) == other;
    believe!(!named_otherwise, "boot sector is named {}, but has {clusters} clusters", other.escape_ascii());
    Ok(width)
}
