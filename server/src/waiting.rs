//! Agents without a token: who said Hello lately, by which code an operator calls each, and what each was given.
//!
//! In: Hellos, cleaned. Out: the same agent again for the same nonce, until it was silent for too long.
//! Promise: bounded in number, in all and per address; what opens the store is here alone, never on disk.

use crate::config::Limits;
use crate::secret::{self, NoRandom};
use ramet_wire::agents::{AgentSeen, Hello, OrderState, PinAccepted, Work};
use std::collections::HashMap;
use std::net::IpAddr;

/// Work that an agent was given.
pub struct Handed {
    /// With the token in clear.
    pub work: Work,
    /// The token's id.
    pub token: String,
}

/// What an agent got for a PIN.
pub struct Pinned {
    /// The PIN's id.
    pub pin: String,
    /// The token's id.
    pub token: String,
    /// With the token in clear.
    pub accepted: PinAccepted,
}

macro_rules! silent {
    ($($type:ident),*) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($type), "(***)"))
            }
        }
    )*};
}
silent!(Handed, Pinned, Agent);

/// One agent.
pub struct Agent {
    /// By which operators call it.
    pub code: String,
    /// What it said last, cleaned.
    pub hello: Hello,
    /// Where it asked from last.
    pub peer: IpAddr,
    /// When it was heard of last, in seconds since 1970.
    pub seen: i64,
    /// What it was answered last.
    pub state: OrderState,
    /// What an operator should know of it.
    pub note: String,
    /// Its work.
    pub handed: Option<Handed>,
    /// Its PIN's token.
    pub pinned: Option<Pinned>,
    /// What it said of its machine has been looked at: it is in the inventory, or for whatever reason is not.
    pub enrolled: bool,
    /// What the inventory says of it; may be empty.
    pub word: String,
}

impl Agent {
    /// For operators: no token in it.
    #[must_use]
    pub fn to_wire(&self) -> AgentSeen {
        AgentSeen {
            code: shown(&self.code),
            state: self.state,
            seen: crate::time::rfc3339(self.seen),
            peer: self.peer.to_string(),
            hello: Hello { hardware: None, ..self.hello.clone() },
            work: self.handed.as_ref().map(|handed| handed.work.image.clone()),
            note: self.note.clone(),
        }
    }
}

/// A code as people read it: `XXXX-XXXX`.
#[must_use]
pub fn shown(code: &str) -> String {
    let (one, other) = code.split_at_checked(secret::CODE_LEN / 2).unwrap_or((code, ""));
    format!("{one}-{other}")
}

/// A code as people type it; none when it cannot be one.
#[must_use]
pub fn typed(text: &str) -> Option<String> {
    let code: String =
        text.chars().filter(|c| *c != '-' && *c != ' ').map(|c| c.to_ascii_uppercase()).take(9).collect();
    let fits = code.len() == secret::CODE_LEN && code.bytes().all(|c| secret::CODE_ALPHABET.contains(&c));
    fits.then_some(code)
}

/// Why an agent is not remembered.
#[derive(Debug, thiserror::Error)]
pub enum Full {
    /// All places are taken.
    #[error("{0} agents are waiting, no more are allowed; try again later")]
    All(usize),
    /// All places of its address are taken.
    #[error("{0} agents are waiting behind this address, no more are allowed; try again later")]
    Peer(usize),
    /// No code could be made.
    #[error(transparent)]
    Random(#[from] NoRandom),
}

/// All agents, by their nonces.
#[derive(Default)]
pub struct Waiting(HashMap<String, Agent>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("agents", &self.0.len()).finish()
    }
}

impl Waiting {
    /// Forgets agents that were silent for too long.
    pub fn lapse(&mut self, now: i64, limits: &Limits) {
        let lapse = i64::try_from(limits.agent_lapse.as_secs()).unwrap_or(i64::MAX);
        self.0.retain(|_, agent| now.saturating_sub(agent.seen) < lapse);
    }

