//! The boot sector of an NTFS volume.
//!
//! In: 512 bytes and the length of the partition. Out: sector, cluster and record sizes, and where the MFT starts.
//! Promise: every number was bounded and fits the others, or the sector is refused with both numbers.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 3 | "NTFS    " | | 48 | first cluster of $MFT |
//! | 11 | bytes per sector | | 56 | first cluster of $MFTMirr |
//! | 13 | sectors per cluster; above 128: 2^(256 - n) | | 64 | clusters per record; negative: 2^-n bytes |
//! | 40 | sectors, without the one that holds the copy | | 72 | serial number |
//!
//! Source: ntfs-3g, `layout.h` (`NTFS_BOOT_SECTOR`) and the limits in `bootsect.c`.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;

/// Since Windows 10 1709; 64 KiB before.
const CLUSTER_MAX: u64 = 2 << 20;
/// Records have 1 KiB, or 4 KiB on disks with sectors of 4 KiB.
const RECORD_MAX: u64 = 64 << 10;
/// `$Boot`: 16 sectors of 512 bytes, whatever the sector size.
pub(super) const BOOT_LEN: u64 = 8192;

/// A checked boot sector; lengths in bytes, places in clusters.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub cluster_len: u64,
    pub clusters: u64,
    /// Bytes of all sectors; the copy of the boot sector lies behind them.
    pub len: u64,
    pub mft: u64,
    pub mirror: u64,
    pub record_len: u64,
}

/// The name that `blkid` and every driver go by.
pub(super) fn is_ntfs(raw: &[u8]) -> bool {
    Fields(raw).bytes(3, 8) == b"NTFS    "
}

/// The serial number as `blkid` prints it.
pub(super) fn uuid(raw: &[u8]) -> String {
    format!("{:016X}", Fields(raw).le64(72))
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
        let code = fields.u8(13);
        let per_cluster = if code > 128 { 1_u64.checked_shl(256 - u32::from(code)).unwrap_or(0) } else { code.into() };
        let cluster_len = per_cluster.saturating_mul(sector);
        believe!(
            per_cluster.is_power_of_two() && cluster_len <= CLUSTER_MAX,
            "boot sector has clusters of {per_cluster} sectors ({cluster_len} bytes), at most {CLUSTER_MAX} bytes expected"
        );
        // What FAT has here: reserved sectors, tables, root entries, sectors, sectors per table, and sectors again.
        let fat = [fields.le16(14), fields.u8(16).into(), fields.le16(17), fields.le16(19), fields.le16(22)];
        let fat = fat.into_iter().map(u32::from).chain([fields.le32(32)]).find(|value| *value != 0);
        believe!(fat.is_none(), "boot sector has {} in a field of FAT, 0 expected", fat.unwrap_or(0));
        let sectors = fields.le64(40);
        believe!(
            sectors <= size / sector,
            "boot sector has {sectors} sectors of {sector} bytes, the partition has {size} bytes"
        );
        let clusters = sectors / per_cluster;
        let (mft, mirror) = (fields.le64(48), fields.le64(56));
        for (name, place) in [("$MFT", mft), ("$MFTMirr", mirror)] {
            believe!(
                (1..clusters).contains(&place),
                "boot sector puts {name} at cluster {place}, the volume has {clusters}"
            );
        }
        believe!(mft != mirror, "boot sector puts $MFT and $MFTMirr both at cluster {mft}");
        let record_len = match fields.u8(64).cast_signed() {
            few @ 0.. => u64::from(few.unsigned_abs()) * cluster_len,
            log => 1_u64.checked_shl(log.unsigned_abs().into()).unwrap_or(0),
        };
        believe!(
            record_len.is_power_of_two() && (512..=RECORD_MAX).contains(&record_len),
            "boot sector has MFT records of {record_len} bytes, 512 to {RECORD_MAX} expected"
        );
        Ok(Self { cluster_len, clusters, len: sectors * sector, mft, mirror, record_len })
    }
}
