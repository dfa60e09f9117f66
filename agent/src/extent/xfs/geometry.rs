//! How an XFS is divided: blocks, sectors, allocation groups, and where the log lies.
//!
//! In: a superblock and the length of the partition. Out: numbers of which each one was bounded.
//! Promise: everything lies inside the partition, so arithmetic on blocks of a `Geometry` cannot wrap.

use super::super::ExtentError;
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::superblock::{SECTOR_SIZES, Superblock};
use crate::disk::source::ReadAt;
use std::ops::Range;

const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 512..=65536;
/// The kernel's `XFS_MIN_AG_BLOCKS`.
const AG_BLOCKS: std::ops::RangeInclusive<u64> = 64..=u32::MAX as u64 - 1;
/// The kernel's `XFS_MIN_LOG_BLOCKS` of the smallest block, and `XFS_MAX_LOG_BYTES`.
const LOG_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=(2 << 30) - 1;
/// Superblock, AGF, AGI and AGFL: one sector each.
pub(super) const HEADERS: u64 = 4;

/// A checked geometry.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Bytes per block.
    pub block: u64,
    /// Bytes per sector.
    pub sector: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    /// Blocks per AG; the last one may be shorter.
    pub ag_blocks: u64,
    pub ags: u64,
    /// The AG that holds the log.
    pub log_ag: u64,
    /// The log, in blocks of its AG.
    pub log: Range<u64>,
    /// Records may be longer than 32 KiB.
    pub log_v2: bool,
    pub uuid: Vec<u8>,
    /// The UUID in metadata and checksums exist: version 5.
    pub sums: Option<Vec<u8>>,
    /// When the superblock was last written, by the log's own clock; 0 in version 4.
    pub lsn: u64,
}

impl Geometry {
    /// Reads and checks the superblock.
    pub fn read(part: &dyn ReadAt, first: &Superblock) -> Result<Self, ExtentError> {
        let sector = u64::from(first.fields().be16(102));
        let fits = sector.is_power_of_two() && SECTOR_SIZES.contains(&sector);
        believe!(fits, "superblock has sectors of {sector} bytes, a power of two from 512 to 32768 expected");
        believe!(sector <= part.size(), "superblock has sectors of {sector} bytes, the partition has {}", part.size());
        let Some(superblock) = Superblock::read_at(part, 0, in_memory(sector)?)? else {
            return Err(ExtentError::doubt("superblock has lost its magic since it was recognised"));
        };
        superblock.check_format("superblock")?;
        superblock.check_features()?;
        Self::new(&superblock, sector, part.size())
    }

    fn new(superblock: &Superblock, sector: u64, size: u64) -> Result<Self, ExtentError> {
        let fields = superblock.fields();
        let block = u64::from(fields.be32(4));
        let fits = block.is_power_of_two() && BLOCK_SIZES.contains(&block) && block >= sector;
        believe!(fits, "superblock has blocks of {block} bytes, a power of two from {sector} to 65536 expected");
        let blocks = fields.be64(8);
        believe!(
            blocks <= size / block,
            "file system has {blocks} blocks of {block} bytes, the partition has {size} bytes"
        );
        let (ag_blocks, ags) = (u64::from(fields.be32(84)), u64::from(fields.be32(88)));
        believe!(AG_BLOCKS.contains(&ag_blocks), "superblock has {ag_blocks} blocks per AG, at least 64 expected");
        let expected = blocks.div_ceil(ag_blocks);
        believe!(ags == expected && ags > 0, "superblock has {ags} AGs, {blocks} blocks make {expected}");
        let log2 = ag_blocks.next_power_of_two().trailing_zeros();
        let logs =
            [("block", 120, block.trailing_zeros()), ("sector", 121, sector.trailing_zeros()), ("AG", 124, log2)];
        for (name, at, expected) in logs {
            let found = fields.u8(at);
            believe!(u32::from(found) == expected, "superblock has {name}s of 1 << {found}, 1 << {expected} expected");
        }
        let (log_start, log_blocks) = (fields.be64(48), u64::from(fields.be32(96)));
        let (log_ag, log_first) = (log_start >> log2, log_start & ((1 << log2) - 1));
        let geometry = Self {
            block,
            sector,
            blocks,
            ag_blocks,
            ags,
            log_ag,
            log: log_first..log_first + log_blocks,
            log_v2: superblock.log_v2(),
            uuid: fields.bytes(32, 16).to_vec(),
            sums: superblock.summed().then(|| superblock.metadata_uuid().to_vec()),
            lsn: if superblock.summed() { fields.be64(240) } else { 0 },
        };
        geometry.check_log()?;
        geometry.check_ends()?;
        Ok(geometry)
    }

    fn check_log(&self) -> Result<(), ExtentError> {
        let (ag, ags, log) = (self.log_ag, self.ags, &self.log);
        believe!(ag < ags, "log lies in AG {ag}, there are {ags}");
        let (start, end) = (self.header_blocks(), self.ag_len(ag));
        let fits = log.start >= start && log.end <= end;
        believe!(fits, "log has blocks {} to {} of AG {ag}, inside {start} to {end} expected", log.start, log.end);
        let bytes = (log.end - log.start) * self.block;
        believe!(LOG_BYTES.contains(&bytes), "log has {bytes} bytes, 256 KiB to 2 GiB expected");
        Ok(())
    }

    /// Every AG has room for its headers.
    fn check_ends(&self) -> Result<(), ExtentError> {
        let (last, headers) = (self.ag_len(self.ags - 1), self.header_blocks());
        believe!(last > headers, "last AG has {last} blocks, its headers take {headers}");
        Ok(())
    }

    /// Blocks of an AG.
    pub fn ag_len(&self, ag: u64) -> u64 {
        self.ag_blocks.min(self.blocks - ag * self.ag_blocks)
    }

    /// Where a block of an AG lies, in bytes from the start of the partition.
    pub fn at(&self, ag: u64, block: u64) -> u64 {
        (ag * self.ag_blocks + block) * self.block
    }

    /// Blocks taken by the headers at the start of each AG.
    pub fn header_blocks(&self) -> u64 {
        (HEADERS * self.sector).div_ceil(self.block)
    }
}
