//! The headers of an allocation group (AG).
//!
//! In: the number of an AG. Out: where its free-space trees start, what they must add up to, what they must not call free.
//! Promise: the copy of the superblock agrees with the first one, and sums, numbers and lengths are right.
//!
//! | offset | AGF, second sector (big-endian) | | offset | AGFL, fourth sector |
//! |---|---|---|---|---|
//! | 0, 4 | magic `XAGF`, version 1 | | | version 4: block numbers only |
//! | 8, 12 | number of this AG, its blocks | | 0 | magic `XAFL` |
//! | 16, 20 | roots of the trees by place, by length | | 4 | number of this AG |
//! | 28, 32 | levels of these trees | | 8 | UUID of the metadata |
//! | 40, 44, 48 | first, last, number of AGFL entries | | 24 | LSN of its last write |
//! | 52, 56 | free blocks, longest free extent | | 32 | checksum (little-endian) |
//! | 64 | UUID of the metadata | | 36 | block numbers |
//! | 208, 216 | LSN of its last write, checksum | | | |
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_format.h and xfs_alloc.c.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::geometry::HEADERS;
use super::superblock::Superblock;
use super::{Volume, value};
use crate::disk::source::ReadAt;
use std::ops::Range;

const AGF_MAGIC: u32 = 0x5841_4746;
const AGFL_MAGIC: u32 = 0x5841_464c;
const AGF_SUM_AT: usize = 216;
const AGFL_SUM_AT: usize = 32;
/// Where the block numbers start in an AGFL of version 5.
const AGFL_ENTRIES_AT: usize = 36;
/// The kernel's `XFS_BTREE_MAXLEVELS`.
const LEVELS: std::ops::RangeInclusive<u32> = 1..=9;

/// The start of a free-space tree: the block of its root in the AG, and its levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub block: u64,
    pub levels: u16,
}

/// What the headers of an AG say. Blocks count from its start.
#[derive(Clone, Debug)]
pub(super) struct Ag {
    pub number: u64,
    pub blocks: u64,
    pub by_place: Root,
    pub by_length: Root,
    pub free_blocks: u64,
    pub longest: u64,
    /// Blocks that are in use whatever the trees say; ascending, disjoint, at most 8200 ranges.
    pub in_use: Vec<Range<u64>>,
}

impl Ag {
    pub fn read(part: &dyn ReadAt, volume: &Volume, number: u64) -> Result<Self, ExtentError> {
        let geometry = &volume.geometry;
        let sector = in_memory(geometry.sector)?;
        let mut raw = vec![0; sector * in_memory(HEADERS)?];
        read(part, &mut raw, geometry.at(number, 0), "headers of an AG")?;
        let mut sectors = raw.chunks_exact(sector);
        let (copy, agf, agfl) = (sectors.next(), sectors.next(), sectors.nth(1));
        if number > 0 {
            check_copy(part, copy.unwrap_or_default(), sector, number)?;
        }
        let mut ag = check_agf(volume, agf.unwrap_or_default(), number)?;
        ag.in_use = in_use(volume, &ag, agf.unwrap_or_default(), agfl.unwrap_or_default())?;
        Ok(ag)
    }
}

/// What describes the whole must be the same in each copy of the superblock: name, offset and bytes of the fields.
const COPIED: [(&str, usize, usize); 9] = [
    ("block size", 4, 4),
    ("blocks", 8, 8),
    ("UUID", 32, 16),
    ("start of the log", 48, 8),
    ("blocks per AG", 84, 4),
    ("AGs", 88, 4),
    ("blocks of the log", 96, 4),
    ("sector size", 102, 2),
    ("log2 of blocks per AG", 124, 1),
];

fn check_copy(part: &dyn ReadAt, raw: &[u8], sector: usize, number: u64) -> Result<(), ExtentError> {
    let (Some(copy), Some(first)) = (Superblock::new(raw.to_vec()), Superblock::read_at(part, 0, sector)?) else {
        return Err(ExtentError::doubt(format!("superblock of AG {number} has magic {:#x}", Fields(raw).be32(0))));
    };
    let (theirs, ours) = (copy.number(), first.number());
    believe!(theirs == ours, "superblock of AG {number} has version {theirs}, the first one has {ours}");
    copy.check_format(&format!("superblock of AG {number}"))?;
    for (name, at, len) in COPIED {
        let (theirs, ours) = (copy.fields().bytes(at, len), first.fields().bytes(at, len));
        believe!(
            theirs == ours,
            "superblock of AG {number} has {:#x} for its {name}, the first one has {:#x}",
            value(theirs),
            value(ours)
        );
    }
    Ok(())
}

