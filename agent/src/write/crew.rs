//! The threads that do the work of a round, each with its own buffers.
//!
//! In: a list of tasks. Out: all of them done, or the first error.
//! Promise: memory is threads × 9 MiB whatever the disk; after an error no further task is started.

use super::{Aligned, WriteError};
use crate::memory::{self, TooLittle};
use crate::transfer::fetch::Fetcher;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest single read or write, in bytes.
pub const RUN_MAX: u64 = 4 << 20;
/// How often somebody hears of progress while a round runs.
const TICK: Duration = Duration::from_millis(200);

/// Segments that are kept, the jobs of two windows, connections.
const BASE: u64 = 48 << 20;
/// One thread's buffers and its decompressor.
const EACH: u64 = 10 << 20;

/// One thread's belongings.
#[derive(Debug)]
pub struct Worker {
    /// For chunks from the store.
    pub fetcher: Fetcher,
    /// For the disk; `RUN_MAX` and room for alignment.
    pub run: Aligned,
}

/// All threads of a restore.
#[derive(Debug)]
pub struct Crew {
    workers: Vec<Worker>,
}

impl Crew {
    /// How many threads keep this machine's processors busy while some of them wait for disks; fewer where memory is
    /// short.
    ///
    /// # Errors
    /// When memory is too short for two.
    pub fn size() -> Result<usize, TooLittle> {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        memory::fitting((cores + 2).clamp(4, 8), 2, BASE, EACH, memory::available())
    }

    /// `threads` threads.
    ///
    /// # Errors
    /// When there is no memory for a decompressor.
    pub fn of(threads: usize) -> Result<Self, WriteError> {
        let room = usize::try_from(RUN_MAX).unwrap_or(usize::MAX) + 2 * 4096;
        let worker = || Ok(Worker { fetcher: Fetcher::new()?, run: Aligned::new(room) });
        let workers = (0..threads.max(1)).map(|_| worker()).collect::<Result<_, WriteError>>()?;
        Ok(Self { workers })
    }

    /// The first worker, for work that needs no company.
    pub fn one(&mut self) -> &mut Worker {
        &mut self.workers[0]
    }

    /// Does all `tasks`, several at once, in about their order; `tick` is called now and then meanwhile.
    ///
    /// # Errors
    /// The first error of any task.
    pub fn round<T: Send>(
        &mut self,
        tasks: Vec<T>,
        tick: &dyn Fn(),
        work: &(dyn Fn(&mut Worker, T) -> Result<(), WriteError> + Sync),
    ) -> Result<(), WriteError> {
        let threads = self.workers.len().min(tasks.len());
        let queue = Mutex::new(VecDeque::from(tasks));
        let stop = AtomicBool::new(false);
        let running = (Mutex::new(threads), Condvar::new());
        std::thread::scope(|scope| {
            let handles: Vec<_> = self.workers[..threads]
                .iter_mut()
                .map(|worker| {
                    scope.spawn(|| {
                        let _leave = Leave(&running);
                        drain(worker, &queue, &stop, work)
                    })
                })
                .collect();
            let (left, changed) = &running;
            let mut guard = left.lock().unwrap_or_else(PoisonError::into_inner);
            while *guard > 0 {
                guard = changed.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner).0;
                tick();
            }
            drop(guard);
            let mut all = Ok(());
            for handle in handles {
                all = all.and(handle.join().unwrap_or(Err(WriteError::Panic)));
            }
            all
        })
    }
}

fn drain<T>(
    worker: &mut Worker,
    queue: &Mutex<VecDeque<T>>,
    stop: &AtomicBool,
    work: &(dyn Fn(&mut Worker, T) -> Result<(), WriteError> + Sync),
) -> Result<(), WriteError> {
    while !stop.load(Ordering::Relaxed) {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(task) = task else { break };
        if let Err(error) = work(worker, task) {
            stop.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
    Ok(())
}

/// Counts a thread out, also when it panics.
struct Leave<'a>(&'a (Mutex<usize>, Condvar));

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn does_every_task_once() {
        let sum = AtomicUsize::new(0);
        let add = |_: &mut Worker, n: usize| {
            sum.fetch_add(n, Ordering::Relaxed);
            Ok(())
        };
        Crew::of(3).unwrap().round((1..=100).collect(), &|| {}, &add).unwrap();
        assert_eq!(sum.into_inner(), 5050);
    }

    #[test]
    fn starts_nothing_after_an_error_and_survives_a_panic() {
        let done = AtomicUsize::new(0);
        let work = |_: &mut Worker, n: usize| {
            done.fetch_add(1, Ordering::Relaxed);
            if n == 3 { Err(WriteError::Panic) } else { Ok(()) }
        };
        assert!(Crew::of(1).unwrap().round((0..100).collect(), &|| {}, &work).is_err());
        assert_eq!(done.into_inner(), 4);
        let panics = |_: &mut Worker, _: usize| panic!("as the test wants");
        assert!(matches!(Crew::of(2).unwrap().round(vec![1, 2], &|| {}, &panics), Err(WriteError::Panic)));
    }
}
