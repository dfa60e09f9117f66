//! Chunks from a store: located, read in large ranges, opened and hashed.
//!
//! In: ids, and what their records say of their length. Out: verified chunks, each once, in the order of the packs.
//! Promise: what is delivered was hashed; a pack that moved is located again, a damaged chunk is reported and read again
//! once, and then named with both hashes.

use super::{ChunkAt, Downstream, PackAt, TransferError};
use ramet_wire::ChunkId;
use ramet_wire::api::{ErrorKind, IDS_MAX};
use ramet_wire::frame::{CHUNK_MAX, FrameError, Opener, VerifiedChunk};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest range of a pack that is read at once, in bytes.
pub const RANGE_MAX: u64 = 4 << 20;
/// Most raw bytes of one range: what compresses well is cut shorter, so that threads share the work.
const RAW_MAX: u64 = 16 << 20;
/// Reading a gap of this many bytes is cheaper than another request.
const GAP_MAX: u64 = 64 << 10;
/// How often packs that went away are located again.
const TRIES: u32 = 4;

/// A chunk to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which chunk.
    pub id: ChunkId,
    /// Its length in bytes, where a record states it.
    pub raw: Option<u32>,
}

/// Why a chunk could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store or the way to it.
    #[error("{doing}")]
    Transfer {
        /// What was under way.
        doing: String,
        /// The door's error.
        source: TransferError,
    },
    /// The store lacks a chunk of a complete image.
    #[error(
        "chunk {id}: the store does not have it; `ramet image check` names what is missing, a new capture heals it"
    )]
    Missing {
        /// Which one.
        id: ChunkId,
    },
    /// Record and pack disagree.
    #[error("chunk {id}: the record says {record} bytes, the pack {pack}")]
    Length {
        /// Which one.
        id: ChunkId,
        /// In the segment's record.
        record: u32,
        /// In the pack's table.
        pack: u32,
    },
    /// It came damaged twice.
    #[error("chunk {id}: it came damaged twice; capturing the healthy source again heals it")]
    Damaged {
        /// Which one.
        id: ChunkId,
        /// What is wrong; a wrong hash names both.
        source: FrameError,
    },
    /// No memory for a decompressor.
    #[error("starting a decompressor")]
    Opener(#[source] io::Error),
}

/// One range of a pack and the frames in it.
#[derive(Clone, Debug)]
pub struct Batch {
    pack: PackAt,
    start: u64,
    len: usize,
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    need: usize,
    id: ChunkId,
    start: u64,
    stored: u32,
    raw: u32,
}

impl Frame {
    const fn end(&self) -> u64 {
        self.start + self.stored as u64
    }
}

impl Batch {
    /// Bytes that will be read.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: a batch has at least one frame.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn starting(pack: PackAt, frame: Frame) -> Self {
        Self { pack, start: frame.start, len: frame.stored as usize, frames: vec![frame] }
    }

    /// Takes `frame` in when it lies near enough and the range stays short.
    fn absorb(&mut self, frame: Frame) -> Option<Frame> {
        let end = self.start + self.len as u64;
        let raw: u64 = self.frames.iter().map(|frame| u64::from(frame.raw)).sum();
        let near = frame.start >= end && frame.start - end <= GAP_MAX;
        let short = frame.end() - self.start <= RANGE_MAX && raw + u64::from(frame.raw) <= RAW_MAX;
        let len = usize::try_from(frame.end() - self.start);
        match len {
            Ok(len) if near && short => {
                self.len = len;
                self.frames.push(frame);
                None
            }
            _ => Some(frame),
        }
    }
}

/// Locates `needs` (ids at most once each) and merges neighbours into ranges, in the order of the packs.
///
/// # Errors
/// [`FetchError`]: `Transfer`, `Missing`, `Length`.
pub fn batches(door: &dyn Downstream, needs: &[Need]) -> Result<Vec<Batch>, FetchError> {
    let mut batches = Vec::new();
    for (window, needs) in needs.chunks(IDS_MAX).enumerate() {
        locate(door, needs, window * IDS_MAX, &mut batches)?;
    }
    Ok(batches)
}

