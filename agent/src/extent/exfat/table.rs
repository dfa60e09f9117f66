//! The allocation table of an exFAT volume: chains of clusters.
//!
//! In: a first cluster and the most clusters that the chain may have. Out: its clusters, in runs, in the chain's order.
//! Promise: a chain that leaves the volume, runs in a circle or is too long is a doubt; 4 KiB of the table in memory.
//!
//! Specification, 4.1 "FAT Structure": 32 bits per cluster, which are the chain's next one; 0xffffffff ends it.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::boot::Boot;
use crate::disk::source::ReadAt;
use std::ops::Range;

const END: u64 = 0xffff_ffff;
/// Entry 0: the media type of a fixed disk, as FAT had it.
const MEDIA: u64 = 0xffff_fff8;
const ENTRY: u64 = 4;
/// Entries read at once; small, because a hostile chain may jump with every step.
const WINDOW: u64 = 1024;

/// The table, read a piece at a time.
pub(super) struct Table<'a> {
    part: &'a dyn ReadAt,
    boot: &'a Boot,
    /// First entry of the piece in memory.
    first: u64,
    raw: Vec<u8>,
}

impl<'a> Table<'a> {
    pub const fn new(part: &'a dyn ReadAt, boot: &'a Boot) -> Self {
        Self { part, boot, first: 0, raw: Vec::new() }
    }

    /// The entry for `cluster`, which is below the number of clusters + 2.
    fn entry(&mut self, cluster: u64) -> Result<u64, ExtentError> {
        let first = cluster / WINDOW * WINDOW;
        if self.raw.is_empty() || self.first != first {
            let count = WINDOW.min(self.boot.clusters + 2 - first);
            let mut raw = vec![0; in_memory(count * ENTRY)?];
            read(self.part, &mut raw, self.boot.table_start + first * ENTRY, "exFAT allocation table")?;
            (self.first, self.raw) = (first, raw);
        }
        Ok(u64::from(Fields(&self.raw).le32(in_memory((cluster - first) * ENTRY)?)))
    }

    pub fn check_media(&mut self) -> Result<(), ExtentError> {
        let found = self.entry(0)?;
        believe!(found == MEDIA, "allocation table starts with {found:#x}, {MEDIA:#x} expected");
        Ok(())
    }

    /// The clusters of `what` from `first` on; more than `limit` are a doubt, and so is a circle.
    pub fn chain(&mut self, what: &str, first: u64, limit: u64) -> Result<Vec<Range<u64>>, ExtentError> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut cluster = first;
        for _ in 0..limit {
            let end = self.boot.clusters + 2;
            believe!(
                (2..end).contains(&cluster),
                "{what} goes on at cluster {cluster:#x}, the last one is {:#x}",
                end - 1
            );
            match runs.last_mut() {
                Some(run) if run.end == cluster => run.end += 1,
                _ => runs.push(cluster..cluster + 1),
            }
            cluster = self.entry(cluster)?;
            if cluster == END {
                return Ok(runs);
            }
        }
        Err(ExtentError::doubt(format!("{what} goes on at cluster {cluster} after {limit} clusters, its end expected")))
    }
}
