//! Why something in a tree is not read or not written.
//!
//! In: the case. Out: one sentence with the path and both numbers.
//! Promise: no error shows what a file holds.

use std::path::{Path, PathBuf};

/// Why something in a tree is not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The kernel refused.
    #[error("{what}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// Its reason.
        source: std::io::Error,
    },
    /// Something else lies there than is wanted: a trap, or damage.
    #[error("{} is {found}, {wanted} is wanted", .path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file is larger than it may be.
    #[error("{} has {size} bytes, {limit} are read at most", .path.display())]
    Size {
        /// The path.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Links lead on for too long.
    #[error("{} leads over more than {limit} links", .path.display())]
    Loop {
        /// The path.
        path: PathBuf,
        /// Most links.
        limit: usize,
    },
    /// A path is too long, or holds a zero byte.
    #[error("a path has {bytes} bytes, {limit} are allowed")]
    Long {
        /// Its length.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A file of text is none.
    #[error("{} is no UTF-8", .path.display())]
    Text {
        /// The path.
        path: PathBuf,
    },
    /// Too many names below a folder.
    #[error("{} holds more than {limit} names", .path.display())]
    Count {
        /// The path.
        path: PathBuf,
        /// The most.
        limit: usize,
    },
    /// The file system, or the file, does not let itself be written.
    #[error("{} cannot be written: {reason}", .path.display())]
    Locked {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// It lies in a file system that is not mounted here.
    #[error("{} cannot be changed: {} is not mounted: {reason}", .path.display(), .mount.display())]
    Absent {
        /// The path.
        path: PathBuf,
        /// The mount point.
        mount: PathBuf,
        /// Why it is not.
        reason: String,
    },
    /// Not enough room; found before anything was written.
    #[error("{} has {free} {unit} free, {needed} are needed", .path.display())]
    Space {
        /// A folder of the file system.
        path: PathBuf,
        /// What there is.
        free: u64,
        /// What it takes.
        needed: u64,
        /// Of what.
        unit: &'static str,
    },
}

impl RootError {
    pub(super) fn io(doing: &str, path: &Path, error: rustix::io::Errno) -> Self {
        Self::Io { what: format!("{doing} {}", path.display()), source: error.into() }
    }
}
