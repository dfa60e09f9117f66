//! The network: all cards at once, and the first over which the server answers carries the run.
//!
//! In: `clone.nic`, `clone.ip`, `clone.vlan`, `clone.server`, and the cards that come and go. Out: addresses, routes,
//! `/etc/resolv.conf`, `/run/ramet/network.json`.
//! Promise: one dead card, cable or DHCP server never keeps another from working; a lost address is asked for again.

mod book;
mod card;
mod life;
mod netlink;
mod reach;
pub mod report;

use book::{Entry, Inner, OTHERS, Setup, WINNER, resolv};
use card::Card;
use netlink::Netlink;
use ramet_wire::settings::{Mac, Settings};
use report::{CardSeen, REACHED, Seen};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the network is told.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// `clone.*`.
    pub settings: Settings,
    /// The card that the firmware booted from.
    pub boot_card: Option<Mac>,
    /// Names that count as cards though no device stands behind them (for tests).
    pub also: Vec<String>,
    /// Where `resolv.conf` and `network.json` go.
    pub files: Files,
}

/// Files that are written.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/resolv.conf`.
    pub resolv: PathBuf,
    /// `/run/ramet/network.json`.
    pub report: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv: PathBuf::from("/etc/resolv.conf"), report: report::file() }
    }
}

/// Hears what happens: a line for the console, or that the server was reached.
pub trait Listener: Send + Sync {
    /// A card's state has changed.
    fn card(&self, name: &str, state: &str);
    /// The server answers over card `name`, for the first time.
    fn reached(&self, name: &str);
}

/// The network, alive as long as the process.
pub struct Network {
    wish: Wish,
    listener: Box<dyn Listener>,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("seen", &self.seen()).finish_non_exhaustive()
    }
}

