//! The used clusters of an NTFS volume.
//!
//! In: a clean volume. Out: runs of clusters that `$Bitmap` calls used, in ascending order, and what no bit stands for.
//! Promise: a bitmap that calls $MFT, $MFTMirr, $LogFile or itself free, or gives one cluster to two of them, is a
//! doubt; 32 KiB of the bitmap are in memory.

use super::super::ExtentError;
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::super::map::{Extent, ExtentKind, Layout, Pieces};
use super::boot::{BOOT_LEN, Boot};
use super::stream::Stream;
use super::volume::{ALLOCATION, LOG, MFT, MIRROR, Volume};
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;
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
        let boot = &self.boot;
        // The copy of the boot sector lies in the sector behind the volume, where no cluster is.
        let after = data(boot.clusters * boot.cluster_len, self.part.size());
        let used = Used { clusters: self, next: 0, known: 0, runs: Vec::new().into_iter() };
        Box::new(used.chain(std::iter::once(Ok(after))))
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

const fn data(start: u64, end: u64) -> Extent {
    Extent { range: ByteRange::between(start, end), kind: ExtentKind::Data }
}

/// Runs of used clusters, one piece of the bitmap at a time.
struct Used<'a> {
    clusters: &'a Clusters,
    next: u64,
    /// The first of the known clusters that does not end before `next`.
    known: usize,
    runs: std::vec::IntoIter<Extent>,
}

impl Used<'_> {
    fn load(&mut self) -> Result<(), ExtentError> {
        let Clusters { part, boot, bitmap, .. } = self.clusters;
        let (first, len) = (self.next, boot.cluster_len);
        let count = (PIECE * 8).min(boot.clusters - first);
        let mut raw = vec![0; in_memory(count.div_ceil(8))?];
        bitmap.read(&**part, first / 8, &mut raw)?;
        let mut bits = Bits::new(&raw);
        self.check(&bits, first, first + count)?;
        if first == 0 {
            bits.set(BOOT_LEN.div_ceil(len));
        }
        let (mut runs, mut at) = (Vec::new(), bits.next(0, count, true));
        while at < count {
            let end = bits.next(at, count, false);
            runs.push(data((first + at) * len, (first + end) * len));
            at = bits.next(end, count, true);
        }
        self.runs = runs.into_iter();
        self.next += count;
        Ok(())
    }

    /// Metadata among the clusters from `first` to `end` is used.
    fn check(&mut self, bits: &Bits, first: u64, end: u64) -> Result<(), ExtentError> {
        for known in &self.clusters.known[self.known..] {
            if known.start >= end {
                break;
            }
            let last = known.end.min(end);
            let free = first + bits.next(known.start.max(first) - first, last - first, false);
            believe!(free >= last, "$Bitmap calls cluster {free} free, it belongs to {}", known.owner);
            if known.end > end {
                break;
            }
            self.known += 1;
        }
        Ok(())
    }
}

impl Iterator for Used<'_> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(run) = self.runs.next() {
                return Some(Ok(run));
            }
            if self.next >= self.clusters.boot.clusters {
                return None;
            }
            if let Err(error) = self.load() {
                self.next = self.clusters.boot.clusters;
                return Some(Err(error));
            }
        }
    }
}

/// A bitmap in words, so that large stretches of one kind are passed quickly.
struct Bits(Vec<u64>);

impl Bits {
    fn new(raw: &[u8]) -> Self {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self(raw.chunks(8).map(word).collect())
    }

    /// Sets the first `count` bits, as far as there are any.
    fn set(&mut self, count: u64) {
        for bit in 0..count {
            if let Some(word) = usize::try_from(bit / 64).ok().and_then(|at| self.0.get_mut(at)) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// The first bit from `from` on that is `value`, or `end`.
    fn next(&self, from: u64, end: u64, value: bool) -> u64 {
        let mut at = from;
        while at < end {
            let word = usize::try_from(at / 64).ok().and_then(|at| self.0.get(at)).copied().unwrap_or(0);
            let wanted = (if value { word } else { !word }) >> (at % 64);
            if wanted != 0 {
                return (at + u64::from(wanted.trailing_zeros())).min(end);
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_across_words() {
        let mut raw = vec![0_u8; 25];
        for bit in [3, 4, 63, 64, 65, 130, 199] {
            raw[bit / 8] |= 1 << (bit % 8);
        }
        let bits = Bits::new(&raw);
        let found: Vec<u64> = (0..200).filter(|at| bits.next(*at, at + 1, true) == *at).collect();
        assert_eq!(found, [3, 4, 63, 64, 65, 130, 199]);
        assert_eq!((bits.next(0, 200, true), bits.next(3, 200, false), bits.next(5, 200, true)), (3, 5, 63));
        assert_eq!((bits.next(63, 200, false), bits.next(66, 200, true), bits.next(131, 190, true)), (66, 130, 190));
    }
}
