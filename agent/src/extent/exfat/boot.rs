//! The boot regions of an exFAT volume.
//!
//! In: a partition. Out: where the allocation table and the clusters lie, all inside the partition.
//! Promise: every number is bounded and fits the others; both regions have their checksum and agree.
//!
//! Microsoft, "exFAT file system specification", 3 "Main and Backup Boot Regions": twelve sectors each, the eleventh
//! of which (counted from 0) repeats the checksum of those before it.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 3 | name, `EXFAT   ` | | 100 | serial |
//! | 11 | 53 zeros, where FAT has its fields | | 104 | revision: minor, major |
//! | 72 | volume length, in sectors | | 106 | flags: second table, dirty, media failure, clear to zero |
//! | 80 | allocation table, in sectors | | 108 | bytes per sector, as a power of two |
//! | 84 | sectors per table | | 109 | sectors per cluster, as a power of two |
//! | 88 | cluster heap, in sectors | | 110 | tables |
//! | 92 | clusters | | 112 | percent in use |
//! | 96 | first cluster of the root | | 510 | 0x55, 0xaa |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use crate::disk::source::ReadAt;

/// Bytes of the boot sector that have a meaning, whatever the sector size.
pub(super) const LEN: usize = 512;
const NAME: &[u8] = b"EXFAT   ";
const REGION_SECTORS: u64 = 12;
const SUMMED_SECTORS: usize = 11;
/// Numbers above it mean "bad" and "end of chain".
const CLUSTERS_LIMIT: u64 = 0xffff_fff5;
/// Log2 of the largest cluster: 32 MiB.
const CLUSTER_SHIFT_MAX: u32 = 25;

/// A checked boot sector; offsets and lengths in bytes from the start of the partition.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub sector: u64,
    pub table_start: u64,
    pub heap_start: u64,
    pub cluster_len: u64,
    pub clusters: u64,
    pub root_cluster: u64,
    pub flags: u16,
}

pub(super) fn is_exfat(raw: &[u8]) -> bool {
    Fields(raw).bytes(3, NAME.len()) == NAME
}

impl Boot {
    /// Bounds and cross-checks every field; `size` is the partition's length in bytes.
    pub fn parse(raw: &[u8], size: u64) -> Result<Self, ExtentError> {
        let fields = Fields(raw);
        believe!(is_exfat(raw), "boot sector has lost its name since it was recognised");
        let end = fields.bytes(510, 2);
        believe!(end == [0x55, 0xaa], "boot sector ends in {end:x?}, [55, aa] expected");
        let odd = fields.bytes(11, 53).iter().position(|byte| *byte != 0);
        believe!(odd.is_none(), "boot sector has fields of FAT, zeros expected");
        let revision = fields.le16(104);
        believe!(revision == 0x100, "exFAT has revision {:#x}, 0x100 is known", revision);
        let (sector_shift, cluster_shift) = (u32::from(fields.u8(108)), u32::from(fields.u8(109)));
        believe!(
            (9..=12).contains(&sector_shift),
            "boot sector has sectors of 1 << {sector_shift} bytes, 9 to 12 known"
        );
        believe!(
            sector_shift + cluster_shift <= CLUSTER_SHIFT_MAX,
            "boot sector has clusters of 1 << {} bytes, at most 1 << {CLUSTER_SHIFT_MAX} known",
            sector_shift + cluster_shift
        );
        let tables = fields.u8(110);
        believe!(tables == 1, "boot sector has {tables} allocation tables (2 is TexFAT), 1 is known");
        let (sector, sectors) = (1_u64 << sector_shift, fields.le64(72));
        believe!(
            sectors <= size / sector,
            "boot sector has {sectors} sectors of {sector} bytes, the partition has {size} bytes"
        );
        let [table, table_len, heap, clusters, root] = [80, 84, 88, 92, 96].map(|at| u64::from(fields.le32(at)));
        believe!(
            table >= 2 * REGION_SECTORS,
            "allocation table starts at sector {table}, the boot regions end at {}",
            2 * REGION_SECTORS
        );
        believe!(
            (1..=CLUSTERS_LIMIT).contains(&clusters),
            "boot sector has {clusters} clusters, 1 to {CLUSTERS_LIMIT} expected"
        );
        let (have, need) = (table_len * sector, (clusters + 2) * 4);
        believe!(have >= need, "the allocation table has {have} bytes, {need} are needed for {clusters} clusters");
        believe!(
            table + table_len <= heap,
            "allocation table ends at sector {}, the clusters start at {heap}",
            table + table_len
        );
        let heap_end = heap + (clusters << cluster_shift);
        believe!(heap_end <= sectors, "clusters end at sector {heap_end}, the volume at {sectors}");
        believe!(
            (2..clusters + 2).contains(&root),
            "root directory starts at cluster {root}, the last one is {}",
            clusters + 1
        );
        Ok(Self {
            sector,
            table_start: table * sector,
            heap_start: heap * sector,
            cluster_len: sector << cluster_shift,
            clusters,
            root_cluster: root,
            flags: fields.le16(106),
        })
    }

    /// Both regions are as they were written last, and say the same.
    pub fn check_regions(&self, part: &dyn ReadAt) -> Result<(), ExtentError> {
        let main = self.region(part, 0, "main boot region")?;
        let backup = self.region(part, REGION_SECTORS * self.sector, "backup boot region")?;
        // Flags and percentage are kept in the main region only.
        for (from, to) in [(3, 106), (108, 112)] {
            let differs = (from..to).find(|&at| main.get(at) != backup.get(at));
            believe!(
                differs.is_none(),
                "main and backup boot sector differ at byte {}: {:?} and {:?}",
                differs.unwrap_or_default(),
                differs.and_then(|at| main.get(at)),
                differs.and_then(|at| backup.get(at))
            );
        }
        Ok(())
    }

    /// The bytes of a region whose checksum is right.
    fn region(&self, part: &dyn ReadAt, at: u64, what: &'static str) -> Result<Vec<u8>, ExtentError> {
        let sector = in_memory(self.sector)?;
        let mut raw = vec![0; sector * (SUMMED_SECTORS + 1)];
        read(part, &mut raw, at, what)?;
        let (summed, sums) = raw.split_at(sector * SUMMED_SECTORS);
        let computed = summed
            .iter()
            .enumerate()
            .filter(|(at, _)| ![106, 107, 112].contains(at))
            .fold(0, |sum, (_, byte)| add_to_sum(sum, *byte));
        for stored in sums.as_chunks::<4>().0 {
            let stored = u32::from_le_bytes(*stored);
            believe!(stored == computed, "checksum of the {what} is {stored:#x}, its bytes give {computed:#x}");
        }
        raw.truncate(sector * SUMMED_SECTORS);
        Ok(raw)
    }
}

/// The checksum of boot regions and of the up-case table, one byte on.
pub(crate) const fn add_to_sum(sum: u32, byte: u8) -> u32 {
    sum.rotate_right(1).wrapping_add(byte as u32)
}

/// The volume's number as `blkid` prints it.
pub(super) fn uuid(raw: &[u8]) -> Option<String> {
    let serial = Fields(raw).le32(100);
    (serial != 0).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
}

/// The revision as `blkid` prints it.
pub(super) fn version(raw: &[u8]) -> String {
    format!("{}.{}", Fields(raw).u8(105), Fields(raw).u8(104))
}
