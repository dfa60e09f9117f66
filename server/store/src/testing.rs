//! Small images for tests of this crate and of those above it.
//!
//! In: chunks of test bytes. Out: packs, segments and signed manifests of them, stored the way a capture does.
//! Promise: only codecs that captures use; every image is one disk without a table, every chunk at its own block.

use crate::commit::CommitError;
use crate::error::StoreError;
use crate::key::SigningKey;
use crate::session::SessionId;
use crate::store::Store;
use ramet_wire::api::Committed;
use ramet_wire::cutting::CUTTING;
use ramet_wire::frame::CHUNK_MAX;
use ramet_wire::manifest::{Content, DiskImage, FORMAT, Manifest, PartitionImage, Source, Stored};
use ramet_wire::segment::{self, Record, RecordKind, SegmentRef};
use ramet_wire::sign::{Domain, Signature};
use ramet_wire::{ByteRange, ChunkId, ImageName, Table, TableKind};
use std::collections::HashSet;

/// Addresses that one test chunk takes.
const SLOT: u64 = CHUNK_MAX as u64;

/// 4096 to 12,288 bytes that zstd can do something with, different for each `seed`.
#[must_use]
pub fn chunk(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let blocks = 1 + usize::try_from(seed % 3).unwrap_or(0);
    let mut bytes = Vec::with_capacity(blocks * 4096);
    while bytes.len() < blocks * 4096 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"the same eight bytes and more...");
    }
    bytes.truncate(blocks * 4096);
    bytes
}

/// An image in memory.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// Its name.
    pub name: ImageName,
    /// Contents of its chunks, in order.
    pub chunks: Vec<Vec<u8>>,
    /// Contents of its segments.
    pub segments: Vec<Vec<u8>>,
    /// Its manifest as it lies.
    pub manifest: Vec<u8>,
}

impl TestImage {
    /// An image of these chunks, `created` being what tells versions apart.
    ///
    /// # Panics
    /// When a name or a length is none.
    #[must_use]
    pub fn new(name: &str, created: &str, chunks: &[Vec<u8>]) -> Self {
        let size = SLOT * (chunks.len() as u64 + 1);
        let records: Vec<Record> = chunks
            .iter()
            .zip(0..)
            .map(|(raw, at)| Record {
                offset: at * SLOT,
                len: u32::try_from(raw.len()).expect("a chunk"),
                kind: RecordKind::Data(ChunkId::of(raw)),
            })
            .collect();
        let mut segments = Vec::new();
        let mut references = Vec::new();
        for span in records.chunk_by(|a, b| a.offset / segment::SPAN == b.offset / segment::SPAN) {
            let first = span[0].offset / segment::SPAN * segment::SPAN;
            for (range, bytes) in segment::encode(span, first, segment::SPAN) {
                references.push(SegmentRef { first: range.start(), len: range.len(), id: ChunkId::of(&bytes) });
                segments.push(bytes);
            }
        }
        let name: ImageName = name.parse().expect("an image name");
        let manifest = manifest(&name, created, size, stored(chunks, references));
        Self { name, chunks: chunks.to_vec(), segments, manifest: manifest.write().expect("a valid manifest") }
    }

    /// Everything it needs in a store.
    pub fn parts(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.chunks.iter().chain(&self.segments)
    }

    /// Stores what `store` lacks of it and commits, as often as chunks turn out to be missing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn capture(&self, store: &Store, key: &SigningKey) -> Result<Committed, StoreError> {
        let session = store.open_session()?;
        let signature = key.sign(Domain::Manifest, &self.manifest)?;
        for _ in 0..20 {
            self.upload(store, session)?;
            match self.commit(store, session, &signature) {
                Ok(committed) => {
                    store.end(session)?;
                    return Ok(committed);
                }
                Err(CommitError::Missing(_)) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        Err(StoreError::Bug(format!("image {} still lacks chunks after 20 rounds", self.name)))
    }

    /// Stores the chunks that `store` lacks, several packs of at most seven chunks.
    ///
    /// # Errors
    /// Those of the store.
    pub fn upload(&self, store: &Store, session: SessionId) -> Result<usize, StoreError> {
        let parts: Vec<&Vec<u8>> = self.parts().collect();
        let ids: Vec<ChunkId> = parts.iter().map(|raw| ChunkId::of(raw)).collect();
        let missing = store.missing(session, &ids)?;
        let mut seen = HashSet::new();
        let wanted: Vec<(ChunkId, &Vec<u8>)> = ids
            .into_iter()
            .zip(parts)
            .zip(missing)
            .filter(|((id, _), missing)| *missing && seen.insert(*id))
            .map(|(part, _)| part)
            .collect();
        for group in wanted.chunks(7) {
            let mut writer = store.pack_writer(session)?;
            for (id, raw) in group {
                writer.push(*id, u32::try_from(raw.len()).unwrap_or(0), &frame(raw))?;
            }
            writer.finish()?;
        }
        Ok(wanted.len())
    }

    /// Commits it.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    pub fn commit(&self, store: &Store, session: SessionId, signature: &Signature) -> Result<Committed, CommitError> {
        store.commit(session, &self.manifest, signature)
    }
}

/// A chunk's frame.
#[must_use]
pub fn frame(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, 3).unwrap_or_default()
}

fn stored(chunks: &[Vec<u8>], segments: Vec<SegmentRef>) -> Stored {
    Stored {
        data_bytes: chunks.iter().map(|raw| raw.len() as u64).sum(),
        zero_bytes: 0,
        digest: Stored::digest_of(&segments),
        segments,
    }
}

fn manifest(name: &ImageName, created: &str, size: u64, stored: Stored) -> Manifest {
    let whole = PartitionImage {
        number: 0,
        range: ByteRange::between(0, size),
        content: Content { kind: "raw".to_owned(), ..Content::default() },
        whole: true,
        used_bytes: stored.data_bytes,
        stored,
    };
    let disk = DiskImage {
        ordinal: 0,
        size,
        logical_sector: 512,
        physical_sector: 512,
        model: None,
        serial: None,
        wwn: None,
        table: Table { kind: TableKind::None, id: None, usable: None, hybrid: false, entries: Vec::new() },
        partitions: vec![whole],
        gaps: self::stored(&[], Vec::new()),
    };
    Manifest {
        format: FORMAT,
        features: Vec::new(),
        name: name.clone(),
        created: created.to_owned(),
        agent: "test".to_owned(),
        source: Source::default(),
        cutting: CUTTING,
        inconsistent: false,
        warnings: Vec::new(),
        firmware: None,
        boot: None,
        disks: vec![disk],
    }
}
