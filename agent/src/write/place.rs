//! Where the stretches of an image's gaps and tables go on a target of any size.
//!
//! In: a captured disk, a stretch of it, the target's size. Out: places on the target.
//! Promise: what lies at the captured disk's end keeps its distance from the end, and never covers a partition.

use super::held::merge;
use super::map::RefusedMap;
use super::segments::Survey;
use crate::partition::{Layout, Piece};
use ramet_wire::manifest::{DiskImage, Stored};
use ramet_wire::segment::Record;
use ramet_wire::{BLOCK, ByteRange, MIB, TableKind};

/// Where a stretch of the gaps goes: what lies at the captured disk's end keeps its distance from the end.
pub(super) fn places(image: &DiskImage, range: ByteRange, size: u64) -> Vec<(ByteRange, u64)> {
    let entries = image.table.entries.iter().map(|entry| entry.range.end());
    let last = entries.chain(image.table.entries.iter().filter_map(|entry| entry.ebr)).max().unwrap_or(0);
    let tail = (image.size.saturating_sub(MIB) / BLOCK * BLOCK).max(last).min(image.size);
    if size == image.size {
        return vec![(range, 0)];
    }
    let moved = |at: u64| i128::from(at) + i128::from(size) - i128::from(image.size);
    // Never below the last partition: on a smaller disk the lower part of the tail may have no room.
    let floor = i128::from(last).max(moved(tail));
    let (low, high) = (ByteRange::between(0, tail), ByteRange::between(tail, image.size));
    let mut places = Vec::new();
    if let Some(part) = range.intersect(low) {
        let limit = u64::try_from(floor).unwrap_or(0);
        places.extend(part.intersect(ByteRange::between(0, limit)).map(|part| (part, part.start() - range.start())));
    }
    if let Some(part) = range.intersect(high) {
        let start = u64::try_from(moved(part.start()).max(floor)).unwrap_or(0);
        let end = u64::try_from(moved(part.end())).unwrap_or(0);
        let to = ByteRange::between(start, end);
        if !to.is_empty() {
            places.push((to, part.end() - to.len() - range.start()));
        }
    }
    places
}

/// What the table is read from: the gaps, or for a disk without a table its first MiB.
pub(super) fn view_records(image: &DiskImage, survey: &Survey) -> Vec<Record> {
    if image.table.kind == TableKind::None {
        let mut records: Vec<Record> = survey.edges.iter().map(|(_, record)| *record).collect();
        records.sort_unstable_by_key(|record| record.offset);
        return records;
    }
    survey.gaps.clone()
}

/// The pieces that hold bytes, each on the disk and clear of partitions.
pub(super) fn check_pieces<'a>(
    layout: &'a Layout,
    image: &DiskImage,
    size: u64,
) -> Result<Vec<(ByteRange, &'a Piece)>, RefusedMap> {
    let all = std::iter::once(&layout.lba0).chain(&layout.head).chain(&layout.backup).chain(&layout.ebrs);
    let mut pieces = Vec::new();
    for piece in all.filter(|piece| !piece.bytes.is_empty()) {
        let range = ByteRange::between(piece.offset, piece.offset.saturating_add(piece.bytes.len() as u64));
        if range.end() > size {
            return Err(RefusedMap::Piece { range, number: 0 });
        }
        if let Some(hit) = image.partitions.iter().find(|partition| partition.range.intersect(range).is_some()) {
            return Err(RefusedMap::Piece { range, number: hit.number });
        }
        pieces.push((range, piece));
    }
    Ok(pieces)
}

/// The first and the last MiB.
pub(super) fn ends(range: ByteRange) -> Vec<ByteRange> {
    let first = ByteRange::between(range.start(), range.end().min(range.start() + MIB));
    let last = ByteRange::between(range.start().max(range.end().saturating_sub(MIB)), range.end());
    merge(vec![first, last])
}

pub(super) fn empty() -> Stored {
    Stored { data_bytes: 0, zero_bytes: 0, segments: Vec::new(), digest: Stored::digest_of(&[]) }
}
