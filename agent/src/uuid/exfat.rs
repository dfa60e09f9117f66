//! exFAT: another serial number in both boot regions.
//!
//! In: a checked, clean volume. Out: both boot sectors, and the sectors with their checksums.
//! Promise: the backup region is whole before the main one changes.

use super::format::{Change, Keep, bytes};
use super::patch::Patch;
use super::seed::four;
use crate::disk::source::ReadAt;
use crate::extent::exfat_sum;
use uuid::Uuid;

const SERIAL_AT: usize = 100;
const REGION_SECTORS: usize = 12;
/// Flags and the percentage in use do not count.
const UNSUMMED: [usize; 3] = [106, 107, 112];

pub(super) fn change(part: &dyn ReadAt, id: Uuid) -> Result<Change, Keep> {
    let shift = bytes(part, 108, 1, "boot sector")?[0];
    let sector = 1_usize << shift.clamp(9, 12);
    let region = |at: usize| -> Result<Vec<Patch>, Keep> {
        let mut raw = bytes(part, at as u64, REGION_SECTORS * sector, "boot region")?;
        raw[SERIAL_AT..SERIAL_AT + 4].copy_from_slice(&four(id).to_le_bytes());
        let (summed, sums) = raw.split_at_mut((REGION_SECTORS - 1) * sector);
        let bytes = summed.iter().enumerate().filter(|(at, _)| !UNSUMMED.contains(at));
        let sum = bytes.fold(0, |sum, (_, byte)| exfat_sum(sum, *byte));
        sums.as_chunks_mut::<4>().0.fill(sum.to_le_bytes());
        let sums_at = at + summed.len();
        Ok(vec![Patch::new(at as u64, summed[..sector].to_vec()), Patch::new(sums_at as u64, sums.to_vec())])
    };
    Change::of(vec![region(REGION_SECTORS * sector)?, region(0)?])
}
