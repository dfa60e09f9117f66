//! The checksum of version 5 metadata.
//!
//! In: a structure, and where in it the sum lies. Out: nothing, or the doubt that its bytes are not what was written.
//! Promise: CRC-32C as the kernel computes it, with the sum's own four bytes taken as zero.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;

/// CRC-32C of `bytes` with the little-endian sum at `at` taken as zero, continued over nothing else.
pub(crate) fn sum(bytes: &[u8], at: usize) -> u32 {
    let (before, rest) = bytes.split_at(at.min(bytes.len()));
    let crc = crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]);
    crc32c::crc32c_append(crc, rest.get(4..).unwrap_or_default())
}

/// # Errors
/// A doubt that names `what` and both sums.
pub(super) fn check(bytes: &[u8], at: usize, what: impl FnOnce() -> String) -> Result<(), ExtentError> {
    let (stored, computed) = (Fields(bytes).le32(at), sum(bytes, at));
    believe!(stored == computed, "checksum of {} is {stored:#010x}, its bytes give {computed:#010x}", what());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_check_value_of_the_catalogue() {
        assert_eq!(sum(b"123456789", 9), crc32c::crc32c(b"123456789\0\0\0\0"));
        assert_eq!(sum(b"12\xaa\xaa\xaa\xaa789", 2), crc32c::crc32c(b"12\0\0\0\x00789"));
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
