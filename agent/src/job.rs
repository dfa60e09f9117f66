//! What a booted agent shall do, from its settings to its last console line.
//!
//! In: settings, surroundings. Out: one run or none, an ending that the supervisor reads, a status.
//! Promise: every ending is one line that starts with `RAMET: `, with what to do next where something went wrong.

mod choose;
mod ending;
mod hello;
mod here;
mod medium;
mod network;
mod pulse;
mod runs;
mod session;
mod stock;
mod unattended;

pub use choose::{NoDisk, choose};
pub use ending::{Ending, Stop};
pub use hello::{hello, renew};
pub use here::{Here, RUN, RUN_ENV};
pub use medium::Medium;
pub use network::{Card, Network};
pub use pulse::{PULSE_ENV, Pulse};
pub use runs::{CaptureOrder, Front, Origin, RESTORING, RestoreOrder, Which, capture, limits, restore};
pub use session::{follows, in_job};
pub use stock::{Found, Stock};
pub use unattended::{Done, code};

use crate::cli::Exit;
use ramet_wire::settings::{Mode, SettingError, Settings, Then};
use std::sync::Arc;

/// Does what the settings say and ends. A wrong argument is an ending too.
#[must_use]
pub fn run(settings: Result<Settings, SettingError>, here: Here) -> Exit {
    let here = Arc::new(here);
    let ending = match settings {
        Err(error) => Ending {
            words: format!("{error}; correct the boot line or ramet.conf, nothing was done"),
            exit: Exit::Usage,
            then: Then::Wait,
        },
        Ok(settings) => carry_out(&settings, &here),
    };
    here.screen().restore();
    ending.tell(&here);
    ending.exit
}

fn carry_out(settings: &Settings, here: &Arc<Here>) -> Ending {
    let ended = match settings.mode {
        Mode::Menu => return crate::menu::run(settings, here),
        Mode::Wait => {
            let words = "staying up, as clone.mode=wait says".to_owned();
            Ok(Done { words, then: Some(Then::Wait) })
        }
        Mode::Inventory => unattended::inventory(settings, here),
        Mode::Capture | Mode::Restore | Mode::Job => unattended::run(settings, here),
    };
    let then = |said: Option<Then>, usual| said.or(settings.then).unwrap_or(usual);
    match ended {
        Ok(done) => {
            Ending { words: redacted(&done.words, settings), exit: Exit::Done, then: then(done.then, Then::Reboot) }
        }
        Err(stop) => {
            Ending { words: redacted(&stop.words, settings), exit: stop.exit, then: then(stop.then, Then::Wait) }
        }
    }
}

/// Without the token of the boot line, whatever a server or a library puts into its words.
fn redacted(words: &str, settings: &Settings) -> String {
    match settings.token.as_deref() {
        Some(token) if token.len() > 3 => words.replace(token, "(token)"),
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests;
