//! Reads the extents of one space, sequentially, into windows of cut pieces.
//!
//! In: a partition (or the gaps of a disk) and its extents. Out: batches in ascending order, cut at 1 GiB addresses.
//! Promise: no byte outside an extent is read, except gaps below 32 KiB between two; a read error names its offset.

use super::split::{Piece, Splitter};
use crate::disk::source::ReadAt;
use crate::extent::{Extent, ExtentError, ExtentKind};
use ramet_wire::cutting::ZERO_RUN_MIN;
use ramet_wire::segment::SPAN;
use ramet_wire::{BLOCK, ByteRange};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// Bytes of one window.
pub const WINDOW: usize = 4 << 20;
/// Runs up to this many bytes share a window: a question for each of a fragmented disk's runs took 0.4 s of 4.
const SHORT: u64 = 1 << 20;
/// Pieces that wait at most, before the next run.
const PIECES_MAX: usize = 2048;

/// Why reading a space ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The device answered with an error.
    #[error("reading at byte {offset} of {what}")]
    Read {
        /// Disk and partition.
        what: String,
        /// First byte that could not be read, from the start of the partition.
        offset: u64,
        /// The device's error.
        source: io::Error,
    },
    /// The map of the content broke on its second reading.
    #[error("mapping {what}")]
    Map {
        /// Disk and partition.
        what: String,
        /// The reader's error.
        source: ExtentError,
    },
    /// Whoever takes the batches has gone: its error is the one to report.
    #[error("the stage after reading has ended")]
    Closed,
}

/// Buffers of [`WINDOW`] bytes that come back when they are dropped.
#[derive(Debug)]
pub struct Pool {
    free: Mutex<Receiver<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
}

impl Pool {
    /// A pool of `count` buffers.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        let (back, free) = sync_channel(count);
        for _ in 0..count {
            // Room for exactly `count` was made.
            let _ = back.send(vec![0; WINDOW]);
        }
        Arc::new(Self { free: Mutex::new(free), back })
    }

    fn take(self: &Arc<Self>) -> Option<Buffer> {
        let bytes = self.free.lock().ok()?.recv().ok()?;
        Some(Buffer { bytes, pool: Arc::clone(self) })
    }
}

/// One buffer on loan.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.pool.back.try_send(std::mem::take(&mut self.bytes));
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One window, or several short runs of one space that are asked about in one question.
#[derive(Debug)]
pub struct Batch {
    /// Position in the order of all batches.
    pub seq: u64,
    /// Index of the space.
    pub space: usize,
    /// The bytes; absent for zeros that were never read.
    pub bytes: Option<Buffer>,
    /// What they were cut into, each with its address in the space, ascending; settled bytes only.
    pub pieces: Vec<(u64, Piece)>,
}

/// Reads one space after the other and hands batches on.
#[derive(Debug)]
pub struct Reader {
    pool: Arc<Pool>,
    out: SyncSender<Batch>,
    seq: u64,
    gathered: Gathered,
}

/// Short runs that wait for more of their kind.
#[derive(Debug, Default)]
struct Gathered {
    buffer: Option<Buffer>,
    filled: usize,
    pieces: Vec<(u64, Piece)>,
}

impl Reader {
    /// A reader that takes buffers from `pool` and gives batches to `out`.
    #[must_use]
    pub fn new(pool: Arc<Pool>, out: SyncSender<Batch>) -> Self {
        Self { pool, out, seq: 0, gathered: Gathered::default() }
    }

