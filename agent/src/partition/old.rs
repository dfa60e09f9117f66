//! Where the tables of a disk that is about to be overwritten lie.
//!
//! In: a target disk, which may hold anything. Out: the ranges to blank before the first other byte is written.
//! Promise: whatever the disk holds, LBA 0, the primary area and the end area are among them.

use super::gaps::merge;
use super::gpt::at;
use super::{GPT_SIGNATURE, le32, le64, mbr};
use crate::disk::source::ReadAt;
use ramet_wire::{ByteRange, MIB};
use std::io;

/// The array of entries that everybody writes: 128 of 128 bytes.
const USUAL_ARRAY: u64 = 16 * 1024;

/// LBA 0, primary GPT, backup GPT (where the header points, and at the disk's end) and all EBRs that can be found.
/// Ascending, disjoint, inside the disk. `sector_size` in bytes.
///
/// # Errors
/// Only what the device answers: garbage on it is no error.
pub fn old_tables(target: &dyn ReadAt, sector_size: u32) -> io::Result<Vec<ByteRange>> {
    let (ss, size) = (u64::from(sector_size.max(512)), target.size());
    let total = size / ss;
    let usual = USUAL_ARRAY / ss;
    let sectors =
        |first: u64, count: u64| ByteRange::between(first.min(total) * ss, first.saturating_add(count).min(total) * ss);
    let mut found = vec![
        ByteRange::between(0, (2 * ss + USUAL_ARRAY).min(size)),
        sectors(total.saturating_sub(usual + 1), usual + 1),
    ];
    let mut sector = vec![0; usize::try_from(ss).map_err(io::Error::other)?];
    let mut add_header = |lba: u64| -> io::Result<Option<u64>> {
        if lba == 0 || lba >= total {
            return Ok(None);
        }
        target.read_exact_at(&mut sector, lba * ss)?;
        if !sector.starts_with(GPT_SIGNATURE) {
            return Ok(None);
        }
        found.push(sectors(lba, 1));
        let array = u64::from(le32(&sector, at::ENTRY_COUNT)) * u64::from(le32(&sector, at::ENTRY_SIZE));
        // A length that no table has is garbage, and must not blank half a disk.
        if array <= MIB {
            found.push(sectors(le64(&sector, at::ENTRIES_LBA), array.div_ceil(ss)));
        }
        Ok(Some(le64(&sector, at::ALTERNATE_LBA)))
    };
    if let Some(backup) = add_header(1)? {
        add_header(backup)?;
    }
    add_header(total.saturating_sub(1))?;
    if total > 0 {
        target.read_exact_at(&mut sector, 0)?;
        let ebrs = mbr::ebrs_of_anything(target, ss, &sector)?;
        found.extend(ebrs.into_iter().map(|ebr| sectors(ebr / ss, 1)));
    }
    Ok(merge(found))
}
