//! Random seeds that two machines must not share.
//!
//! In: where systems and boot loaders keep them. Out: none.
//! Promise: the kernel of the clone starts with what its hardware gives, never with what its source had.

use super::{IdentityError, Work};
use ramet_wire::identity::Renew;

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    if work.wanted.random_seed == Some(Renew::Keep) || work.again {
        return Ok(());
    }
    let paths = [
        "/var/lib/systemd/random-seed",
        "/var/lib/urandom/random-seed",
        "/var/lib/random-seed",
        "/var/lib/misc/random-seed",
        "/boot/loader/random-seed",
        "/efi/loader/random-seed",
        "/boot/efi/loader/random-seed",
    ];
    work.remove_all(&paths, "the source's random seed")?;
    Ok(())
}
