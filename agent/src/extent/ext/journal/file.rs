//! Where the blocks of the journal's file lie.
//!
//! In: the journal's inode. Out: the place of each of its blocks.
//! Promise: at most five levels and 65,536 pieces; each block of the file has one place inside the file system.
//!
//! | inode | field | | node of an extent tree | field |
//! |---|---|---|---|---|
//! | 0x04, 0x6c | size | | 0x00, 0x02, 0x06 | magic 0xf30a, entries, depth |
//! | 0x20 | flags: 0x80000 extents | | 12 n, depth 0 | first block of the file, length, place (high 16, low 32) |
//! | 0x28 | 15 block numbers, or the root of the tree | | 12 n, deeper | first block of the file, child (low 32, high 16) |
//!
//! Source: the kernel's Documentation/filesystems/ext4, "The Contents of inode.i_block".

use super::super::super::ExtentError;
use super::super::super::bytes::{Fields, in_memory};
use super::super::super::error::believe;
use super::super::super::peek::read;
use super::super::descriptor::Descriptors;
use super::super::geometry::Geometry;
use crate::disk::source::ReadAt;
use std::ops::Range;

const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
const DEPTH_LIMIT: u16 = 5;
const RUNS_MAX: usize = 1 << 16;
/// Longest extent; longer ones are places that were never written.
const EXTENT_MAX: u64 = 1 << 15;
/// Bytes of an inode that every revision has.
const INODE: usize = 128;
/// The largest journal that is read, in blocks: with blocks of 4 KiB 16 GiB, mke2fs makes 1 GiB at most by itself.
const BLOCKS_MAX: u64 = 1 << 22;
const DIRECT: usize = 12;

/// A piece of the file: `count` blocks from `block` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    block: u64,
    count: u64,
}

/// The journal's file.
#[derive(Debug)]
pub(super) struct File {
    /// Ascending and without a gap from block 0 on.
    runs: Vec<Run>,
    /// Blocks of it.
    pub blocks: u64,
    /// Blocks that hold its extent tree or its lists of blocks.
    nodes: Vec<u64>,
}

impl File {
    /// The file of inode `number`.
    pub fn find(
        part: &dyn ReadAt,
        geometry: &Geometry,
        descriptors: &mut Descriptors<'_>,
        number: u64,
    ) -> Result<Self, ExtentError> {
        let inodes = geometry.groups * geometry.inodes_per_group;
        believe!(number <= inodes, "journal is inode {number}, the last one is {inodes}");
        let (group, index) = ((number - 1) / geometry.inodes_per_group, (number - 1) % geometry.inodes_per_group);
        let table = descriptors.get(group)?.inode_table * geometry.block;
        let mut inode = vec![0; INODE];
        read(part, &mut inode, table + index * geometry.inode_size, "journal inode")?;
        let inode = Fields(&inode);
        let size = u64::from(inode.le32(0x6c)) << 32 | u64::from(inode.le32(0x04));
        let blocks = size / geometry.block;
        believe!(blocks > 0 && blocks <= BLOCKS_MAX, "journal has {blocks} blocks, 1 to {BLOCKS_MAX} expected");
        let mut finder =
            Finder { part, geometry, file: Self { runs: Vec::new(), blocks: 0, nodes: Vec::new() }, wanted: blocks };
        if inode.le32(0x20) & EXTENTS_FLAG == 0 {
            finder.pointers(inode)?;
        } else {
            finder.tree(inode.bytes(0x28, 60), None)?;
        }
        let found = finder.file.blocks;
        believe!(found >= blocks, "journal has {blocks} blocks, {found} of them have a place");
        Ok(finder.file)
    }

    /// All blocks that are in use for it.
    pub fn areas(&self) -> Vec<Range<u64>> {
        let runs = self.runs.iter().map(|run| run.block..run.block + run.count);
        runs.chain(self.nodes.iter().map(|node| *node..node + 1)).collect()
    }

    /// The place of block `index` of the file.
    pub fn place(&self, index: u64) -> Result<u64, ExtentError> {
        let after = self.runs.partition_point(|run| run.first <= index);
        let run = after.checked_sub(1).and_then(|at| self.runs.get(at)).filter(|run| index - run.first < run.count);
        run.map(|run| run.block + (index - run.first)).ok_or_else(|| {
            ExtentError::doubt(format!("block {index} of the journal is wanted, it has {}", self.blocks))
        })
    }
}

