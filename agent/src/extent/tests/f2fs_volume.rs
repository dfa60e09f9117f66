//! An F2FS in memory whose structures are changed and summed again.
//!
//! In: an image made by the tools. Out: the same with other bytes here and there, to be mapped.
//! Promise: places and checksums are found by this file's own means, not by the reader's.

use super::super::{Map, map};
use super::images::Image;
use crate::disk::source::ReadAt;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

const SUPERBLOCKS: [usize; 2] = [1024, 4096 + 1024];

/// An image without its zeros: there are many copies of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Volume {
    blocks: BTreeMap<usize, Vec<u8>>,
    pub size: u64,
}

impl ReadAt for Volume {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.copy_from_slice(&self.bytes(usize::try_from(offset).unwrap(), buf.len()));
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// CRC-32 without inversion, bit by bit.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf2f5_2010, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

impl Volume {
    pub fn new(image: &Image) -> Self {
        let bytes = image.bytes();
        let blocks = bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        Self { blocks: blocks.map(|(at, block)| (at, block.to_vec())).collect(), size: bytes.len() as u64 }
    }

    pub fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (number, block) in self.blocks.range(at / 4096..(at + len).div_ceil(4096)) {
            let (from, to) = (at.max(number * 4096), (at + len).min((number + 1) * 4096));
            bytes[from - at..to - at].copy_from_slice(&block[from - number * 4096..to - number * 4096]);
        }
        bytes
    }

    pub fn number(&self, at: usize, len: usize) -> u64 {
        self.bytes(at, len).iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    pub fn word(&self, at: usize) -> usize {
        usize::try_from(self.number(at, 4)).unwrap()
    }

    pub fn put(&mut self, at: usize, value: &[u8]) {
        for (at, byte) in (at..).zip(value) {
            self.blocks.entry(at / 4096).or_insert_with(|| vec![0; 4096])[at % 4096] = *byte;
        }
    }

    pub fn flip(&mut self, at: usize, bits: u8) {
        let byte = self.bytes(at, 1)[0];
        self.put(at, &[byte ^ bits]);
    }

    pub fn superblocks(&mut self, at: usize, value: &[u8]) {
        for copy in SUPERBLOCKS {
            self.put(copy + at, value);
        }
    }

    /// Byte of the first pack's block.
    pub fn pack(&self, block: usize) -> usize {
        (self.word(1024 + 76) + block) * 4096
    }

    /// Head and tail of the pack whose head is `head`.
    pub fn ends(&self, head: usize) -> [usize; 2] {
        [head, head + (self.word(head + 136) - 1) * 4096]
    }

    pub fn mend(&mut self, head: usize) {
        for place in self.ends(head) {
            let sum = crc(&self.bytes(place, 4092));
            self.put(place + 4092, &sum.to_le_bytes());
        }
    }

    /// Head and tail of a pack, summed again.
    pub fn checkpoint(&mut self, head: usize, at: usize, value: &[u8]) {
        for place in self.ends(head) {
            self.put(place + at, value);
        }
        self.mend(head);
    }

    /// A SIT entry of a segment, in the copy that counts.
    pub fn sit_entry(&self, segment: usize) -> usize {
        let second = self.bytes(self.pack(0) + 192, 1)[0] >> 7 == 1;
        assert!(segment < 55);
        let half = if second { self.word(1024 + 56) / 2 * 512 } else { 0 };
        (self.word(1024 + 80) + half) * 4096 + segment * 74
    }

    pub fn map(self) -> Map {
        map(Arc::new(self)).unwrap()
    }
}
