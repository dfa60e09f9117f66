//! Byte ranges: the one way to name a stretch of a disk, a partition or a file.
//!
//! In: a start and a length, both in bytes, from anywhere. Out: a range whose end is known to fit in 64 bits.
//! Promise: no arithmetic on a `ByteRange` can wrap; a range that would is refused when it is made.

use serde::{Deserialize, Serialize};

/// The unit in which content is cut, compared and written, in bytes; counted from the start of a partition.
pub const BLOCK: u64 = 4096;

/// Bytes per GiB.
pub const GIB: u64 = 1 << 30;

/// Bytes per MiB.
pub const MIB: u64 = 1 << 20;

/// Bytes per KiB.
pub const KIB: u64 = 1 << 10;

/// `start .. start + len`, in bytes. `end()` always fits in a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawRange")]
pub struct ByteRange {
    start: u64,
    len: u64,
}

#[derive(Deserialize)]
struct RawRange {
    start: u64,
    len: u64,
}

impl TryFrom<RawRange> for ByteRange {
    type Error = RangeError;
    fn try_from(raw: RawRange) -> Result<Self, RangeError> {
        Self::new(raw.start, raw.len)
    }
}

/// A start and a length whose sum does not fit in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range at {start} of {len} bytes ends past 2^64")]
pub struct RangeError {
    /// The refused start.
    pub start: u64,
    /// The refused length.
    pub len: u64,
}

impl ByteRange {
    /// The range of `len` bytes from `start`.
    ///
    /// # Errors
    /// [`RangeError`] when the end does not fit in 64 bits.
    pub const fn new(start: u64, len: u64) -> Result<Self, RangeError> {
        match start.checked_add(len) {
            Some(_) => Ok(Self { start, len }),
            None => Err(RangeError { start, len }),
        }
    }

    /// The range from `start` up to, not including, `end`; empty when `end < start`.
    #[must_use]
    pub const fn between(start: u64, end: u64) -> Self {
        Self { start, len: end.saturating_sub(start) }
    }

    /// First byte.
    #[must_use]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.len
    }

    /// One past the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start + self.len
    }

    /// No bytes at all.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// `other` lies wholly inside `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// The bytes that both have, if any.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let range = Self::between(self.start.max(other.start), self.end().min(other.end()));
        (!range.is_empty()).then_some(range)
    }

    /// Grown outward to multiples of [`BLOCK`], but not past `limit`.
    #[must_use]
    pub fn round_out(self, limit: u64) -> Self {
        let start = self.start / BLOCK * BLOCK;
        let end = self.end().checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        Self::between(start.min(limit), end.min(limit))
    }

    /// Shrunk inward to multiples of [`BLOCK`]; `limit`, the end of the partition, counts as one.
    #[must_use]
    pub fn round_in(self, limit: u64) -> Self {
        let start = self.start.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        let end = if self.end() >= limit { limit } else { self.end() / BLOCK * BLOCK };
        Self::between(start, end)
    }

    /// Moved up by `by` bytes.
    ///
    /// # Errors
    /// [`RangeError`] when the end would not fit in 64 bits.
    pub const fn shift(self, by: u64) -> Result<Self, RangeError> {
        match self.start.checked_add(by) {
            Some(start) => Self::new(start, self.len),
            None => Err(RangeError { start: self.start, len: by }),
        }
    }
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.start, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_end_past_64_bits() {
        assert!(ByteRange::new(u64::MAX, 1).is_err());
        assert!(ByteRange::new(1, u64::MAX).is_err());
        assert!(ByteRange::between(10, 20).shift(u64::MAX - 5).is_err());
    }

    #[test]
    fn rounds_out_to_blocks_but_not_past_the_end() {
        assert_eq!(ByteRange::between(5000, 9000).round_out(9001), ByteRange::between(4096, 9001));
        assert_eq!(ByteRange::between(5000, 9000).round_out(1 << 20), ByteRange::between(4096, 12288));
    }

    #[test]
    fn rounds_in_to_whole_blocks_and_the_partition_end() {
        assert_eq!(ByteRange::between(5000, 20000).round_in(1 << 20), ByteRange::between(8192, 16384));
        assert_eq!(ByteRange::between(5000, 20000).round_in(20000), ByteRange::between(8192, 20000));
        assert!(ByteRange::between(5000, 6000).round_in(1 << 20).is_empty());
    }

    #[test]
    fn a_wrapping_range_does_not_deserialize() {
        let text = format!(r#"{{"start":{},"len":2}}"#, u64::MAX);
        assert!(serde_json::from_str::<ByteRange>(&text).is_err());
    }
}
