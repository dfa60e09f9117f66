//! The door to a store in a folder: a USB disk, a mounted share.
//!
//! In: a folder, an image name. Out: both traits, without a server.
//! Promise: the private key lies outside the folder; whoever restores without a pinned key is told what that means.

use super::{ChunkAt, Commit, Downstream, Located, PackAt, PackSink, TransferError, Upstream};
use ramet_store::key::{SigningKey, default_key_folder, default_key_path, generate_in};
use ramet_store::{Access, CommitError, PackWriter, SessionId, Store, StoreError, WhatNow};
use ramet_wire::api::{ErrorKind, ImageInfo};
use ramet_wire::receipt::{Origin, SignedReceipt};
use ramet_wire::sign::Domain;
use ramet_wire::{ChunkId, Fingerprint, ImageRef};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn failed(what: &str) -> impl Fn(StoreError) -> TransferError + '_ {
    move |source| {
        let kind = match source.what_now() {
            WhatNow::Retry => ErrorKind::Retry,
            WhatNow::Refused => ErrorKind::Refused,
            WhatNow::Damaged => ErrorKind::Damaged,
            WhatNow::Bug => ErrorKind::Bug,
        };
        TransferError::Store { what: what.to_owned(), kind, source: Box::new(source) }
    }
}

fn refused(what: &str, message: String) -> TransferError {
    TransferError::Answer { what: what.to_owned(), kind: ErrorKind::Refused, message }
}

/// A capture into a folder: one session, one signing key.
#[derive(Debug)]
pub struct Folder {
    store: Store,
    session: SessionId,
    key: SigningKey,
}

impl Folder {
    /// Opens the store in `dir`; an empty or missing folder becomes one, with a key of its own outside of it.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn for_capture(dir: &Path) -> Result<Self, TransferError> {
        let what = format!("opening store {}", dir.display());
        let store = match Store::open(dir, Access::Shared) {
            Err(StoreError::NoStore { .. }) => create(dir, &what)?,
            opened => opened.map_err(failed(&what))?,
        };
        let public = store.public_key();
        let path = default_key_path(&public).ok_or_else(|| refused(&what, no_home()))?;
        if !path.exists() {
            let message = format!(
                "its images are signed with key {}, whose private half is not here; copy it to {} or capture where it is",
                public.fingerprint(),
                path.display()
            );
            return Err(refused(&what, message));
        }
        let key = SigningKey::load(&path).map_err(failed(&what))?;
        let session = store.open_session().map_err(failed(&what))?;
        Ok(Self { store, session, key })
    }
}

fn no_home() -> String {
    "neither XDG_CONFIG_HOME nor HOME is set: there is no place for the folder's private key".to_owned()
}

fn create(dir: &Path, what: &str) -> Result<Store, TransferError> {
    let folder = default_key_folder().ok_or_else(|| refused(what, no_home()))?;
    let key = generate_in(&folder).map_err(failed(what))?;
    Store::create(dir, key.public_key()).map_err(failed(what))?;
    tell!("new store in {}, signed with key {}", dir.display(), key.public_key().fingerprint());
    Store::open(dir, Access::Shared).map_err(failed(what))
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What no image reaches is kept for some days whether or not this is said.
        let _ = self.store.end(self.session);
    }
}

impl Upstream for Folder {
    fn missing(&self, ids: &[ChunkId]) -> Result<Vec<bool>, TransferError> {
        self.store.missing(self.session, ids).map_err(failed("asking which chunks are missing"))
    }

    fn pack(&self, _room: u64) -> Result<Box<dyn PackSink>, TransferError> {
        let writer = self.store.pack_writer(self.session).map_err(failed("starting a pack"))?;
        Ok(Box::new(FolderPack { store: self.store.clone(), writer }))
    }

    fn commit(&self, manifest: &[u8]) -> Result<Commit, TransferError> {
        let what = "publishing the image";
        let signature = self.key.sign(Domain::Manifest, manifest).map_err(failed(what))?;
        match self.store.commit(self.session, manifest, &signature) {
            Ok(done) => Ok(Commit::Done(done.id)),
            Err(CommitError::Missing(ids)) => Ok(Commit::Missing(ids)),
            Err(CommitError::Store(error)) => Err(failed(what)(error)),
        }
    }

    fn progress(&self, _step: &str, _done: u64, _total: u64) {
        let _ = self.store.renew(self.session);
    }

    fn fail(&self, _error: &str) {}
}

struct FolderPack {
    store: Store,
    writer: PackWriter,
}

