//! Building a pack straight into the store: what an agent does that captures into a folder.
//!
//! In: frames that this process made. Out: a durable pack that everybody finds.
//! Promise: sync the file, rename, sync the folder, then the map, then the answer; nothing is verified a second time.

use crate::bulk::NewPack;
use crate::error::{Doing, StoreError};
use crate::files::TempFile;
use crate::session::SessionId;
use crate::store::Store;
use ramet_wire::pack::{PackBuilder, PackEntry};
use ramet_wire::{ChunkId, PackName};
use std::io::BufWriter;

/// A pack being written. Dropped without [`PackWriter::finish`], it was never there.
#[must_use = "an unfinished pack is removed"]
pub struct PackWriter {
    store: Store,
    session: SessionId,
    builder: PackBuilder<BufWriter<TempFile>>,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter").field("session", &self.session).field("builder", &self.builder).finish()
    }
}

impl Store {
    /// Starts a pack.
    ///
    /// # Errors
    /// [`StoreError::NoSession`], [`StoreError::Access`]; those of the file system.
    pub fn pack_writer(&self, session: SessionId) -> Result<PackWriter, StoreError> {
        self.may_write("writing a pack")?;
        self.renew(session)?;
        Ok(PackWriter { store: self.clone(), session, builder: self.pack_builder()? })
    }

    pub(crate) fn pack_builder(&self) -> Result<PackBuilder<BufWriter<TempFile>>, StoreError> {
        let doing = || "starting a pack".to_owned();
        let out = BufWriter::with_capacity(1 << 20, self.0.desk.temp().doing(doing)?);
        PackBuilder::new(out).doing(doing)
    }

    /// Makes a finished pack durable and known. Whoever calls has made its frames or verified them.
    pub(crate) fn add_pack(
        &self,
        name: PackName,
        len: u64,
        entries: &[PackEntry],
        file: TempFile,
    ) -> Result<(), StoreError> {
        // A pack of this name that is to be deleted stays: said before, so that nobody deletes the new file, and after,
        // because a collect may have condemned it meanwhile. Not held in between: syncs of several packs overlap.
        self.reprieve(&name)?;
        self.0.bulk.put(&name, NewPack(file)).doing(|| format!("writing pack {name}"))?;
        self.0.map.insert(name, len, entries)?;
        self.absolve(&name)?;
        self.reprieve(&name)
    }

    /// The pack is there, and nothing bad is known of it.
    pub(crate) fn has_good_pack(&self, name: &PackName) -> bool {
        let marks = self.0.map.marks();
        self.0.map.knows(name) && !marks.condemned.contains_key(name) && !marks.strikes.contains_key(name)
    }

    /// Finishes `builder` and adds the pack.
    pub(crate) fn finish_pack(&self, builder: PackBuilder<BufWriter<TempFile>>) -> Result<PackName, StoreError> {
        let doing = || "finishing a pack".to_owned();
        let built = builder.finish().doing(doing)?;
        let file = built.out.into_inner().map_err(|error| error.into_error()).doing(doing)?;
        if !self.has_good_pack(&built.name) {
            self.add_pack(built.name, built.len, &built.entries, file)?;
        }
        Ok(built.name)
    }
}

impl PackWriter {
    /// Appends one chunk. The caller made `frame` from the chunk's `raw` bytes; an id may come only once per pack.
    ///
    /// # Errors
    /// [`StoreError::Full`] and others of the file system; `InvalidInput` for a length outside the limits.
    pub fn push(&mut self, id: ChunkId, raw: u32, frame: &[u8]) -> Result<(), StoreError> {
        self.builder.push(id, raw, frame).doing(|| format!("writing chunk {id} into a pack"))
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.builder.len()
    }

    /// No chunk yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Time to finish.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.builder.is_full()
    }

    /// Makes the pack durable and its chunks known. Takes one sync of the file.
    ///
    /// # Errors
    /// [`StoreError::NoSession`] when the session lapsed meanwhile; those of the file system. Nothing is left then.
    pub fn finish(self) -> Result<PackName, StoreError> {
        self.store.renew(self.session)?;
        self.store.finish_pack(self.builder)
    }
}