fn check_agf(volume: &Volume, raw: &[u8], number: u64) -> Result<Ag, ExtentError> {
    let geometry = &volume.geometry;
    let fields = Fields(raw);
    let (magic, version) = (fields.be32(0), fields.be32(4));
    believe!(
        magic == AGF_MAGIC && version == 1,
        "AGF of AG {number} has magic {magic:#x} and version {version}, {AGF_MAGIC:#x} and 1 expected"
    );
    volume.check_owner(|| format!("AGF of AG {number}"), raw, AGF_SUM_AT, fields.bytes(64, 16), fields.be64(208))?;
    let found = u64::from(fields.be32(8));
    believe!(found == number, "AGF of AG {number} says that it is that of AG {found}");
    let (blocks, expected) = (u64::from(fields.be32(12)), geometry.ag_len(number));
    believe!(blocks == expected, "AGF of AG {number} has {blocks} blocks, {expected} expected");
    let root = |at: usize| {
        let (block, levels) = (u64::from(fields.be32(at)), fields.be32(at + 12));
        believe!(LEVELS.contains(&levels), "AGF of AG {number} has a tree of {levels} levels, 1 to 9 expected");
        Ok(Root { block, levels: u16::try_from(levels).unwrap_or(0) })
    };
    let (free_blocks, longest) = (u64::from(fields.be32(52)), u64::from(fields.be32(56)));
    believe!(
        longest <= free_blocks && free_blocks < blocks,
        "AGF of AG {number} has {free_blocks} free blocks and an extent of {longest}, less than {blocks} expected"
    );
    Ok(Ag { number, blocks, by_place: root(16)?, by_length: root(20)?, free_blocks, longest, in_use: Vec::new() })
}

/// Headers, log, both roots and the blocks that the AGFL keeps for trees to come.
fn in_use(volume: &Volume, ag: &Ag, agf: &[u8], raw: &[u8]) -> Result<Vec<Range<u64>>, ExtentError> {
    let geometry = &volume.geometry;
    let number = ag.number;
    let (agf, fields) = (Fields(agf), Fields(raw));
    let start = if geometry.sums.is_some() {
        let (magic, found) = (fields.be32(0), u64::from(fields.be32(4)));
        believe!(
            magic == AGFL_MAGIC && found == number,
            "AGFL of AG {number} has magic {magic:#x} and number {found}, {AGFL_MAGIC:#x} expected"
        );
        let (uuid, lsn) = (fields.bytes(8, 16), fields.be64(24));
        volume.check_owner(|| format!("AGFL of AG {number}"), raw, AGFL_SUM_AT, uuid, lsn)?;
        AGFL_ENTRIES_AT
    } else {
        0
    };
    let size = (raw.len() - start) / 4;
    let [first, last, count] = [40, 44, 48].map(|at| usize::try_from(agf.be32(at)).unwrap_or(usize::MAX));
    let fits = first < size && last < size && count <= size;
    believe!(fits, "AGF of AG {number} has {count} AGFL entries from {first} to {last}, there are {size}");
    // The first kernels with version 5 counted one entry less, and a list of theirs that wraps is one off for all others,
    // which give it up when they write to that AG next (xfs_agfl_needs_reset). Its blocks are in use in any case.
    let of_old = count != 0 && (last + size - first) % size + 1 != count;
    believe!(
        !of_old || geometry.sums.is_some(),
        "AGF of AG {number} has {count} AGFL entries from {first} to {last} of {size}"
    );
    let count = if of_old { 0 } else { count };
    let log = (number == geometry.log_ag).then(|| geometry.log.clone());
    let mut in_use: Vec<Range<u64>> = std::iter::once(0..geometry.header_blocks()).chain(log).collect();
    let entries = (0..count).map(|index| u64::from(fields.be32(start + (first + index) % size * 4)));
    for block in entries.chain([ag.by_place.block, ag.by_length.block]) {
        believe!(
            block >= geometry.header_blocks() && block < ag.blocks,
            "AG {number} keeps its block {block} for a tree, it has blocks {} to {}",
            geometry.header_blocks(),
            ag.blocks
        );
        in_use.push(block..block + 1);
    }
    in_use.sort_unstable_by_key(|range| range.start);
    for pair in in_use.windows(2) {
        let [before, after] = [&pair[0], &pair[1]];
        believe!(
            before.end <= after.start,
            "AG {number} has two uses for block {}: blocks {} to {} are in use",
            after.start,
            before.start,
            before.end
        );
    }
    Ok(in_use)
}
