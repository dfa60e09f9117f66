//! The checksum of F2FS.
//!
//! In: bytes and a seed. Out: CRC-32 (the polynomial of zip) as the kernel's `f2fs_crc32` computes it.
//! Promise: no inversion at either end, so that a sum can be continued over several pieces.

/// A whole sum starts with the magic of the superblock.
pub(super) const SEED: u32 = super::superblock::MAGIC;

pub(crate) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new_with_initial(!seed);
    sum.update(bytes);
    !sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_check_value_of_the_catalogue_and_can_be_continued() {
        assert_eq!(!crc32(!0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(SEED, b"1234"), b"56789"), crc32(SEED, b"123456789"));
    }
}
