//! One open store.
//!
//! In: questions of captures and restores. Out: places and bytes of chunks, sessions, figures.
//! Promise: many threads may ask at once; a chunk is handed out only after it was verified.

use crate::bulk::Bulk;
use crate::error::{Doing, StoreError};
use crate::files::Desk;
use crate::image::Images;
use crate::lock::{Access, Lock};
use crate::map::{Location, Map};
use crate::options::Options;
use crate::session::{SessionId, Sessions};
use crate::upload::Gate;
use ramet_wire::frame::{FRAME_MAX, Opener, VerifiedChunk};
use ramet_wire::sign::PublicKey;
use ramet_wire::{ChunkId, PackName};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store, open. Clones are the same store; it is closed when the last of them is dropped.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) options: Options,
    pub(crate) desk: Desk,
    pub(crate) key: PublicKey,
    pub(crate) bulk: Arc<dyn Bulk>,
    pub(crate) map: Map,
    pub(crate) sessions: Sessions,
    pub(crate) images: Images,
    /// Held by whoever publishes an image, condemns, deletes or replaces packs.
    pub(crate) publish: Mutex<()>,
    /// Held while a collect or a repairing check runs.
    pub(crate) upkeep: Mutex<()>,
    /// Held while strikes or condemnations are written down.
    pub(crate) saving: Mutex<()>,
    /// Packs replaced by good files in this process; what others wrote down of them is old.
    pub(crate) absolved: Mutex<HashSet<PackName>>,
    pub(crate) gate: Gate,
    pub(crate) lock: Lock,
    /// Where a store opened for reading writes.
    pub(crate) scratch: Option<PathBuf>,
}

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Packs.
    pub packs: u64,
    /// Bytes of all packs.
    pub pack_bytes: u64,
    /// Packs that are to be deleted.
    pub condemned_packs: u64,
    /// Bytes of these.
    pub condemned_bytes: u64,
    /// Records of chunks; one that lies in two packs counts twice.
    pub chunks: u64,
    /// Chunks found damaged and not yet removed.
    pub struck_chunks: u64,
    /// Versions of images.
    pub images: u64,
    /// Captures under way.
    pub sessions: u64,
}

