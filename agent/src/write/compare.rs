//! What a disk already holds.
//!
//! In: jobs and a target. Out: for each job, whether the disk has its bytes; written nothing.
//! Promise: equal means the same SHA-256 or all zero, read past the page cache: faster than through it, and proof as well.

use super::error::WriteError;
use super::map::{Job, JobKind};
use super::medium::{Medium, read_past_cache};
use crate::write::crew::RUN_MAX;
use ramet_wire::{ByteRange, ChunkId};

/// Reading a gap of this many bytes is cheaper than another read.
const BRIDGE: u64 = 32 << 10;
/// Zeros to compare with.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Neighbouring jobs that are read at once.
#[derive(Clone, Debug)]
pub struct Run {
    range: ByteRange,
    parts: Vec<Look>,
}

/// One job, or a part of a long zero job, to look at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Index of the job in the caller's list.
    pub job: usize,
    /// Where.
    pub range: ByteRange,
    /// The hash that its bytes should have; none for zeros.
    pub expect: Option<ChunkId>,
}

/// What was found where a [`Look`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// What should be there.
    Equal,
    /// Bytes of another hash.
    Hash(ChunkId),
    /// A byte that is not zero, from the start of the disk.
    Byte {
        /// Where.
        at: u64,
        /// Its value.
        value: u8,
    },
}

/// Groups jobs (ascending) into runs of at most 4 MiB.
#[must_use]
pub fn runs(jobs: &[Job]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let mut from = job.range.start();
        while from < job.range.end() {
            let (end, expect) = match job.kind {
                JobKind::Data(part) => (job.range.end(), Some(part.expect)),
                JobKind::Zero => (job.range.end().min(from + RUN_MAX), None),
            };
            let look = Look { job: index, range: ByteRange::between(from, end), expect };
            match runs.last_mut() {
                Some(run) if joins(run.range, look.range) => {
                    run.range = ByteRange::between(run.range.start(), end);
                    run.parts.push(look);
                }
                _ => runs.push(Run { range: look.range, parts: vec![look] }),
            }
            from = end;
        }
    }
    runs
}

fn joins(run: ByteRange, next: ByteRange) -> bool {
    next.start() >= run.end() && next.start() - run.end() <= BRIDGE && next.end() - run.start() <= RUN_MAX
}

impl Run {
    /// Reads the run past the page cache as far as the target lets us, and says of each look what was found.
    ///
    /// # Errors
    /// The device's, or the caller's.
    pub fn look(
        &self,
        medium: &dyn Medium,
        buf: &mut [u8],
        seen: &mut dyn FnMut(&Look, Seen) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let io =
            |source| WriteError::Io { disk: medium.name().to_owned(), doing: "reading", range: self.range, source };
        let bytes = read_past_cache(medium, self.range, buf).map_err(io)?;
        for look in &self.parts {
            let from = usize::try_from(look.range.start() - self.range.start()).unwrap_or(usize::MAX);
            let len = usize::try_from(look.range.len()).unwrap_or(usize::MAX);
            let part = bytes.get(from..from.saturating_add(len)).unwrap_or_default();
            seen(look, judge(look, part))?;
        }
        Ok(())
    }
}

fn judge(look: &Look, bytes: &[u8]) -> Seen {
    if let Some(expect) = look.expect {
        let found = ChunkId::of(bytes);
        return if found == expect { Seen::Equal } else { Seen::Hash(found) };
    }
    // Whole pages by memcmp, which is ten times faster than byte by byte.
    let differs = bytes.chunks(ZEROS.len()).position(|part| part != &ZEROS[..part.len()]);
    let found = differs.and_then(|page| {
        let start = page * ZEROS.len();
        let value = bytes[start..].iter().position(|byte| *byte != 0)?;
        Some((start + value, bytes[start + value]))
    });
    found.map_or(Seen::Equal, |(at, value)| Seen::Byte { at: look.range.start() + at as u64, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::map::{BLANK, Part};

    fn job(start: u64, end: u64, data: bool) -> Job {
        let part = Part { id: ChunkId([1; 32]), raw: 1, skip: 0, expect: ChunkId([1; 32]) };
        let kind = if data { JobKind::Data(part) } else { JobKind::Zero };
        Job { range: ByteRange::between(start, end), kind, space: BLANK }
    }

    #[test]
    fn neighbours_are_read_at_once_and_long_zeros_in_parts() {
        let jobs = [job(0, 4096, true), job(8192, 16384, true), job(1 << 20, (1 << 20) + RUN_MAX * 2, false)];
        let runs = runs(&jobs);
        let ranges: Vec<ByteRange> = runs.iter().map(|run| run.range).collect();
        let at = 1 << 20;
        assert_eq!(
            ranges,
            [
                ByteRange::between(0, 16384),
                ByteRange::between(at, at + RUN_MAX),
                ByteRange::between(at + RUN_MAX, at + RUN_MAX * 2)
            ]
        );
    }

    #[test]
    fn the_first_byte_that_is_not_zero_is_named() {
        let look = Look { job: 0, range: ByteRange::between(4096, 4096 + (200 << 10)), expect: None };
        let mut bytes = vec![0; 200 << 10];
        assert_eq!(judge(&look, &bytes), Seen::Equal);
        bytes[100_001] = 7;
        assert_eq!(judge(&look, &bytes), Seen::Byte { at: 4096 + 100_001, value: 7 });
    }
}
