//! What the supervisor knows of the network.
//!
//! In: `network.json` of the run folder. Out: cards for people, and one sentence about what is wrong.
//! Promise: a file that is missing or odd is an unknown, never an error.

use serde::Deserialize;

/// Longest file that is read, in bytes.
const FILE_MAX: usize = 1 << 20;

/// All cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Network {
    /// In the kernel's order.
    #[serde(default)]
    pub cards: Vec<Card>,
    /// Name of the card that the firmware started from.
    #[serde(default)]
    pub boot_card: Option<String>,
}

/// One card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Card {
    /// As the kernel calls it.
    pub name: String,
    /// Its address.
    #[serde(default)]
    pub mac: String,
    /// Its driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// A cable with something at its other end.
    #[serde(default)]
    pub link: bool,
    /// A sentence.
    #[serde(default)]
    pub state: String,
    /// `10.0.0.5/24`
    #[serde(default)]
    pub address: Option<String>,
    /// `reached`, or why not.
    #[serde(default)]
    pub server: Option<String>,
}

impl Network {
    /// Reads the file's bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.len() > FILE_MAX { Self::default() } else { serde_json::from_slice(bytes).unwrap_or_default() }
    }

    /// The sentences of all cards, where none of them reaches the server.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let reached = self.cards.iter().any(|card| card.server.as_deref() == Some("reached"));
        let states: Vec<&str> = self.cards.iter().map(|card| card.state.as_str()).filter(|s| !s.is_empty()).collect();
        (!reached && !states.is_empty()).then(|| states.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_only_while_no_card_reaches_the_server() {
        let card = |state: &str, server: &str| {
            format!(r#"{{"name":"eth0","mac":"x","link":true,"state":"{state}","server":"{server}","more":1}}"#)
        };
        let of = |cards: &[String]| Network::parse(format!(r#"{{"cards":[{}]}}"#, cards.join(",")).as_bytes());
        assert_eq!(of(&[card("no lease", "no")]).trouble().as_deref(), Some("no lease"));
        assert_eq!(of(&[card("no lease", "no"), card("up", "reached")]).trouble(), None);
        assert_eq!(of(&[]).trouble(), None);
        assert_eq!(Network::parse(b"{"), Network::default());
    }
}
