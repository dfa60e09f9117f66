//! Where the stretches of an image's gaps and tables go on a target of any size.
//!
//! In: a captured disk, a stretch of it, the target's size, new places of partitions if they have some. Out: places on the
//! target.
//! Promise: what lies at the captured disk's end keeps its distance from the end, and never covers a partition.

use super::held::{merge, subtract};
use super::map::RefusedMap;
use super::segments::{Survey, view_of};
use crate::partition::{Layout, Piece};
use ramet_wire::manifest::{DiskImage, PartitionImage, Stored};
use ramet_wire::segment::Record;
use ramet_wire::{BLOCK, ByteRange, Entry, MIB, TableKind};

/// Partitions that do not lie where they lay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The entries of the table that will be written.
    pub entries: Vec<Entry>,
    /// By number, of those that change: where its bytes are restored to, of the old length, and its place in the table.
    pub places: Vec<(u32, ByteRange, ByteRange)>,
}

impl Placed {
    fn of(&self, number: u32) -> Option<(ByteRange, ByteRange)> {
        self.places.iter().find(|(own, ..)| *own == number).map(|(_, data, place)| (*data, *place))
    }

    /// Where the bytes of `partition` are restored to, and its place in the table.
    pub(super) fn of_image(placed: Option<&Self>, partition: &PartitionImage) -> (ByteRange, ByteRange) {
        let moved = placed.and_then(|placed| placed.of(partition.number));
        moved.unwrap_or((partition.range, partition.range))
    }

    /// The survey with records of partitions at the addresses to which they are restored.
    pub(super) fn shift(&self, image: &DiskImage, survey: &Survey) -> Survey {
        let mut moved = survey.clone();
        let to = |number: u32, record: &mut Record| {
            let old = image.partitions.iter().find(|partition| partition.number == number);
            if let (Some((data, _)), Some(old)) = (self.of(number), old) {
                record.offset = record.offset - old.range.start() + data.start();
            }
        };
        moved.edges.iter_mut().for_each(|(number, record)| to(*number, record));
        for record in &mut moved.samples {
            let holder = image.partitions.iter().find(|partition| partition.range.contains(record.range()));
            holder.iter().for_each(|partition| to(partition.number, record));
        }
        moved
    }

    /// The first byte of the captured disk from which on gaps may have moved.
    fn still(&self, image: &DiskImage) -> u64 {
        let differs = |entry: &&Entry| !self.entries.contains(entry);
        let old = image.table.entries.iter().filter(differs);
        let new = self.entries.iter().filter(|entry| !image.table.entries.contains(entry));
        let starts = old.chain(new).map(|entry| entry.ebr.unwrap_or(u64::MAX).min(entry.range.start()));
        starts.min().unwrap_or(u64::MAX)
    }

    /// The first and the last MiB of grown partitions, as far as nothing is restored there.
    pub(super) fn fresh_ends(&self) -> Vec<ByteRange> {
        let fresh = |(_, data, place): &(u32, ByteRange, ByteRange)| {
            let inside = data.intersect(*place);
            let kept = ends(*place).into_iter().flat_map(move |end| subtract(end, inside.as_slice()));
            kept.collect::<Vec<_>>()
        };
        self.places.iter().filter(|(_, data, place)| data.intersect(*place).is_some()).flat_map(fresh).collect()
    }
}

fn last_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.range.end().max(entry.ebr.unwrap_or(0))).max().unwrap_or(0)
}

/// Where a stretch of the gaps goes: what lies at the captured disk's end keeps its distance from the end.
/// Of what lies behind the first partition that moves, only the table itself follows.
pub(super) fn places(image: &DiskImage, placed: Option<&Placed>, range: ByteRange, size: u64) -> Vec<(ByteRange, u64)> {
    let last = last_of(&image.table.entries);
    let (new_last, still) = placed.map_or((last, u64::MAX), |placed| (last_of(&placed.entries), placed.still(image)));
    let tail = (image.size.saturating_sub(MIB) / BLOCK * BLOCK).max(last).min(image.size);
    if size == image.size && placed.is_none() {
        return vec![(range, 0)];
    }
    let moved = |at: u64| i128::from(at) + i128::from(size) - i128::from(image.size);
    // Never below the last partition: on a smaller disk the lower part of the tail may have no room.
    let floor = i128::from(new_last).max(moved(tail));
    let (low, high) = (ByteRange::between(0, tail), ByteRange::between(tail, image.size));
    let mut places = Vec::new();
    if let Some(part) = range.intersect(low) {
        let limit = u64::try_from(floor).unwrap_or(0).min(still);
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
        return view_of(survey);
    }
    survey.gaps.clone()
}

/// The pieces that hold bytes, each on the disk and clear of partitions.
pub(super) fn check_pieces<'a>(
    layout: &'a Layout,
    image: &DiskImage,
    placed: Option<&Placed>,
    size: u64,
) -> Result<Vec<(ByteRange, &'a Piece)>, RefusedMap> {
    let all = std::iter::once(&layout.lba0).chain(&layout.head).chain(&layout.backup).chain(&layout.ebrs);
    let mut pieces = Vec::new();
    for piece in all.filter(|piece| !piece.bytes.is_empty()) {
        let range = ByteRange::between(piece.offset, piece.offset.saturating_add(piece.bytes.len() as u64));
        if range.end() > size {
            return Err(RefusedMap::Piece { range, number: 0 });
        }
        let touches = |partition: &&PartitionImage| Placed::of_image(placed, partition).1.intersect(range).is_some();
        if let Some(hit) = image.partitions.iter().find(touches) {
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
