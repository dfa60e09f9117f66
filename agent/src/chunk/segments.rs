//! Gathers records in order and makes segments of them.
//!
//! In: worked batches, in any order. Out: each space's segments, as chunks sent to the store, and its sums.
//! Promise: records of a segment are ascending; neighbouring zero runs of one segment are one record.

use super::worker::{Worked, Worker};
use crate::transfer::TransferError;
use ramet_wire::ChunkId;
use ramet_wire::manifest::Stored;
use ramet_wire::segment::{self, Record, RecordKind, SPAN, SegmentRef};
use std::collections::BTreeMap;

/// Bytes that the segments of most disks fit into, compressed.
pub const SEGMENTS_ROOM: u64 = 1 << 20;

/// Orders batches and closes segments.
pub struct Segments<'a> {
    worker: Worker<'a>,
    waiting: BTreeMap<u64, Worked>,
    next: u64,
    space: usize,
    records: Vec<Record>,
    stored: Vec<Stored>,
}

impl std::fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("next", &self.next).field("space", &self.space).finish_non_exhaustive()
    }
}

impl<'a> Segments<'a> {
    /// Segments of `spaces` spaces, sent by `worker` into packs of their own.
    #[must_use]
    pub fn new(worker: Worker<'a>, spaces: usize) -> Self {
        let empty = Stored { data_bytes: 0, zero_bytes: 0, segments: Vec::new(), digest: Stored::digest_of(&[]) };
        let stored = vec![empty; spaces];
        Self { worker, waiting: BTreeMap::new(), next: 0, space: 0, records: Vec::new(), stored }
    }

    /// Takes one batch, whatever its place in the order.
    ///
    /// # Errors
    /// [`TransferError`] when a segment cannot be sent.
    pub fn add(&mut self, worked: Worked) -> Result<(), TransferError> {
        self.waiting.insert(worked.seq, worked);
        while let Some(worked) = self.waiting.remove(&self.next) {
            self.next += 1;
            if worked.space != self.space {
                self.close()?;
                self.space = worked.space;
            }
            for record in worked.records {
                self.append(record)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, record: Record) -> Result<(), TransferError> {
        if let Some(last) = self.records.last_mut() {
            if last.offset / SPAN != record.offset / SPAN {
                self.close()?;
            } else if last.kind == RecordKind::Zero
                && record.kind == RecordKind::Zero
                && last.range().end() == record.offset
            {
                // Both lie in one span of 1 GiB, so the sum fits.
                last.len += record.len;
                return Ok(());
            }
        }
        self.records.push(record);
        Ok(())
    }

    fn close(&mut self) -> Result<(), TransferError> {
        let records = std::mem::take(&mut self.records);
        let (Some(first), Some(stored)) = (records.first(), self.stored.get_mut(self.space)) else { return Ok(()) };
        for record in &records {
            let sum = if record.kind == RecordKind::Zero { &mut stored.zero_bytes } else { &mut stored.data_bytes };
            *sum += u64::from(record.len);
        }
        for (range, bytes) in segment::encode(&records, first.offset / SPAN * SPAN, SPAN) {
            let id = ChunkId::of(&bytes);
            stored.segments.push(SegmentRef { first: range.start(), len: range.len(), id });
            self.worker.store(&[(id, &bytes)])?;
        }
        Ok(())
    }

    /// Closes the last segment; one [`Stored`] per space, in their order.
    ///
    /// # Errors
    /// [`TransferError`] when a segment cannot be sent.
    pub fn finish(mut self) -> Result<Vec<Stored>, TransferError> {
        self.close()?;
        for stored in &mut self.stored {
            stored.digest = Stored::digest_of(&stored.segments);
        }
        Ok(self.stored)
    }
}
