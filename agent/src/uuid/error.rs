//! Why new UUIDs were not written.
//!
//! In: a device that does not answer, or that gives back other bytes than it got. Out: one error that names the place.
//! Promise: a content that cannot have a new UUID is no error: it keeps its own, and the plan says why.

use crate::extent::ExtentError;
use crate::partition::PartitionError;
use std::io;

/// Why planning or writing ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UuidError {
    /// The device did not give the bytes.
    #[error("reading {what} of {name} at byte {offset}")]
    Read {
        /// Which partition or volume.
        name: String,
        /// The structure.
        what: &'static str,
        /// Bytes from its start.
        offset: u64,
        /// What the device answered.
        source: io::Error,
    },
    /// The table of a disk is not what it was when it was restored.
    #[error("reading the table of disk {disk}")]
    Table {
        /// The image disk's ordinal.
        disk: u32,
        /// Why.
        source: PartitionError,
    },
    /// A content could not be looked at.
    #[error("looking at {name}")]
    Look {
        /// Which partition or volume.
        name: String,
        /// Why.
        source: ExtentError,
    },
    /// The device did not take the bytes. What was written before stays.
    #[error("writing the new UUID of {name} at byte {offset}")]
    Write {
        /// What was to get it.
        name: String,
        /// Bytes from the start of the disk or volume.
        offset: u64,
        /// What the device answered.
        source: io::Error,
    },
    /// The device gave back other bytes than it had got.
    #[error("reading back {name}: byte {offset} is {found:#04x}, {written:#04x} was written")]
    Differs {
        /// What was to get it.
        name: String,
        /// Bytes from the start of the disk or volume.
        offset: u64,
        /// What is there.
        found: u8,
        /// What should be there.
        written: u8,
    },
    /// The plan names a disk or volume that was not given.
    #[error("writing the new UUID of {0}: its device is not among those given")]
    Missing(String),
}
