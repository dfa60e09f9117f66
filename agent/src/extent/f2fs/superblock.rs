//! The superblock of F2FS and its copy.
//!
//! In: a partition. Out: where the areas lie, all inside the partition and one behind the other.
//! Promise: an unknown feature, several devices, zones, a wrong checksum or two copies that differ are a doubt.
//!
//! `struct f2fs_super_block` in the kernel's include/linux/f2fs_fs.h; at byte 1024 of blocks 0 and 1. The areas follow
//! each other in this order: checkpoints, SIT, NAT, SSA, main area; a segment is 512 blocks.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0 | magic | | 72 | segment 0, as a block |
//! | 4, 6 | version: major, minor | | 76, 80, 84, 88, 92 | first blocks: checkpoints, SIT, NAT, SSA, main |
//! | 16 | log2 of the block size | | 108 | UUID |
//! | 20 | log2 of a segment's blocks | | 124 | name, 512 UTF-16 units |
//! | 32 | place of the checksum | | 1664 | further blocks of a checkpoint |
//! | 36 | blocks | | 2180 | features |
//! | 48 | segments | | 2201 | devices: 8 of path (64) and segments (4) |
//! | 52, 56, 60, 64, 68 | segments of: checkpoints, SIT, NAT, SSA, main | | 2762, 2794 | stop reasons, errors |
//! | | | | 3068 | checksum |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::super::peek::Peek;
use super::checksum;

pub(super) const MAGIC: u32 = 0xf2f5_2010;
pub(super) const BLOCK: u64 = 4096;
const BLOCK_SHIFT: u32 = 12;
/// Blocks of a segment.
pub(super) const SEGMENT: u64 = 512;
const SEGMENT_SHIFT: u32 = 9;
/// Where the two copies lie, in bytes.
const COPIES: [u64; 2] = [1024, 1024 + BLOCK];
const LEN: usize = 3072;
const SUM_AT: usize = 3068;
/// 16 TiB, what addresses of 32 bits reach.
const SEGMENTS_MAX: u64 = 8 << 20;
/// What both copies must agree on: geometry, checkpoint payload, features and devices.
const COMMON: [(usize, usize); 3] = [(0, 124), (1664, 1668), (2180, 2745)];

mod feature {
    pub const BLKZONED: u32 = 0x0002;
    pub const SB_CHKSUM: u32 = 0x0800;
    /// A file system that is written once and never again.
    pub const RO: u32 = 0x4000;
    /// Encryption to compression: what they change lies in nodes and in data, not in what is in use.
    pub const KNOWN: u32 = 0x3fff;
}

/// A checked superblock; places and lengths in blocks from the start of the partition.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub checkpoints: u64,
    /// Further blocks behind the first one of a checkpoint pack.
    pub payload: u64,
    pub sit: u64,
    pub sit_segments: u64,
    pub nat_segments: u64,
    pub main: u64,
    pub main_segments: u64,
}

/// Goes by the first copy alone, as `blkid` does: the second one outlives many another formatter.
pub(super) fn content(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(COPIES[0], LEN)? else { return Ok(None) };
    let fields = Fields(&raw);
    Ok((fields.le32(0) == MAGIC).then(|| Content {
        uuid: fields.uuid(108),
        label: fields.utf16(124, 512),
        version: Some(format!("{}.{}", fields.le16(4), fields.le16(6))),
        ..Content::of("f2fs")
    }))
}

impl Superblock {
    pub fn read(peek: &Peek<'_>) -> Result<Self, ExtentError> {
        let mut copies = Vec::new();
        for at in COPIES {
            let raw = peek.bytes(at, LEN)?.unwrap_or_default();
            check_copy(Fields(&raw), at)?;
            copies.push(raw);
        }
        let (one, other) = (Fields(&copies[0]), Fields(&copies[1]));
        for (from, to) in COMMON {
            let differs = (from..to).find(|&at| one.u8(at) != other.u8(at));
            believe!(
                differs.is_none(),
                "superblock and its copy differ at byte {}: {:?} and {:?}",
                differs.unwrap_or_default(),
                differs.map(|at| one.u8(at)),
                differs.map(|at| other.u8(at))
            );
        }
        Self::geometry(one, peek.size())
    }

