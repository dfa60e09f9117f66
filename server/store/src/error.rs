//! What can go wrong in a store, and what to do about it.
//!
//! In: errors of the file system, of codecs, of callers. Out: one enum whose kind says who must act.
//! Promise: `Display` never prints its source; whoever prints the error walks the chain once.

use crate::session::SessionId;
use ramet_wire::{ChunkId, ImageRef, PackName};
use std::io;
use std::path::PathBuf;

/// Who must act on a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhatNow {
    /// The same call may succeed later, or after the caller has asked again.
    Retry,
    /// An operator must decide or make room.
    Refused,
    /// Bytes in the store, or bytes that were sent, are not what they should be.
    Damaged,
    /// The caller broke a rule of this crate.
    Bug,
}

/// Any failure of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{doing}")]
    Io {
        /// What was being done, with the object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No room, or a quota or file size limit reached.
    #[error("{doing}: the store is full")]
    Full {
        /// What was being done, with the object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Reading the bytes that a client sends failed.
    #[error("receiving pack {name} after {received} of {len} bytes")]
    Receiving {
        /// The pack.
        name: PackName,
        /// Bytes received.
        received: u64,
        /// Bytes announced.
        len: u64,
        /// The connection's answer.
        source: io::Error,
    },
    /// Somebody else holds the store.
    #[error("store {} is held by {holder}", dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Host, process, since when, and what for.
        holder: String,
    },
    /// There is a store, or something else, where one should be created.
    #[error("{} is not an empty folder: it holds {found:?}", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// One of the names found.
        found: String,
    },
    /// The folder is no store.
    #[error("{} is no store: it has no file \"format\"", dir.display())]
    NoStore {
        /// The folder.
        dir: PathBuf,
    },
    /// A store of another version.
    #[error("store {} has format {found}, this build reads {wanted}", dir.display())]
    Format {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        wanted: u64,
    },
    /// The store was opened for reading.
    #[error("{doing}: the store was opened without the right to do this")]
    Access {
        /// What was asked.
        doing: &'static str,
    },
    /// The session has ended, lapsed, or never was.
    #[error("session {0} has ended or lapsed; open another and ask again what is missing")]
    NoSession(SessionId),
    /// No such image.
    #[error("image {0} does not exist")]
    NoImage(ImageRef),
    /// A chunk that the store does not have.
    #[error("chunk {0} is not in the store")]
    NoChunk(ChunkId),
    /// A pack that was sent is refused.
    #[error("pack {name} is refused: {reason}")]
    BadPack {
        /// Its name.
        name: PackName,
        /// The rule it broke, with both numbers.
        reason: String,
    },
    /// A manifest that was sent is refused.
    #[error("manifest of image {name} is refused: {reason}")]
    BadManifest {
        /// Its name, or what stands for it.
        name: String,
        /// The rule it broke.
        reason: String,
    },
    /// Something in the store is damaged.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// The file or chunk.
        object: String,
        /// What is wrong, with both numbers.
        reason: String,
    },
    /// A key file that cannot be used.
    #[error("key {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A caller's mistake.
    #[error("{0}")]
    Bug(String),
}

impl StoreError {
    /// Who must act.
    #[must_use]
    pub fn what_now(&self) -> WhatNow {
        match self {
            Self::Io { .. } | Self::Receiving { .. } | Self::Held { .. } | Self::NoSession(_) => WhatNow::Retry,
            Self::Full { .. }
            | Self::NotEmpty { .. }
            | Self::NoStore { .. }
            | Self::Format { .. }
            | Self::Access { .. }
            | Self::NoImage(_)
            | Self::Key { .. } => WhatNow::Refused,
            Self::BadPack { .. } | Self::BadManifest { .. } | Self::Damaged { .. } | Self::NoChunk(_) => {
                WhatNow::Damaged
            }
            Self::Bug(_) => WhatNow::Bug,
        }
    }

    /// The error for `source`, which came up while `doing`.
    pub(crate) fn io(doing: String, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { doing, source },
            _ => Self::Io { doing, source },
        }
    }

    pub(crate) fn damaged(object: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { object: object.into(), reason: reason.to_string() }
    }
}

/// Adds what was being done to an I/O error.
pub(crate) trait Doing<T> {
    /// `doing` is a gerund with its object: `writing pack 1f3a…`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(doing(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_errors() {
        let full = StoreError::io("writing x".into(), io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.what_now(), WhatNow::Refused);
        assert_eq!(full.to_string(), "writing x: the store is full");
        let other = StoreError::io("writing x".into(), io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!((other.what_now(), other.to_string().as_str()), (WhatNow::Retry, "writing x"));
    }
}