fn locate(door: &dyn Downstream, needs: &[Need], base: usize, batches: &mut Vec<Batch>) -> Result<(), FetchError> {
    let ids: Vec<ChunkId> = needs.iter().map(|need| need.id).collect();
    let doing = || format!("locating {} chunks", ids.len());
    let located = door.locate(&ids).map_err(|source| FetchError::Transfer { doing: doing(), source })?;
    if located.chunks.len() != ids.len() {
        let message = format!("{} places for {} chunks", located.chunks.len(), ids.len());
        let source = TransferError::Damaged { what: doing(), message };
        return Err(FetchError::Transfer { doing: doing(), source });
    }
    let mut found: Vec<(usize, Frame)> = Vec::with_capacity(ids.len());
    for (index, (need, at)) in needs.iter().zip(&located.chunks).enumerate() {
        let at = at.as_ref().ok_or(FetchError::Missing { id: need.id })?;
        found.push((at.pack, frame_of(*need, base + index, at)?));
    }
    found.sort_unstable_by_key(|(pack, frame)| (*pack, frame.start));
    let mut open: Option<(usize, Batch)> = None;
    for (index, frame) in found {
        let rest = match &mut open {
            Some((pack, batch)) if *pack == index => batch.absorb(frame),
            _ => Some(frame),
        };
        let Some(frame) = rest else { continue };
        let pack = located.packs.get(index).cloned().ok_or(FetchError::Missing { id: frame.id })?;
        batches.extend(open.replace((index, Batch::starting(pack, frame))).map(|(_, batch)| batch));
    }
    batches.extend(open.map(|(_, batch)| batch));
    Ok(())
}

fn frame_of(need: Need, index: usize, at: &ChunkAt) -> Result<Frame, FetchError> {
    match need.raw {
        Some(record) if record != at.raw => Err(FetchError::Length { id: need.id, record, pack: at.raw }),
        _ => Ok(Frame { need: index, id: need.id, start: at.offset, stored: at.stored, raw: at.raw }),
    }
}

/// What one thread needs to fetch: a decompressor and two buffers.
#[derive(Debug)]
pub struct Fetcher {
    opener: Opener,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

impl Fetcher {
    /// A fresh one; its buffers grow with their first use, to 4.5 MiB at most.
    ///
    /// # Errors
    /// [`FetchError::Opener`].
    pub fn new() -> Result<Self, FetchError> {
        let opener = Opener::new().map_err(FetchError::Opener)?;
        Ok(Self { opener, packed: Vec::new(), raw: vec![0; CHUNK_MAX as usize] })
    }

