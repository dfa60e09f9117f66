//! Random numbers that come again.
//!
//! In: a seed. Out: the same numbers on every machine.
//! Promise: none for secrets; a failed test can be repeated.

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

/// One step of `SplitMix64` as a hash of a number.
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        let out = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        out
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(items.len() as u64);
        &items[usize::try_from(at).unwrap()]
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// `len` bytes that compress about as well as text does.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        let words = ["ramet ", "genet ", "stolon ", "rhizome ", "clone ", "bud\n", "of ", "the "];
        let mut out = Vec::with_capacity(len + 24);
        while out.len() < len {
            out.extend_from_slice(self.pick(&words).as_bytes());
            if self.below(9) == 0 {
                out.extend_from_slice(format!("{:x} ", self.next()).as_bytes());
            }
        }
        out.truncate(len);
        out
    }
}
