//! Sets of bytes as sorted, disjoint ranges.
//!
//! In: ranges in any order. Out: unions, differences, gaps closed.
//! Promise: simple enough to be believed; the code under test has its own.

use std::ops::Range;

/// A sorted list of disjoint, not touching ranges.
pub type Ranges = Vec<Range<u64>>;

/// Sorted, merged, without empty ones; gaps below `bridge` bytes are closed.
#[must_use]
pub fn merged(mut ranges: Ranges, bridge: u64) -> Ranges {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut out: Ranges = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end || range.start - last.end < bridge => {
                last.end = last.end.max(range.end)
            }
            _ => out.push(range),
        }
    }
    out
}

/// What of `ranges` is not in `other`; both as [`merged`] gives them.
#[must_use]
pub fn without(ranges: &[Range<u64>], other: &[Range<u64>]) -> Ranges {
    let mut out = Ranges::new();
    for range in ranges {
        let mut from = range.start;
        let first = other.partition_point(|cut| cut.end <= range.start);
        for cut in other[first..].iter().take_while(|cut| cut.start < range.end) {
            out.push(from..cut.start);
            from = from.max(cut.end);
        }
        out.push(from..range.end);
    }
    out.retain(|range| range.start < range.end);
    out
}

/// `ranges` moved up by `by` bytes.
#[must_use]
pub fn moved(ranges: &[Range<u64>], by: u64) -> Ranges {
    ranges.iter().map(|range| range.start + by..range.end + by).collect()
}

/// How many bytes.
#[must_use]
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The first and last `len` bytes of `range`.
#[must_use]
pub fn edges(range: &Range<u64>, len: u64) -> Ranges {
    let len = len.min(range.end - range.start);
    vec![range.start..range.start + len, range.end - len..range.end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unions_and_differences() {
        assert_eq!(merged(vec![20..30, 0..10, 9..12, 5..5], 0), vec![0..12, 20..30]);
        assert_eq!(merged(vec![20..30, 0..12], 9), vec![0..30]);
        assert_eq!(without(&[0..30, 40..50], &[5..10, 12..14, 28..45]), vec![0..5, 10..12, 14..28, 45..50]);
        assert_eq!(edges(&(10..15), 9), vec![10..15, 10..15]);
    }
}
