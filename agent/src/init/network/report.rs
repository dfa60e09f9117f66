//! What supervisor and worker tell each other about the network.
//!
//! In: the state of each card. Out: `/run/ramet/network.json`, and the worker's reading of it.
//! Promise: the file is always whole; every sentence says what to do next where there is something to do.

use super::super::mounts;
use ramet_wire::settings::{Mac, Timeouts};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// All cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// By name.
    pub cards: Vec<CardSeen>,
    /// The card that the firmware booted from, where it told.
    pub boot_card: Option<String>,
}

/// One card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSeen {
    /// As the kernel calls it.
    pub name: String,
    /// Its permanent address.
    pub mac: Mac,
    /// The kernel's driver.
    pub driver: String,
    /// Whether it has a link.
    pub link: bool,
    /// A sentence; with why the server can not be reached, where that is so.
    pub state: String,
    /// `10.0.0.5/24`.
    pub address: Option<String>,
    /// `reached`, or why not.
    pub server: Option<String>,
}

/// The word for a server that answers with the right key.
pub const REACHED: &str = "reached";

/// In the sentence of a server that is not the pinned one.
pub(super) const OTHER_KEY: &str = ", pinned is ";

/// Where the supervisor writes it.
#[must_use]
pub fn file() -> PathBuf {
    Path::new(mounts::RUN).join("network.json")
}

/// Reads what the supervisor wrote last.
#[must_use]
pub fn seen() -> Option<Seen> {
    serde_json::from_slice(&std::fs::read(file()).ok()?).ok()
}

/// Waits until a card has reached the server: at least as long as links and leases may take, then for the server.
/// `beat` is called several times a second.
///
/// # Errors
/// The sentences of all cards, for the console and the outcome.
pub fn wait(timeouts: &Timeouts, beat: &mut dyn FnMut()) -> Result<(), String> {
    let start = Instant::now();
    loop {
        beat();
        let seen = seen().unwrap_or_default();
        if seen.cards.iter().any(|card| card.server.as_deref() == Some(REACHED)) {
            return Ok(());
        }
        // Another key is no accident that passes.
        let refused = |card: &CardSeen| card.server.as_ref().is_some_and(|server| server.contains(OTHER_KEY));
        if seen.cards.iter().any(refused) {
            return Err(sentence(&seen));
        }
        let addressed = seen.cards.iter().any(|card| card.address.is_some());
        let patience = timeouts.link + timeouts.lease + if addressed { timeouts.server } else { Duration::ZERO };
        if start.elapsed() >= patience {
            return Err(sentence(&seen));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// All that is wrong, in one line.
#[must_use]
pub fn sentence(seen: &Seen) -> String {
    if seen.cards.is_empty() {
        return "no network card was found; plug one in, or build the boot image with the module of this machine's card"
            .to_owned();
    }
    seen.cards.iter().map(|card| format!("{}: {}", card.name, card.state)).collect::<Vec<_>>().join(" | ")
}

/// Replaces `path` in one step.
///
/// # Errors
/// The file system's.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, state: &str) -> CardSeen {
        CardSeen {
            name: name.to_owned(),
            mac: Mac([0; 6]),
            driver: String::new(),
            link: true,
            state: state.to_owned(),
            address: None,
            server: None,
        }
    }

    #[test]
    fn one_line_tells_of_all_cards() {
        let mut seen = Seen::default();
        assert!(sentence(&seen).starts_with("no network card"));
        seen.cards.push(card("eth0", "no link; check the cable"));
        seen.cards.push(card("eth1", "10.0.0.5/24 by DHCP; https://a does not answer"));
        assert_eq!(
            sentence(&seen),
            "eth0: no link; check the cable | eth1: 10.0.0.5/24 by DHCP; https://a does not answer"
        );
    }
}
