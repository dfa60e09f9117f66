//! Block and inode bitmaps.
//!
//! In: the bytes of a bitmap and the descriptor that points to it. Out: runs of set bits, or a doubt.
//! Promise: checksum and number of free bits agree with the descriptor.

use super::super::ExtentError;
use super::super::bytes::in_memory;
use super::super::error::believe;
use super::checksum::crc32c;
use super::descriptor::Descriptor;
use super::geometry::{Geometry, Sums};
use std::ops::Range;

/// Bits in the order of the disk: bit 0 is the lowest of byte 0.
pub(super) struct Bits<'a> {
    raw: &'a [u8],
    len: usize,
}

impl Bits<'_> {
    pub fn get(&self, bit: usize) -> bool {
        self.raw[bit / 8] >> (bit % 8) & 1 == 1
    }

    fn count_set(&self) -> u64 {
        let whole: u32 = self.raw[..self.len / 8].iter().map(|byte| byte.count_ones()).sum();
        let rest = (self.len / 8 * 8..self.len).filter(|&bit| self.get(bit)).count();
        u64::from(whole) + rest as u64
    }

    /// One past the last set bit.
    pub fn used_end(&self) -> u64 {
        let last = self.raw[..self.len.div_ceil(8)].iter().rposition(|&byte| byte != 0);
        let end = last.map_or(0, |byte| (byte + 1) * 8).min(self.len);
        (0..end).rev().find(|&bit| self.get(bit)).map_or(0, |bit| bit as u64 + 1)
    }

    /// The first bit from `at` on that is `wanted`, or the end.
    fn find(&self, mut at: usize, wanted: bool) -> usize {
        let boring = if wanted { 0x00 } else { 0xff };
        while at < self.len {
            if at.is_multiple_of(8) && self.raw[at / 8] == boring {
                at += 8;
            } else if self.get(at) == wanted {
                return at;
            } else {
                at += 1;
            }
        }
        self.len
    }

    /// Runs of set bits, ascending.
    pub fn runs(&self) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut at = 0;
        loop {
            let start = self.find(at, true);
            if start >= self.len {
                return runs;
            }
            at = self.find(start, false);
            runs.push(start..at);
        }
    }

    /// The first clear bit of a range, if there is one.
    pub fn clear_in(&self, range: Range<usize>) -> Option<usize> {
        let clear = self.find(range.start, false);
        (clear < range.end).then_some(clear)
    }
}

/// The clusters of `group`; `raw` is its bitmap block.
pub(super) fn clusters<'a>(
    geometry: &Geometry,
    group: u64,
    descriptor: &Descriptor,
    raw: &'a [u8],
) -> Result<Bits<'a>, ExtentError> {
    check_sum(geometry, group, "block", raw, geometry.clusters_per_group(), descriptor.block_bitmap_sum)?;
    let count = geometry.group_blocks(group).div_ceil(geometry.ratio);
    checked(group, "block", "clusters", raw, count, descriptor.free_clusters)
}

/// The inodes of `group`; `raw` is its bitmap block.
pub(super) fn inodes<'a>(
    geometry: &Geometry,
    group: u64,
    descriptor: &Descriptor,
    raw: &'a [u8],
) -> Result<Bits<'a>, ExtentError> {
    check_sum(geometry, group, "inode", raw, geometry.inodes_per_group, descriptor.inode_bitmap_sum)?;
    checked(group, "inode", "inodes", raw, geometry.inodes_per_group, descriptor.free_inodes)
}

/// `count` bits of `raw`, of which `free` are clear.
fn checked<'a>(
    group: u64,
    what: &str,
    of: &str,
    raw: &'a [u8],
    count: u64,
    free: u64,
) -> Result<Bits<'a>, ExtentError> {
    let bits = Bits { raw, len: in_memory(count)? };
    let clear = count - bits.count_set();
    believe!(clear == free, "{what} bitmap of group {group} has {clear} free {of}, its descriptor has {free}");
    Ok(bits)
}

fn check_sum(
    geometry: &Geometry,
    group: u64,
    what: &str,
    raw: &[u8],
    bits: u64,
    stored: u32,
) -> Result<(), ExtentError> {
    let Sums::Crc32c(seed) = geometry.sums else { return Ok(()) };
    let mask = if geometry.descriptor >= 64 { u32::MAX } else { 0xffff };
    let computed = crc32c(seed, &raw[..in_memory(bits / 8)?]) & mask;
    believe!(
        stored == computed,
        "checksum of the {what} bitmap of group {group} is {stored:#x}, its bytes give {computed:#x}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_set_bits_are_those_a_slow_loop_finds() {
        let mut state = 1_u32;
        for len in [1, 7, 8, 9, 63, 64, 200, 256] {
            for _ in 0..200 {
                let raw: Vec<u8> = (0..32)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        [0x00, 0xff, (state >> 16 & 0xff) as u8]
                            [state as usize >> 8 & 1 | (state as usize >> 24 & 2).min(1)]
                    })
                    .collect();
                let bits = Bits { raw: &raw, len };
                let from_runs: Vec<usize> = bits.runs().into_iter().flatten().collect();
                let slow: Vec<usize> = (0..len).filter(|&bit| bits.get(bit)).collect();
                assert_eq!(from_runs, slow);
                assert_eq!(bits.count_set(), slow.len() as u64);
            }
        }
    }
}
