//! The step that makes an image of what was stored.
//!
//! In: a session, a manifest, its signature. Out: an image with the next number, or the ids of what is still missing.
//! Promise: in the step that publishes, every segment and chunk is there and not condemned.

use crate::error::StoreError;
use crate::image::{CommitFile, ImageKey};
use crate::session::SessionId;
use crate::store::Store;
use crate::walk::{Seen, Visited};
use ramet_wire::api::{Committed, IDS_MAX};
use ramet_wire::manifest::Manifest;
use ramet_wire::sign::{Domain, Signature};
use ramet_wire::{ChunkId, ImageId};

/// Why an image was not published.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// These chunks are missing: store them and commit again. At most [`IDS_MAX`] of them.
    #[error("{} chunks are missing in the store, the first is {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Missing(Vec<ChunkId>),
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Publishes an image. The same manifest once more gets the same answer.
    ///
    /// # Errors
    /// [`CommitError::Missing`]; [`StoreError::BadManifest`] when the manifest breaks a rule, its signature is not by
    /// the store's key, or its segments do; [`StoreError::NoSession`]; those of the file system.
    pub fn commit(
        &self,
        session: SessionId,
        manifest_bytes: &[u8],
        signature: &Signature,
    ) -> Result<Committed, CommitError> {
        self.may_write("committing an image")?;
        self.renew(session)?;
        let manifest = self.check_manifest(manifest_bytes, signature)?;
        // Looked at once without standing in anybody's way, and in the publishing step only if something went since.
        let removals = self.0.map.removals();
        let missing = self.missing_of(&manifest)?;
        if !missing.is_empty() {
            return Err(CommitError::Missing(missing));
        }
        let _publishing = self.publishing();
        // Other processes that capture into the same folder must not take the same number.
        let _numbering = self.lock_file("numbering")?;
        if self.0.map.removals() != removals {
            let missing = self.missing_of(&manifest)?;
            if !missing.is_empty() {
                return Err(CommitError::Missing(missing));
            }
        }
        if !self.0.lock.is_held() {
            let holder = "another host, which took it over while this one could not be reached".to_owned();
            return Err(StoreError::Held { dir: self.0.dir.clone(), holder }.into());
        }
        Ok(self.publish(manifest_bytes, signature, &manifest)?)
    }

    fn check_manifest(&self, bytes: &[u8], signature: &Signature) -> Result<Manifest, StoreError> {
        let refused = |name: String, reason: String| StoreError::BadManifest { name, reason };
        let manifest = Manifest::read(bytes)
            .map_err(|error| refused(format!("with id {}", ImageId::of(bytes)), error.to_string()))?;
        if !self.0.key.verifies(Domain::Manifest, bytes, &signature.0) {
            let reason = format!("its signature is not by this store's key {}", self.0.key.fingerprint());
            return Err(refused(manifest.name.to_string(), reason));
        }
        Ok(manifest)
    }

    /// Segments and chunks that are not there or condemned, at most [`IDS_MAX`].
    fn missing_of(&self, manifest: &Manifest) -> Result<Vec<ChunkId>, StoreError> {
        let mut missing = Vec::new();
        let mut add = |id: ChunkId| {
            if missing.len() < IDS_MAX && !missing.contains(&id) {
                missing.push(id);
            }
        };
        let mut visited = Visited::default();
        let walked = self.walk(manifest, &mut visited, &mut |seen| {
            match seen {
                Seen::LostSegment(id) => add(id),
                Seen::Chunks(ids) => {
                    let found = self.0.map.locate(ids)?;
                    let lacking = ids.iter().zip(found).filter(|(_, place)| !matches!(place, Some((_, false))));
                    lacking.for_each(|(id, _)| add(*id));
                }
            }
            // Every segment is read: their sums are compared with the manifest's.
            Ok(false)
        });
        match walked {
            Ok(()) => Ok(missing),
            Err(StoreError::Damaged { object, reason }) => {
                Err(StoreError::BadManifest { name: manifest.name.to_string(), reason: format!("{object}: {reason}") })
            }
            Err(error) => Err(error),
        }
    }

    fn publish(&self, bytes: &[u8], signature: &Signature, manifest: &Manifest) -> Result<Committed, StoreError> {
        let key: ImageKey = (manifest.name.clone(), ImageId::of(bytes));
        let mut highest = 0;
        for (other, commit) in self.0.images.list()? {
            let Ok(commit) = commit else { continue };
            if other == key && self.0.images.signed(&key, &self.0.key).is_ok() {
                return Ok(Committed { id: key.1, number: commit.number });
            }
            highest = highest.max(commit.number);
        }
        let number = highest + 1;
        let data_bytes = manifest.spaces().map(|(_, _, _, stored)| stored.data_bytes).sum();
        let commit = CommitFile {
            number,
            created: manifest.created.clone(),
            committed: self.0.options.clock.unix(),
            disks: u32::try_from(manifest.disks.len()).unwrap_or(u32::MAX),
            data_bytes,
        };
        self.0.images.publish(&key, bytes, signature, &commit)?;
        Ok(Committed { id: key.1, number })
    }
}
