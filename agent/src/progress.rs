//! How far a run is: counters that the stages add to and that whoever shows progress reads.
//!
//! In: steps and bytes from any thread. Out: a snapshot at any time.
//! Promise: counting never waits and never fails; whatever is neither hung nor done gives signs of life.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Everything that is no byte and yet shows that a run is not hung: requests, tries, steps of a check.
static SIGNS: AtomicU64 = AtomicU64::new(0);

/// Something was tried or answered.
pub fn alive() {
    SIGNS.fetch_add(1, Relaxed);
}

/// How many signs of life this process has given: a number that changes.
#[must_use]
pub fn signs() -> u64 {
    SIGNS.load(Relaxed)
}

/// A partition, or the gaps of a disk, under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// For people: disk and partition.
    pub name: String,
    /// Bytes to do.
    pub total: u64,
    /// Bytes done.
    pub done: u64,
}

/// The counters of one run.
#[derive(Debug, Default)]
pub struct Meter {
    step: Mutex<String>,
    parts: Mutex<Vec<Part>>,
    total: AtomicU64,
    done: AtomicU64,
    present: AtomicU64,
    moved: AtomicU64,
}

/// The counters at one moment; all but the step in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The step under way, by name.
    pub step: String,
    /// To do in this step.
    pub total: u64,
    /// Done in this step.
    pub done: u64,
    /// Of these, already where they should be.
    pub present: u64,
    /// Bytes sent to, or fetched from, the store so far.
    pub moved: u64,
    /// The same by partition, where the step counts them.
    pub parts: Vec<Part>,
}

impl Meter {
    /// A new step begins: `total` bytes are to do, none is done.
    pub fn begin(&self, step: &str, total: u64) {
        step.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
        self.total.store(total, Relaxed);
        self.done.store(0, Relaxed);
        self.present.store(0, Relaxed);
    }

    /// The partitions of this step, in place of those before.
    pub fn set_parts(&self, parts: Vec<Part>) {
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = parts;
    }

    /// `bytes` more of the part number `index` are done; zeros beyond its total do not count.
    pub fn part_done(&self, index: usize, bytes: u64) {
        if let Some(part) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            part.done = part.done.saturating_add(bytes).min(part.total);
        }
    }

    /// `bytes` more are done.
    pub fn done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    /// Of the bytes done, `bytes` more were already where they should be.
    pub fn present(&self, bytes: u64) {
        self.present.fetch_add(bytes, Relaxed);
    }

    /// `bytes` more went over the wire.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Relaxed);
    }

    /// All counters at once, for stages that count by themselves.
    pub fn set(&self, step: &str, total: u64, done: u64, present: u64, moved: u64) {
        let mut now = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != step {
            step.clone_into(&mut now);
        }
        drop(now);
        self.total.store(total, Relaxed);
        self.done.store(done, Relaxed);
        self.present.store(present, Relaxed);
        self.moved.store(moved, Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            step: self.step.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            total: self.total.load(Relaxed),
            done: self.done.load(Relaxed),
            present: self.present.load(Relaxed),
            moved: self.moved.load(Relaxed),
            parts: self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
