//! The worker's entry: settings, then the work, then one line.
//!
//! In: what the supervisor left. Out: an exit status, and an outcome.
//! Promise: a panic leaves its words where the supervisor finds them; settings that can not be read end here, named.

use super::console::Consoles;
use super::network::report;
use super::outcome;
use super::settings::{self, LoadError};
use crate::cli::{Exit, show};
use crate::job::{self, Here};
use ramet_wire::settings::{From, Mode, Settings, Then};

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
    let here = Here::booted(Box::new(Consoles::open_all()));
    if let Ok(settings) = &settings
        && let Err(sentence) = network(settings, &here)
    {
        outcome::say(&consoles, &format!("failed: {sentence}"), Some(settings.then.unwrap_or(Then::Wait)));
        return Exit::Failed;
    }
    job::run(settings, here)
}

/// Waits for the network where the work needs it: what the supervisor knows of cables and leases tells more than a
/// connection that does not come about. A menu is there at once, and without a server or a key the work has words of
/// its own.
fn network(settings: &Settings, here: &Here) -> Result<(), String> {
    let works = !matches!(settings.mode, Mode::Menu | Mode::Wait);
    if !works || settings.source != From::Server || settings.server.is_none() || settings.key.is_none() {
        return Ok(());
    }
    let _waiting = here.pulse.waiting();
    report::wait(&settings.timeouts, &mut || ())
}
