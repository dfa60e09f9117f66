//! The partitions of a disk that is to be captured.
//!
//! In: a disk and its logical sector size. Out: its table, or the whole disk as one entry.
//! Promise: a table under the superblock of an array is not followed: `mdadm` leaves the one that it finds.

use super::error::ExtentError;
use super::md;
use crate::disk::source::ReadAt;
use crate::partition::{self, PartitionError, Scan};
use ramet_wire::TableKind;

/// As [`partition::read`], unless the disk itself is a member of an array. Which of the two counts only its owner knows.
///
/// # Errors
/// [`PartitionError`], as from there.
pub fn table(disk: &dyn ReadAt, sector_size: u32) -> Result<Scan, PartitionError> {
    let scan = partition::read(disk, sector_size)?;
    if scan.table.kind == TableKind::None {
        return Ok(scan);
    }
    match md::at_a_table(disk) {
        Ok(true) => Ok(scan.whole(
            "it has a partition table and is itself a member of a Linux software RAID: taken as a whole; \
             `mdadm --zero-superblock` or `wipefs` removes the one that is not true"
                .to_owned(),
        )),
        Err(ExtentError::Read { what, offset, source }) => Err(PartitionError::Io { what, offset, source }),
        _ => Ok(scan),
    }
}
