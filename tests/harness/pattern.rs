//! Targets full of known noise, and what was written over it.
//!
//! In: a seed. Out: a disk on which every 512 bytes are different from all others, and later the ranges that changed.
//! Promise: a byte that was not written is told from one that was; only a write of the very same noise goes unseen.

use crate::disk::Disk;
use crate::random::{Random, mix};
use crate::range::{Ranges, merged};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// The unit in which changes are told, in bytes: no write of a disk is smaller.
pub const UNIT: u64 = 512;
const STEP: u64 = 1 << 20;

/// The noise that a target was filled with.
#[derive(Clone, Debug)]
pub struct Pattern {
    seed: u64,
    base: Vec<u64>,
    filled: Ranges,
}

impl Pattern {
    /// Fills all of `disk`.
    #[must_use]
    pub fn fill(disk: &Disk, seed: u64) -> Self {
        let all = 0..disk.size;
        Self::fill_ranges(disk, std::slice::from_ref(&all), seed)
    }

    /// Fills parts of `disk`; the rest must be a hole and is watched as well.
    #[must_use]
    pub fn fill_ranges(disk: &Disk, ranges: &[Range<u64>], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let base = (0..UNIT / 8).map(|_| random.next()).collect();
        let pattern = Self { seed, base, filled: merged(ranges.to_vec(), 0) };
        let file = OpenOptions::new().write(true).open(&disk.path).unwrap();
        for range in &pattern.filled {
            assert!(range.start % UNIT == 0 && range.end % UNIT == 0 && range.end <= disk.size, "{range:?}");
            for at in steps(range) {
                file.write_all_at(&pattern.noise(&at), at.start).unwrap();
            }
        }
        pattern
    }

    /// What lay at `range`, which starts and ends at units.
    #[must_use]
    pub fn noise(&self, range: &Range<u64>) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap());
        for unit in range.start / UNIT..range.end / UNIT {
            let tweak = mix(self.seed ^ unit);
            for word in &self.base {
                out.extend_from_slice(&word.wrapping_add(tweak).to_le_bytes());
            }
        }
        out
    }

    /// Where `disk` is no longer what it was: other bytes in what was filled, anything but zeros elsewhere.
    #[must_use]
    pub fn touched(&self, disk: &Disk) -> Ranges {
        let file = File::open(&disk.path).unwrap();
        let mut out = Ranges::new();
        for range in &self.filled {
            for at in steps(range) {
                changed(&file, &at, &self.noise(&at), &mut out);
            }
        }
        let all = 0..disk.size;
        let holes = crate::range::without(std::slice::from_ref(&all), &self.filled);
        for range in data(&file, disk.size) {
            for at in steps(&range) {
                let mut found = Ranges::new();
                let len = usize::try_from(at.end - at.start).unwrap();
                changed(&file, &at, &vec![0; len], &mut found);
                let outside = crate::range::without(&merged(found, 0), &self.filled);
                debug_assert!(crate::range::without(&outside, &holes).is_empty());
                out.extend(outside);
            }
        }
        merged(out, 0)
    }
}

fn changed(file: &File, at: &Range<u64>, expected: &[u8], out: &mut Ranges) {
    let mut bytes = vec![0; expected.len()];
    file.read_exact_at(&mut bytes, at.start).unwrap();
    if bytes == expected {
        return;
    }
    let unit = usize::try_from(UNIT).unwrap();
    for (nr, (found, wanted)) in (0..).zip(bytes.chunks(unit).zip(expected.chunks(unit))) {
        if found != wanted {
            out.push(at.start + nr * UNIT..(at.start + (nr + 1) * UNIT).min(at.end));
        }
    }
}

fn steps(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (start, end) = (range.start, range.end);
    (start..end).step_by(usize::try_from(STEP).unwrap()).map(move |at| at..(at + STEP).min(end))
}

/// The parts of a file that are not holes.
#[must_use]
pub fn data(file: &File, size: u64) -> Ranges {
    let mut out = Ranges::new();
    let mut at = 0;
    while at < size {
        let start = match lseek(file, i64::try_from(at).unwrap(), Whence::SeekData) {
            Ok(start) => u64::try_from(start).unwrap(),
            Err(Errno::ENXIO) => break,
            Err(error) => panic!("seeking data at {at}: {error}"),
        };
        let end = lseek(file, i64::try_from(start).unwrap(), Whence::SeekHole).unwrap();
        at = u64::try_from(end).unwrap().min(size);
        out.push(start..at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_written() {
        let disk = Disk::blank(8 << 20);
        let pattern = Pattern::fill_ranges(&disk, &[0..1 << 20, 3 << 20..4 << 20], 7);
        assert_eq!(pattern.touched(&disk), Ranges::new());
        disk.write(1024, &[1; 512]);
        disk.write((2 << 20) + 5, &[1]);
        disk.write(4 << 20, &[0; 4096]);
        disk.write((3 << 20) + 4096, &pattern.noise(&(0..4096)));
        let wanted = vec![1024..1536, 2 << 20..(2 << 20) + 512, (3 << 20) + 4096..(3 << 20) + 8192];
        assert_eq!(pattern.touched(&disk), wanted);
    }
}
