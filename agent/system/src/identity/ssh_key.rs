//! SSH host keys, made and written as OpenSSH does.
//!
//! In: random numbers. Out: a private key in OpenSSH's own format (`PROTOCOL.key`) and its public line (RFC 4253, 5656,
//! 8709).
//! Promise: Ed25519 and ECDSA P-256 only: what `ring` makes. `ssh-keygen` reads both.

use super::{IdentityError, random};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::KeyPair as _;

/// Kinds that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Ed25519,
    Ecdsa,
}

/// A key pair as two files hold it.
pub(super) struct HostKey {
    pub private: String,
    pub public: String,
}

/// What ring's PKCS #8 document of a P-256 key begins with, up to the private scalar; its public key follows behind
/// [`PUBLIC`]. Fixed lengths: RFC 5208, RFC 5915.
const SCALAR_AT: usize = 36;
const PUBLIC: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00];

impl HostKey {
    pub fn new(kind: KeyKind, comment: &str) -> Result<Self, IdentityError> {
        let (name, public, private) = match kind {
            KeyKind::Ed25519 => ed25519()?,
            KeyKind::Ecdsa => ecdsa()?,
        };
        let check: [u8; 4] = random("a host key")?;
        // The number twice, the key, a comment, then 1, 2, 3, … up to a multiple of the cipher's block, which is 8.
        let mut section = [check, check].concat();
        section.extend(private);
        section.extend(string(comment.as_bytes()));
        section.extend((1..=8).take((8 - section.len() % 8) % 8));
        let mut blob = b"openssh-key-v1\0".to_vec();
        for part in [b"none".as_slice(), b"none", b""] {
            blob.extend(string(part));
        }
        blob.extend(1_u32.to_be_bytes());
        blob.extend(string(&public));
        blob.extend(string(&section));
        let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        for line in STANDARD.encode(blob).as_bytes().chunks(70) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        Ok(Self { private: text, public: format!("{name} {} {comment}\n", STANDARD.encode(public)) })
    }
}

/// Kind, public blob, private fields.
type Parts = (&'static str, Vec<u8>, Vec<u8>);

fn ed25519() -> Result<Parts, IdentityError> {
    let failed = || IdentityError::Random { what: "an Ed25519 host key" };
    let seed: [u8; 32] = random("an Ed25519 host key")?;
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| failed())?;
    let (name, public) = ("ssh-ed25519", pair.public_key().as_ref());
    let blob = [string(name.as_bytes()), string(public)].concat();
    let private = [blob.clone(), string(&[&seed, public].concat())].concat();
    Ok((name, blob, private))
}

fn ecdsa() -> Result<Parts, IdentityError> {
    let failed = || IdentityError::Random { what: "an ECDSA host key" };
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let rng = ring::rand::SystemRandom::new();
    let document = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &rng).map_err(|_| failed())?;
    let bytes = document.as_ref();
    let pair = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, bytes, &rng).map_err(|_| failed())?;
    let public = pair.public_key().as_ref();
    let scalar = bytes.get(SCALAR_AT..SCALAR_AT + 32).ok_or_else(failed)?;
    let tail = bytes.get(SCALAR_AT + 32..).ok_or_else(failed)?;
    if bytes.get(SCALAR_AT - 2..SCALAR_AT) != Some(&[0x04, 0x20]) || tail != [PUBLIC, public].concat() {
        return Err(failed());
    }
    let name = "ecdsa-sha2-nistp256";
    let blob = [string(name.as_bytes()), string(b"nistp256"), string(public)].concat();
    let private = [blob.clone(), string(&integer(scalar))].concat();
    Ok((name, blob, private))
}

/// RFC 4251: its length, then the bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("parts of a key are short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// RFC 4251, `mpint` of a positive number: no leading zeros but the one that keeps the sign.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if bytes.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [sign, &bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn ssh_keygen_reads_what_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let at = path.to_str().unwrap();
        // Often enough to meet scalars that begin with a zero or a set bit.
        for round in 0..40 {
            for (kind, word) in [(KeyKind::Ed25519, "ED25519"), (KeyKind::Ecdsa, "ECDSA")] {
                let key = HostKey::new(kind, "root@web02").unwrap();
                let _ = std::fs::remove_file(&path);
                std::fs::write(&path, &key.private).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                assert_eq!(run("ssh-keygen", &["-y", "-f", at]), key.public, "{kind:?}");
                if round == 0 {
                    let said = run("ssh-keygen", &["-l", "-f", at]);
                    assert!(said.contains(word) && said.contains("root@web02"), "{said}");
                    std::fs::write(folder.path().join("data"), "x").unwrap();
                    run(
                        "ssh-keygen",
                        &["-Y", "sign", "-n", "test", "-f", at, folder.path().join("data").to_str().unwrap()],
                    );
                    std::fs::remove_file(folder.path().join("data.sig")).unwrap();
                }
            }
        }
        assert_eq!(integer(&[0, 0, 0x7f, 1]), [0x7f, 1]);
        assert_eq!(integer(&[0x80, 1]), [0, 0x80, 1]);
    }
}
