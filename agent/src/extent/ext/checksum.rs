//! The two checksums of ext4.
//!
//! In: bytes and a seed. Out: CRC-32C (`metadata_csum`) or CRC-16 (`uninit_bg`), as the kernel computes them.
//! Promise: no inversion at either end, so that sums can be continued over several pieces.

/// CRC-32C continued from `seed`; a whole sum starts with `!0`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// CRC-16/ARC continued from `seed` (polynomial 0x8005, reflected); a whole sum starts with `!0`.
pub(crate) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    let mut sum = seed;
    for &byte in bytes {
        sum ^= u16::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xa001 } else { sum >> 1 };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_check_values_of_the_catalogues() {
        // CRC-32C/iSCSI is inverted at the end; CRC-16/MODBUS is CRC-16/ARC that starts with all ones.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc16(!0, b"123456789"), 0x4b37);
    }
}
