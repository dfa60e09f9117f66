//! Packs chunks that the store lacks, and sends full packs while the next one fills.
//!
//! In: verified new chunks, compressed by whoever found them. Out: packs in the store, at most three alive.
//! Promise: a chunk is claimed by one worker at a time; `finish` returns only when the store has synced every pack.

use crate::transfer::{PackSink, TransferError, Upstream};
use ramet_wire::ChunkId;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Most packs in memory or under way at once.
pub const ALIVE_MAX: usize = 3;

/// What a packer has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Chunks.
    pub chunks: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// Bytes of the packs.
    pub stored_bytes: u64,
    /// Packs.
    pub packs: u64,
}

struct Open {
    sink: Option<Pack>,
    /// Claimed by somebody: being compressed, or in a pack that the store has not confirmed yet.
    claimed: HashSet<ChunkId>,
    alive: usize,
    sent: Packed,
}

/// A pack being filled, with the chunks it will confirm.
struct Pack {
    sink: Box<dyn PackSink>,
    ids: Vec<ChunkId>,
    raw_bytes: u64,
}

/// Fills packs from many threads.
pub struct Packer<'a> {
    door: &'a dyn Upstream,
    room: u64,
    open: Mutex<Open>,
    changed: Condvar,
}

impl std::fmt::Debug for Packer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("sent", &self.lock().sent).finish_non_exhaustive()
    }
}

impl<'a> Packer<'a> {
    /// A packer that sends packs of about `room` bytes to `door`.
    #[must_use]
    pub fn new(door: &'a dyn Upstream, room: u64) -> Self {
        let open = Open { sink: None, claimed: HashSet::new(), alive: 0, sent: Packed::default() };
        Self { door, room, open: Mutex::new(open), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of `ids` the caller shall now compress and push: nobody else has claimed them.
    #[must_use]
    pub fn claim(&self, ids: &[ChunkId]) -> Vec<bool> {
        let mut open = self.lock();
        ids.iter().map(|id| open.claimed.insert(*id)).collect()
    }

    /// Adds a claimed chunk. Sends the pack when it is full, on this thread, while others fill the next one.
    ///
    /// # Errors
    /// [`TransferError`]; the run cannot go on.
    pub fn push(&self, id: ChunkId, raw: u32, frame: &[u8]) -> Result<(), TransferError> {
        let mut open = self.lock();
        while open.sink.is_none() && open.alive >= ALIVE_MAX {
            open = self.changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        if open.sink.is_none() {
            open.sink = Some(Pack { sink: self.door.pack(self.room)?, ids: Vec::new(), raw_bytes: 0 });
            open.alive += 1;
        }
        let Some(pack) = &mut open.sink else { return Ok(()) };
        pack.sink.push(id, raw, frame)?;
        pack.ids.push(id);
        pack.raw_bytes += u64::from(raw);
        if !pack.sink.is_full() {
            return Ok(());
        }
        let full = open.sink.take();
        drop(open);
        self.send(full)
    }

    fn send(&self, pack: Option<Pack>) -> Result<(), TransferError> {
        let Some(pack) = pack else { return Ok(()) };
        let sent = pack.sink.finish();
        let mut open = self.lock();
        open.alive -= 1;
        self.changed.notify_all();
        let stored = sent?;
        for id in &pack.ids {
            open.claimed.remove(id);
        }
        open.sent.chunks += pack.ids.len() as u64;
        open.sent.raw_bytes += pack.raw_bytes;
        open.sent.stored_bytes += stored;
        open.sent.packs += 1;
        Ok(())
    }

    /// Sends the last pack. Call it when every worker has ended.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn finish(self) -> Result<Packed, TransferError> {
        let last = self.lock().sink.take();
        self.send(last)?;
        let sent = self.lock().sent;
        Ok(sent)
    }
}
