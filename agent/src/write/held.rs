//! The bytes that are written last: held in memory until everything else is on the disk.
//!
//! In: the first MiB, table pieces, EBRs, and what the image has there. Out: their final bytes, in three steps of writing.
//! Promise: small (a MiB or two per disk, 4 KiB per EBR); what no extent covers is zero; a piece of the table wins.

use ramet_wire::ByteRange;

/// A stretch of the disk and its final bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRange {
    /// Where, in bytes from the start of the disk.
    pub range: ByteRange,
    /// What shall be there.
    pub bytes: Vec<u8>,
}

/// Bytes of a space that lie in held ranges: proven when these are read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Index of the space.
    pub space: usize,
    /// Zeros, not data.
    pub zero: bool,
    /// How many bytes.
    pub len: u64,
}

/// All held ranges of a disk.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Ascending, disjoint, not adjacent.
    pub ranges: Vec<HeldRange>,
    /// The sectors that make the disk (or a partition) whole: LBA 0, or the first sector of each restored partition.
    pub keys: Vec<ByteRange>,
    /// What of the image lies here.
    pub credits: Vec<Credit>,
}

impl Held {
    /// Zeros at `ranges`, in any order; the last writes will be `keys`, which lie inside.
    #[must_use]
    pub fn new(ranges: Vec<ByteRange>, keys: Vec<ByteRange>) -> Self {
        let zeros =
            |range: ByteRange| HeldRange { range, bytes: vec![0; usize::try_from(range.len()).unwrap_or_default()] };
        Self { ranges: merge(ranges).into_iter().map(zeros).collect(), keys, credits: Vec::new() }
    }

    /// The parts of `range` that are held, and those that are not; both ascending.
    #[must_use]
    pub fn split(&self, range: ByteRange) -> (Vec<ByteRange>, Vec<ByteRange>) {
        let first = self.ranges.partition_point(|held| held.range.end() <= range.start());
        let near = self.ranges[first..].iter().take_while(|held| held.range.start() < range.end());
        let inside: Vec<ByteRange> = near.filter_map(|held| held.range.intersect(range)).collect();
        let outside = subtract(range, &inside);
        (inside, outside)
    }

    /// Sets the bytes from `at`; parts that are not held are ignored.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let range = ByteRange::between(at, at.saturating_add(bytes.len() as u64));
        for held in &mut self.ranges {
            let Some(common) = held.range.intersect(range) else { continue };
            let index = |from: u64| usize::try_from(common.start() - from).unwrap_or(usize::MAX);
            let (to, from) = (index(held.range.start()), index(at));
            let len = usize::try_from(common.len()).unwrap_or_default();
            held.bytes[to..to + len].copy_from_slice(&bytes[from..from + len]);
        }
    }

    /// The bytes at `range`, which is held as a whole; empty otherwise.
    #[must_use]
    pub fn bytes(&self, range: ByteRange) -> &[u8] {
        let holder = self.ranges.iter().find(|held| held.range.contains(range));
        holder.map_or(&[], |held| {
            let from = usize::try_from(range.start() - held.range.start()).unwrap_or(usize::MAX);
            let len = usize::try_from(range.len()).unwrap_or_default();
            held.bytes.get(from..from + len).unwrap_or_default()
        })
    }

    /// Bytes held.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|held| held.range.len()).sum()
    }

    /// What is written before the keys, in order: first what lies behind the first MiB, then what lies in it.
    #[must_use]
    pub fn before_keys(&self) -> Vec<ByteRange> {
        let (mut head, mut rest) = (Vec::new(), Vec::new());
        for held in &self.ranges {
            let inside: Vec<ByteRange> = self.keys.iter().filter_map(|key| held.range.intersect(*key)).collect();
            let parts = subtract(held.range, &inside);
            if inside.is_empty() { rest.extend(parts) } else { head.extend(parts) }
        }
        rest.extend(head);
        rest
    }
}

/// `range` without `holes`, which are ascending and disjoint.
#[must_use]
pub fn subtract(range: ByteRange, holes: &[ByteRange]) -> Vec<ByteRange> {
    let mut parts = Vec::new();
    let mut from = range.start();
    for hole in holes {
        parts.push(ByteRange::between(from, hole.start().min(range.end())));
        from = from.max(hole.end());
    }
    parts.push(ByteRange::between(from, range.end()));
    parts.retain(|part| !part.is_empty());
    parts
}

/// Ascending, disjoint, not adjacent.
#[must_use]
pub fn merge(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    let mut merged: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = ByteRange::between(last.start(), last.end().max(range.end()));
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange::between(start, end)
    }

    #[test]
    fn subtracting_leaves_what_no_hole_covers() {
        assert_eq!(
            subtract(range(10, 50), &[range(0, 12), range(20, 30), range(45, 90)]),
            [range(12, 20), range(30, 45)]
        );
        assert_eq!(subtract(range(10, 50), &[range(0, 90)]), []);
        assert_eq!(subtract(range(10, 50), &[range(60, 90)]), [range(10, 50)]);
    }

    #[test]
    fn a_record_is_split_at_held_ranges() {
        let held = Held::new(vec![range(0, 100), range(200, 250)], vec![range(0, 10)]);
        let (inside, outside) = held.split(range(50, 230));
        assert_eq!(inside, [range(50, 100), range(200, 230)]);
        assert_eq!(outside, [range(100, 200)]);
    }

    #[test]
    fn later_bytes_win_and_the_rest_stays_zero() {
        let mut held = Held::new(vec![range(0, 8), range(20, 24)], vec![range(0, 2)]);
        held.put(4, &[1; 20]);
        held.put(6, &[2]);
        assert_eq!(held.ranges[0].bytes, [0, 0, 0, 0, 1, 1, 2, 1]);
        assert_eq!(held.bytes(range(21, 23)), [1, 1]);
    }

    #[test]
    fn the_key_is_not_among_what_is_written_before_it() {
        let held = Held::new(vec![range(0, 100), range(200, 250)], vec![range(0, 10)]);
        assert_eq!(held.before_keys(), [range(200, 250), range(10, 100)]);
    }
}
