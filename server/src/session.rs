//! Sessions: what one run may do, for as long as it is heard of.
//!
//! In: a run that was opened. Out: its rights, found again by the SHA-256 of the secret that the agent presents.
//! Promise: a session is for one run, one image and one direction; it lapses by the server's clock alone.

use crate::db::runs::{NewRun, OpenRow};
use ramet_store::SessionId;
use ramet_wire::api::Action;
use ramet_wire::{ImageId, ImageName};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// One run's session.
#[derive(Debug)]
pub struct Session {
    /// The run.
    pub run: String,
    /// Its direction.
    pub action: Action,
    /// Its image.
    pub image: ImageName,
    /// Restore: the version that was fixed when the run was opened.
    pub version: Option<ImageId>,
    /// Restore: only these partitions; empty for all.
    pub partitions: Vec<u32>,
    /// Capture: the session in the store.
    pub store: Option<SessionId>,
    /// The job whose run it is.
    pub job: Option<i64>,
    /// When it was heard of last, in seconds since 1970.
    seen: AtomicU64,
    /// What the run came to; held while that is being decided, so that it is decided once.
    pub outcome: tokio::sync::Mutex<Outcome>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub enum Outcome {
    /// It goes on.
    #[default]
    Open,
    /// The image was published: answering the same commit again is a retry.
    Committed(ImageId, u64),
    /// The receipt was signed: the same receipt again is a retry.
    Proven(Box<ramet_wire::receipt::SignedReceipt>),
    /// It ended otherwise.
    Over,
}

impl Session {
    /// The session of a run that is being opened.
    #[must_use]
    pub fn new(run: &NewRun, store: Option<SessionId>, now: u64) -> Self {
        Self {
            run: run.id.clone(),
            action: run.action,
            image: run.image.clone(),
            version: run.version,
            partitions: run.partitions.clone(),
            store,
            job: run.job,
            seen: AtomicU64::new(now),
            outcome: tokio::sync::Mutex::default(),
        }
    }

    /// The session of a run that was under way when the server stopped, or had just ended: its silence counts from
    /// now.
    #[must_use]
    pub fn taken_up(row: OpenRow, now: u64) -> Self {
        let outcome = match (row.running, row.version, row.committed, row.receipt) {
            (true, ..) => Outcome::Open,
            (_, Some(id), Some(number), _) => Outcome::Committed(id, number),
            (.., Some(receipt)) => Outcome::Proven(Box::new(receipt)),
            _ => Outcome::Over,
        };
        Self {
            run: row.id,
            action: row.action,
            image: row.image,
            version: row.version,
            partitions: row.partitions,
            store: row.store_session.as_deref().and_then(|id| id.parse().ok()),
            job: row.job,
            seen: AtomicU64::new(now),
            outcome: tokio::sync::Mutex::new(outcome),
        }
    }

    /// Notes a request.
    pub fn touch(&self, now: u64) {
        self.seen.fetch_max(now, Ordering::Relaxed);
    }

    /// Seconds since it was heard of.
    #[must_use]
    pub fn silent(&self, now: u64) -> u64 {
        now.saturating_sub(self.seen.load(Ordering::Relaxed))
    }
}

/// All sessions, by the SHA-256 of their secrets.
#[derive(Debug, Default)]
pub struct Sessions(RwLock<HashMap<[u8; 32], Arc<Session>>>);

impl Sessions {
    /// Adds one; false when there are `most` already.
    pub fn insert(&self, hash: [u8; 32], session: Session, most: usize) -> bool {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= most {
            return false;
        }
        all.insert(hash, Arc::new(session));
        true
    }

    /// The session with this secret.
    #[must_use]
    pub fn find(&self, hash: &[u8; 32]) -> Option<Arc<Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// The session of this run.
    #[must_use]
    pub fn of_run(&self, run: &str) -> Option<Arc<Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().find(|session| session.run == run).cloned()
    }

    /// A restore of this image, or of this version of it, goes on.
    #[must_use]
    pub fn restores(&self, image: &ramet_wire::ImageRef) -> bool {
        let uses = |session: &Session| {
            let goes_on = session.outcome.try_lock().map_or(true, |outcome| matches!(*outcome, Outcome::Open));
            let same = session.image == image.name && (image.id.is_none() || image.id == session.version);
            session.action == Action::Restore && same && goes_on
        };
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().any(|session| uses(session))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out all that were silent for `lapse` seconds.
    pub fn take_lapsed(&self, now: u64, lapse: u64) -> Vec<Arc<Session>> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<[u8; 32]> = all.iter().filter(|(_, s)| s.silent(now) >= lapse).map(|(hash, _)| *hash).collect();
        gone.iter().filter_map(|hash| all.remove(hash)).collect()
    }
}
