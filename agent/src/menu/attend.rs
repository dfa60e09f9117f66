//! Somebody who asks the server for work while a person looks at the menu.
//!
//! In: the server's name, a pinned identity or a person's word for it. Out: events.
//! Promise: nothing is sent to an identity that neither the settings nor a person vouched for.

use super::drive::Shared;
use super::state::{Event, Server};
use crate::job::{Stop, hello, renew};
use crate::transfer::TransferError;
use crate::transfer::agents::Desk;
use ramet_wire::Fingerprint;
use ramet_wire::agents::{OrderState, Orders};
use ramet_wire::settings::Mode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Between two tries to reach a server that does not answer.
const AGAIN: Duration = Duration::from_secs(3);
/// The longest pause that a server can ask for, in seconds.
const POLL_MAX: u64 = 30;

/// Asks until the menu's receiver is gone.
pub(super) fn attend(shared: &Arc<Shared>, events: &Sender<Event>, trust: &Receiver<bool>) {
    let Some(url) = shared.settings.server.clone() else { return };
    loop {
        let found = std::cell::Cell::new(None);
        let accept = |key: Fingerprint| {
            found.set(Some(key));
            events.send(Event::Server(Server::Unknown(key))).is_ok() && trust.recv().unwrap_or(false)
        };
        match Desk::connect(&url, shared.key(), &accept, Shared::quick()) {
            Ok(desk) => {
                *shared.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(desk.key());
                if !ask(shared, &desk, events) {
                    return;
                }
            }
            Err(TransferError::Identity { .. }) if shared.key().is_none() => {
                // Until a person has looked again.
                match trust.recv() {
                    Ok(true) => *shared.key.lock().unwrap_or_else(PoisonError::into_inner) = found.get(),
                    Ok(false) => {}
                    Err(_) => return,
                }
                continue;
            }
            Err(error) => {
                if !trouble(shared, events, &error) {
                    return;
                }
            }
        }
        std::thread::sleep(AGAIN);
    }
}

/// `false` when nobody listens any more.
fn trouble(shared: &Shared, events: &Sender<Event>, error: &TransferError) -> bool {
    let words = Stop::of(crate::cli::Exit::Failed, "the server", error, &shared.here.network()).words;
    events.send(Event::Server(Server::Trouble(words))).is_ok()
}

/// Says Hello again and again, until the server does not answer; `false` when nobody listens any more.
fn ask(shared: &Shared, desk: &Desk, events: &Sender<Event>) -> bool {
    let disks = shared.here.stock.look(shared.here.medium().as_deref());
    let mut hello = match hello(&shared.here, Mode::Menu, &disks) {
        Ok(hello) => hello,
        Err(error) => return events.send(Event::Server(Server::Trouble(error.to_string()))).is_ok(),
    };
    let mut told = None;
    loop {
        if shared.busy.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(500));
            continue;
        }
        let orders = match desk.hello(&hello) {
            Ok(orders) => orders,
            Err(error) => return trouble(shared, events, &error),
        };
        let pause = Duration::from_secs(orders.poll.clamp(1, POLL_MAX));
        if !tell(shared, desk.key(), orders, events) {
            return false;
        }
        std::thread::sleep(pause);
        renew(&mut hello, &mut told, &shared.here);
    }
}

fn tell(shared: &Shared, key: Fingerprint, orders: Orders, events: &Sender<Event>) -> bool {
    let mut message = orders.message;
    if orders.state == OrderState::Claimed && message.is_empty() {
        "Another boot that says it is this machine has its work; see `ramet agent ls`.".clone_into(&mut message);
    }
    let server = Server::Reached { key, code: orders.code, message };
    if events.send(Event::Server(server)).is_err() {
        return false;
    }
    let fresh = |token: &String| !shared.done.lock().unwrap_or_else(PoisonError::into_inner).contains(token);
    match orders.work.filter(|work| orders.state == OrderState::Go && fresh(&work.token)) {
        Some(work) => events.send(Event::Work(work)).is_ok(),
        None => true,
    }
}