    /// Reads the extents of space number `space`, called `what` in errors.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn space(
        &mut self,
        space: usize,
        what: &str,
        source: &dyn ReadAt,
        extents: impl Iterator<Item = Result<Extent, ExtentError>>,
    ) -> Result<(), ReadError> {
        let mut run: Option<Extent> = None;
        for extent in extents {
            let extent = extent.map_err(|source| ReadError::Map { what: what.to_owned(), source })?;
            match &mut run {
                Some(before) if joins(before, &extent) => {
                    before.range = ByteRange::between(before.range.start(), extent.range.end());
                }
                _ => {
                    if let Some(done) = run.replace(extent) {
                        self.run(space, what, source, done)?;
                    }
                }
            }
        }
        run.map_or(Ok(()), |done| self.run(space, what, source, done))?;
        self.flush(space)
    }

    fn run(&mut self, space: usize, what: &str, source: &dyn ReadAt, extent: Extent) -> Result<(), ReadError> {
        let mut at = extent.range.start();
        while at < extent.range.end() {
            let span_end = (at / SPAN + 1).saturating_mul(SPAN);
            let part = ByteRange::between(at, extent.range.end().min(span_end));
            if self.gathered.pieces.len() >= PIECES_MAX {
                self.flush(space)?;
            }
            match extent.kind {
                ExtentKind::Data if part.len() <= SHORT => self.short(space, what, source, part)?,
                ExtentKind::Data => self.data(space, what, source, part)?,
                ExtentKind::Zero => {
                    let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
                    self.gathered.pieces.push((at, Piece { at: 0, len, zero: true }));
                }
            }
            at = part.end();
        }
        Ok(())
    }

    /// A run that shares its buffer with others. It is cut as if it stood alone.
    fn short(&mut self, space: usize, what: &str, source: &dyn ReadAt, part: ByteRange) -> Result<(), ReadError> {
        let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
        if self.gathered.filled + len > WINDOW {
            self.flush(space)?;
        }
        let mut buffer = match self.gathered.buffer.take() {
            Some(buffer) => buffer,
            None => self.pool.take().ok_or(ReadError::Closed)?,
        };
        let from = self.gathered.filled;
        read(source, &mut buffer.bytes[from..from + len], part.start(), what)?;
        let mut pieces = Vec::new();
        Splitter::default().cut(&buffer[from..from + len], true, &mut pieces);
        let placed =
            pieces.into_iter().map(|piece| (part.start() + piece.at as u64, Piece { at: from + piece.at, ..piece }));
        self.gathered.pieces.extend(placed);
        self.gathered.filled += len;
        self.gathered.buffer = Some(buffer);
        Ok(())
    }

    fn flush(&mut self, space: usize) -> Result<(), ReadError> {
        let Gathered { buffer, pieces, .. } = std::mem::take(&mut self.gathered);
        if pieces.is_empty() { Ok(()) } else { self.send(space, buffer, pieces) }
    }

    fn data(&mut self, space: usize, what: &str, source: &dyn ReadAt, part: ByteRange) -> Result<(), ReadError> {
        self.flush(space)?;
        let mut splitter = Splitter::default();
        let mut carry: Vec<u8> = Vec::new();
        let mut at = part.start();
        while at < part.end() {
            let mut buffer = self.pool.take().ok_or(ReadError::Closed)?;
            let base = at - carry.len() as u64;
            buffer.bytes[..carry.len()].copy_from_slice(&carry);
            let room = WINDOW - carry.len();
            let fill = usize::try_from(part.end() - at).map_or(room, |left| left.min(room));
            let end = carry.len() + fill;
            read(source, &mut buffer.bytes[carry.len()..end], at, what)?;
            at += fill as u64;
            let mut pieces = Vec::new();
            let settled = splitter.cut(&buffer[..end], at == part.end(), &mut pieces);
            carry.clear();
            carry.extend_from_slice(&buffer[settled..end]);
            let placed = pieces.into_iter().map(|piece| (base + piece.at as u64, piece)).collect();
            self.send(space, Some(buffer), placed)?;
        }
        Ok(())
    }

    fn send(&mut self, space: usize, bytes: Option<Buffer>, pieces: Vec<(u64, Piece)>) -> Result<(), ReadError> {
        let batch = Batch { seq: self.seq, space, bytes, pieces };
        self.seq += 1;
        self.out.send(batch).map_err(|_| ReadError::Closed)
    }
}

/// Two data extents with a gap that is cheaper to read than to skip, or two zero extents without one.
fn joins(before: &Extent, extent: &Extent) -> bool {
    let gap = extent.range.start().saturating_sub(before.range.end());
    match (before.kind, extent.kind) {
        (ExtentKind::Data, ExtentKind::Data) => gap < ZERO_RUN_MIN,
        (ExtentKind::Zero, ExtentKind::Zero) => gap == 0,
        _ => false,
    }
}

/// Reads `buf`; on an error looks block by block for the first byte that cannot be read.
fn read(source: &dyn ReadAt, buf: &mut [u8], at: u64, what: &str) -> Result<(), ReadError> {
    let Err(error) = source.read_exact_at(buf, at) else { return Ok(()) };
    let step = usize::try_from(BLOCK).unwrap_or(4096);
    let mut offset = at;
    for block in buf.chunks_mut(step) {
        if let Err(source) = source.read_exact_at(block, offset) {
            return Err(ReadError::Read { what: what.to_owned(), offset, source });
        }
        offset += block.len() as u64;
    }
    // The second try read all of it: still no reason to trust a disk that answers both ways.
    Err(ReadError::Read { what: what.to_owned(), offset: at, source: error })
}

/// How many buffers a pool needs for `workers` workers: one each, two waiting, one being filled, in 4 MiB windows.
#[must_use]
pub const fn buffers(workers: usize) -> usize {
    let count = workers + 3;
    // 64 MiB of windows are enough for any machine.
    let most = (64 << 20) / WINDOW;
    if count < most { count } else { most }
}
