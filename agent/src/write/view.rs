//! A captured disk's tables and gaps as something to read, straight from the store.
//!
//! In: records with the disk's own addresses. Out: their bytes; zeros where the image holds nothing.
//! Promise: only the chunks that are asked for are fetched, and only a few of them are kept.

use crate::disk::source::ReadAt;
use crate::transfer::Downstream;
use crate::transfer::fetch::{FetchError, Fetcher, Need, batches};
use ramet_wire::segment::{Record, RecordKind};
use ramet_wire::{ByteRange, ChunkId};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks kept, each of at most 512 KiB.
const KEPT: usize = 16;

/// One chunk at a time, with the last few at hand.
pub struct Chunks<'a> {
    door: &'a dyn Downstream,
    fetched: &'a AtomicU64,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").finish_non_exhaustive()
    }
}

struct Inner {
    fetcher: Fetcher,
    kept: VecDeque<(ChunkId, Arc<[u8]>)>,
}

impl<'a> Chunks<'a> {
    /// Those behind `door`.
    ///
    /// # Errors
    /// When there is no memory for a decompressor.
    pub fn new(door: &'a dyn Downstream, fetched: &'a AtomicU64) -> Result<Self, FetchError> {
        let inner = Mutex::new(Inner { fetcher: Fetcher::new()?, kept: VecDeque::new() });
        Ok(Self { door, fetched, inner })
    }

    /// One chunk's bytes.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn get(&self, id: ChunkId, raw: u32) -> Result<Arc<[u8]>, FetchError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = inner.kept.iter().find(|(kept, _)| *kept == id) {
            return Ok(bytes.clone());
        }
        let mut found: Option<Arc<[u8]>> = None;
        for batch in batches(self.door, &[Need { id, raw: Some(raw) }])? {
            inner.fetcher.fetch::<FetchError>(self.door, &batch, self.fetched, &mut |_, chunk| {
                found = Some(Arc::from(chunk.bytes()));
                Ok(())
            })?;
        }
        let bytes = found.ok_or(FetchError::Missing { id })?;
        if inner.kept.len() >= KEPT {
            inner.kept.pop_front();
        }
        inner.kept.push_back((id, bytes.clone()));
        Ok(bytes)
    }
}

/// The captured disk, as far as `records` (ascending) hold it.
pub struct GapView<'a> {
    chunks: &'a Chunks<'a>,
    records: &'a [Record],
    size: u64,
}

impl std::fmt::Debug for GapView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GapView").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl<'a> GapView<'a> {
    /// A disk of `size` bytes.
    #[must_use]
    pub const fn new(chunks: &'a Chunks<'a>, records: &'a [Record], size: u64) -> Self {
        Self { chunks, records, size }
    }
}

impl ReadAt for GapView<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let range = ByteRange::new(offset, buf.len() as u64).map_err(io::Error::other)?;
        if range.end() > self.size {
            let text = format!("reading {range}: the captured disk had {} bytes", self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        buf.fill(0);
        let first = self.records.partition_point(|record| record.range().end() <= range.start());
        for record in self.records[first..].iter().take_while(|record| record.offset < range.end()) {
            let (Some(common), RecordKind::Data(id)) = (record.range().intersect(range), record.kind) else { continue };
            let bytes = self.chunks.get(id, record.len).map_err(io::Error::other)?;
            let index = |from: u64| usize::try_from(common.start() - from).map_err(io::Error::other);
            let (to, from) = (index(range.start())?, index(record.offset)?);
            let len = usize::try_from(common.len()).map_err(io::Error::other)?;
            let short = || io::Error::other(format!("chunk {id} is shorter than its record"));
            buf[to..to + len].copy_from_slice(bytes.get(from..from + len).ok_or_else(short)?);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}
