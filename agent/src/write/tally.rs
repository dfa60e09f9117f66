//! What a restore has done so far, counted by many threads at once.
//!
//! In: jobs kept, written, proven. Out: the receipt's numbers for one disk, and progress.
//! Promise: a byte counts as proven only after it was read past this process's writes and found equal.

use super::held::Credit;
use super::map::{BLANK, DiskMap, Job, JobKind};
use crate::progress::Part;
use ramet_wire::receipt::SpaceReceipt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of one disk.
#[derive(Debug)]
pub struct Tally {
    spaces: Vec<(AtomicU64, AtomicU64)>,
    /// Bytes that were there already.
    pub kept: AtomicU64,
    /// Bytes written, zeros included.
    pub written: AtomicU64,
    /// Bytes of table pieces and blanked ranges read back.
    pub table: AtomicU64,
    /// Bytes read back, of whatever kind.
    pub proven: AtomicU64,
}

fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

impl Tally {
    /// Zeros for each of `spaces` spaces.
    #[must_use]
    pub fn new(spaces: usize) -> Self {
        let zero = || (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            spaces: (0..spaces).map(|_| zero()).collect(),
            kept: AtomicU64::new(0),
            written: AtomicU64::new(0),
            table: AtomicU64::new(0),
            proven: AtomicU64::new(0),
        }
    }

    /// `bytes` of a job were read back and are right.
    pub fn prove(&self, job: &Job, bytes: u64) {
        self.count(job.space, job.kind == JobKind::Zero, bytes);
    }

    /// The held ranges, `len` bytes of which `credits` belong to spaces, were read back and are right.
    pub fn prove_held(&self, credits: &[Credit], len: u64) {
        let credited: u64 = credits.iter().map(|credit| credit.len).sum();
        for credit in credits {
            self.count(credit.space, credit.zero, credit.len);
        }
        self.count(BLANK, true, len.saturating_sub(credited));
    }

    fn count(&self, space: usize, zero: bool, bytes: u64) {
        add(&self.proven, bytes);
        match self.spaces.get(space) {
            Some((_, zeros)) if zero => add(zeros, bytes),
            Some((data, _)) => add(data, bytes),
            None => add(&self.table, bytes),
        }
    }

    /// How far each space of `map` is: what was proven of it. Without a read-back that stays 0.
    #[must_use]
    pub fn parts(&self, map: &DiskMap) -> Vec<Part> {
        let pairs = map.spaces.iter().zip(&self.spaces).filter(|(space, _)| !space.range.is_empty());
        let part = |(space, (data, zeros)): (&super::map::Space, &(AtomicU64, AtomicU64))| {
            let total = space.stored.data_bytes + space.stored.zero_bytes;
            let what = space.number.map_or_else(|| "table".to_owned(), |number| format!("partition {number}"));
            let done = data.load(Ordering::Relaxed) + zeros.load(Ordering::Relaxed);
            Part { name: format!("disk {} {what}", map.ordinal), total, done: done.min(total) }
        };
        pairs.map(part).collect()
    }

    /// The receipt's lines for the spaces of `map`.
    #[must_use]
    pub fn spaces(&self, map: &DiskMap) -> Vec<SpaceReceipt> {
        let pairs = map.spaces.iter().zip(&self.spaces).filter(|(space, _)| !space.range.is_empty());
        let line = |(space, (data, zeros)): (&super::map::Space, &(AtomicU64, AtomicU64))| SpaceReceipt {
            number: space.number,
            digest: space.digest(),
            proven_data_bytes: data.load(Ordering::Relaxed),
            proven_zero_bytes: zeros.load(Ordering::Relaxed),
        };
        pairs.map(line).collect()
    }
}
