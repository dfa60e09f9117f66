//! What an identity key signs: a domain and the bytes as they lie.
//!
//! In: a public key, a domain, bytes, a signature. Out: yes or no.
//! Promise: a signature made for one purpose is worthless for another.

use crate::id::Fingerprint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest signature: DER of two 33-byte integers, with room.
pub const SIGNATURE_MAX: usize = 80;

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A manifest, by the store's identity.
    Manifest,
    /// A receipt, by the server that checked it.
    Receipt,
}

impl Domain {
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"ramet manifest 1\0",
            Self::Receipt => b"ramet receipt 1\0",
        }
    }

    /// The bytes that go under the signature: the domain's prefix, then `bytes`.
    #[must_use]
    pub fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.prefix(), bytes].concat()
    }
}

/// An identity's public half: an uncompressed P-256 point (SEC 1, 2.3.3), 65 bytes. Base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 65]);

impl PublicKey {
    /// What `ramet key` prints and `--key` takes.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// `signature` was made by this key over `bytes` for `domain`. ECDSA P-256 with SHA-256, ASN.1 DER.
    #[must_use]
    pub fn verifies(&self, domain: Domain, bytes: &[u8], signature: &[u8]) -> bool {
        signature.len() <= SIGNATURE_MAX
            && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
                .verify(&domain.message(bytes), signature)
                .is_ok()
    }

    /// Reads the base64 form.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes: [u8; 65] = STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
        (bytes[0] == 4).then_some(Self(bytes))
    }

    /// The base64 form.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).ok_or_else(|| serde::de::Error::custom("not a base64 P-256 point of 65 bytes"))
    }
}

/// A signature in JSON: base64 of its DER bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() > SIGNATURE_MAX * 2 {
            return Err(serde::de::Error::custom("signature too long"));
        }
        STANDARD.decode(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    #[test]
    fn a_manifest_signature_is_no_receipt_signature() {
        let rng = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &rng).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &rng).unwrap();
        let key = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        let signature = pair.sign(&rng, &Domain::Manifest.message(b"bytes")).unwrap();
        assert!(key.verifies(Domain::Manifest, b"bytes", signature.as_ref()));
        assert!(!key.verifies(Domain::Receipt, b"bytes", signature.as_ref()));
        assert!(!key.verifies(Domain::Manifest, b"byteS", signature.as_ref()));
        assert!(!key.verifies(Domain::Manifest, b"bytes", &[]));
        assert_eq!(PublicKey::from_base64(&key.to_base64()), Some(key));
        assert_eq!(PublicKey::from_base64("AAAA"), None);
    }
}
