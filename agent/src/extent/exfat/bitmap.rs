//! The allocation bitmap of an exFAT volume.
//!
//! In: a checked boot sector and root directory. Out: used clusters, ascending, and all that is no cluster.
//! Promise: the bitmap lies in one piece and calls itself, the up-case table and the root used; 16 KiB in memory.
//!
//! Specification, 7.1: bit 0 of byte 0 is cluster 2. It has no checksum; whoever writes it sets the dirty flag before.

use super::super::ExtentError;
use super::super::bitruns::Bits;
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::super::map::{Extent, Layout, Pieces};
use super::super::peek::read;
use super::super::steps::Steps;
use super::boot::{Boot, add_to_sum};
use super::root::{DIRECTORY_MAX, Place, Root};
use super::table::Table;
use crate::disk::source::ReadAt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of the bitmap read at once.
const PIECE: u64 = 16 << 10;
/// 65,536 characters of two bytes.
const UPCASE_MAX: u64 = 128 << 10;

/// A clean exFAT volume.
pub(super) struct Clusters {
    part: Arc<dyn ReadAt>,
    boot: Boot,
    /// First byte of the bitmap in the partition.
    bitmap_start: u64,
}

impl Clusters {
    /// Finds the bitmap, and holds it against what is known to be in use.
    pub fn new(part: Arc<dyn ReadAt>, boot: Boot) -> Result<Self, ExtentError> {
        let mut table = Table::new(&*part, &boot);
        table.check_media()?;
        let root = Root::read(&*part, &boot, DIRECTORY_MAX)?;
        let Some(bitmap) = root.bitmap else {
            return Err(ExtentError::doubt("root directory has 0 allocation bitmaps, 1 expected"));
        };
        let need = boot.clusters.div_ceil(8);
        let room = need.next_multiple_of(boot.cluster_len);
        believe!(
            (need..=room).contains(&bitmap.len),
            "allocation bitmap has {} bytes, {need} are needed for {} clusters",
            bitmap.len,
            boot.clusters
        );
        let bitmap_runs = exact_chain(&mut table, &boot, "allocation bitmap", bitmap)?;
        // Some drivers follow its chain, others read on from its first cluster.
        believe!(bitmap_runs.len() == 1, "allocation bitmap lies in {} pieces, 1 expected", bitmap_runs.len());
        let Some((upcase, sum)) = root.upcase else {
            return Err(ExtentError::doubt("root directory has 0 up-case tables, 1 expected"));
        };
        believe!(
            (2..=UPCASE_MAX).contains(&upcase.len),
            "up-case table has {} bytes, 2 to {UPCASE_MAX} expected",
            upcase.len
        );
        let upcase_runs = exact_chain(&mut table, &boot, "up-case table", upcase)?;
        check_upcase(&*part, &boot, &upcase_runs, upcase.len, sum)?;
        let bitmap_start = boot.heap_start + (bitmap.first - 2) * boot.cluster_len;
        let clusters = Self { part, boot, bitmap_start };
        clusters.check_used("root directory", &root.runs)?;
        clusters.check_used("allocation bitmap", &bitmap_runs)?;
        clusters.check_used("up-case table", &upcase_runs)?;
        Ok(clusters)
    }

    /// The bitmap for all clusters from `first` on that one piece tells of; `first` is a multiple of a piece's bits.
    fn piece(&self, first: u64) -> Result<Vec<u8>, ExtentError> {
        let left = (self.boot.clusters - first).div_ceil(8);
        let mut raw = vec![0; in_memory(left.min(PIECE))?];
        read(&*self.part, &mut raw, self.bitmap_start + first / 8, "exFAT allocation bitmap")?;
        Ok(raw)
    }

    /// Every cluster of `runs` is called used.
    fn check_used(&self, what: &str, runs: &[Range<u64>]) -> Result<(), ExtentError> {
        let (mut first, mut raw) = (u64::MAX, Vec::new());
        for run in runs {
            let (mut bit, end) = (run.start - 2, run.end - 2);
            while bit < end {
                let wanted = bit / (PIECE * 8) * (PIECE * 8);
                if first != wanted {
                    (first, raw) = (wanted, self.piece(wanted)?);
                }
                let here = end.min(first + PIECE * 8);
                let clear = Bits { raw: &raw, bits: PIECE * 8 }.clear_in(bit - first..here - first);
                believe!(
                    clear.is_none(),
                    "allocation bitmap calls cluster {} free, which holds the {what}",
                    clear.unwrap_or_default() + first + 2
                );
                bit = here;
            }
        }
        Ok(())
    }
}

/// The clusters of something whose length is known.
fn exact_chain(table: &mut Table<'_>, boot: &Boot, what: &str, place: Place) -> Result<Vec<Range<u64>>, ExtentError> {
    let need = place.len.div_ceil(boot.cluster_len);
    let runs = table.chain(what, place.first, need)?;
    let have: u64 = runs.iter().map(|run| run.end - run.start).sum();
    believe!(have == need, "{what} has {have} clusters, {need} are needed for {} bytes", place.len);
    Ok(runs)
}

fn check_upcase(part: &dyn ReadAt, boot: &Boot, runs: &[Range<u64>], len: u64, stored: u32) -> Result<(), ExtentError> {
    let (mut left, mut sum) = (len, 0);
    for run in runs {
        let here = left.min((run.end - run.start) * boot.cluster_len);
        let mut raw = vec![0; in_memory(here)?];
        read(part, &mut raw, boot.heap_start + (run.start - 2) * boot.cluster_len, "exFAT up-case table")?;
        sum = raw.iter().fold(sum, |sum, byte| add_to_sum(sum, *byte));
        left -= here;
    }
    believe!(stored == sum, "checksum of the up-case table is {stored:#x}, its bytes give {sum:#x}");
    Ok(())
}

impl Layout for Clusters {
    fn pieces(&self) -> Pieces<'_> {
        let before = Extent::data(0, self.boot.heap_start);
        let mut used = Used { clusters: self, next: 0 };
        let used = Steps::new(move || used.step());
        Box::new(std::iter::once(Ok(before)).chain(used))
    }

    fn end(&self) -> u64 {
        self.boot.heap_start + self.boot.clusters * self.boot.cluster_len
    }

    fn unit(&self) -> u64 {
        self.boot.cluster_len
    }
}

/// Runs of used clusters, one piece of the bitmap at a time.
struct Used<'a> {
    clusters: &'a Clusters,
    /// First cluster, counted from 0, whose bit was not read yet.
    next: u64,
}

impl Used<'_> {
    fn step(&mut self) -> Result<Option<Vec<Extent>>, ExtentError> {
        let boot = &self.clusters.boot;
        if self.next >= boot.clusters {
            return Ok(None);
        }
        let raw = self.clusters.piece(self.next)?;
        let bits = (boot.clusters - self.next).min(PIECE * 8);
        let at = |bit: u64| boot.heap_start + (self.next + bit) * boot.cluster_len;
        let runs = Bits { raw: &raw, bits }.runs().map(|run| Extent::data(at(run.start), at(run.end))).collect();
        self.next += bits;
        Ok(Some(runs))
    }
}