impl Store {
    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// What it was opened for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access
    }

    /// The key that signed the images in it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.key
    }

    /// Begins a session: a capture does so before its first question.
    ///
    /// # Errors
    /// [`StoreError::Access`] in a store opened for reading; those of the file system.
    pub fn open_session(&self) -> Result<SessionId, StoreError> {
        self.may_write("opening a session")?;
        self.0.sessions.start()
    }

    /// Says that a session lives. Every call that takes a session says so, too.
    ///
    /// # Errors
    /// [`StoreError::NoSession`]; those of the file system.
    pub fn renew(&self, session: SessionId) -> Result<(), StoreError> {
        self.0.sessions.renew(session)
    }

    /// Ends a session. What it stored and no image reaches is kept for some days.
    ///
    /// # Errors
    /// [`StoreError::NoSession`]; those of the file system.
    pub fn end(&self, session: SessionId) -> Result<(), StoreError> {
        self.0.sessions.end(session)?;
        self.0.map.spill()
    }

    /// Which of these chunks the store lacks. Condemned ones are missing.
    ///
    /// # Errors
    /// [`StoreError::NoSession`]; those of the file system.
    pub fn missing(&self, session: SessionId, ids: &[ChunkId]) -> Result<Vec<bool>, StoreError> {
        self.renew(session)?;
        let found = self.0.map.locate(ids)?;
        Ok(found.iter().map(|place| !matches!(place, Some((_, false)))).collect())
    }

    /// Where these chunks lie. Condemned ones are still served.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn locate(&self, ids: &[ChunkId]) -> Result<Vec<Option<Location>>, StoreError> {
        Ok(self.0.map.locate(ids)?.into_iter().map(|found| found.map(|(place, _)| place)).collect())
    }

    /// Reads exactly `buf.len()` bytes of a pack.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::NotFound`] when the pack is gone (ask again where the chunk lies), `UnexpectedEof` past
    /// its end.
    pub fn read_at(&self, pack: &PackName, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.bulk.read_at(pack, offset, buf)
    }

    /// The length of a pack in bytes; none when there is no such pack.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn pack_len(&self, pack: &PackName) -> Result<Option<u64>, StoreError> {
        Ok(self.0.bulk.stat(pack).doing(|| format!("looking for pack {pack}"))?.map(|listed| listed.len))
    }

    /// Reads one chunk, verified. A damaged copy is struck at once, and another one tried.
    ///
    /// # Errors
    /// [`StoreError::NoChunk`] when no good copy is left; those of the file system.
    pub fn read_chunk<'b>(
        &self,
        id: ChunkId,
        opener: &mut Opener,
        buf: &'b mut [u8],
    ) -> Result<VerifiedChunk<'b>, StoreError> {
        loop {
            let place = self.0.map.locate(&[id])?.pop().flatten().ok_or(StoreError::NoChunk(id))?.0;
            match self.read_frame(id, &place, opener, buf)? {
                Ok(_) => {
                    let raw = buf.get(..place.raw as usize).unwrap_or_default();
                    return VerifiedChunk::verify(id, raw).map_err(|error| StoreError::damaged(id.to_string(), error));
                }
                Err(reason) => {
                    tracing::warn!(chunk = %id, pack = %place.pack, reason, "striking a damaged chunk");
                    self.strike_here(&[(id, place.pack)])?;
                }
            }
        }
    }

    /// Reads and verifies the frame at `place`: the frame's bytes, or what is wrong with it.
    pub(crate) fn read_frame(
        &self,
        id: ChunkId,
        place: &Location,
        opener: &mut Opener,
        buf: &mut [u8],
    ) -> Result<Result<Vec<u8>, String>, StoreError> {
        if place.stored > FRAME_MAX {
            return Ok(Err(format!("stored length is {}, {FRAME_MAX} are allowed", place.stored)));
        }
        let mut frame = vec![0; place.stored as usize];
        match self.0.bulk.read_at(&place.pack, place.offset, &mut frame) {
            Ok(()) => {}
            Err(error) if is_damage(&error) => return Ok(Err(error.to_string())),
            Err(error) => {
                return Err(StoreError::io(format!("reading chunk {id} from pack {}", place.pack), error));
            }
        }
        Ok(match opener.open(&frame, id, place.raw, buf) {
            Ok(_) => Ok(frame),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Figures.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let (packs, marks) = (self.0.map.packs(), self.0.map.marks());
        let condemned = packs.iter().filter(|pack| marks.condemned.contains_key(&pack.name));
        Ok(Stats {
            packs: packs.len() as u64,
            pack_bytes: packs.iter().map(|pack| pack.len).sum(),
            condemned_packs: condemned.clone().count() as u64,
            condemned_bytes: condemned.map(|pack| pack.len).sum(),
            chunks: self.0.map.records(),
            struck_chunks: marks.strikes.values().map(|ids| ids.len() as u64).sum(),
            images: self.0.images.list()?.len() as u64,
            sessions: self.0.sessions.live() as u64,
        })
    }

    pub(crate) fn may_write(&self, doing: &'static str) -> Result<(), StoreError> {
        if self.0.access.writes() { Ok(()) } else { Err(StoreError::Access { doing }) }
    }

    /// Waits for a lock between processes that share the folder; it lasts until the file is dropped.
    pub(crate) fn lock_file(&self, name: &str) -> Result<fs::File, StoreError> {
        let path = self.0.dir.join("state").join(name);
        let doing = || format!("locking {}", path.display());
        let file = fs::File::options().create(true).append(true).open(&path).doing(doing)?;
        match file.lock() {
            Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(StoreError::io(doing(), error)),
            _ => Ok(file),
        }
    }

    pub(crate) fn publishing(&self) -> MutexGuard<'_, ()> {
        self.0.publish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            let _ = fs::remove_dir_all(scratch);
        } else if let Err(error) = self.map.spill() {
            // Harmless: the next opening reads the packs' own tables.
            tracing::debug!(%error, "not writing the last map file");
        }
    }
}

/// Errors that say that the bytes are gone or bad, not that the machine has a problem.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof) || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}