    fn geometry(fields: Fields<'_>, size: u64) -> Result<Self, ExtentError> {
        let word = |at: usize| u64::from(fields.le32(at));
        let segments = word(48);
        believe!(
            (1..=SEGMENTS_MAX).contains(&segments),
            "superblock has {segments} segments, 1 to {SEGMENTS_MAX} expected"
        );
        let (first, blocks) = (word(76), fields.le64(36));
        believe!(word(72) == first, "segment 0 starts at block {}, the checkpoints at {first}", word(72));
        believe!(first >= 2, "the checkpoints start at block {first}, the superblocks end at 2");
        let mut at = first;
        let areas = [("checkpoints", 52, 80), ("SIT", 56, 84), ("NAT", 60, 88), ("SSA", 64, 92)];
        for (name, count, next) in areas {
            at += word(count) * SEGMENT;
            believe!(word(next) == at, "the {name} end at block {at}, what follows starts at {}", word(next));
        }
        let (main, main_segments) = (at, word(68));
        let (main_end, end) = (main + main_segments * SEGMENT, first + segments * SEGMENT);
        believe!(main_end <= end, "the main area ends at block {main_end}, the last segment at {end}");
        believe!(end <= blocks, "the last segment ends at block {end}, the file system at {blocks}");
        believe!(
            blocks <= size / BLOCK,
            "superblock has {blocks} blocks of {BLOCK} bytes, the partition has {size} bytes"
        );
        believe!(word(52) >= 2, "the checkpoints have {} segments, at least 2 expected", word(52));
        let (payload, sit_segments) = (word(1664), word(56));
        believe!(payload < SEGMENT - 8, "a checkpoint has {payload} further blocks, at most {} expected", SEGMENT - 9);
        believe!(
            sit_segments > 0 && sit_segments.is_multiple_of(2),
            "the SIT has {sit_segments} segments, an even number expected"
        );
        Ok(Self {
            checkpoints: first,
            payload,
            sit: word(80),
            sit_segments,
            nat_segments: word(60),
            main,
            main_segments,
        })
    }
}

/// What can be said of one copy alone.
fn check_copy(fields: Fields<'_>, at: u64) -> Result<(), ExtentError> {
    let magic = fields.le32(0);
    believe!(magic == MAGIC, "superblock at byte {at} has magic {magic:#x}, {MAGIC:#x} expected");
    let features = fields.le32(2180);
    if features & feature::SB_CHKSUM != 0 {
        let place = fields.le32(32);
        believe!(place == 3068, "checksum of the superblock lies at {place}, {SUM_AT} expected");
        let (stored, computed) = (fields.le32(SUM_AT), checksum::crc32(checksum::SEED, fields.bytes(0, SUM_AT)));
        believe!(
            stored == computed,
            "checksum of the superblock at byte {at} is {stored:#x}, its bytes give {computed:#x}"
        );
    }
    let (block, segment) = (fields.le32(16), fields.le32(20));
    believe!(block == BLOCK_SHIFT, "superblock has blocks of 1 << {block} bytes, 1 << {BLOCK_SHIFT} are known");
    believe!(
        segment == SEGMENT_SHIFT,
        "superblock has segments of 1 << {segment} blocks, 1 << {SEGMENT_SHIFT} are known"
    );
    believe!(features & feature::BLKZONED == 0, "superblock has features {features:#x}: a zoned device");
    believe!(features & feature::RO == 0, "superblock has features {features:#x}: written once, read only");
    let unknown = features & !feature::KNOWN;
    believe!(unknown == 0, "superblock has features {features:#x}, of which {unknown:#x} are not known");
    if let Some(path) = fields.text(2201, 64) {
        return Err(ExtentError::doubt(format!("the file system spans several devices, of which the first is {path}")));
    }
    // The first reason tells only that somebody once asked for a shutdown.
    for (what, from, len) in [("stop reasons", 2763, 31), ("errors", 2794, 16)] {
        let recorded = fields.bytes(from, len).iter().position(|byte| *byte != 0);
        believe!(recorded.is_none(), "the superblock at byte {at} records {what}, none expected");
    }
    Ok(())
}
