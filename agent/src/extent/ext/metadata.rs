//! The metadata of all groups, whatever the bitmaps say of it.
//!
//! In: all group descriptors. Out: pieces sorted by place: superblock copies, descriptors, bitmaps, inode tables.
//! Promise: no two structures share a byte; at most 2^20 pieces, 16 MiB, are kept.

use super::super::ExtentError;
use super::super::error::believe;
use super::descriptor::{Descriptor, Descriptors};
use super::geometry::Geometry;
use ramet_wire::ByteRange;
use std::ops::Range;

/// Enough for all file systems with flex_bg, and without it for 32 TiB of 4 KiB blocks or 2 TiB of 1 KiB blocks.
const PIECES_LIMIT: usize = 1 << 20;

/// What a piece of metadata is for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It is read.
    Data,
    /// Unused inodes, and reserved blocks that nobody reads: they shall become zero.
    Zero,
    /// Never written by the file system, and never believed by a check: uninitialised bitmaps.
    Skip,
}

/// A range and its class in 16 bytes: boundaries are multiples of 1 KiB, so the end has room for the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    start: u64,
    tagged_end: u64,
}

impl Piece {
    const fn new(range: ByteRange, class: Class) -> Self {
        Self { start: range.start(), tagged_end: range.end() | class as u64 }
    }

    pub const fn range(self) -> ByteRange {
        ByteRange::between(self.start, self.tagged_end & !3)
    }

    pub const fn class(self) -> Class {
        match self.tagged_end & 3 {
            0 => Class::Data,
            1 => Class::Zero,
            _ => Class::Skip,
        }
    }
}

/// Pieces of one sort in the order of the groups: with flex_bg they are neighbours and become one.
#[derive(Default)]
struct Row(Vec<Piece>);

impl Row {
    fn push(&mut self, range: ByteRange, class: Class) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.class() == class && last.range().end() == range.start() => {
                *last = Piece::new(ByteRange::between(last.range().start(), range.end()), class);
            }
            _ => self.0.push(Piece::new(range, class)),
        }
    }

    /// Data up to `tail`, a byte offset; from there on `class`, as far as it fills whole blocks of 4 KiB.
    fn push_with_tail(&mut self, range: ByteRange, tail: u64, class: Class, size: u64) {
        let tail = ByteRange::between(tail, range.end()).round_in(size);
        if tail.is_empty() {
            return self.push(range, Class::Data);
        }
        self.push(ByteRange::between(range.start(), tail.start()), Class::Data);
        self.push(tail, class);
        self.push(ByteRange::between(tail.end(), range.end()), Class::Data);
    }
}

/// All pieces, ascending and disjoint. `size` is the partition's length in bytes, `fixed` are blocks that no group knows
/// of: the journal's, that of multi-mount protection.
pub(super) fn collect(
    geometry: &Geometry,
    descriptors: &mut Descriptors<'_>,
    fixed: &[Range<u64>],
    size: u64,
) -> Result<Vec<Piece>, ExtentError> {
    let block = geometry.block;
    let blocks = |start: u64, count: u64| ByteRange::between(start * block, (start + count) * block);
    let [mut base, mut block_bitmaps, mut inode_bitmaps, mut tables] = [const { Row(Vec::new()) }; 4];
    // The boot block belongs to no group, or to one that calls it free.
    base.push(blocks(0, geometry.base_metadata(0)?.start), Class::Data);
    for place in fixed {
        tables.push(blocks(place.start, place.end - place.start), Class::Data);
    }
    for group in 0..geometry.groups {
        // In this order: with meta_bg, the bounds of the former are those of the latter's place.
        let head = geometry.base_metadata(group)?;
        let descriptor = descriptors.get(group)?;
        base.push_with_tail(blocks(head.start, head.end - head.start), head.unwritten * block, Class::Zero, size);
        let class = |uninit| if uninit { Class::Skip } else { Class::Data };
        block_bitmaps.push(blocks(descriptor.block_bitmap, 1), class(descriptor.block_uninit));
        inode_bitmaps.push(blocks(descriptor.inode_bitmap, 1), class(descriptor.inode_uninit));
        inode_table(geometry, &descriptor, size, &mut tables);
        let pieces = base.0.len() + block_bitmaps.0.len() + inode_bitmaps.0.len() + tables.0.len();
        believe!(
            pieces <= PIECES_LIMIT,
            "metadata lies in more than {PIECES_LIMIT} places ({group} of {} groups)",
            geometry.groups
        );
    }
    let mut pieces = base.0;
    for row in [block_bitmaps, inode_bitmaps, tables] {
        pieces.extend(row.0);
    }
    pieces.sort_unstable();
    for pair in pieces.windows(2) {
        let (first, second) = (pair[0].range(), pair[1].range());
        believe!(first.end() <= second.start(), "metadata at bytes {first} overlaps metadata at bytes {second}");
    }
    Ok(pieces)
}

/// The used part is read, the tail that was never used is not.
fn inode_table(geometry: &Geometry, descriptor: &Descriptor, size: u64, tables: &mut Row) {
    let start = descriptor.inode_table * geometry.block;
    let table = ByteRange::between(start, start + geometry.table_blocks() * geometry.block);
    let used = (geometry.inodes_per_group - descriptor.unused_inodes) * geometry.inode_size;
    // Also where ITABLE_ZEROED is not set: the kernel has not come to zero them, and until it does, `e2fsck -b` on a clone
    // over an older file system with the same UUID takes dead inodes for living ones (tried: 2,636 of 6,000 came back).
    tables.push_with_tail(table, start + used, Class::Zero, size);
}
