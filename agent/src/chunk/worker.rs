//! Hashes the pieces of a batch, asks the store which it lacks, and compresses those.
//!
//! In: batches, from one queue, on as many threads as there are processors. Out: records, and chunks in packs.
//! Promise: a record is handed on only when its chunk is in the store or in a pack on its way there.

use super::pack::Packer;
use super::read::Batch;
use crate::transfer::{TransferError, Upstream};
use ramet_wire::ChunkId;
use ramet_wire::api::IDS_MAX;
use ramet_wire::segment::{Record, RecordKind};
use zstd::zstd_safe::{CParameter, Strategy};

/// How hard zstd tries. On chunks of a Debian level 2 takes two thirds of level 3's time and 1.7 % more room;
/// level 1 would take 4 % more for another 10 % of speed.
const LEVEL: i32 = 2;
/// Level 2 has two tables of 64 KiB for chunks over 128 KiB, and one of 128 KiB below. One of 64 KiB for all stays in
/// the processor's cache: an eighth less time for 0.5 % more room.
const TABLE: [CParameter; 3] =
    [CParameter::Strategy(Strategy::ZSTD_fast), CParameter::HashLog(14), CParameter::MinMatch(5)];

/// What became of a batch.
#[derive(Debug)]
pub struct Worked {
    /// Its place in the order.
    pub seq: u64,
    /// Index of the space.
    pub space: usize,
    /// Its records, ascending.
    pub records: Vec<Record>,
    /// Data bytes that the store already had.
    pub present_bytes: u64,
    /// All bytes of its pieces.
    pub bytes: u64,
}

/// One thread's tools.
pub struct Worker<'a> {
    door: &'a dyn Upstream,
    packer: &'a Packer<'a>,
    zstd: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
}

impl std::fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl<'a> Worker<'a> {
    /// Tools for one thread.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new(door: &'a dyn Upstream, packer: &'a Packer<'a>) -> std::io::Result<Self> {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        // The id proves the content; a checksum in each frame would only add four bytes.
        zstd.include_checksum(false)?;
        TABLE.iter().try_for_each(|parameter| zstd.set_parameter(*parameter))?;
        Ok(Self { door, packer, zstd, frame: Vec::new() })
    }

    /// Works through one batch.
    ///
    /// # Errors
    /// [`TransferError`]; the run cannot go on.
    pub fn work(&mut self, batch: &Batch) -> Result<Worked, TransferError> {
        let bytes = batch.bytes.as_deref().unwrap_or_default();
        let mut records = Vec::with_capacity(batch.pieces.len());
        let mut new: Vec<(ChunkId, &[u8])> = Vec::new();
        let mut total = 0;
        for (offset, piece) in &batch.pieces {
            let (offset, len) = (*offset, u32::try_from(piece.len).unwrap_or(u32::MAX));
            total += u64::from(len);
            let kind = if piece.zero {
                RecordKind::Zero
            } else {
                let raw = &bytes[piece.at..piece.at + piece.len];
                let id = ChunkId::of(raw);
                new.push((id, raw));
                RecordKind::Data(id)
            };
            records.push(Record { offset, len, kind });
        }
        let present_bytes = self.store(&new)?;
        Ok(Worked { seq: batch.seq, space: batch.space, records, present_bytes, bytes: total })
    }

    /// Sends those of `chunks` that the store lacks; returns the raw bytes of those it has.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn store(&mut self, chunks: &[(ChunkId, &[u8])]) -> Result<u64, TransferError> {
        let mut present = 0;
        for asked in chunks.chunks(IDS_MAX) {
            let ids: Vec<ChunkId> = asked.iter().map(|chunk| chunk.0).collect();
            let missing = self.door.missing(&ids)?;
            let mut lacking = Vec::new();
            for (chunk, missing) in asked.iter().zip(missing) {
                if missing {
                    lacking.push(*chunk);
                } else {
                    present += chunk.1.len() as u64;
                }
            }
            let ids: Vec<ChunkId> = lacking.iter().map(|chunk| chunk.0).collect();
            for ((id, raw), mine) in lacking.into_iter().zip(self.packer.claim(&ids)) {
                if mine {
                    self.compress(id, raw)?;
                }
            }
        }
        Ok(present)
    }

    fn compress(&mut self, id: ChunkId, raw: &[u8]) -> Result<(), TransferError> {
        let zstd_failed = |error: std::io::Error| TransferError::Damaged {
            what: format!("compressing chunk {id}"),
            message: error.to_string(),
        };
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.zstd.compress_to_buffer(raw, &mut self.frame).map_err(zstd_failed)?;
        let len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        self.packer.push(id, len, &self.frame)
    }
}
