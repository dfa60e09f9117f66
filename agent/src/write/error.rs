//! What goes wrong once a disk is being read or written.
//!
//! In: errors of the device, the store and the comparison. Out: one enum; each text has disk, place and both values.
//! Promise: none of these can become a refusal: they belong to a disk that may have been written to.

use crate::transfer::fetch::FetchError;
use ramet_wire::{ByteRange, ChunkId};
use std::io;

/// A restore that broke off.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The device did not take or give bytes.
    #[error("{disk}: {doing} {} bytes at {}", .range.len(), .range.start())]
    Io {
        /// Path of the target.
        disk: String,
        /// `reading`, `writing`, `zeroing`.
        doing: &'static str,
        /// Where.
        range: ByteRange,
        /// The device's answer.
        source: io::Error,
    },
    /// The device did not flush.
    #[error("{disk}: flushing")]
    Flush {
        /// Path of the target.
        disk: String,
        /// The device's answer.
        source: io::Error,
    },
    /// Something else was read than was written.
    #[error("{disk}: reading back {} bytes at {}: hash is {found}, written was {wanted}", .range.len(), .range.start())]
    Differs {
        /// Path of the target.
        disk: String,
        /// Where.
        range: ByteRange,
        /// What was read.
        found: ChunkId,
        /// What was written.
        wanted: ChunkId,
    },
    /// Zeros were written, something else was read.
    #[error("{disk}: reading back zeros at {}: byte {at} is {found:#04x}, written was 0x00", .range.start())]
    NotZero {
        /// Path of the target.
        disk: String,
        /// Where.
        range: ByteRange,
        /// The first byte that is not zero, from the start of the disk.
        at: u64,
        /// What it is.
        found: u8,
    },
    /// The last-written bytes were read differently.
    #[error("{disk}: reading back table and boot sectors: byte {at} is {found:#04x}, written was {wanted:#04x}")]
    Table {
        /// Path of the target.
        disk: String,
        /// The first differing byte, from the start of the disk.
        at: u64,
        /// What was read.
        found: u8,
        /// What was written.
        wanted: u8,
    },
    /// A chunk is not as long as the record says.
    #[error("chunk {id}: the record says {record} bytes, it has {found}")]
    Length {
        /// Which chunk.
        id: ChunkId,
        /// In the record.
        record: u32,
        /// Its length.
        found: usize,
    },
    /// The store.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A segment changed after it was verified.
    #[error("reading a segment again")]
    Segment(#[source] ramet_wire::segment::SegmentError),
    /// A thread ended without a result.
    #[error("a worker ended in a panic")]
    Panic,
    /// A file system was not made smaller.
    #[error("{disk}: shrinking what has no room on it; try a larger disk, or --size keep")]
    Shrink {
        /// Path of the target.
        disk: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
