//! A free-space B+tree of an AG: by place (bnobt) or by length (cntbt).
//!
//! In: the root. Out: free extents in the order of the tree, each one checked; then whether they add up.
//! Promise: at most one block per level is in memory, and every step goes on, so damage ends the walk.
//!
//! | offset | block (big-endian) | | offset | version 5 only |
//! |---|---|---|---|---|
//! | 0 | magic | | 16 | this block, in units of 512 bytes |
//! | 4 | level, 0 for leaves | | 24 | LSN of its last write |
//! | 6 | number of records | | 32 | UUID of the metadata |
//! | 8, 12 | block to the left, to the right | | 48 | number of the AG |
//! | 16 or 56 | records: first block, blocks | | 52 | checksum (little-endian) |
//! | behind room for all keys | in nodes: blocks of the children | | | |
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_format.h and xfs_btree.c.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::Volume;
use super::ag::{Ag, Root};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// A block number that stands for none.
const NONE: u32 = u32::MAX;
const SUM_AT: usize = 52;

/// A free extent, in blocks of its AG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub start: u64,
    pub count: u64,
}

/// In which order a tree has its extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Place,
    Length,
}

impl Order {
    const fn name(self) -> &'static str {
        match self {
            Self::Place => "bnobt",
            Self::Length => "cntbt",
        }
    }

    const fn magic(self, summed: bool) -> u32 {
        match (self, summed) {
            (Self::Place, false) => 0x4142_5442,
            (Self::Place, true) => 0x4142_3342,
            (Self::Length, false) => 0x4142_5443,
            (Self::Length, true) => 0x4142_3343,
        }
    }

    /// `next` may follow `last`.
    const fn ascending(self, last: Free, next: Free) -> bool {
        match self {
            Self::Place => last.start + last.count <= next.start,
            Self::Length => last.count < next.count || last.count == next.count && last.start < next.start,
        }
    }
}

/// A block that is being walked through.
struct Node {
    raw: Vec<u8>,
    level: u16,
    records: usize,
    next: usize,
}

/// The block that was last seen on a level, and the one that it names as the next.
#[derive(Clone, Copy)]
struct Seen {
    block: u32,
    right: u32,
}

/// What all extents of a tree add up to, in whatever order they came: the two trees of an AG have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub extents: u64,
    blocks: u64,
    longest: u64,
    pub mixed: u64,
}

