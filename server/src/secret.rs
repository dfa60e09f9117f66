//! Secrets that are shown once: tokens, session secrets, signatures of URLs.
//!
//! In: the system's random bytes. Out: texts for their owners, SHA-256 of them for us.
//! Promise: nothing here prints a secret, and every comparison takes the same time for right and wrong.

use ramet_wire::PackName;
use ramet_wire::id::{hex, sha256, unhex};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hmac, pbkdf2};
use subtle::ConstantTimeEq;

/// How every token starts.
pub const PREFIX: &str = "rmt_";
/// The id of the token that a running server leaves in its state folder.
pub const LOCAL: &str = "local";

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandom;

/// `N` random bytes.
///
/// # Errors
/// [`NoRandom`].
pub fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// A secret that was just made.
pub struct Fresh {
    /// What its owner gets, once.
    pub text: String,
    /// What we keep.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fresh(***)")
    }
}

/// A token: `rmt_<id>_<64 hex digits>`.
///
/// # Errors
/// [`NoRandom`].
pub fn token(id: &str) -> Result<Fresh, NoRandom> {
    let secret = random::<32>()?;
    Ok(Fresh { text: format!("{PREFIX}{id}_{}", hex(&secret)), hash: sha256(&secret) })
}

/// A session's secret: 64 hex digits.
///
/// # Errors
/// [`NoRandom`].
pub fn session() -> Result<Fresh, NoRandom> {
    let secret = random::<32>()?;
    Ok(Fresh { text: hex(&secret), hash: sha256(&secret) })
}

/// An id that is no secret: 16 hex digits for runs, 8 for tokens.
///
/// # Errors
/// [`NoRandom`].
pub fn id<const N: usize>() -> Result<String, NoRandom> {
    Ok(hex(&random::<N>()?))
}

/// Characters of an agent's code: none that looks like another.
pub const CODE_ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
/// Characters of an agent's code.
pub const CODE_LEN: usize = 8;

/// A code by which an operator calls an agent.
///
/// # Errors
/// [`NoRandom`].
pub fn code() -> Result<String, NoRandom> {
    let mut code = String::with_capacity(CODE_LEN);
    while code.len() < CODE_LEN {
        // The 32nd value is thrown away, so that every character is as likely as any other.
        let drawn = random::<16>()?.into_iter().filter_map(|byte| CODE_ALPHABET.get(usize::from(byte & 31)));
        code.extend(drawn.take(CODE_LEN - code.len()).map(|&c| char::from(c)));
    }
    Ok(code)
}

/// A PIN: 8 digits.
///
/// # Errors
/// [`NoRandom`].
pub fn pin() -> Result<String, NoRandom> {
    const COUNT: u32 = 100_000_000;
    loop {
        // What is above the last whole multiple is thrown away, so that every PIN is as likely as any other.
        let drawn = u32::from_le_bytes(random()?);
        if drawn < u32::MAX / COUNT * COUNT {
            return Ok(format!("{:08}", drawn % COUNT));
        }
    }
}

/// Rounds of a PIN's hash: 8 digits are few, so that a stolen database shall not give them away at once.
const PIN_ROUNDS: std::num::NonZeroU32 = std::num::NonZeroU32::new(100_000).unwrap();

/// Hashes PINs, slowly.
pub struct PinKey(Vec<u8>);

impl std::fmt::Debug for PinKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinKey(***)")
    }
}

impl PinKey {
    /// From the database's secret, which is the salt of all PINs: one try is compared with all of them.
    #[must_use]
    pub fn new(secret: Vec<u8>) -> Self {
        Self(secret)
    }

    /// What is kept of a PIN. Takes tens of milliseconds.
    #[must_use]
    pub fn hash(&self, pin: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, PIN_ROUNDS, &self.0, pin.as_bytes(), &mut hash);
        hash
    }
}

/// What somebody presents after `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A token: its id, and the SHA-256 of its secret.
    Token(String, [u8; 32]),
    /// A session, by the SHA-256 of its secret.
    Session([u8; 32]),
}