    /// Reads one range and hands each chunk to `deliver`, with its index among the needs. `fetched` counts bytes read.
    ///
    /// # Errors
    /// [`FetchError`], or what `deliver` answers.
    pub fn fetch<E: From<FetchError>>(
        &mut self,
        door: &dyn Downstream,
        batch: &Batch,
        fetched: &AtomicU64,
        deliver: &mut dyn FnMut(usize, VerifiedChunk<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.fetch_again(door, batch, fetched, deliver, TRIES)
    }

    fn fetch_again<E: From<FetchError>>(
        &mut self,
        door: &dyn Downstream,
        batch: &Batch,
        fetched: &AtomicU64,
        deliver: &mut dyn FnMut(usize, VerifiedChunk<'_>) -> Result<(), E>,
        tries: u32,
    ) -> Result<(), E> {
        match self.read(door, batch, fetched) {
            Err(FetchError::Transfer { source: TransferError::Answer { kind: ErrorKind::Retry, .. }, .. })
                if tries > 1 =>
            {
                for (batch, indexes) in relocate(door, &batch.frames)? {
                    let mut deliver = |at: usize, chunk: VerifiedChunk<'_>| deliver(indexes[at], chunk);
                    self.fetch_again(door, &batch, fetched, &mut deliver, tries - 1)?;
                }
                return Ok(());
            }
            other => other?,
        }
        for frame in &batch.frames {
            let at = usize::try_from(frame.start - batch.start).unwrap_or(usize::MAX);
            let bytes = self.packed.get(at..at.saturating_add(frame.stored as usize)).unwrap_or_default();
            if let Ok(chunk) = self.opener.open(bytes, frame.id, frame.raw, &mut self.raw) {
                deliver(frame.need, chunk)?;
                continue;
            }
            door.damaged(&[frame.id]);
            // The range's other frames are needed after this one: the second read has a buffer of its own.
            let packed = std::mem::take(&mut self.packed);
            let chunk = self.second(door, frame, fetched)?;
            deliver(frame.need, chunk)?;
            self.packed = packed;
        }
        Ok(())
    }

    fn read(&mut self, door: &dyn Downstream, batch: &Batch, fetched: &AtomicU64) -> Result<(), FetchError> {
        if self.packed.len() < batch.len {
            self.packed.resize(batch.len, 0);
        }
        door.read(&batch.pack, batch.start, &mut self.packed[..batch.len]).map_err(|source| FetchError::Transfer {
            doing: format!("reading {} bytes at {} of pack {}", batch.len, batch.start, batch.pack.pack),
            source,
        })?;
        fetched.fetch_add(batch.len as u64, Ordering::Relaxed);
        crate::progress::alive();
        Ok(())
    }

    fn second(
        &mut self,
        door: &dyn Downstream,
        frame: &Frame,
        fetched: &AtomicU64,
    ) -> Result<VerifiedChunk<'_>, FetchError> {
        let need = Need { id: frame.id, raw: Some(frame.raw) };
        let again = batches(door, &[need])?;
        let (Some(batch), Some(again)) = (again.first(), again.first().and_then(|batch| batch.frames.first())) else {
            return Err(FetchError::Missing { id: frame.id });
        };
        self.read(door, batch, fetched)?;
        let bytes = self.packed.get(..again.stored as usize).unwrap_or_default();
        self.opener
            .open(bytes, frame.id, frame.raw, &mut self.raw)
            .map_err(|source| FetchError::Damaged { id: frame.id, source })
    }
}

/// The places where `frames` are now, with their indexes among the needs.
fn relocate(door: &dyn Downstream, frames: &[Frame]) -> Result<Vec<(Batch, Vec<usize>)>, FetchError> {
    let needs: Vec<Need> = frames.iter().map(|frame| Need { id: frame.id, raw: Some(frame.raw) }).collect();
    let indexes: Vec<usize> = frames.iter().map(|frame| frame.need).collect();
    Ok(batches(door, &needs)?.into_iter().map(|batch| (batch, indexes.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{ChunkAt, Located};
    use ramet_wire::api::ImageInfo;
    use ramet_wire::receipt::{Origin, SignedReceipt};

    /// Answers only where chunks are: id `[n; 32]` at `places[n]`.
    struct Map(Vec<(usize, u64, u32)>);

    impl Downstream for Map {
        fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError> {
            let packs = (0..4).map(|n| PackAt { pack: ramet_wire::PackName([n; 32]), url: "".into() }).collect();
            let at = |id: &ChunkId| {
                let (pack, offset, stored) = *self.0.get(usize::from(id.0[0]))?;
                Some(ChunkAt { pack, offset, stored, raw: stored })
            };
            Ok(Located { packs, chunks: ids.iter().map(at).collect() })
        }
        fn image(&self) -> Result<ImageInfo, TransferError> {
            unreachable!("only asked for places")
        }
        fn manifest(&self) -> Result<(Vec<u8>, Origin), TransferError> {
            unreachable!("only asked for places")
        }
        fn read(&self, _: &PackAt, _: u64, _: &mut [u8]) -> Result<(), TransferError> {
            unreachable!("only asked for places")
        }
        fn damaged(&self, _: &[ChunkId]) {}
        fn progress(&self, _: &str, _: u64, _: u64) {}
        fn receipt(&self, _: &str) -> Result<Option<SignedReceipt>, TransferError> {
            unreachable!("only asked for places")
        }
        fn run(&self) -> Option<String> {
            None
        }
        fn folder(&self) -> Option<&std::path::Path> {
            None
        }
        fn fail(&self, _: &str) {}
    }

    fn ranges(places: &[(usize, u64, u32)]) -> Vec<(u64, usize, usize)> {
        let needs: Vec<Need> =
            (0..places.len()).map(|n| Need { id: ChunkId([u8::try_from(n).unwrap(); 32]), raw: None }).collect();
        let found = batches(&Map(places.to_vec()), &needs).unwrap();
        found.iter().map(|batch| (batch.start, batch.len(), batch.frames.len())).collect()
    }

    #[test]
    fn neighbours_and_near_neighbours_of_one_pack_are_one_range() {
        assert_eq!(ranges(&[(0, 1100, 50), (0, 8, 1000), (0, 1008, 92)]), [(8, 1142, 3)]);
        let far = 1000 + GAP_MAX + 1;
        assert_eq!(ranges(&[(0, 0, 1000), (0, far, 10)]), [(0, 1000, 1), (far, 10, 1)]);
        assert_eq!(ranges(&[(0, 0, 1000), (1, 1000, 10)]), [(0, 1000, 1), (1000, 10, 1)]);
    }

    #[test]
    fn a_range_is_at_most_a_few_mib() {
        let half = 512 << 10;
        let places: Vec<_> = (0..20_u32).map(|n| (0, u64::from(n) * u64::from(half), half)).collect();
        let found = ranges(&places);
        assert!(found.iter().all(|(_, len, _)| *len as u64 <= RANGE_MAX));
        assert_eq!(found.iter().map(|(_, _, frames)| frames).sum::<usize>(), 20);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_chunk_that_no_pack_has_is_named() {
        let id = ChunkId([9; 32]);
        let error = batches(&Map(Vec::new()), &[Need { id, raw: None }]).unwrap_err();
        assert!(error.to_string().contains(&id.to_string()));
    }

    #[test]
    fn record_and_pack_must_agree_on_the_length() {
        let need = Need { id: ChunkId([0; 32]), raw: Some(4096) };
        let error = batches(&Map(vec![(0, 8, 4000)]), &[need]).unwrap_err();
        assert!(error.to_string().contains("the record says 4096 bytes, the pack 4000"));
    }
}
