//! An image that travels on the medium, for restores without a network.
//!
//! In: a folder store and an image's name. Out: a folder store that holds exactly this image, with the signature it has.
//! Promise: every chunk is verified while it is copied; nothing of any other image comes along, although packs mix them.

use crate::error::{BuildError, Doing, Result, refused};
use ramet_store::{Access, Clock, Options, PackWriter, SessionId, Store};
use ramet_wire::frame::{CHUNK_MAX, FRAME_MAX, Opener};
use ramet_wire::id::hex;
use ramet_wire::manifest::Manifest;
use ramet_wire::segment::{self, RecordKind};
use ramet_wire::sign::{Domain, Signature};
use ramet_wire::{ChunkId, Fingerprint, ImageRef};
use std::collections::HashSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Chunks asked for at once.
const BATCH: usize = 1024;

/// An image in a store, checked.
#[derive(Debug)]
pub struct Image {
    store: Store,
    manifest: Manifest,
    bytes: Vec<u8>,
    signature: Signature,
    /// `NAME@ID`
    pub image: ImageRef,
    /// Of the key that signed it.
    pub key: Fingerprint,
}

fn failed<E: std::error::Error + Send + Sync + 'static>(what: String) -> impl FnOnce(E) -> BuildError {
    move |error| BuildError::Store { what, source: Box::new(error) }
}

impl Image {
    /// Finds `name` in the store in `dir`.
    ///
    /// # Errors
    /// A refusal when the name is none or the image is damaged; errors of the store, for instance that a server holds it.
    pub fn open(dir: &Path, name: &str) -> Result<Self> {
        let what = || format!("taking image {name} out of the store in {}", dir.display());
        let refuse = |found: String, next: &str| refused(what(), found, next);
        let wanted: ImageRef =
            name.parse().map_err(|error| refuse(format!("{error}"), "give --with-image NAME or NAME@ID"))?;
        let store = Store::open(dir, Access::Read).map_err(failed(what()))?;
        let entry = store.image(&wanted).map_err(failed(what()))?;
        if entry.missing > 0 || entry.problem.is_some() {
            let found = entry.problem.unwrap_or_else(|| format!("it lacks {} chunks", entry.missing));
            return Err(refuse(format!("it is damaged: {found}"), "capture the healthy source again"));
        }
        let image = ImageRef { name: entry.info.name, id: Some(entry.info.id) };
        let (bytes, signature) = store.manifest(&image).map_err(failed(what()))?;
        let key = store.public_key();
        if !key.verifies(Domain::Manifest, &bytes, &signature.0) {
            return Err(refuse(
                format!("its signature is not by the store's key {}", key.fingerprint()),
                "check the store",
            ));
        }
        let manifest = Manifest::read(&bytes).map_err(failed(what()))?;
        Ok(Self { store, manifest, bytes, signature, image, key: key.fingerprint() })
    }

    /// Makes a store in `dir` that holds it and nothing else. `time`, in seconds since 1970, stands where a store writes
    /// the time of day.
    ///
    /// # Errors
    /// When a chunk is missing or damaged; those of the file system.
    pub fn copy_to(&self, dir: &Path, time: u64) -> Result<()> {
        let what = || format!("copying image {}", self.image);
        Store::create(dir, self.store.public_key()).map_err(failed(what()))?;
        let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(time));
        let options = Options { clock, ..Options::default() };
        let copy = Store::open_with(dir, Access::Exclusive, options).map_err(failed(what()))?;
        let session = copy.open_session().map_err(failed(what()))?;
        self.copy_chunks(&copy, session)?;
        copy.commit(session, &self.bytes, &self.signature).map_err(failed(what()))?;
        copy.end(session).map_err(failed(what()))?;
        drop(copy);
        settle(dir).doing(what)
    }

    fn copy_chunks(&self, copy: &Store, session: SessionId) -> Result<()> {
        let mut porter = Porter::new(&self.store, copy, session, self.image.to_string())?;
        for (disk, number, size, stored) in self.manifest.spaces() {
            let mut end = 0;
            for reference in &stored.segments {
                let what = || format!("reading segment {} of disk {disk} partition {number}", reference.id);
                let mut buf = vec![0; CHUNK_MAX as usize];
                let chunk = self.store.read_chunk(reference.id, &mut porter.opener, &mut buf);
                let chunk = chunk.map_err(|error| porter.bad(reference.id, error))?;
                let records =
                    segment::decode(chunk.bytes(), reference, end, size, number.unit()).map_err(failed(what()))?;
                porter.wish(reference.id)?;
                for record in records {
                    end = record.range().end();
                    if let RecordKind::Data(id) = record.kind {
                        porter.wish(id)?;
                    }
                }
            }
        }
        porter.finish()
    }
}

