//! To and from a store: over HTTPS, or straight into a folder.
//!
//! In: ids, packs, manifests. Out: the same, from the other side. Two doors, one house: capture and restore see traits.
//! Promise: a door never says yes to something it did not hear from the store; errors say whether to try again.

pub mod agents;
pub mod client;
pub mod fetch;
pub mod folder;
pub mod http;
pub mod pin;

use ramet_wire::api::{ErrorKind, ImageInfo};
use ramet_wire::receipt::SignedReceipt;
use ramet_wire::{ChunkId, ImageId, PackName};

/// What went wrong between agent and store, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The network or the server is away, and stayed so through all retries.
    #[error("{what}: no answer after {tries} tries")]
    Away {
        /// What was asked.
        what: String,
        /// How often.
        tries: u32,
        /// The last try's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store answered with an error.
    #[error("{what}: {message}")]
    Answer {
        /// What was asked.
        what: String,
        /// What to do about it.
        kind: ErrorKind,
        /// The store's words.
        message: String,
    },
    /// The other side is not the pinned one, or its signature is wrong.
    #[error("{what}: key is {found}, pinned is {wanted}")]
    Identity {
        /// What was checked.
        what: String,
        /// What it has.
        found: String,
        /// What was pinned.
        wanted: String,
    },
    /// What came is not what was asked for.
    #[error("{what}: {message}")]
    Damaged {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// Chunks that the store does not have.
    #[error("{what}: the store lacks {count} chunks, the first is {first}")]
    Missing {
        /// What needs them.
        what: String,
        /// How many.
        count: usize,
        /// One of them.
        first: ChunkId,
    },
    /// The folder's own error.
    #[error("{what}")]
    Store {
        /// What was asked.
        what: String,
        /// What to do about it.
        kind: ErrorKind,
        /// The store's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A pack that can be read: by name, and by where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PackAt {
    /// Its name.
    pub pack: PackName,
    /// The server's absolute URL for it; empty for a folder.
    pub url: std::sync::Arc<str>,
}

/// Where one chunk's frame lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkAt {
    /// Index into [`Located::packs`].
    pub pack: usize,
    /// First byte in the pack.
    pub offset: u64,
    /// Bytes of the frame; bounds were checked.
    pub stored: u32,
    /// Bytes of the chunk; bounds were checked.
    pub raw: u32,
}

/// The answer to a question of where chunks are: one entry per id asked, `None` where the store lacks it.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// The packs named by `chunks`.
    pub packs: Vec<PackAt>,
    /// One per id.
    pub chunks: Vec<Option<ChunkAt>>,
}

/// The store as a capture sees it: one session, one image name.
pub trait Upstream: Send + Sync {
    /// Which of `ids` (at most 4,096) the store lacks.
    ///
    /// # Errors
    /// [`TransferError`].
    fn missing(&self, ids: &[ChunkId]) -> Result<Vec<bool>, TransferError>;

    /// Starts a pack of about `room` bytes; frames are pushed into it and it is finished.
    ///
    /// # Errors
    /// [`TransferError`].
    fn pack(&self, room: u64) -> Result<Box<dyn PackSink>, TransferError>;

    /// Publishes the image, or says which chunks are not there (any more).
    ///
    /// # Errors
    /// [`TransferError`].
    fn commit(&self, manifest: &[u8]) -> Result<Commit, TransferError>;

    /// Says how far the run is. Never fails: the next request will tell.
    fn progress(&self, step: &str, done: u64, total: u64);

    /// The run ends without an image.
    fn fail(&self, error: &str);
}

/// One pack under way to the store.
pub trait PackSink: Send {
    /// Appends one chunk's frame.
    ///
    /// # Errors
    /// [`TransferError`].
    fn push(&mut self, id: ChunkId, raw: u32, frame: &[u8]) -> Result<(), TransferError>;

    /// Time to finish.
    fn is_full(&self) -> bool;

    /// Sends what is left and waits until the store has synced it. Returns the pack's length in bytes.
    ///
    /// # Errors
    /// [`TransferError`]; the chunks are then not in the store.
    fn finish(self: Box<Self>) -> Result<u64, TransferError>;
}

/// The answer to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The image is published.
    Done(ImageId),
    /// These chunks are not in the store (any more): send them and commit again.
    Missing(Vec<ChunkId>),
}

/// The store as a restore sees it: one session, one version of one image.
pub trait Downstream: Send + Sync {
    /// The image's state, as the store knows it.
    ///
    /// # Errors
    /// [`TransferError`].
    fn image(&self) -> Result<ImageInfo, TransferError>;

    /// The manifest's bytes, with the signature checked against the pinned key, and who vouches for it.
    ///
    /// # Errors
    /// [`TransferError::Identity`] for a wrong key or signature.
    fn manifest(&self) -> Result<(Vec<u8>, ramet_wire::receipt::Origin), TransferError>;

    /// Where `ids` (at most 4,096) are. Every length in the answer is within the limits of FORMAT.md.
    ///
    /// # Errors
    /// [`TransferError`].
    fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError>;

    /// Reads `buf.len()` bytes of a pack from `offset`, with retries. A pack that is gone (404) is an `Answer`
    /// of kind `Retry`: locate again.
    ///
    /// # Errors
    /// [`TransferError`].
    fn read(&self, pack: &PackAt, offset: u64, buf: &mut [u8]) -> Result<(), TransferError>;

    /// Tells the store that these chunks arrived damaged. Never fails.
    fn damaged(&self, ids: &[ChunkId]);

    /// Says how far the run is. Never fails: the next request will tell.
    fn progress(&self, step: &str, done: u64, total: u64);

    /// Hands over the receipt's JSON; a server checks and signs it, a folder does not.
    ///
    /// # Errors
    /// [`TransferError`] when the receipt is not accepted.
    fn receipt(&self, receipt: &str) -> Result<Option<SignedReceipt>, TransferError>;

    /// The server's run id, for the receipt.
    fn run(&self) -> Option<String>;

    /// The folder of the store, when it is one: the guard refuses the disk under it.
    fn folder(&self) -> Option<&std::path::Path>;

    /// The run ends without a receipt.
    fn fail(&self, error: &str);
}
