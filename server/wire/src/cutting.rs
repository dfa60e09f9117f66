//! Where chunks end: content-defined, only at block boundaries.
//!
//! In: the blocks of one extent, in order. Out: the lengths of its chunks.
//! Promise: the same blocks give the same cuts wherever the partition lies; the rule stands in the manifest.

use crate::frame::CHUNK_MAX;
use serde::{Deserialize, Serialize};

/// The rule of format 1. A chunk ends after a block when its length is at least `min` and
/// `xxh3_64(block, seed 0) mod modulus == 0`, or when its length is `max`, or where its extent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutting {
    /// Bytes per block.
    pub block: u32,
    /// Shortest chunk that content may end, in bytes.
    pub min: u32,
    /// Longest chunk, in bytes.
    pub max: u32,
    /// One block in so many ends a chunk.
    pub modulus: u64,
}

/// The only parameters of format 1.
pub const CUTTING: Cutting = Cutting { block: 4096, min: 32 * 1024, max: CHUNK_MAX, modulus: 24 };

/// Runs of zero blocks at least this long are recorded, not stored; shorter gaps between extents may be bridged.
pub const ZERO_RUN_MIN: u64 = 32 * 1024;

/// Bytes of the first chunk of `bytes`, which holds whole blocks except perhaps at the end of the partition.
///
/// `last` says that nothing follows `bytes` in this extent. Without it, `None` means: more bytes are needed
/// (never when `bytes` holds [`CHUNK_MAX`] or more).
#[must_use]
pub fn first_cut(bytes: &[u8], last: bool) -> Option<usize> {
    let block = CUTTING.block as usize;
    let (min, max) = (CUTTING.min as usize, CUTTING.max as usize);
    let mut end = block * (min / block - 1);
    while end < bytes.len().min(max) {
        let stop = (end + block).min(bytes.len());
        let partial = stop - end < block;
        if !partial && xxhash_rust::xxh3::xxh3_64(&bytes[end..stop]).is_multiple_of(CUTTING.modulus) {
            return Some(stop);
        }
        end = stop;
    }
    if bytes.len() >= max {
        return Some(max);
    }
    (last && !bytes.is_empty()).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a fixed generator (xorshift64), so that golden cuts can be stated here.
    fn noise(len: usize, mut state: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn cuts(mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(len) = first_cut(bytes, true) {
            lengths.push(len / 4096);
            bytes = &bytes[len..];
        }
        lengths
    }

    #[test]
    fn golden_cuts_never_change() {
        // In blocks. A change here doubles every store in the field: it needs a new format number.
        assert_eq!(cuts(&noise(2 << 20, 0x5eed)), GOLDEN_5EED);
        assert_eq!(cuts(&noise(1 << 20, 1)), GOLDEN_1);
        assert_eq!(cuts(&vec![7; 1 << 20]), [128, 128]);
    }

    const GOLDEN_5EED: &[usize] =
        &[9, 8, 38, 24, 35, 20, 27, 42, 9, 58, 16, 9, 12, 8, 38, 11, 8, 21, 57, 13, 18, 8, 21, 2];
    const GOLDEN_1: &[usize] = &[82, 40, 43, 22, 31, 22, 16];

    #[test]
    fn cuts_find_each_other_again_after_an_insertion_of_blocks() {
        let bytes = noise(4 << 20, 9);
        let shifted = [noise(12 << 10, 3), bytes.clone()].concat();
        let (a, b) = (cuts(&bytes), cuts(&shifted));
        let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
        assert!(tail + 3 >= a.len(), "{tail} of {} chunks are the same", a.len());
    }

    #[test]
    fn needs_more_bytes_only_below_the_longest_chunk() {
        assert_eq!(first_cut(&[], true), None);
        assert_eq!(first_cut(&vec![7; 4096], false), None);
        assert_eq!(first_cut(&vec![7; 4096], true), Some(4096));
        assert_eq!(first_cut(&vec![7; 512 << 10], false), Some(512 << 10));
        assert_eq!(first_cut(&vec![7; 40_000], true), Some(40_000));
    }
}
