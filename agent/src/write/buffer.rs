//! Buffers that a device can read into and write from without the page cache.
//!
//! In: a length. Out: zeroed bytes whose address is a multiple of 4096, as `O_DIRECT` wants it everywhere.
//! Promise: no `unsafe`; the slack is allocated once and buffers are kept for the whole run.

use std::ops::{Deref, DerefMut};

/// Alignment in memory, in bytes: the page size, which no device exceeds.
const PAGE: usize = 4096;

/// Bytes at a page boundary.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Self { bytes, start, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_a_page_and_has_its_length() {
        for len in [1, 4096, 1 << 20] {
            let buffer = Aligned::new(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().align_offset(PAGE), 0);
        }
    }
}
