//! What can go wrong while a partition is mapped.
//!
//! In: a device that does not answer, or bytes that contradict each other. Out: one error that names the place.
//! Promise: damaged content is never an error of `map`; it makes the whole partition the extent.

use std::io;

/// Why mapping a partition, or walking through its map, ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// The device did not give the bytes. Nothing can be said about the partition; the capture must end.
    #[error("reading {what} at byte {offset}")]
    Read {
        /// The structure that was wanted.
        what: &'static str,
        /// Where it lies, in bytes from the start of the partition, or of the one that `what` names.
        offset: u64,
        /// What the device answered.
        source: io::Error,
    },
    /// The content contradicts itself. From [`super::Map::extents`] it means that the source changed since it was
    /// mapped: what was read so far is no consistent copy.
    #[error("{0}")]
    Contradiction(String),
    /// The file system says that another machine has it mounted or is checking it.
    #[error("{0}")]
    MountedElsewhere(String),
}

impl ExtentError {
    pub(super) fn doubt(text: impl Into<String>) -> Self {
        Self::Contradiction(text.into())
    }
}

/// Ends the function with a [`ExtentError::Contradiction`] unless the condition holds.
macro_rules! believe {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::extent::error::ExtentError::doubt(format!($($text)+)));
        }
    };
}
pub(super) use believe;
