//! Runs of set bits in an allocation bitmap.
//!
//! In: bytes whose bit 0 is the lowest of byte 0. Out: runs of set bits, ascending, disjoint, as long as possible.
//! Promise: bits behind the given number are never looked at; a word of equal bits costs one step.

use std::ops::Range;

const WORD: u64 = 64;

/// The first `bits` bits of `raw`; bits behind the bytes are clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    pub raw: &'a [u8],
    pub bits: u64,
}

impl<'a> Bits<'a> {
    fn word(self, index: u64) -> u64 {
        let at = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(8);
        let rest = self.raw.get(at..).unwrap_or(&[]);
        let mut word = [0; 8];
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
        u64::from_le_bytes(word)
    }

    /// The first bit from `at` on that is `wanted`, or the end.
    fn find(self, at: u64, wanted: bool) -> u64 {
        let mut at = at;
        while at < self.bits {
            let word = self.word(at / WORD);
            let ahead = (if wanted { word } else { !word }) >> (at % WORD);
            if ahead != 0 {
                return (at + u64::from(ahead.trailing_zeros())).min(self.bits);
            }
            at = (at / WORD + 1) * WORD;
        }
        self.bits
    }

    /// Runs of set bits, ascending.
    pub fn runs(self) -> impl Iterator<Item = Range<u64>> + use<'a> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.find(at, true);
            at = self.find(start, false);
            (start < self.bits).then_some(start..at)
        })
    }

    pub fn count_set(self) -> u64 {
        self.runs().map(|run| run.end - run.start).sum()
    }

    /// One past the last set bit.
    pub fn end_of_set(self) -> u64 {
        self.runs().last().map_or(0, |run| run.end)
    }

    /// The first clear bit of `range`, if there is one.
    pub fn clear_in(self, range: Range<u64>) -> Option<u64> {
        let clear = self.find(range.start, false);
        (clear < range.end).then_some(clear)
    }
}

/// Sets bit `bit` of `raw`, if it has one.
pub(super) fn set(raw: &mut [u8], bit: u64) {
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| raw.get_mut(at)) {
        *byte |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_that_a_slow_loop_finds() {
        let mut state = 1_u32;
        for bits in [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 200, 256, 300] {
            for _ in 0..100 {
                let raw: Vec<u8> = (0..32)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let [_, low, kind, _] = state.to_le_bytes();
                        [0x00, 0xff, low][usize::from(kind % 3)]
                    })
                    .collect();
                let byte = |bit: u64| usize::try_from(bit / 8).ok().and_then(|at| raw.get(at));
                let set = |bit: u64| byte(bit).is_some_and(|byte| byte >> (bit % 8) & 1 == 1);
                let slow: Vec<u64> = (0..bits).filter(|&bit| set(bit)).collect();
                let of = Bits { raw: &raw, bits };
                assert_eq!(of.runs().flatten().collect::<Vec<u64>>(), slow);
                assert!(of.runs().zip(of.runs().skip(1)).all(|(one, next)| one.end < next.start));
                assert_eq!(of.count_set(), slow.len() as u64);
                assert_eq!(of.end_of_set(), slow.last().map_or(0, |last| last + 1));
                for start in [0, 5, 64, 70] {
                    let clear = (start..bits).find(|&bit| !set(bit));
                    assert_eq!(of.clear_in(start..bits), clear, "from {start} of {bits}");
                }
            }
        }
    }
}
