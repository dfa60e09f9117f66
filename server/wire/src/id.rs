//! Names made of SHA-256: chunks, packs, images, key fingerprints.
//!
//! In: bytes. Out: their SHA-256, as a typed name that is 64 hex digits on paper.
//! Promise: two different kinds of name cannot be mixed up; text is accepted only in its one spelling.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of exactly `2 * N` lower-case hex digits.
///
/// # Errors
/// [`BadHex`] for any other length or digit.
pub fn unhex<const N: usize>(text: &str) -> Result<[u8; N], BadHex> {
    let bad = || BadHex { wanted: N * 2, found: text.len() };
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(bad());
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(bad()),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(bytes)
}

/// Text that is not the hex digits it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} characters are not {wanted} lower-case hex digits")]
pub struct BadHex {
    /// Digits wanted.
    pub wanted: usize,
    /// Characters found.
    pub found: usize,
}

macro_rules! hash_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The name of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(sha256(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0[..6]))
            }
        }

        impl FromStr for $name {
            type Err = BadHex;
            fn from_str(text: &str) -> Result<Self, BadHex> {
                unhex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_name! {
    /// A chunk, by the SHA-256 of its raw bytes.
    ChunkId
}
hash_name! {
    /// A pack, by the SHA-256 of its file.
    PackName
}
hash_name! {
    /// A partition's digest: the SHA-256 over its segment ids in order.
    SegmentsDigest
}

/// An identity key, by the SHA-256 of its public key (uncompressed P-256 point, 65 bytes). Written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of an uncompressed P-256 point.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Self {
        Self(sha256(public_key))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = BadHex;
    fn from_str(text: &str) -> Result<Self, BadHex> {
        let digits = text.strip_prefix("sha256:").ok_or(BadHex { wanted: 64, found: text.len() })?;
        unhex(digits).map(Self)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One version of an image: the first 16 hex digits of its manifest's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub [u8; 8]);

impl ImageId {
    /// The id of a manifest, given as the bytes that lie in the store.
    #[must_use]
    pub fn of(manifest: &[u8]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&sha256(manifest)[..8]);
        Self(id)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({self})")
    }
}

impl FromStr for ImageId {
    type Err = BadHex;
    fn from_str(text: &str) -> Result<Self, BadHex> {
        unhex(text).map(Self)
    }
}

impl Serialize for ImageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_one() {
        let name = ChunkId::of(b"abc");
        assert_eq!(name.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn hex_has_one_spelling() {
        assert!(unhex::<2>("ABCD").is_err());
        assert!(unhex::<2>("abc").is_err());
        assert!(unhex::<2>("abcde").is_err());
        assert!(unhex::<2>("é12").is_err());
        assert_eq!(unhex::<2>("abcd"), Ok([0xab, 0xcd]));
        assert!("ba7816bf".parse::<Fingerprint>().is_err());
    }
}
