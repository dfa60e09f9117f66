//! Cutting and packing: from extents to chunks in packs.
//!
//! In: spaces with their extents. Out: packs on their way to a store, and the segments that say what lies where.
//! Promise: memory is bounded by one pool of buffers and three packs, however large the disk is.

pub mod pack;
pub mod read;
pub mod segments;
pub mod split;
pub mod worker;

use crate::disk::source::ReadAt;
use crate::extent::{Extent, ExtentError, ExtentKind, Map};
use crate::memory::{self, TooLittle};
use crate::progress::Meter;
use crate::transfer::{TransferError, Upstream};
use pack::{ALIVE_MAX, Packed, Packer};
use ramet_wire::ByteRange;
use ramet_wire::manifest::Stored;
use ramet_wire::pack::PACK_TARGET;
use read::{Batch, Pool, ReadError, Reader, buffers};
use segments::{SEGMENTS_ROOM, Segments};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use worker::{Worked, Worker};

/// One address space to capture: a partition, or the gaps of a disk.
pub struct Space {
    /// For errors: disk and partition.
    pub what: String,
    /// Its bytes.
    pub source: Arc<dyn ReadAt>,
    /// Which of them matter.
    pub extents: Extents,
}

/// Which bytes of a space matter; walked anew on every pass.
#[derive(Debug)]
pub enum Extents {
    /// As a content's map says.
    Map(Arc<Map>),
    /// Exactly these ranges, ascending and disjoint.
    Ranges(Vec<ByteRange>),
}

impl Extents {
    fn walk(&self) -> Box<dyn Iterator<Item = Result<Extent, ExtentError>> + Send + '_> {
        match self {
            Self::Map(map) => Box::new(map.extents()),
            Self::Ranges(ranges) => {
                Box::new(ranges.iter().map(|range| Ok(Extent { range: *range, kind: ExtentKind::Data })))
            }
        }
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("what", &self.what).finish_non_exhaustive()
    }
}

/// What storing the spaces came to.
#[derive(Debug)]
pub struct Outcome {
    /// One per space.
    pub stored: Vec<Stored>,
    /// Chunks of content sent.
    pub content: Packed,
    /// Segments sent.
    pub segments: Packed,
}

/// Why storing ended.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The source.
    #[error("reading the source")]
    Read(#[from] ReadError),
    /// The store.
    #[error("sending to the store")]
    Transfer(#[from] TransferError),
    /// A thread could not be equipped.
    #[error("starting a worker")]
    Worker(#[from] std::io::Error),
    /// Nothing was read or sent.
    #[error("capturing needs more memory than there is")]
    Memory(#[from] TooLittle),
}

/// Stores all of `spaces`: read → split → hash → ask → compress → pack, and segments of the records.
///
/// # Errors
/// The first stage's error that explains the others.
pub fn store(spaces: &[Space], door: &dyn Upstream, meter: &Meter) -> Result<Outcome, ChunkError> {
    let workers = workers()?;
    let (content, lists) = (Packer::new(door, PACK_TARGET), Packer::new(door, SEGMENTS_ROOM));
    let (batches, queue) = sync_channel(2);
    let (worked, results) = channel();
    let reader = Reader::new(Pool::new(buffers(workers)), batches);
    let queue = Mutex::new(Some(queue));
    let mut segments = Segments::new(Worker::new(door, &lists)?, spaces.len());
    let stored: Result<Vec<Stored>, ChunkError> = std::thread::scope(|scope| {
        let reading = scope.spawn(move || read_all(reader, spaces));
        let working: Vec<_> = (0..workers)
            .map(|_| {
                let (worked, queue, content) = (worked.clone(), &queue, &content);
                scope.spawn(move || work_all(door, content, queue, &worked, meter))
            })
            .collect();
        drop(worked);
        let gathered = results.iter().try_for_each(|worked| segments.add(worked));
        if gathered.is_err() {
            close(&queue);
        }
        drop(results);
        let worked = working.into_iter().map(|thread| join(thread.join())).fold(Ok(()), Result::and);
        let read = join(reading.join());
        // A reader that found nobody to read for is not the cause.
        match read {
            Err(error) if !matches!(error, ReadError::Closed) => return Err(error.into()),
            _ => worked?,
        }
        gathered?;
        Ok(segments.finish()?)
    });
    Ok(Outcome { stored: stored?, content: content.finish()?, segments: lists.finish()? })
}

/// The packs that are alive, each with its last chunk and its table; the windows that are read ahead, connections.
const BASE: u64 = ALIVE_MAX as u64 * (PACK_TARGET + (1 << 20)) + (29 << 20);
/// A window, a compressor and its frame.
const EACH: u64 = 8 << 20;

/// How many threads hash and compress; fewer where memory is short.
fn workers() -> Result<usize, TooLittle> {
    // Two more than processors: those that wait for a sync or an answer leave no core idle.
    let wanted = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(12) + 2;
    memory::fitting(wanted, 2, BASE, EACH, memory::available())
}

fn read_all(mut reader: Reader, spaces: &[Space]) -> Result<(), ReadError> {
    for (index, space) in spaces.iter().enumerate() {
        reader.space(index, &space.what, &space.source, space.extents.walk())?;
    }
    Ok(())
}

fn work_all(
    door: &dyn Upstream,
    packer: &Packer<'_>,
    queue: &Mutex<Option<Receiver<Batch>>>,
    out: &Sender<Worked>,
    meter: &Meter,
) -> Result<(), ChunkError> {
    let ended = || -> Result<(), ChunkError> {
        let mut worker = Worker::new(door, packer)?;
        while let Some(batch) = next(queue) {
            let done = worker.work(&batch)?;
            meter.done(done.bytes);
            meter.part_done(done.space, done.bytes);
            meter.present(done.present_bytes);
            if out.send(done).is_err() {
                break;
            }
        }
        Ok(())
    }();
    if ended.is_err() {
        close(queue);
    }
    ended
}

fn next(queue: &Mutex<Option<Receiver<Batch>>>) -> Option<Batch> {
    queue.lock().ok()?.as_ref()?.recv().ok()
}

/// Nobody takes batches any more: the reader's next send ends it.
fn close(queue: &Mutex<Option<Receiver<Batch>>>) {
    if let Ok(mut queue) = queue.lock() {
        queue.take();
    }
}

/// A panic of a stage goes on in the thread that waits for it.
fn join<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
