//! Why a capture ends without an image.
//!
//! In: the error of a stage. Out: one error that names disk and partition, or the image.
//! Promise: it says whether the operator must decide something first.

use super::COMMITS_MAX;
use crate::chunk::ChunkError;
use crate::extent::ExtentError;
use crate::partition::PartitionError;
use crate::transfer::TransferError;
use ramet_wire::ImageName;
use ramet_wire::manifest::ManifestError;
use std::io;

/// Why a capture ended without an image.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The table cannot be understood.
    #[error("reading the partition table of {path}")]
    Table {
        /// Which disk.
        path: String,
        /// What is wrong with it.
        source: PartitionError,
    },
    /// A partition lies outside its disk.
    #[error("opening partition {number} of {path}")]
    Window {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// Both numbers.
        source: io::Error,
    },
    /// A partition cannot be read at all.
    #[error("mapping partition {number} of {path}")]
    Map {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// The device's error.
        source: ExtentError,
    },
    /// Something is mounted or held.
    #[error(
        "capturing {path}: partition {number} is in use: {by}; unmount it, or pass --force-mounted for an inconsistent copy"
    )]
    Busy {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// The mount point, swap or holder.
        by: String,
    },
    /// Reading, packing or sending.
    #[error("capturing into image {name}")]
    Store {
        /// Which image.
        name: ImageName,
        /// The stage's error.
        source: ChunkError,
    },
    /// The manifest breaks its own rules.
    #[error("writing the manifest of {name}")]
    Manifest {
        /// Which image.
        name: ImageName,
        /// Which rule.
        source: ManifestError,
    },
    /// The store did not publish it.
    #[error("publishing image {name}")]
    Commit {
        /// Which image.
        name: ImageName,
        /// The store's answer.
        source: TransferError,
    },
    /// The store loses chunks as fast as they are sent.
    #[error("publishing image {name}: the store still lacks {missing} chunks after {COMMITS_MAX} rounds")]
    StillMissing {
        /// Which image.
        name: ImageName,
        /// How many, at least.
        missing: usize,
    },
}

impl CaptureError {
    /// Nothing was sent: the operator must decide something first.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Table { .. }
                | Self::Busy { .. }
                | Self::Window { .. }
                | Self::Store { source: ChunkError::Memory(_), .. }
        )
    }
}
