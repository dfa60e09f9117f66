//! The worker's entry: settings, then the work, then one line.
//!
//! In: what the supervisor left. Out: an exit status, and an outcome.
//! Promise: a panic leaves its words where the supervisor finds them; settings that can not be read end here, named.

use super::console::Consoles;
use super::outcome;
use super::settings::{self, LoadError};
use crate::cli::{Exit, show};
use crate::job::{self, Here};
use ramet_wire::settings::Then;

/// Does what the settings say. Called as `/init worker`.
#[must_use]
pub fn worker() -> Exit {
    outcome::keep_panics();
    let consoles = Consoles::open_all();
    let settings = match settings::load() {
        Ok(settings) => Ok(settings),
        Err(LoadError::Setting { source, .. }) => Err(source),
        Err(error) => {
            let line = format!("refused: {}; restart, or make the boot medium anew", show::chain(&error));
            outcome::say(&consoles, &line, Some(Then::Wait));
            return Exit::Refused;
        }
    };
    job::run(settings, &Here::booted(Box::new(consoles)))
}