    /// The agent that says this, known or new.
    ///
    /// # Errors
    /// [`Full`].
    pub fn meet(&mut self, hello: Hello, peer: IpAddr, now: i64, limits: &Limits) -> Result<&mut Agent, Full> {
        self.lapse(now, limits);
        let nonce = hello.nonce.clone();
        if !self.0.contains_key(&nonce) {
            if self.0.len() >= limits.agents {
                return Err(Full::All(limits.agents));
            }
            if self.0.values().filter(|agent| agent.peer == peer).count() >= limits.agents_of_peer {
                return Err(Full::Peer(limits.agents_of_peer));
            }
        }
        let code = match self.0.get(&nonce) {
            Some(agent) => agent.code.clone(),
            None => self.new_code()?,
        };
        let agent = self.0.entry(nonce).or_insert_with(|| Agent {
            code,
            hello: hello.clone(),
            peer,
            seen: now,
            state: OrderState::Waiting,
            note: String::new(),
            handed: None,
            pinned: None,
            enrolled: false,
            word: String::new(),
        });
        // Later Hellos may leave out what the first one said.
        let hardware = hello.hardware.or_else(|| agent.hello.hardware.take());
        (agent.hello, agent.peer, agent.seen) = (Hello { hardware, ..hello }, peer, now);
        Ok(agent)
    }

    fn new_code(&self) -> Result<String, NoRandom> {
        loop {
            let code = secret::code()?;
            if !self.0.values().any(|agent| agent.code == code) {
                return Ok(code);
            }
        }
    }

    /// The agent with this nonce.
    pub fn by_nonce(&mut self, nonce: &str) -> Option<&mut Agent> {
        self.0.get_mut(nonce)
    }

    /// The agent with this code.
    pub fn by_code(&mut self, code: &str) -> Option<&mut Agent> {
        self.0.values_mut().find(|agent| agent.code == code)
    }

    /// All, the one heard of last first.
    #[must_use]
    pub fn list(&self) -> Vec<AgentSeen> {
        let mut all: Vec<&Agent> = self.0.values().collect();
        all.sort_by(|a, b| (b.seen, &a.code).cmp(&(a.seen, &b.code)));
        all.into_iter().map(Agent::to_wire).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::manifest::Source;
    use ramet_wire::settings::Mode;

    fn hello(nonce: u32) -> Hello {
        let machine = Source::default();
        let nonce = format!("{nonce:032x}");
        Hello { agent: "0.1.0".into(), nonce, mode: Mode::Menu, machine, ..Hello::default() }
    }

    #[test]
    fn the_same_nonce_has_the_same_code_until_it_was_silent_for_ten_minutes() {
        let (mut waiting, limits, peer) = (Waiting::default(), Limits::default(), "10.0.0.1".parse().unwrap());
        let code = waiting.meet(hello(1), peer, 100, &limits).unwrap().code.clone();
        assert_eq!(waiting.meet(hello(1), peer, 699, &limits).unwrap().code, code);
        assert_eq!(waiting.meet(hello(1), peer, 1298, &limits).unwrap().code, code);
        assert_ne!(waiting.meet(hello(2), peer, 1299, &limits).unwrap().code, code);
        assert!(waiting.by_code(&code).is_some());
        waiting.lapse(1898, &limits);
        assert!(waiting.by_code(&code).is_none());
    }

    #[test]
    fn agents_are_bounded_in_all_and_per_address_and_a_lapse_makes_room() {
        let limits = Limits { agents: 3, agents_of_peer: 2, ..Limits::default() };
        let (mut waiting, one, other) = (Waiting::default(), "10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        waiting.meet(hello(1), one, 0, &limits).unwrap();
        waiting.meet(hello(2), one, 0, &limits).unwrap();
        assert!(matches!(waiting.meet(hello(3), one, 0, &limits), Err(Full::Peer(2))));
        waiting.meet(hello(4), other, 300, &limits).unwrap();
        assert!(matches!(waiting.meet(hello(5), other, 300, &limits), Err(Full::All(3))));
        waiting.meet(hello(1), one, 300, &limits).unwrap();
        waiting.meet(hello(5), other, 600, &limits).unwrap();
        assert_eq!(waiting.list().len(), 3);
    }

    #[test]
    fn a_code_is_understood_as_people_type_it() {
        assert_eq!(typed("abcd-2345").as_deref(), Some("ABCD2345"));
        assert_eq!(typed("ABCD 2345").as_deref(), Some("ABCD2345"));
        assert_eq!(shown("ABCD2345"), "ABCD-2345");
        for bad in ["", "ABCD-234", "ABCD-23456", "ABCD-234O", "../../..", "ABCD234é"] {
            assert_eq!(typed(bad), None, "{bad}");
        }
    }
}
