//! Why a table is refused.
//!
//! In: what reading or fitting a table ran into. Out: one enum, whose texts hold both numbers.
//! Promise: `Display` never repeats its source.

use ramet_wire::ByteRange;
use std::io;

/// A table that can not be read, contradicts itself, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The disk did not answer.
    #[error("reading {what} at offset {offset}")]
    Io {
        /// What was read.
        what: &'static str,
        /// Byte offset on the disk.
        offset: u64,
        /// The device's answer.
        source: io::Error,
    },
    /// A sector size that no disk has.
    #[error("sector size is {0}, 512 or 4096 are known")]
    SectorSize(u32),
    /// LBA 0 promises a GPT; a header lies where disks of another sector size have it.
    #[error("partition table was made for {table}-byte sectors, the disk has {disk}-byte sectors")]
    OtherSectorSize {
        /// The table's sector size in bytes.
        table: u32,
        /// The disk's logical sector size in bytes.
        disk: u32,
    },
    /// LBA 0 promises a GPT and neither copy is valid.
    #[error(
        "LBA 0 announces a GPT (entry of type 0xEE), but neither copy is valid: primary: {primary}; backup: {backup}"
    )]
    NoGpt {
        /// What is wrong with the primary copy.
        primary: String,
        /// What is wrong with the backup copy.
        backup: String,
    },
    /// More partitions or EBRs than the format holds.
    #[error("table has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Something ends past the end of the disk.
    #[error("{what} at offset {} ends at {}, the disk has {size} bytes", .range.start(), .range.end())]
    OutOfRange {
        /// What is out of range.
        what: String,
        /// Where it lies, in bytes; an end past 2^64 is shown as 2^64 - 1.
        range: ByteRange,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// A partition that ends before it starts.
    #[error("partition {number} starts at LBA {first} and ends at LBA {last}")]
    Backwards {
        /// Partition number.
        number: u32,
        /// First LBA.
        first: u64,
        /// Last LBA.
        last: u64,
    },
    /// Two things on the same bytes.
    #[error("{a} ({}..{}) and {b} ({}..{}) overlap", .a_range.start(), .a_range.end(), .b_range.start(), .b_range.end())]
    Overlap {
        /// The one that starts first.
        a: String,
        /// Its range in bytes.
        a_range: ByteRange,
        /// The other one.
        b: String,
        /// Its range in bytes.
        b_range: ByteRange,
    },
    /// The structured table is not what the bytes say.
    #[error("structured table and table bytes differ: {what} is {given} in the one and {found} in the other")]
    Differs {
        /// Which field.
        what: String,
        /// What the structured table says.
        given: String,
        /// What the bytes say.
        found: String,
    },
    /// A partition that does not fit on the new disk.
    #[error(
        "partition {number} ends at {end}, a disk of {size} bytes has room for partitions up to {limit}; {} bytes are missing",
        end.saturating_sub(*limit)
    )]
    DoesNotFit {
        /// Partition number.
        number: u32,
        /// Its end in bytes.
        end: u64,
        /// First byte that partitions of the new disk may not use.
        limit: u64,
        /// Size of the new disk in bytes.
        size: u64,
    },
    /// A disk too small for the table itself.
    #[error("partition table needs {needed} bytes, the disk has {size}")]
    NoRoom {
        /// Bytes needed at least.
        needed: u64,
        /// Size of the disk in bytes.
        size: u64,
    },
    /// A table whose partitions can not get other places.
    #[error("partitions can not be moved or resized in this table: {why}")]
    Unmovable {
        /// Why.
        why: &'static str,
    },
}
