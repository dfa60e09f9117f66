//! The used stretches of one chunk.
//!
//! In: the free-space tree, or the extent tree where there is none that is valid. Out: logical ranges, ascending.
//! Promise: they add up to what the block group says; items overlap nowhere and lie inside the chunk.
//!
//! | tree | key | item |
//! |---|---|---|
//! | free space | (chunk, 198, its length) | 0 number of free stretches, 4 flags |
//! | | (address, 199, length) | nothing: it is free |
//! | | (address, 200, length) | one bit per sector, set where it is free |
//! | extent | (address, 168, length) | 16 flags: 1 data, 2 a node |
//! | | (address, 169, level) | a node |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h and fs/btrfs/free-space-tree.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::node::Key;
use super::roots::Roots;
use super::superblock::incompat;
use super::tree::Cursor;
use super::volume::Volume;
use ramet_wire::ByteRange;
use std::collections::VecDeque;

const EXTENT_ITEM: u8 = 168;
const METADATA_ITEM: u8 = 169;
/// Who refers to an extent, and block groups: keys in the extent tree that say nothing about space.
const SILENT: [u8; 6] = [172, 176, 178, 182, 184, 192];
const EXTENT_ITEM_MIN: usize = 24;
const INFO: u8 = 198;
/// The flag of an info item: bitmaps follow, else stretches.
const BITMAPS: u32 = 1;
const FREE_EXTENT: u8 = 199;
const FREE_BITMAP: u8 = 200;
/// Bytes of a bitmap; the kernel makes no longer ones.
const BITMAP_MAX: u64 = 256;
const LEVELS: u64 = super::node::LEVELS as u64;

/// The used stretches of one chunk after another.
pub(super) struct Used<'a> {
    volume: &'a Volume,
    cursor: Cursor<'a>,
    free_space: bool,
    chunk: ByteRange,
    /// Up to where the chunk was looked at.
    at: u64,
    /// Bytes of the used stretches up to there, and what the block group says of all.
    sum: u64,
    expected: u64,
    /// Free stretches up to there, and what the free-space tree says of all.
    stretches: u64,
    stretches_expected: u64,
    /// The free space of the chunk is told in bitmaps.
    bitmaps: bool,
    /// Where the last item ended.
    item_end: u64,
    ready: VecDeque<ByteRange>,
    ended: bool,
}

impl<'a> Used<'a> {
    pub fn new(volume: &'a Volume, roots: &Roots) -> Self {
        Self {
            volume,
            cursor: Cursor::new(volume, roots.free_space.unwrap_or(roots.extent)),
            free_space: roots.free_space.is_some(),
            chunk: ByteRange::between(0, 0),
            at: 0,
            sum: 0,
            expected: 0,
            stretches: 0,
            stretches_expected: 0,
            bitmaps: false,
            item_end: 0,
            ready: VecDeque::new(),
            ended: true,
        }
    }

    /// Goes to another chunk, of which `expected` bytes are in use.
    ///
    /// # Errors
    /// A doubt about a tree; [`ExtentError::Read`] from a device.
    pub fn begin(&mut self, chunk: ByteRange, expected: u64) -> Result<(), ExtentError> {
        (self.chunk, self.expected) = (chunk, expected);
        (self.at, self.item_end, self.sum, self.stretches) = (chunk.start(), chunk.start(), 0, 0);
        (self.ended, self.stretches_expected) = (false, 0);
        self.cursor.seek(Key::new(chunk.start(), 0, 0))?;
        if self.free_space {
            let key = Key::new(chunk.start(), INFO, chunk.len());
            let end = Key::new(chunk.end(), 0, 0);
            let found = self.cursor.next_before(end)?;
            let info = found.filter(|(found, item)| *found == key && item.len() == 8);
            let Some((_, item)) = info else {
                return Err(ExtentError::doubt(format!("free space tree has no item {key} for chunk {chunk}")));
            };
            let (count, flags) = (Fields(item).le32(0), Fields(item).le32(4));
            believe!(flags & !BITMAPS == 0, "free space of chunk {chunk} has flags {flags:#x}, {BITMAPS:#x} is known");
            (self.stretches_expected, self.bitmaps) = (u64::from(count), flags != 0);
        }
        Ok(())
    }

