//! All jobs of a disk in the order of their addresses, a window at a time.
//!
//! In: a map and the segments behind it. Out: windows of jobs, each of bounded bytes and number.
//! Promise: however large the disk is, one segment's records and one window's jobs are in memory.

use super::error::WriteError;
use super::map::{BLANK, DiskMap, Job, JobKind, Space};
use super::segments::Segments;
use ramet_wire::ByteRange;
use ramet_wire::segment::decode;

/// Most data bytes of a window.
pub const WINDOW_BYTES: u64 = 256 << 20;
/// Most jobs of a window, one segment's more at most.
pub const WINDOW_JOBS: usize = 8192;

/// The jobs of a disk.
#[derive(Debug)]
pub struct Stream<'a> {
    map: &'a DiskMap,
    next_fixed: usize,
    /// Index of the space under way; the gaps (0) have no segments here, their jobs are `map.fixed`.
    space: usize,
    /// Index of its next segment.
    segment: usize,
    /// End of the last record, from the start of the partition.
    before: u64,
    /// Jobs that did not fit into the last window.
    rest: std::collections::VecDeque<Job>,
}

impl<'a> Stream<'a> {
    /// From the start of the disk.
    #[must_use]
    pub fn new(map: &'a DiskMap) -> Self {
        Self { map, next_fixed: 0, space: 1, segment: 0, before: 0, rest: std::collections::VecDeque::new() }
    }

    /// The next jobs; none at the end of the disk.
    ///
    /// # Errors
    /// When a segment can not be had any more.
    pub fn window(&mut self, segments: &mut Segments<'_>) -> Result<Vec<Job>, WriteError> {
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while bytes < WINDOW_BYTES && jobs.len() < WINDOW_JOBS {
            if let Some(job) = self.rest.pop_front() {
                if let JobKind::Data(_) = job.kind {
                    bytes += job.range.len();
                }
                jobs.push(job);
            } else if !self.refill(segments)? {
                break;
            }
        }
        Ok(jobs)
    }

    /// Puts the next segment's jobs, or those outside partitions, into `rest`. False at the end.
    fn refill(&mut self, segments: &mut Segments<'_>) -> Result<bool, WriteError> {
        let map = self.map;
        let Some(space) = map.spaces.get(self.space) else {
            let more = self.next_fixed < map.fixed.len();
            self.fixed_below(u64::MAX);
            return Ok(more);
        };
        if self.segment == 0 {
            self.fixed_below(space.range.start());
        }
        let mut jobs = Vec::new();
        if let Some(segment) = space.stored.segments.get(self.segment) {
            let bytes = segments.get(std::slice::from_ref(segment))?;
            for bytes in &bytes {
                let records = decode(bytes, segment, self.before, space.range.len(), space.at().unit())
                    .map_err(WriteError::Segment)?;
                for record in records {
                    let start = space.range.start();
                    let to = ByteRange::between(start + record.offset, start + record.range().end());
                    blank(space, ByteRange::between(start + self.before, to.start()), &mut jobs);
                    map.jobs_of(&record, to, 0, self.space, &mut jobs);
                    self.before = record.range().end();
                }
            }
            self.segment += 1;
        } else {
            blank(space, ByteRange::between(space.range.start() + self.before, space.range.end()), &mut jobs);
            (self.space, self.segment, self.before) = (self.space + 1, 0, 0);
        }
        self.rest.extend(jobs);
        Ok(true)
    }

    fn fixed_below(&mut self, limit: u64) {
        let fixed = &self.map.fixed[self.next_fixed..];
        let count = fixed.partition_point(|job| job.range.start() < limit);
        self.rest.extend(&fixed[..count]);
        self.next_fixed += count;
    }
}

/// Zeros for the part of a hole between records that lies in a zone.
fn blank(space: &Space, hole: ByteRange, jobs: &mut Vec<Job>) {
    let parts = space.zones.iter().filter_map(|zone| zone.intersect(hole));
    jobs.extend(parts.map(|range| Job { range, kind: JobKind::Zero, space: BLANK }));
}

/// The job puts a chunk's bytes there, not zeros.
#[must_use]
pub const fn is_data(job: &Job) -> bool {
    matches!(job.kind, JobKind::Data(_))
}
