//! Every segment of an image, checked before the first write, and read again later.
//!
//! In: the manifest and a door. Out: what the plan needs to know of the records; segments again, window by window.
//! Promise: after a survey every segment was fetched, hashed and decoded, and its sums are the manifest's.

use super::held::merge;
use crate::transfer::Downstream;
use crate::transfer::fetch::{FetchError, Fetcher, Need, batches};
use ramet_wire::manifest::{DiskImage, Where};
use ramet_wire::segment::{Record, RecordKind, SegmentError, SegmentRef, decode};
use ramet_wire::{ByteRange, ChunkId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Most bytes of segments that are kept, so that a small image's are fetched once.
const KEPT_MAX: usize = 32 << 20;
/// Segments that are fetched at once.
const GROUP: usize = 64;
/// Chunks that are probed before a comparison, at least half of it.
const SAMPLES: usize = 128;
/// Most records of gaps that are held in memory: what the format allows fits many times.
const GAP_RECORDS_MAX: usize = 1 << 20;

/// Segments from a store, some of them kept.
pub struct Segments<'a> {
    door: &'a dyn Downstream,
    fetcher: Fetcher,
    fetched: &'a AtomicU64,
    kept: HashMap<ChunkId, Arc<[u8]>>,
    kept_bytes: usize,
}

impl std::fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("kept_bytes", &self.kept_bytes).finish_non_exhaustive()
    }
}

impl<'a> Segments<'a> {
    /// Those behind `door`; `fetched` counts what is read.
    ///
    /// # Errors
    /// When there is no memory for a decompressor.
    pub fn new(door: &'a dyn Downstream, fetched: &'a AtomicU64) -> Result<Self, FetchError> {
        Ok(Self { door, fetcher: Fetcher::new()?, fetched, kept: HashMap::new(), kept_bytes: 0 })
    }

    /// The bytes of these segments, in their order.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&mut self, refs: &[SegmentRef]) -> Result<Vec<Arc<[u8]>>, FetchError> {
        let mut needs: Vec<Need> = refs
            .iter()
            .filter(|segment| !self.kept.contains_key(&segment.id))
            .map(|segment| Need { id: segment.id, raw: None })
            .collect();
        needs.sort_unstable_by_key(|need| need.id);
        needs.dedup();
        let mut found: HashMap<ChunkId, Arc<[u8]>> = HashMap::new();
        for batch in batches(self.door, &needs)? {
            self.fetcher.fetch::<FetchError>(self.door, &batch, self.fetched, &mut |_, chunk| {
                found.insert(chunk.id(), Arc::from(chunk.bytes()));
                Ok(())
            })?;
        }
        let bytes = |segment: &SegmentRef| {
            let bytes = found.get(&segment.id).or_else(|| self.kept.get(&segment.id));
            bytes.cloned().ok_or(FetchError::Missing { id: segment.id })
        };
        let all = refs.iter().map(bytes).collect();
        for (id, bytes) in found {
            if self.kept_bytes + bytes.len() <= KEPT_MAX {
                self.kept_bytes += bytes.len();
                self.kept.insert(id, bytes);
            }
        }
        all
    }
}

/// Why an image's segments are refused.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// Not to be had.
    #[error("verifying the segments of disk {disk} partition {number}")]
    Fetch {
        /// Ordinal.
        disk: u32,
        /// Which space.
        number: Where,
        /// Why.
        source: FetchError,
    },
    /// Not a segment.
    #[error("disk {disk} partition {number}: segment {index} ({id})")]
    Segment {
        /// Ordinal.
        disk: u32,
        /// Which space.
        number: Where,
        /// Which segment.
        index: usize,
        /// Its chunk.
        id: ChunkId,
        /// Why.
        source: SegmentError,
    },
    /// The records' sums are not the manifest's.
    #[error("disk {disk} partition {number}: the records hold {found} bytes of {what}, the manifest says {wanted}")]
    Sum {
        /// Ordinal.
        disk: u32,
        /// Which space.
        number: Where,
        /// `data` or `zeros`.
        what: &'static str,
        /// Sum of the records.
        found: u64,
        /// In the manifest.
        wanted: u64,
    },
    /// A record of the gaps inside a partition.
    #[error("disk {disk}: gap record at {} of {} bytes reaches into partition {number}", .range.start(), .range.len())]
    GapInPartition {
        /// Ordinal.
        disk: u32,
        /// Which partition.
        number: u32,
        /// The record.
        range: ByteRange,
    },
    /// More gap records than any table needs.
    #[error("disk {disk}: {found} gap records, {GAP_RECORDS_MAX} are allowed")]
    GapRecords {
        /// Ordinal.
        disk: u32,
        /// How many.
        found: usize,
    },
}

/// What the plan needs to know of one disk's records.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// All records of the gaps, ascending, at the captured disk's addresses.
    pub gaps: Vec<Record>,
    /// Records of partitions that touch the ranges asked for, at the captured disk's addresses, with the partition's
    /// number.
    pub edges: Vec<(u32, Record)>,
    /// Data records spread over the disk, at its addresses; the lowest outside the ranges asked for is the first.
    pub samples: Vec<Record>,
}