/// Reads a bearer text; none when it is neither a token nor a session.
#[must_use]
pub fn read(text: &str) -> Option<Presented> {
    let Some(rest) = text.strip_prefix(PREFIX) else {
        return Some(Presented::Session(sha256(&unhex::<32>(text).ok()?)));
    };
    let (id, secret) = rest.split_once('_')?;
    let known = id == LOCAL || (id.len() == 8 && id.bytes().all(|c| c.is_ascii_hexdigit()));
    known.then_some(())?;
    Some(Presented::Token(id.to_owned(), sha256(&unhex::<32>(secret).ok()?)))
}

/// Both are the same; takes the same time whether they are or not.
#[must_use]
pub fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

/// Signs the addresses of packs that `locate` answers.
pub struct UrlKey(hmac::Key);

impl std::fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlKey(***)")
    }
}

impl UrlKey {
    /// From the database's secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The query that opens `pack` until `expires` (seconds since 1970).
    #[must_use]
    pub fn query(&self, pack: &PackName, expires: u64) -> String {
        let tag = hmac::sign(&self.0, &message(pack, expires));
        format!("exp={expires}&sig={}", hex(tag.as_ref()))
    }

    /// `query` opens `pack` at `now`; `None` when it is no such query at all, `Some(false)` when it has expired.
    #[must_use]
    pub fn opens(&self, query: &str, pack: &PackName, now: u64) -> Option<bool> {
        let (expires, sig) = query.strip_prefix("exp=")?.split_once("&sig=")?;
        let expires: u64 = expires.parse().ok()?;
        let sig = unhex::<32>(sig).ok()?;
        hmac::verify(&self.0, &message(pack, expires), &sig).ok()?;
        Some(now < expires)
    }
}

fn message(pack: &PackName, expires: u64) -> Vec<u8> {
    [b"ramet pack url 1\0".as_slice(), &pack.0, &expires.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_by_id_and_hash() {
        let fresh = token("12ab34cd").unwrap();
        assert_eq!(read(&fresh.text), Some(Presented::Token("12ab34cd".into(), fresh.hash)));
        let fresh = session().unwrap();
        assert_eq!(read(&fresh.text), Some(Presented::Session(fresh.hash)));
        for bad in ["", "rmt_", "rmt_12ab34cd", "rmt_12ab34cd_00", "rmt_../../xx_", "x", &"0".repeat(63)] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn codes_and_pins_have_their_shape_and_differ() {
        let codes: std::collections::BTreeSet<String> = (0..100).map(|_| code().unwrap()).collect();
        assert_eq!(codes.len(), 100);
        for code in &codes {
            assert!(code.len() == CODE_LEN && code.bytes().all(|c| CODE_ALPHABET.contains(&c)), "{code}");
        }
        let pins: std::collections::BTreeSet<String> = (0..100).map(|_| pin().unwrap()).collect();
        assert!(pins.len() > 98 && pins.iter().all(|pin| pin.len() == 8 && pin.bytes().all(|c| c.is_ascii_digit())));
        let (one, other) = (PinKey::new(vec![1; 32]), PinKey::new(vec![2; 32]));
        assert_eq!(one.hash("00000000"), one.hash("00000000"));
        assert_ne!(one.hash("00000000"), one.hash("00000001"));
        assert_ne!(one.hash("00000000"), other.hash("00000000"));
    }

    #[test]
    fn a_signed_address_opens_its_pack_until_it_expires() {
        let key = UrlKey::new(&[1; 32]);
        let (pack, other) = (PackName([1; 32]), PackName([2; 32]));
        let query = key.query(&pack, 100);
        assert_eq!(key.opens(&query, &pack, 99), Some(true));
        assert_eq!(key.opens(&query, &pack, 100), Some(false));
        assert_eq!(key.opens(&query, &other, 99), None);
        assert_eq!(key.opens(&query.replace("exp=100", "exp=101"), &pack, 99), None);
        assert_eq!(UrlKey::new(&[2; 32]).opens(&query, &pack, 99), None);
        assert_eq!(key.opens("exp=100&sig=", &pack, 99), None);
    }
}