impl Digest {
    const fn add(&mut self, free: Free) {
        self.extents += 1;
        self.blocks += free.count;
        if free.count > self.longest {
            self.longest = free.count;
        }
        // A multiplicative hash: sums of plain numbers would not see two flipped bits that cancel out.
        let word = (free.start << 32 | free.count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.mixed = self.mixed.wrapping_add((word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    }
}

pub(super) struct Tree<'a> {
    part: &'a dyn ReadAt,
    volume: &'a Volume,
    ag: Arc<Ag>,
    order: Order,
    root: Root,
    /// Bytes before the records.
    header: usize,
    stack: Vec<Node>,
    seen: [Option<Seen>; 10],
    last: Option<Free>,
    digest: Digest,
    started: bool,
}

impl<'a> Tree<'a> {
    pub fn new(part: &'a dyn ReadAt, volume: &'a Volume, ag: Arc<Ag>, order: Order) -> Self {
        let root = match order {
            Order::Place => ag.by_place,
            Order::Length => ag.by_length,
        };
        let header = if volume.geometry.sums.is_some() { 56 } else { 16 };
        let digest = Digest::default();
        let (stack, seen) = (Vec::new(), [None; 10]);
        Self { part, volume, ag, order, root, header, stack, seen, last: None, digest, started: false }
    }

    /// All extents together; of use once the walk has ended.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The next extent; `None` when all were seen and they add up to what the AGF says.
    pub fn next(&mut self) -> Result<Option<Free>, ExtentError> {
        if !self.started {
            self.started = true;
            self.descend(self.root.block, self.root.levels - 1, None)?;
        }
        while let Some(top) = self.stack.last_mut() {
            let (index, level) = (top.next, top.level);
            if index == top.records {
                self.stack.pop();
                continue;
            }
            top.next += 1;
            let at = self.header + index * 8;
            let fields = Fields(&top.raw);
            let free = Free { start: u64::from(fields.be32(at)), count: u64::from(fields.be32(at + 4)) };
            if level == 0 {
                return self.checked(free).map(Some);
            }
            let children = self.header + (top.raw.len() - self.header) / 12 * 8;
            let child = u64::from(fields.be32(children + index * 4));
            self.descend(child, level - 1, Some(free))?;
        }
        self.check_end()?;
        Ok(None)
    }

    /// Reads a block and goes on in it; its first record must be what the block above says.
    fn descend(&mut self, block: u64, level: u16, key: Option<Free>) -> Result<(), ExtentError> {
        let (name, ag) = (self.order.name(), self.ag.number);
        let limit = self.ag.blocks;
        believe!(block > 0 && block < limit, "{name} of AG {ag} names block {block}, the AG has {limit}");
        let mut raw = vec![0; in_memory(self.volume.geometry.block)?];
        read(self.part, &mut raw, self.volume.geometry.at(ag, block), "free-space tree")?;
        self.check_header(&raw, block, level)?;
        let fields = Fields(&raw);
        let each = if level == 0 { 8 } else { 12 };
        let (records, most) = (usize::from(fields.be16(6)), (raw.len() - self.header) / each);
        // Only a root has nothing below it.
        let least = usize::from(level > 0 || key.is_some());
        believe!(
            (least..=most).contains(&records),
            "block {block} in the {name} of AG {ag} has {records} records, {least} to {most} expected"
        );
        if let Some(key) = key {
            let (start, count) = (u64::from(fields.be32(self.header)), u64::from(fields.be32(self.header + 4)));
            // The tree by place is searched by the start alone.
            let same = start == key.start && (self.order == Order::Place || count == key.count);
            believe!(
                same,
                "block {block} in the {name} of AG {ag} starts with {count} blocks at {start}, {} at {} expected",
                key.count,
                key.start
            );
        }
        self.stack.push(Node { raw, level, records, next: 0 });
        Ok(())
    }

    fn check_header(&mut self, raw: &[u8], block: u64, level: u16) -> Result<(), ExtentError> {
        let (name, number) = (self.order.name(), self.ag.number);
        let fields = Fields(raw);
        let summed = self.volume.geometry.sums.is_some();
        let (magic, expected) = (fields.be32(0), self.order.magic(summed));
        believe!(
            magic == expected,
            "block {block} in the {name} of AG {number} has magic {magic:#x}, {expected:#x} expected"
        );
        if summed {
            let what = || format!("block {block} in the {name} of AG {number}");
            self.volume.check_owner(what, raw, SUM_AT, fields.bytes(32, 16), fields.be64(24))?;
            let (own, expected) = (fields.be64(16), self.volume.geometry.at(number, block) / 512);
            let owner = u64::from(fields.be32(48));
            believe!(
                own == expected && owner == number,
                "block {block} in the {name} of AG {number} is sector {own} of AG {owner}, sector {expected} expected"
            );
        }
        let found = fields.be16(4);
        believe!(found == level, "block {block} in the {name} of AG {number} has level {found}, {level} expected");
        let (left, right) = (fields.be32(8), fields.be32(12));
        let this = u32::try_from(block).unwrap_or(NONE);
        let place = &mut self.seen[usize::from(level)];
        let (before, after) = place.map_or((NONE, this), |seen| (seen.block, seen.right));
        believe!(
            left == before && after == this,
            "block {block} in the {name} of AG {number} follows {left}, {before} expected, which names {after}"
        );
        *place = Some(Seen { block: this, right });
        Ok(())
    }

    fn checked(&mut self, free: Free) -> Result<Free, ExtentError> {
        let (name, ag) = (self.order.name(), self.ag.number);
        let Free { start, count } = free;
        let blocks = self.ag.blocks;
        believe!(
            count > 0 && start + count <= blocks,
            "{name} of AG {ag} has {count} free blocks at {start}, the AG has {blocks}"
        );
        if let Some(last) = self.last {
            believe!(
                self.order.ascending(last, free),
                "{name} of AG {ag} has {count} free blocks at {start} behind {} at {}",
                last.count,
                last.start
            );
        }
        let in_use = &self.ag.in_use;
        let behind = in_use.partition_point(|range| range.start < start + count);
        if let Some(range) = in_use[..behind].last().filter(|range| range.end > start) {
            return Err(ExtentError::doubt(format!(
                "{name} of AG {ag} calls {count} blocks at {start} free, block {} is in use",
                range.start.max(start)
            )));
        }
        self.last = Some(free);
        self.digest.add(free);
        let (sum, expected) = (self.digest.blocks, self.ag.free_blocks);
        believe!(sum <= expected, "{name} of AG {ag} has {sum} free blocks and more, its AGF has {expected}");
        Ok(free)
    }

    fn check_end(&self) -> Result<(), ExtentError> {
        let (name, ag) = (self.order.name(), self.ag.number);
        for seen in self.seen.iter().flatten() {
            let right = seen.right;
            believe!(right == NONE, "{name} of AG {ag} ends with block {}, which names {right}", seen.block);
        }
        let (sum, expected) = (self.digest.blocks, self.ag.free_blocks);
        believe!(sum == expected, "{name} of AG {ag} has {sum} free blocks, its AGF has {expected}");
        let (longest, expected) = (self.digest.longest, self.ag.longest);
        believe!(longest == expected, "{name} of AG {ag} has at most {longest} free blocks, its AGF has {expected}");
        Ok(())
    }
}
