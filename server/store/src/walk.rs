//! Everything that an image is made of.
//!
//! In: a manifest. Out: the ids of its segments and, from the segments read and verified, of its chunks.
//! Promise: memory is one segment and one batch of ids, however large the image is.

use crate::error::StoreError;
use crate::store::Store;
use ramet_wire::ChunkId;
use ramet_wire::api::IDS_MAX;
use ramet_wire::frame::{CHUNK_MAX, Opener};
use ramet_wire::manifest::Manifest;
use ramet_wire::segment::{self, RecordKind};
use std::collections::HashSet;

/// What a walk comes by.
pub(crate) enum Seen<'a> {
    /// Segments and chunks of the image, at most [`IDS_MAX`] at a time; ids may come more than once.
    Chunks(&'a [ChunkId]),
    /// A segment that is not in the store, or only damaged: what it lists is unknown.
    LostSegment(ChunkId),
}

/// Segments that need not be entered again, bounded.
#[derive(Debug, Default)]
pub(crate) struct Visited(HashSet<ChunkId>);

impl Visited {
    /// 2^18 ids take about 10 MiB; beyond that segments are read again, which costs only time.
    const MAX: usize = 1 << 18;

    pub(crate) fn insert(&mut self, id: ChunkId) {
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        self.0.insert(id);
    }
}

impl Store {
    /// Walks one image. Segments in `visited` are not entered; those entered whole are added by the caller's choice:
    /// `each` returns whether all was well with what it was given, and a segment is remembered only then.
    ///
    /// # Errors
    /// Those of `each` and of the file system; [`StoreError::Damaged`] for a segment that breaks the format's rules.
    pub(crate) fn walk(
        &self,
        manifest: &Manifest,
        visited: &mut Visited,
        each: &mut dyn FnMut(Seen<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut opener = Opener::new().map_err(|error| StoreError::io("starting zstd".to_owned(), error))?;
        let mut buf = vec![0; CHUNK_MAX as usize];
        for (disk, number, size, stored) in manifest.spaces() {
            let object =
                |index: usize| format!("segment {index} of disk {disk} partition {number} of image {}", manifest.name);
            let mut end = 0;
            let (mut data, mut zero) = (0_u64, 0_u64);
            let mut whole = true;
            for (index, reference) in stored.segments.iter().enumerate() {
                if visited.0.contains(&reference.id) {
                    whole = false;
                    end = end.max(reference.first);
                    continue;
                }
                let bytes = match self.read_chunk(reference.id, &mut opener, &mut buf) {
                    Ok(chunk) => chunk.bytes(),
                    Err(StoreError::NoChunk(_)) => {
                        each(Seen::LostSegment(reference.id))?;
                        whole = false;
                        end = end.max(reference.first);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let records = segment::decode(bytes, reference, end, size, number.unit())
                    .map_err(|error| StoreError::damaged(object(index), error))?;
                let mut ids = vec![reference.id];
                for record in &records {
                    end = record.range().end();
                    match record.kind {
                        RecordKind::Data(id) => {
                            ids.push(id);
                            data += u64::from(record.len);
                        }
                        RecordKind::Zero => zero += u64::from(record.len),
                    }
                }
                let mut good = true;
                for batch in ids.chunks(IDS_MAX) {
                    good &= each(Seen::Chunks(batch))?;
                }
                if good {
                    visited.insert(reference.id);
                }
            }
            if whole && (data, zero) != (stored.data_bytes, stored.zero_bytes) {
                let reason = format!(
                    "its segments hold {data} data and {zero} zero bytes, the manifest says {} and {}",
                    stored.data_bytes, stored.zero_bytes
                );
                return Err(StoreError::damaged(
                    format!("disk {disk} partition {number} of {}", manifest.name),
                    reason,
                ));
            }
        }
        Ok(())
    }
}
