//! Where new ids come from.
//!
//! In: 32 random bytes of the run, and what shall have an id. Out: the id.
//! Promise: the same run gives the same ids, so that a repeated step changes nothing; another run gives others.

use uuid::{Builder, Uuid};

/// Before the seed in what is hashed, so that it may also serve other ends.
const DOMAIN: &[u8] = b"ramet new uuid v1\0";

/// The seed of a run.
#[derive(Clone, Copy)]
pub struct Seed([u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Seed {
    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id of `what`, in the form of a random UUID (RFC 9562, version 4).
    pub(super) fn id(&self, what: &str) -> Uuid {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        [DOMAIN, &self.0, what.as_bytes()].iter().for_each(|piece| context.update(piece));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The first four bytes of an id as a number that is not zero, for what has room for no more.
pub(super) fn four(id: Uuid) -> u32 {
    let [a, b, c, d, ..] = id.into_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// Eight bytes of an id, without those that tell its version.
pub(super) fn eight(id: Uuid) -> u64 {
    let [a, b, c, d, e, f, _, _, _, j, k, ..] = id.into_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, j, k]).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_id_again_and_each_thing_another_one() {
        let seed = Seed::new([7; 32]);
        let id = seed.id("disk 0 partition 1");
        assert_eq!(id, seed.id("disk 0 partition 1"));
        assert_eq!(id.get_version_num(), 4);
        assert_ne!(id, seed.id("disk 0 partition 2"));
        assert_ne!(id, Seed::new([8; 32]).id("disk 0 partition 1"));
        assert_eq!(four(Uuid::nil()), 1);
        assert!(!format!("{seed:?}").contains('7'));
    }
}