/// Carries frames from one store to another, each once.
struct Porter<'a> {
    from: &'a Store,
    to: &'a Store,
    session: SessionId,
    what: String,
    opener: Opener,
    seen: HashSet<ChunkId>,
    waiting: Vec<ChunkId>,
    pack: Option<PackWriter>,
}

impl<'a> Porter<'a> {
    fn new(from: &'a Store, to: &'a Store, session: SessionId, image: String) -> Result<Self> {
        let what = format!("copying image {image}");
        let opener = Opener::new().doing(|| what.clone())?;
        Ok(Self { from, to, session, what, opener, seen: HashSet::new(), waiting: Vec::new(), pack: None })
    }

    fn failed<E: std::error::Error + Send + Sync + 'static>(&self) -> impl FnOnce(E) -> BuildError + use<E> {
        failed(self.what.clone())
    }

    fn bad(&self, id: ChunkId, found: impl Display) -> BuildError {
        refused(
            self.what.as_str(),
            format!("chunk {id}: {found}"),
            "check the store, and capture the healthy source again",
        )
    }

    fn wish(&mut self, id: ChunkId) -> Result<()> {
        if self.seen.insert(id) {
            self.waiting.push(id);
        }
        if self.waiting.len() >= BATCH { self.carry() } else { Ok(()) }
    }

    fn carry(&mut self) -> Result<()> {
        let ids = std::mem::take(&mut self.waiting);
        let places = self.from.locate(&ids).map_err(self.failed())?;
        let (mut frame, mut raw) = (vec![0; FRAME_MAX as usize], vec![0; CHUNK_MAX as usize]);
        for (id, place) in ids.into_iter().zip(places) {
            let place = place.ok_or_else(|| self.bad(id, "the store lacks it"))?;
            if place.stored > FRAME_MAX || place.raw > CHUNK_MAX {
                return Err(self.bad(id, format!("{} and {} bytes are beyond the limits", place.stored, place.raw)));
            }
            let frame = &mut frame[..place.stored as usize];
            self.from.read_at(&place.pack, place.offset, frame).map_err(|error| self.bad(id, error))?;
            self.opener.open(frame, id, place.raw, &mut raw).map(|_| ()).map_err(|error| self.bad(id, error))?;
            let mut pack = match self.pack.take() {
                Some(pack) => pack,
                None => self.to.pack_writer(self.session).map_err(self.failed())?,
            };
            pack.push(id, place.raw, frame).map_err(self.failed())?;
            if pack.is_full() {
                pack.finish().map_err(self.failed())?;
            } else {
                self.pack = Some(pack);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.carry()?;
        let failed = self.failed();
        match self.pack.take() {
            Some(pack) => pack.finish().map(|_| ()).map_err(failed),
            None => Ok(()),
        }
    }
}

/// Takes away what is different in each copy: sessions and leases are over, map files get the hash of their bytes as name.
fn settle(dir: &Path) -> std::io::Result<()> {
    for folder in ["sessions", "leases", "tmp"] {
        for entry in fs::read_dir(dir.join(folder))? {
            fs::remove_file(entry?.path())?;
        }
    }
    for entry in fs::read_dir(dir.join("map"))? {
        let path = entry?.path();
        let digest = ring::digest::digest(&ring::digest::SHA256, &fs::read(&path)?);
        fs::rename(&path, path.with_file_name(format!("{}.map", &hex(digest.as_ref())[..32])))?;
    }
    Ok(())
}