impl Network {
    /// Starts it. Cards that come later are taken, too.
    pub fn start(wish: Wish, listener: Box<dyn Listener>) -> Arc<Self> {
        let network = Arc::new(Self { wish, listener, inner: Mutex::default() });
        let scanner = Arc::clone(&network);
        std::thread::spawn(move || {
            loop {
                scanner.scan();
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        network
    }

    /// What is known now.
    pub fn seen(&self) -> Seen {
        self.seen_in(&self.lock())
    }

    fn seen_in(&self, inner: &Inner) -> Seen {
        let told = |entry: &Entry| {
            let mut seen = entry.seen.clone();
            if let Some(why) = seen.server.as_ref().filter(|server| *server != REACHED) {
                seen.state = format!("{}; {why}", seen.state);
            }
            seen
        };
        let cards: Vec<CardSeen> = inner.cards.values().map(told).collect();
        let boot = cards.iter().find(|card| Some(card.mac) == self.wish.boot_card);
        Seen { boot_card: boot.map(|card| card.name.clone()), cards }
    }

    fn scan(self: &Arc<Self>) {
        let cards = card::all(&self.wish.also);
        let mut inner = self.lock();
        let gone: Vec<String> =
            inner.cards.keys().filter(|name| cards.iter().all(|card| card.name != **name)).cloned().collect();
        for name in gone {
            inner.cards.remove(&name);
            inner.dethrone(&name);
        }
        for card in cards {
            let known = inner.cards.get(&card.name).is_some_and(|entry| entry.seen.mac == card.mac);
            if !known {
                inner.cards.insert(card.name.clone(), Entry::of(&card));
                let network = Arc::clone(self);
                std::thread::spawn(move || life::live(&network, &card));
            }
        }
        self.publish(&mut inner);
    }

    /// Sets a card's sentence, and tells the listener when it is a new one.
    fn state(&self, name: &str, link: bool, state: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.cards.get_mut(name) else { return };
        let new = entry.seen.state != state;
        let broke = entry.seen.link && !link;
        entry.seen.link = link;
        state.clone_into(&mut entry.seen.state);
        if broke {
            // Its way to the server must be found again, and another card may have one now.
            entry.generation += 1;
            entry.seen.server = None;
            inner.dethrone(name);
        }
        self.publish(&mut inner);
        drop(inner);
        if new {
            self.listener.card(name, state);
        }
    }

    /// Whether card `name` may have the fixed address: the named one, else the boot card, else the first with a link.
    fn claim_fixed(&self, card: &Card) -> Result<(), String> {
        let mut inner = self.lock();
        let boot_is_here = inner.cards.values().any(|entry| Some(entry.seen.mac) == self.wish.boot_card);
        let chosen = self.wish.settings.nic.or(self.wish.boot_card.filter(|_| boot_is_here));
        let other = match (&inner.fixed, chosen) {
            (Some(other), _) if *other != card.name => Some(other.clone()),
            (None, Some(mac)) if mac != card.mac => Some(mac.to_string()),
            _ => None,
        };
        match other {
            Some(other) => Err(format!("not used: clone.ip goes to {other}")),
            None => {
                inner.fixed = Some(card.name.clone());
                Ok(())
            }
        }
    }

    /// Gives a card its address, routes and name servers, in place of what it had.
    fn set_up(&self, name: &str, setup: Option<Setup>) -> std::io::Result<()> {
        let mut inner = self.lock();
        let won = inner.winner.as_deref() == Some(name);
        let Some(entry) = inner.cards.get_mut(name) else { return Ok(()) };
        if entry.setup == setup {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        let old = entry.setup.take();
        let moved = old.as_ref().and_then(|old| old.address) != setup.as_ref().and_then(|new| new.address);
        if let Some(old) = old {
            old.routes(entry.index, OTHERS.saturating_add(entry.index), &mut |route| netlink.del_route(route))?;
            old.routes(entry.index, WINNER, &mut |route| netlink.del_route(route))?;
            if let Some((address, length)) = old.address.filter(|_| moved) {
                netlink.del_address(entry.index, address, length)?;
            }
        }
        if let Some(new) = &setup {
            if let Some((address, length)) = new.address.filter(|_| moved) {
                netlink.add_address(entry.index, address, length)?;
            }
            new.routes(entry.index, OTHERS.saturating_add(entry.index), &mut |route| netlink.add_route(route))?;
            if won && !moved {
                new.routes(entry.index, WINNER, &mut |route| netlink.add_route(route))?;
            }
        }
        entry.seen.address =
            setup.as_ref().and_then(|new| new.address).map(|(address, length)| format!("{address}/{length}"));
        entry.setup = setup;
        if moved {
            entry.generation += 1;
            entry.seen.server = None;
            inner.dethrone(name);
        }
        self.publish(&mut inner);
        Ok(())
    }

    /// The server was tried over card `name`; the first that succeeds wins.
    fn tried(&self, name: &str, generation: u64, result: Result<(), String>) {
        let mut inner = self.lock();
        let Some(entry) = inner.cards.get_mut(name).filter(|entry| entry.generation == generation) else { return };
        let reached = result.is_ok();
        let known = entry.seen.server.as_deref() == Some(REACHED);
        let failed = result.err();
        let news = failed.clone().filter(|failed| entry.seen.server.as_ref() != Some(failed));
        if reached && inner.winner.is_none() {
            inner.crown(name);
        }
        if let Some(failed) = failed
            && let Some(entry) = inner.cards.get_mut(name)
        {
            entry.seen.server = Some(failed);
        }
        self.publish(&mut inner);
        drop(inner);
        if let Some(news) = news {
            self.listener.card(name, &news);
        }
        if reached && !known {
            // The clock is right before the worker hears of it.
            self.listener.reached(name);
            let mut inner = self.lock();
            if let Some(entry) = inner.cards.get_mut(name).filter(|entry| entry.generation == generation) {
                entry.seen.server = Some(REACHED.to_owned());
            }
            self.publish(&mut inner);
        }
    }

    /// Writes both files where they changed. Errors have nobody to be told to; the next change tries again.
    fn publish(&self, inner: &mut Inner) {
        if let Ok(json) = serde_json::to_vec_pretty(&self.seen_in(inner))
            && std::fs::read(&self.wish.files.report).ok().as_ref() != Some(&json)
        {
            let _ = report::replace(&self.wish.files.report, &json);
        }
        let resolv = resolv(inner);
        if resolv != inner.resolv && report::replace(&self.wish.files.resolv, resolv.as_bytes()).is_ok() {
            inner.resolv = resolv;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
