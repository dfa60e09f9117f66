//! The four checksums of btrfs.
//!
//! In: the bytes of a superblock or a node. Out: whether the sum at their start is the one of what follows it.
//! Promise: a type that is not known is a doubt.

use super::super::ExtentError;
use super::super::error::believe;
use blake2::digest::Digest;
use blake2::digest::consts::U32;
use std::fmt::Display;

/// Room for a checksum at the start of every structure, in bytes.
pub(super) const ROOM: usize = 32;

/// What `csum_type` of the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    Crc32c,
    Xxhash,
    Sha256,
    Blake2b,
}

impl Sum {
    /// # Errors
    /// A type that this reader does not compute.
    pub fn of(kind: u16) -> Result<Self, ExtentError> {
        match kind {
            0 => Ok(Self::Crc32c),
            1 => Ok(Self::Xxhash),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Blake2b),
            _ => Err(ExtentError::doubt(format!("superblock has checksum type {kind}, 0 to 3 are known"))),
        }
    }

    pub fn of_bytes(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32c => crc32c::crc32c(bytes).to_le_bytes().to_vec(),
            Self::Xxhash => xxhash_rust::xxh64::xxh64(bytes, 0).to_le_bytes().to_vec(),
            Self::Sha256 => ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec(),
            Self::Blake2b => blake2::Blake2b::<U32>::digest(bytes).to_vec(),
        }
    }

    /// A structure whose first 32 bytes hold the sum of all others.
    ///
    /// # Errors
    /// A doubt that names `what` and both sums.
    pub fn check(self, raw: &[u8], what: impl Display) -> Result<(), ExtentError> {
        let (room, bytes) = raw.split_at_checked(ROOM).unwrap_or((raw, &[]));
        let computed = self.of_bytes(bytes);
        let stored = room.get(..computed.len()).unwrap_or(room);
        believe!(
            stored == computed,
            "checksum of the {what} is {}, its bytes give {}",
            hexadecimal(stored),
            hexadecimal(&computed)
        );
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_check_values_of_the_catalogues() {
        let digits = |sum: Sum| hexadecimal(&sum.of_bytes(b"123456789"));
        assert_eq!(digits(Sum::Crc32c), "839206e3");
        assert_eq!(digits(Sum::Xxhash), hexadecimal(&0x8cb8_41db_40e6_ae83_u64.to_le_bytes()));
        assert_eq!(digits(Sum::Sha256), "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        assert_eq!(digits(Sum::Blake2b), "16e0bf1f85594a11e75030981c0b670370b3ad83a43f49ae58a2fd6f6513cde9");
    }

    #[test]
    fn a_type_to_come_is_a_doubt() {
        assert!(Sum::of(3).is_ok() && Sum::of(4).is_err());
    }
}
