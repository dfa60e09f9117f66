//! The segment information table (SIT): which blocks of the main area are valid.
//!
//! In: a checked superblock and the last checkpoint. Out: for each segment of the main area, its valid blocks.
//! Promise: every entry agrees with itself, and all of them with the checkpoint's counts; one block in memory.
//!
//! `struct f2fs_sit_entry` in the kernel's include/linux/f2fs_fs.h, 55 in a block. Every SIT block exists twice, half
//! the area apart; the checkpoint says which one counts, and holds the entries that changed last.
//!
//! | offset | field |
//! |---|---|
//! | 0 | valid blocks (10 bits), type (6 bits): 0 to 2 data, 3 to 5 nodes |
//! | 2 | 512 bits of valid blocks; the highest bit of a byte is the first |
//! | 66 | time of the last change |

use super::super::ExtentError;
use super::super::bitruns::Bits;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::checkpoint::Checkpoint;
use super::superblock::{BLOCK, SEGMENT, Superblock};
use crate::disk::source::ReadAt;
use std::collections::BTreeMap;

const ENTRY: usize = 74;
const PER_BLOCK: u64 = 55;
const MAP_LEN: usize = 64;
/// Entries that fit into a journal, each behind its segment's number.
const JOURNAL_MAX: usize = 6;
const JOURNAL_ENTRY: usize = 4 + ENTRY;
const TYPES: u16 = 6;
const FIRST_NODE_TYPE: u16 = 3;

/// The valid blocks of a segment; bit 0 of byte 0 is its first block.
pub(super) type Valid = [u8; MAP_LEN];

/// A segment's entry that agrees with itself.
#[derive(Clone, Copy, Debug)]
struct Entry {
    valid: Valid,
    count: u64,
    node: bool,
}

/// Entry `segment` at the start of `fields`.
fn entry(fields: Fields<'_>, segment: u64) -> Result<Entry, ExtentError> {
    let (count, kind) = (fields.le16(0) & 0x3ff, fields.le16(0) >> 10);
    let mut valid = [0; MAP_LEN];
    for (to, from) in valid.iter_mut().zip(fields.bytes(2, MAP_LEN)) {
        *to = from.reverse_bits();
    }
    let set = Bits { raw: &valid, bits: SEGMENT }.count_set();
    let count = u64::from(count);
    believe!(set == count, "SIT entry of segment {segment} has {set} valid blocks, its count is {count}");
    believe!(kind < TYPES, "SIT entry of segment {segment} has type {kind}, 0 to {} are known", TYPES - 1);
    Ok(Entry { valid, count, node: kind >= FIRST_NODE_TYPE })
}

/// The table, read block by block in ascending order.
pub(super) struct Sit<'a> {
    part: &'a dyn ReadAt,
    superblock: &'a Superblock,
    checkpoint: &'a Checkpoint,
    journal: BTreeMap<u64, Entry>,
    next: u64,
    raw: Vec<u8>,
}

impl<'a> Sit<'a> {
    pub fn new(
        part: &'a dyn ReadAt,
        superblock: &'a Superblock,
        checkpoint: &'a Checkpoint,
    ) -> Result<Self, ExtentError> {
        let (have, need) = (superblock.sit_segments / 2 * SEGMENT * PER_BLOCK, superblock.main_segments);
        believe!(have >= need, "the SIT has room for {have} segments, the main area has {need}");
        let journal = journal(&checkpoint.journal, superblock.main_segments)?;
        Ok(Self { part, superblock, checkpoint, journal, next: 0, raw: Vec::new() })
    }

    /// Of the table's two halves, the one that counts for `block`.
    fn load(&mut self, block: u64) -> Result<(), ExtentError> {
        let byte = self.checkpoint.sit_versions.get(in_memory(block / 8)?).copied().unwrap_or_default();
        let second = byte.reverse_bits() >> (block % 8) & 1 == 1;
        let half = self.superblock.sit_segments / 2 * SEGMENT;
        let at = self.superblock.sit + block + if second { half } else { 0 };
        self.raw.resize(in_memory(BLOCK)?, 0);
        read(self.part, &mut self.raw, at * BLOCK, "F2FS segment information table")
    }

    fn step(&mut self) -> Result<Entry, ExtentError> {
        let segment = self.next;
        if segment.is_multiple_of(PER_BLOCK) {
            self.load(segment / PER_BLOCK)?;
        }
        self.next += 1;
        if let Some(newer) = self.journal.get(&segment) {
            return Ok(*newer);
        }
        let at = in_memory(segment % PER_BLOCK)? * ENTRY;
        entry(Fields(Fields(&self.raw).bytes(at, ENTRY)), segment)
    }

    /// Holds all entries against the counts of the checkpoint.
    pub fn check(mut self) -> Result<(), ExtentError> {
        let (mut blocks, mut nodes, mut free) = (0, 0, 0);
        while self.next < self.superblock.main_segments {
            let in_use = self.checkpoint.current.contains(&self.next);
            let entry = self.step()?;
            blocks += entry.count;
            nodes += if entry.node { entry.count } else { 0 };
            free += u64::from(entry.count == 0 && !in_use);
        }
        let Checkpoint { valid_blocks, valid_nodes, free_segments, .. } = *self.checkpoint;
        believe!(nodes == valid_nodes, "the SIT has {nodes} valid blocks of nodes, the checkpoint {valid_nodes}");
        // The checkpoint also counts blocks that were promised to files and have no place yet.
        believe!(blocks <= valid_blocks, "the SIT has {blocks} valid blocks, the checkpoint {valid_blocks}");
        believe!(free == free_segments, "the SIT has {free} free segments, the checkpoint {free_segments}");
        Ok(())
    }
}

impl Iterator for Sit<'_> {
    /// A segment of the main area and its valid blocks.
    type Item = Result<(u64, Valid), ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.next;
        if segment >= self.superblock.main_segments {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.next = self.superblock.main_segments;
        }
        Some(step.map(|entry| (segment, entry.valid)))
    }
}

fn journal(raw: &[u8], segments: u64) -> Result<BTreeMap<u64, Entry>, ExtentError> {
    let fields = Fields(raw);
    let count = usize::from(fields.le16(0));
    believe!(count <= JOURNAL_MAX, "the SIT journal has {count} entries, at most {JOURNAL_MAX} expected");
    let mut newer = BTreeMap::new();
    for index in 0..count {
        let fields = Fields(fields.bytes(2 + index * JOURNAL_ENTRY, JOURNAL_ENTRY));
        let segment = u64::from(fields.le32(0));
        believe!(segment < segments, "the SIT journal has an entry for segment {segment} of {segments}");
        let entry = entry(Fields(fields.bytes(4, ENTRY)), segment)?;
        believe!(newer.insert(segment, entry).is_none(), "the SIT journal has 2 entries for segment {segment}");
    }
    Ok(newer)
}