struct Finder<'a> {
    part: &'a dyn ReadAt,
    geometry: &'a Geometry,
    file: File,
    /// Blocks that are looked for; pieces behind them are left alone.
    wanted: u64,
}

impl Finder<'_> {
    /// The next `count` blocks of the file lie from `block` on.
    fn push(&mut self, block: u64, count: u64) -> Result<(), ExtentError> {
        let (first, end) = (self.geometry.first_block, self.geometry.blocks);
        let inside = block > first && block < end && count <= end - block;
        believe!(inside, "journal is at block {block}+{count}, outside of {first} to {end}");
        let file = &mut self.file;
        match file.runs.last_mut() {
            Some(last) if last.block + last.count == block => last.count += count,
            _ => {
                let run = Run { first: file.blocks, block, count };
                file.runs.push(run);
                believe!(file.runs.len() <= RUNS_MAX, "journal lies in more than {RUNS_MAX} pieces");
            }
        }
        file.blocks += count;
        Ok(())
    }

    fn done(&self) -> bool {
        self.file.blocks >= self.wanted
    }

    fn node(&mut self, number: u64, what: &'static str) -> Result<Vec<u8>, ExtentError> {
        let (first, end) = (self.geometry.first_block, self.geometry.blocks);
        believe!(number > first && number < end, "{what} is at block {number}, outside of {first} to {end}");
        let mut raw = vec![0; in_memory(self.geometry.block)?];
        read(self.part, &mut raw, number * self.geometry.block, what)?;
        self.file.nodes.push(number);
        believe!(self.file.nodes.len() <= RUNS_MAX, "journal has more than {RUNS_MAX} lists of its blocks");
        Ok(raw)
    }

    /// Twelve blocks, then trees of blocks of numbers with one, two and three levels.
    fn pointers(&mut self, inode: Fields<'_>) -> Result<(), ExtentError> {
        let number = |index: usize| u64::from(inode.le32(0x28 + 4 * index));
        for index in 0..DIRECT {
            if self.done() {
                return Ok(());
            }
            self.push(number(index), 1)?;
        }
        for levels in 1..=3 {
            self.level(number(DIRECT + levels - 1), levels)?;
        }
        Ok(())
    }

    fn level(&mut self, block: u64, levels: usize) -> Result<(), ExtentError> {
        if self.done() {
            return Ok(());
        }
        let raw = self.node(block, "list of the journal's blocks")?;
        for at in (0..raw.len()).step_by(4) {
            if self.done() {
                break;
            }
            let number = u64::from(Fields(&raw).le32(at));
            if levels == 1 { self.push(number, 1)? } else { self.level(number, levels - 1)? }
        }
        Ok(())
    }

    /// All of a node; `expected` is its depth, which only the root may choose.
    fn tree(&mut self, node: &[u8], expected: Option<u16>) -> Result<(), ExtentError> {
        let fields = Fields(node);
        let (magic, entries, depth) = (fields.le16(0), usize::from(fields.le16(2)), fields.le16(6));
        believe!(magic == EXTENT_MAGIC, "extent tree of the journal has magic {magic:#x}, {EXTENT_MAGIC:#x} expected");
        believe!(
            entries > 0 && entries < node.len() / 12 && expected.map_or(depth <= DEPTH_LIMIT, |wanted| depth == wanted),
            "extent tree of the journal has {entries} entries and depth {depth}"
        );
        for at in (12..).step_by(12).take(entries) {
            if self.done() {
                break;
            }
            let (logical, expected) = (u64::from(fields.le32(at)), self.file.blocks);
            believe!(
                logical == expected,
                "extent tree of the journal goes on at block {logical} of the file, {expected} expected"
            );
            if depth == 0 {
                let count = u64::from(fields.le16(at + 4));
                believe!(
                    count > 0 && count <= EXTENT_MAX,
                    "extent of the journal has {count} blocks, 1 to {EXTENT_MAX} expected"
                );
                self.push(u64::from(fields.le16(at + 6)) << 32 | u64::from(fields.le32(at + 8)), count)?;
            } else {
                let child = u64::from(fields.le16(at + 8)) << 32 | u64::from(fields.le32(at + 4));
                let raw = self.node(child, "extent tree of the journal")?;
                self.tree(&raw, Some(depth - 1))?;
            }
        }
        Ok(())
    }
}
