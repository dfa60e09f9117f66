//! Why something could not be attached.
//!
//! In: the answers of the kernel. Out: one error with the object's name.
//! Promise: the text names what was to be attached; the kernel's answer is its source.

use crate::extent::ExtentError;
use std::io;
use std::path::PathBuf;

/// A device or a mount that did not come to be, or that did not go.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel's answer.
    #[error("{doing}")]
    Io {
        /// What was under way, with the object.
        doing: String,
        /// The answer.
        source: io::Error,
    },
    /// The kernel lacks a driver.
    #[error("{doing}: this kernel has no {lacks}")]
    Lacks {
        /// What was under way.
        doing: String,
        /// The driver.
        lacks: &'static str,
    },
    /// A file system that is not mounted here.
    #[error("mounting a {kind} file system is not supported; ext2/3/4, xfs, btrfs, vfat, exfat, f2fs and ntfs3 are")]
    Kind {
        /// Its name, as `blkid` prints it.
        kind: String,
    },
    /// The description of a volume group.
    #[error("reading the volume groups")]
    Group(#[source] ExtentError),
    /// It takes too long to write everything back.
    #[error("{}: not everything is on the disk after {seconds} s", place.display())]
    Slow {
        /// Where it is mounted.
        place: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// The thread that has the namespace.
    #[error("the thread of the mount namespace ended without an answer")]
    Thread,
}

impl AttachError {
    pub(super) fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}
