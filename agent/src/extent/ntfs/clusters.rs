//! The used clusters of an NTFS volume.
//!
//! In: a clean volume. Out: runs of clusters that `$Bitmap` calls used, in ascending order, and what no bit stands for.
//! Promise: a bitmap that calls $MFT, $MFTMirr, $LogFile or itself free, or gives one cluster to two of them, is a
//! doubt; 32 KiB of the bitmap are in memory.

use super::super::ExtentError;
use super::super::bitruns::{Bits, set};
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::super::map::{Extent, Layout, Pieces};
use super::super::steps::Steps;
use super::boot::{BOOT_LEN, Boot};
use super::stream::Stream;
use super::volume::{ALLOCATION, LOG, MFT, MIRROR, Volume};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// Bytes of the bitmap that are read at once; whole words.
const PIECE: u64 = 32 << 10;

/// Clusters that must be used, and whose they are.
#[derive(Debug)]
struct Known {
    start: u64,
    end: u64,
    owner: &'static str,
}

/// A clean NTFS volume.
pub(super) struct Clusters {
    part: Arc<dyn ReadAt>,
    boot: Boot,
    bitmap: Stream,
    known: Vec<Known>,
    warnings: Vec<String>,
}

impl Clusters {
    /// `part` is what `volume` was opened on.
    pub fn new(part: Arc<dyn ReadAt>, volume: &Volume<'_>, warnings: Vec<String>) -> Result<Self, ExtentError> {
        let boot = volume.boot.clone();
        let bitmap = volume.system(ALLOCATION)?;
        let wanted = boot.clusters.div_ceil(8);
        let have = bitmap.initialized;
        believe!(have >= wanted, "$Bitmap has {have} bytes, {wanted} are needed for {} clusters", boot.clusters);
        let mut known = vec![Known { start: 0, end: 1, owner: "$Boot" }];
        for (number, owner) in [(MFT, "$MFT"), (MIRROR, "$MFTMirr"), (LOG, "$LogFile"), (ALLOCATION, "$Bitmap")] {
            let runs = volume.system(number)?;
            let places = runs.runs().iter().filter_map(|run| Some((run.place?, run.len)));
            known.extend(places.map(|(start, len)| Known { start, end: start + len, owner }));
        }
        known.sort_unstable_by_key(|known| known.start);
        for pair in known.windows(2) {
            believe!(
                pair[0].end <= pair[1].start,
                "cluster {} belongs to both {} and {}",
                pair[1].start,
                pair[0].owner,
                pair[1].owner
            );
        }
        Ok(Self { part, boot, bitmap, known, warnings })
    }
}

impl Layout for Clusters {
    fn pieces(&self) -> Pieces<'_> {
        let mut used = Used { clusters: self, next: 0, known: 0 };
        Box::new(Steps::new(move || used.step()))
    }

    /// The copy of the boot sector lies in the sector behind the volume, where no cluster is.
    fn end(&self) -> u64 {
        self.boot.clusters * self.boot.cluster_len
    }

    fn unit(&self) -> u64 {
        self.boot.cluster_len
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

/// Runs of used clusters, one piece of the bitmap at a time.
struct Used<'a> {
    clusters: &'a Clusters,
    next: u64,
    /// The first of the known clusters that does not end before `next`.
    known: usize,
}

impl Used<'_> {
    fn step(&mut self) -> Result<Option<Vec<Extent>>, ExtentError> {
        let Clusters { part, boot, bitmap, .. } = self.clusters;
        if self.next >= boot.clusters {
            return Ok(None);
        }
        let (first, len) = (self.next, boot.cluster_len);
        let count = (PIECE * 8).min(boot.clusters - first);
        let mut raw = vec![0; in_memory(count.div_ceil(8))?];
        bitmap.read(&**part, first / 8, &mut raw)?;
        self.check(Bits { raw: &raw, bits: count }, first, first + count)?;
        if first == 0 {
            (0..BOOT_LEN.div_ceil(len).min(count)).for_each(|bit| set(&mut raw, bit));
        }
        let at = |bit: u64| (first + bit) * len;
        let runs = Bits { raw: &raw, bits: count }.runs().map(|run| Extent::data(at(run.start), at(run.end))).collect();
        self.next += count;
        Ok(Some(runs))
    }

    /// Metadata among the clusters from `first` to `end` is used.
    fn check(&mut self, bits: Bits<'_>, first: u64, end: u64) -> Result<(), ExtentError> {
        for known in &self.clusters.known[self.known..] {
            if known.start >= end {
                break;
            }
            let last = known.end.min(end);
            if let Some(free) = bits.clear_in(known.start.max(first) - first..last - first) {
                let (free, owner) = (first + free, known.owner);
                return Err(ExtentError::doubt(format!("$Bitmap calls cluster {free} free, it belongs to {owner}")));
            }
            if known.end > end {
                break;
            }
            self.known += 1;
        }
        Ok(())
    }
}