    /// The next used stretch.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn next(&mut self) -> Result<Option<ByteRange>, ExtentError> {
        loop {
            if let Some(run) = self.ready.pop_front() {
                return Ok(Some(run));
            }
            if self.ended {
                return Ok(None);
            }
            if self.free_space { self.free_item() } else { self.extent_item() }?;
        }
    }

    /// Reads on in the free-space tree.
    fn free_item(&mut self) -> Result<(), ExtentError> {
        let (sector, end) = (self.volume.format.sector, Key::new(self.chunk.end(), 0, 0));
        let Some((key, item)) = self.cursor.next_before(end)? else {
            self.use_until(self.chunk.end());
            let (found, expected) = (self.stretches, self.stretches_expected);
            believe!(found == expected, "chunk {} has {found} free stretches, {expected} expected", self.chunk);
            return self.finish();
        };
        let free = inside(self.chunk, self.item_end, key, key.offset, sector)?;
        let kind = if self.bitmaps { FREE_BITMAP } else { FREE_EXTENT };
        believe!(key.kind == kind, "free space tree has key {key} in chunk {}, kind {kind} expected", self.chunk);
        let len = if self.bitmaps { (free.len() / sector).div_ceil(8) } else { 0 };
        let found = item.len() as u64;
        believe!(
            found == len && len <= BITMAP_MAX,
            "free space {key} has {found} bytes, {len} of {BITMAP_MAX} expected"
        );
        if self.bitmaps {
            let bits = item.to_vec();
            self.free_bits(free, &bits);
        } else {
            self.free(free);
        }
        self.item_end = free.end();
        Ok(())
    }

    fn free_bits(&mut self, range: ByteRange, bits: &[u8]) {
        let sector = self.volume.format.sector;
        let mut at = range.start();
        let mut begun = None;
        while at < range.end() {
            let bit = (at - range.start()) / sector;
            let byte = usize::try_from(bit / 8).ok().and_then(|index| bits.get(index)).copied().unwrap_or(0);
            match (byte >> (bit % 8) & 1, begun) {
                (1, None) => begun = Some(at),
                (0, Some(start)) => {
                    self.free(ByteRange::between(start, at));
                    begun = None;
                }
                _ => {}
            }
            at += sector;
        }
        if let Some(start) = begun {
            self.free(ByteRange::between(start, at));
        }
    }

    fn free(&mut self, range: ByteRange) {
        if self.stretches == 0 || self.at != range.start() {
            self.stretches += 1;
        }
        self.use_until(range.start());
        self.at = range.end();
    }

    fn use_until(&mut self, end: u64) {
        let run = ByteRange::between(self.at, end);
        if !run.is_empty() {
            self.sum += run.len();
            self.ready.push_back(run);
        }
        self.at = end;
    }

    /// Reads on in the extent tree.
    fn extent_item(&mut self) -> Result<(), ExtentError> {
        let Some((key, item)) = self.cursor.next_before(Key::new(self.chunk.end(), 0, 0))? else {
            return self.finish();
        };
        let node = self.volume.format.node as u64;
        let len = match key.kind {
            EXTENT_ITEM => key.offset,
            METADATA_ITEM => {
                let skinny = self.volume.format.incompat & incompat::SKINNY_METADATA != 0;
                believe!(
                    skinny && key.offset < LEVELS,
                    "extent tree has {key}, a level below {LEVELS} and skinny_metadata expected"
                );
                node
            }
            other if SILENT.contains(&other) => return Ok(()),
            other => return Err(ExtentError::doubt(format!("extent tree has key {key} of unknown kind {other}"))),
        };
        believe!(item.len() >= EXTENT_ITEM_MIN, "extent {key} is {} bytes, {EXTENT_ITEM_MIN} needed", item.len());
        let flags = Fields(item).le64(16) & 3;
        let data = key.kind == EXTENT_ITEM && flags == 1;
        believe!(data || (flags == 2 && len == node), "extent {key} has {len} bytes and flags {flags}");
        let run = inside(self.chunk, self.at, key, len, self.volume.format.sector)?;
        self.at = run.end();
        self.sum += run.len();
        self.ready.push_back(run);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ExtentError> {
        self.ended = true;
        let (found, expected) = (self.sum, self.expected);
        believe!(found == expected, "chunk {} has {found} bytes in use, its block group says {expected}", self.chunk);
        Ok(())
    }
}

/// The stretch that a key names, if it lies in the chunk and behind the one before.
fn inside(chunk: ByteRange, before: u64, key: Key, len: u64, sector: u64) -> Result<ByteRange, ExtentError> {
    let (start, end) = (key.object, key.object.checked_add(len).unwrap_or(0));
    let aligned = start.is_multiple_of(sector) && len.is_multiple_of(sector);
    believe!(
        aligned && start >= chunk.start() && end > start && end <= chunk.end(),
        "item {key} has {len} bytes, in chunk {chunk}"
    );
    believe!(start >= before, "item {key} begins inside the one before, which ends at {before}");
    Ok(ByteRange::between(start, end))
}
