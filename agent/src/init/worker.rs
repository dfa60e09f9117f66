//! The worker's entry: settings, then the work, then one line.
//!
//! In: what the supervisor left. Out: an exit status, and an outcome.
//! Promise: wrong settings end here, named, before anything is done.

use super::console::Consoles;
use super::outcome::{self, Pulse};
use super::{modules, network, settings};
use crate::cli::{Exit, show};
use ramet_wire::settings::{From, Mode, Settings, Then};
use std::time::Duration;

/// Does what the settings say. Called as `/init worker`.
#[must_use]
pub fn worker() -> Exit {
    outcome::keep_panics();
    let consoles = Consoles::open_all();
    match settings::load() {
        Ok(settings) => run(&consoles, &settings),
        Err(error) => {
            let line = format!("refused: {}; correct it in the boot menu or in ramet.conf", show::chain(&error));
            outcome::say(&consoles, &line, Some(Then::Wait));
            Exit::Refused
        }
    }
}

fn run(consoles: &Consoles, settings: &Settings) -> Exit {
    let pulse = Pulse::of_supervisor();
    let (loaded, refused) = modules::recorded();
    consoles.line(&format!("{loaded} modules loaded, {} refused", refused.len()));
    if settings.source == From::Server && settings.server.is_some() {
        match network::report::wait(&settings.timeouts, &mut || pulse.beat()) {
            Ok(()) => consoles.line("the server is reached"),
            Err(sentence) => {
                outcome::say(consoles, &format!("failed: {sentence}"), settings.then);
                return Exit::Failed;
            }
        }
    }
    if settings.mode == Mode::Wait {
        outcome::say(consoles, "waiting, as clone.mode says", None);
        loop {
            pulse.beat();
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    outcome::say(consoles, "refused: this build has no work but clone.mode=wait", settings.then);
    Exit::Refused
}
