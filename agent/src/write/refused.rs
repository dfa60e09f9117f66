//! Why an image does not fit a target.
//!
//! In: what the plan finds. Out: one enum, with both numbers.
//! Promise: none of it has written a byte.

use crate::partition::PartitionError;
use crate::transfer::fetch::FetchError;
use ramet_wire::ByteRange;

/// Why an image does not fit a target.
#[derive(Debug, thiserror::Error)]
pub enum RefusedMap {
    /// The table: unreadable, not the one the manifest describes, or not for this size.
    #[error("rehearsing the partition table for {size} bytes")]
    Table {
        /// The target's size.
        size: u64,
        /// Why.
        source: PartitionError,
    },
    /// The store.
    #[error("reading the image's tables and gaps")]
    Fetch(#[from] FetchError),
    /// A table piece outside the disk, or inside a partition.
    #[error("the image's table has a piece at {} of {} bytes, which lies outside the disk or inside partition {number}", .range.start(), .range.len())]
    Piece {
        /// The piece.
        range: ByteRange,
        /// The partition; 0 for the disk's end.
        number: u32,
    },
    /// Metadata at the disk's end that says where the end is.
    #[error(
        "the image's disk of {source_size} bytes ends with {what}, which does not work on a disk of {size} bytes; --force-size restores it all the same"
    )]
    EndMetadata {
        /// What was recognised.
        what: &'static str,
        /// The captured disk's size.
        source_size: u64,
        /// The target's size.
        size: u64,
    },
}
