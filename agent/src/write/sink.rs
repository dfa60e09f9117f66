//! Verified chunks onto the disk, neighbours in one write.
//!
//! In: verified chunks and the jobs they are for, in any order. Out: writes of up to 4 MiB.
//! Promise: takes nothing but verified chunks; writes exactly the jobs' ranges.

use super::error::WriteError;
use super::map::{Job, Part};
use super::medium::{Medium, Via};
use ramet_wire::ByteRange;
use ramet_wire::frame::VerifiedChunk;

/// Collects neighbours; must be finished, or the last of them are not written.
#[must_use = "an unfinished sink has not written its last run"]
pub struct Sink<'a> {
    medium: &'a dyn Medium,
    via: Via,
    run: &'a mut [u8],
    start: u64,
    len: usize,
    written: u64,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("start", &self.start).field("len", &self.len).finish_non_exhaustive()
    }
}

impl<'a> Sink<'a> {
    /// Onto `medium`; `run` is the memory for one write. With `Via::Direct` the caller sends only aligned jobs.
    pub const fn new(medium: &'a dyn Medium, via: Via, run: &'a mut [u8]) -> Self {
        Self { medium, via, run, start: 0, len: 0, written: 0 }
    }

    /// Takes the part of `chunk` that `job` is about.
    ///
    /// # Errors
    /// [`WriteError::Length`] for a chunk that is not as long as the record said; the device's.
    pub fn push(&mut self, chunk: VerifiedChunk<'_>, job: &Job, part: &Part) -> Result<(), WriteError> {
        let bytes = chunk.bytes();
        let len = usize::try_from(job.range.len()).unwrap_or(usize::MAX);
        let from = part.skip as usize;
        let meant = bytes.get(from..from.saturating_add(len)).filter(|_| bytes.len() == part.raw as usize);
        let wrong = || WriteError::Length { id: chunk.id(), record: part.raw, found: bytes.len() };
        let meant = meant.filter(|_| chunk.id() == part.id && len <= self.run.len()).ok_or_else(wrong)?;
        let follows = self.start + self.len as u64 == job.range.start() && self.len + len <= self.run.len();
        if self.len > 0 && !follows {
            self.write_run()?;
        }
        if self.len == 0 {
            self.start = job.range.start();
        }
        self.run[self.len..self.len + len].copy_from_slice(meant);
        self.len += len;
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), WriteError> {
        let len = std::mem::take(&mut self.len);
        self.medium.write(&self.run[..len], self.start, self.via).map_err(|source| WriteError::Io {
            disk: self.medium.name().to_owned(),
            doing: "writing",
            range: ByteRange::between(self.start, self.start + len as u64),
            source,
        })?;
        self.written += len as u64;
        Ok(())
    }

    /// Writes what is left; returns how many bytes were written in all.
    ///
    /// # Errors
    /// The device's.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        if self.len > 0 {
            self.write_run()?;
        }
        Ok(self.written)
    }
}
