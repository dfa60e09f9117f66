//! Who a clone shall be, as a command line says it.
//!
//! In: a file in TOML, a name, addresses of cards. Out: a rendered declaration.
//! Promise: what is wrong with it is said before a disk is opened.

use crate::capture::source::this_machine;
use crate::hardware::cards::cards;
use crate::hardware::tree::Tree;
use ramet_wire::hardware::CARDS_MAX;
use ramet_wire::identity::{IDENTITY_MAX, Identity, Vars};
use ramet_wire::settings::Mac;
use std::fs::File;
use std::io::Read as _;

/// Reads and renders `file` for a machine that is called `name` and has these cards; without them, this machine's.
///
/// # Errors
/// A sentence.
pub(super) fn declared(file: &str, name: Option<&str>, macs: &[String]) -> Result<Identity, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--identity {file}: {error}");
    let mut text = String::new();
    let limit = IDENTITY_MAX as u64 + 1;
    File::open(file).and_then(|from| from.take(limit).read_to_string(&mut text)).map_err(|error| wrong(&error))?;
    let declared = Identity::from_toml(&text).map_err(|error| wrong(&error))?;
    declared.render(&vars(name, macs)?).map_err(|error| wrong(&error))
}

fn vars(name: Option<&str>, macs: &[String]) -> Result<Vars, String> {
    let here = this_machine();
    let mut own: Vec<String> = match macs {
        [] => cards(&Tree::of_this_machine(), None, CARDS_MAX).iter().map(|card| card.mac.to_string()).collect(),
        macs => macs
            .iter()
            .map(|mac| mac.parse::<Mac>().map(|mac| mac.to_string()).map_err(|error| format!("--mac {mac}: {error}")))
            .collect::<Result<_, _>>()?,
    };
    own.sort_unstable();
    Ok(Vars {
        name: name.unwrap_or_default().to_owned(),
        macs: own,
        serial: here.serial.unwrap_or_default(),
        uuid: here.uuid.unwrap_or_default(),
        ..Vars::default()
    })
}