impl PackSink for FolderPack {
    fn push(&mut self, id: ChunkId, raw: u32, frame: &[u8]) -> Result<(), TransferError> {
        self.writer.push(id, raw, frame).map_err(failed("writing a pack"))
    }

    fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    fn finish(self: Box<Self>) -> Result<u64, TransferError> {
        let pack = self.writer.finish().map_err(failed("finishing a pack"))?;
        Ok(self.store.pack_len(&pack).map_err(failed("finishing a pack"))?.unwrap_or_default())
    }
}

/// A restore from a folder: one version of one image.
#[derive(Debug)]
pub struct Shelf {
    store: Store,
    dir: PathBuf,
    info: ImageInfo,
    key: Option<Fingerprint>,
}

impl Shelf {
    /// Opens the store in `dir` for `image`. With `key`, the folder's own key must be that one; without, `accept` is
    /// asked whether integrity alone is enough.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn open(
        dir: &Path,
        image: &ImageRef,
        key: Option<Fingerprint>,
        accept: &dyn Fn(Fingerprint) -> bool,
    ) -> Result<Self, TransferError> {
        let what = format!("opening image {image} in {}", dir.display());
        // A medium that can be written also learns of damage; one that cannot is restored from all the same.
        let store = match Store::open(dir, Access::Shared) {
            Err(StoreError::Io { .. }) => Store::open(dir, Access::Read),
            opened => opened,
        };
        let store = store.map_err(failed(&what))?;
        let found = store.public_key().fingerprint();
        let trusted = key.map_or_else(|| accept(found), |key| key == found);
        if !trusted {
            let wanted = key
                .map_or_else(|| "none; pass --key, or --yes to check integrity only".to_owned(), |key| key.to_string());
            return Err(TransferError::Identity { what, found: found.to_string(), wanted });
        }
        let entry = store.image(image).map_err(failed(&what))?;
        if let Some(problem) = entry.problem {
            return Err(TransferError::Damaged { what, message: problem });
        }
        Ok(Self { store, dir: dir.to_owned(), info: entry.info, key })
    }
}

impl Downstream for Shelf {
    fn image(&self) -> Result<ImageInfo, TransferError> {
        let image = ImageRef { name: self.info.name.clone(), id: Some(self.info.id) };
        Ok(self.store.image(&image).map_err(failed("asking for the image's state"))?.info)
    }

    fn manifest(&self) -> Result<(Vec<u8>, Origin), TransferError> {
        let image = ImageRef { name: self.info.name.clone(), id: Some(self.info.id) };
        let what = format!("reading the manifest of {image}");
        let (bytes, signature) = self.store.manifest(&image).map_err(failed(&what))?;
        let key = self.store.public_key();
        if !key.verifies(Domain::Manifest, &bytes, &signature.0) {
            let found = "a signature that does not verify".to_owned();
            return Err(TransferError::Identity { what, found, wanted: key.fingerprint().to_string() });
        }
        let origin = if self.key.is_some() { Origin::Pinned } else { Origin::IntegrityOnly };
        Ok((bytes, origin(key.fingerprint())))
    }

    fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError> {
        let places = self.store.locate(ids).map_err(failed("asking where chunks are"))?;
        let mut located = Located::default();
        let mut known = std::collections::HashMap::new();
        for place in places {
            let chunk = place.map(|place| {
                let pack = *known.entry(place.pack).or_insert_with(|| {
                    located.packs.push(PackAt { pack: place.pack, url: Arc::from("") });
                    located.packs.len() - 1
                });
                ChunkAt { pack, offset: place.offset, stored: place.stored, raw: place.raw }
            });
            located.chunks.push(chunk);
        }
        Ok(located)
    }

    fn read(&self, pack: &PackAt, offset: u64, buf: &mut [u8]) -> Result<(), TransferError> {
        let what = format!("reading pack {}", pack.pack);
        self.store.read_at(&pack.pack, offset, buf).map_err(|error| {
            let gone = error.kind() == std::io::ErrorKind::NotFound;
            let kind = if gone { ErrorKind::Retry } else { ErrorKind::Damaged };
            TransferError::Answer { what, kind, message: error.to_string() }
        })
    }

    fn damaged(&self, ids: &[ChunkId]) {
        for ids in ids.chunks(ramet_wire::api::IDS_MAX) {
            let _ = self.store.report_damage(ids);
        }
    }

    fn progress(&self, _step: &str, _done: u64, _total: u64) {}

    fn receipt(&self, _receipt: &str) -> Result<Option<SignedReceipt>, TransferError> {
        Ok(None)
    }

    fn run(&self) -> Option<String> {
        None
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.dir)
    }

    fn fail(&self, _error: &str) {}
}