/// The partitions' records that a survey has seen, for a [`super::GapView`].
#[must_use]
pub fn view_of(found: &Survey) -> Vec<Record> {
    let mut records: Vec<Record> = found.edges.iter().map(|(_, record)| *record).collect();
    records.sort_unstable_by_key(|record| record.offset);
    records
}

/// Fetches, hashes and decodes every segment of `disk` and checks all sums. `edges` are the ranges whose records the
/// plan wants to see; partitions not in `only` (all, when empty) are checked as well.
///
/// # Errors
/// [`SurveyError`].
pub fn survey(segments: &mut Segments<'_>, disk: &DiskImage, edges: &[ByteRange]) -> Result<Survey, SurveyError> {
    let edges = merge(edges.to_vec());
    let touches = |range: ByteRange| edges.iter().any(|edge| edge.intersect(range).is_some());
    let (mut found, mut samples) = (Survey::default(), Samples::default());
    let mut by_start: Vec<_> = disk.partitions.iter().collect();
    by_start.sort_unstable_by_key(|partition| partition.range.start());
    for partition in &by_start {
        let number = partition.number;
        let space = (disk.ordinal, Where::Partition(number), partition.range.len());
        each_record(segments, space, &partition.stored, &mut |record| {
            let record = Record { offset: record.offset + partition.range.start(), ..record };
            if touches(record.range()) {
                found.edges.push((number, record));
            } else if let RecordKind::Data(_) = record.kind {
                samples.offer(record);
            }
            Ok(())
        })?;
    }
    each_record(segments, (disk.ordinal, Where::Gaps, disk.size), &disk.gaps, &mut |record| {
        found.gaps.push(record);
        if found.gaps.len() > GAP_RECORDS_MAX {
            return Err(SurveyError::GapRecords { disk: disk.ordinal, found: found.gaps.len() });
        }
        let range = record.range();
        let next = by_start.partition_point(|partition| partition.range.end() <= range.start());
        match by_start.get(next).filter(|partition| partition.range.intersect(range).is_some()) {
            Some(partition) => Err(SurveyError::GapInPartition { disk: disk.ordinal, number: partition.number, range }),
            None => Ok(()),
        }
    })?;
    found.samples = samples.taken;
    Ok(found)
}

/// Visits all records of a space, in order, and checks its sums. The space is named by disk, number and size in bytes.
///
/// # Errors
/// [`SurveyError`], or the visitor's.
pub fn each_record(
    segments: &mut Segments<'_>,
    (disk, number, size): (u32, Where, u64),
    stored: &ramet_wire::manifest::Stored,
    visit: &mut dyn FnMut(Record) -> Result<(), SurveyError>,
) -> Result<(), SurveyError> {
    let (mut before, mut data, mut zeros) = (0, 0, 0);
    for (group, refs) in stored.segments.chunks(GROUP).enumerate() {
        let all = segments.get(refs).map_err(|source| SurveyError::Fetch { disk, number, source })?;
        for (index, (segment, bytes)) in refs.iter().zip(&all).enumerate() {
            let index = group * GROUP + index;
            let records = decode(bytes, segment, before, size, number.unit())
                .map_err(|source| SurveyError::Segment { disk, number, index, id: segment.id, source })?;
            for record in records {
                before = record.range().end();
                match record.kind {
                    RecordKind::Data(_) => data += u64::from(record.len),
                    RecordKind::Zero => zeros += u64::from(record.len),
                }
                visit(record)?;
            }
        }
    }
    let sum = |what, found, wanted| {
        if found == wanted { Ok(()) } else { Err(SurveyError::Sum { disk, number, what, found, wanted }) }
    };
    sum("data", data, stored.data_bytes)?;
    sum("zeros", zeros, stored.zero_bytes)
}

/// Every n-th record; n doubles whenever there are too many, so that they stay spread evenly.
#[derive(Debug)]
struct Samples {
    taken: Vec<Record>,
    seen: usize,
    stride: usize,
}

impl Default for Samples {
    fn default() -> Self {
        Self { taken: Vec::new(), seen: 0, stride: 1 }
    }
}

impl Samples {
    fn offer(&mut self, record: Record) {
        if self.seen.is_multiple_of(self.stride) {
            self.taken.push(record);
            if self.taken.len() > SAMPLES {
                let mut index = 0;
                self.taken.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_all_records_and_start_with_the_first() {
        let mut samples = Samples::default();
        for n in 0..100_000 {
            samples.offer(Record { offset: n * 4096, len: 4096, kind: RecordKind::Zero });
        }
        assert!((SAMPLES / 2..=SAMPLES).contains(&samples.taken.len()), "{}", samples.taken.len());
        assert_eq!(samples.taken[0].offset, 0);
        assert!(samples.taken.last().unwrap().offset > 90_000 * 4096);
        let gaps: Vec<u64> = samples.taken.windows(2).map(|pair| pair[1].offset - pair[0].offset).collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]));
    }
}
