//! How a worker ends: one line on the console, the same in a file, and what follows.
//!
//! In: what a run came to. Out: `outcome` and `then` in the run folder, a line that starts with `RAMET: `, a status.
//! Promise: every ending goes through here; the line is one line, and no token stands in it.

use super::here::Here;
use super::network::Network;
use crate::cli::Exit;
use crate::cli::show::chain;
use crate::disk::{OpenError, Refusal};
use crate::restore::Refused;
use crate::transfer::TransferError;
use crate::write::{RefusedMap, WriteError};
use ramet_wire::settings::Then;
use std::error::Error;

/// Longest line, in characters: some six lines of a console.
const LINE_MAX: usize = 480;

/// How a worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// A sentence without `RAMET: `.
    pub words: String,
    /// The worker's status.
    pub exit: Exit,
    /// What follows.
    pub then: Then,
}

/// What ended a run without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// A sentence: what, why, and what to do next.
    pub words: String,
    /// [`Exit::Refused`] where nothing was written.
    pub exit: Exit,
    /// What follows, where that is not for the boot line to say.
    pub then: Option<Then>,
}

impl Stop {
    /// Nothing was written; somebody must decide something.
    #[must_use]
    pub fn refused(words: impl Into<String>) -> Self {
        Self { words: words.into(), exit: Exit::Refused, then: None }
    }

    /// `doing`, with all causes of `error` and what to do about it.
    #[must_use]
    pub fn of(exit: Exit, doing: &str, error: &(dyn Error + 'static), network: &Network) -> Self {
        let mut words = format!("{doing}: {}", chain(error));
        if let Some(step) = next_step(error) {
            words = format!("{words}; {step}");
        }
        if is_away(error)
            && let Some(state) = network.trouble()
        {
            words = format!("{words} ({state})");
        }
        Self { words, exit, then: None }
    }
}

impl Ending {
    /// Writes what the supervisor reads, and says the line on every console.
    pub fn tell(&self, here: &Here) {
        let line = self.note(here);
        here.line(&line);
    }

    /// Writes what the supervisor reads, and returns the line.
    pub fn note(&self, here: &Here) -> String {
        let line = format!("RAMET: {}", one_line(&self.words));
        let then = match self.then {
            Then::Reboot => "reboot",
            Then::Poweroff => "poweroff",
            Then::Wait => "wait",
        };
        // The outcome is written last: whoever reads it finds the other file.
        for (name, text) in [("then", then), ("outcome", line.as_str())] {
            if let Err(error) = here.write(name, text) {
                here.line(&format!("writing {name} for the supervisor: {error}"));
            }
        }
        line
    }
}

/// One line, without control characters.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= LINE_MAX {
        return line;
    }
    // What to do next stands at the end: the middle is what can be spared.
    let all: Vec<char> = line.chars().collect();
    let (head, tail): (String, String) =
        (all[..LINE_MAX - 200].iter().collect(), all[all.len() - 195..].iter().collect());
    format!("{head} ... {tail}")
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source())
}

/// The server did not answer.
#[must_use]
pub fn is_away(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(TransferError::Away { .. })))
}

/// What a person can do about an error, where its own text does not say it.
fn next_step(error: &(dyn Error + 'static)) -> Option<&'static str> {
    causes(error).find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<TransferError>() {
            return match error {
                TransferError::Away { .. } => {
                    Some("see that `ramet serve` runs and that this machine reaches it, then boot again: what is done is not done twice")
                }
                TransferError::Identity { .. } => {
                    Some("compare clone.key with what `ramet key` prints on the server: one of the two is not the one you mean")
                }
                TransferError::Damaged { .. } | TransferError::Missing { .. } => Some("`ramet image check` on the server says more"),
                TransferError::Answer { .. } | TransferError::Store { .. } => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<WriteError>() {
            return match error {
                WriteError::Io { .. } | WriteError::Flush { .. } => {
                    Some("check the disk and its cable, or replace it, then boot again to go on")
                }
                WriteError::Differs { .. } | WriteError::NotZero { .. } | WriteError::Table { .. } => {
                    Some("the disk does not keep what is written: replace it")
                }
                _ => None,
            };
        }
        if let Some(crate::chunk::read::ReadError::Read { .. }) = cause.downcast_ref() {
            return Some("the disk can not be read there: check its cable, or copy it to a healthy one first");
        }
        match cause.downcast_ref() {
            Some(Refused::Sector { .. }) => return Some("use a disk with sectors like the image's"),
            Some(Refused::Swapped { .. }) => return Some("correct clone.disk"),
            _ => {}
        }
        if let Some(Refusal::TargetInUse { .. } | Refusal::SourceInUse { .. }) = cause.downcast_ref() {
            return Some("name another disk with clone.disk");
        }
        if let Some(OpenError::Busy { .. }) = cause.downcast_ref() {
            return Some("name another disk with clone.disk");
        }
        cause.is::<RefusedMap>().then_some("use a disk that the image fits")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_keeps_what_to_do_next() {
        assert_eq!(one_line("a\r\n b\t\x1b[2Jc"), "a b [2Jc");
        let long = format!("{}; do this next", "x".repeat(2000));
        let line = one_line(&long);
        assert!(line.chars().count() <= LINE_MAX && line.ends_with("; do this next"), "{}", line.len());
    }

    #[test]
    fn an_error_says_what_to_do_and_how_the_network_is() {
        let away = TransferError::Away {
            what: "connecting to boot port 8443".to_owned(),
            tries: 3,
            source: "no route".into(),
        };
        let network = Network::parse(br#"{"cards":[{"name":"eth0","mac":"52:54:00:12:34:56","driver":"e1000e",
            "link":false,"state":"eth0 has no link; plug in its cable","address":null,"server":null}],"boot_card":null}"#);
        let stop = Stop::of(Exit::Failed, "restoring web", &away, &network);
        assert!(
            stop.words
                .starts_with("restoring web: connecting to boot port 8443: no answer after 3 tries: no route; see")
        );
        assert!(stop.words.ends_with("(eth0 has no link; plug in its cable)"), "{}", stop.words);
        let identity =
            TransferError::Identity { what: "connecting".to_owned(), found: "a".to_owned(), wanted: "b".to_owned() };
        let stop = Stop::of(Exit::Refused, "restoring web", &identity, &network);
        assert!(stop.words.contains("compare clone.key") && !stop.words.contains("cable"), "{}", stop.words);
    }
}
