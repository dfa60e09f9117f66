//! What an event does to the state.
//!
//! In: an event. Out: another state, and commands for whoever has hands.
//! Promise: nothing is erased before a disk's serial number or the word `erase` was typed; Escape always leads back.

use super::keys::Key;
use super::state::{Aim, Command, ENTRIES, Event, Page, Purpose, Server, State, Topic, Under};
use crate::cli::Exit;
use crate::progress::Snapshot;
use ramet_wire::ImageRef;
use ramet_wire::agents::Work;
use ramet_wire::api::{Action, Scope};
use ramet_wire::settings::{From as Source, Then};
use std::path::PathBuf;

/// Longest text that a person can type, in characters.
const TYPED_MAX: usize = 64;
/// Lines that a run said and that are kept.
const SAID_MAX: usize = 8;
/// Rows that a page key moves by.
const PAGE: usize = 15;

/// Takes one event.
pub fn turn(state: &mut State, event: Event) -> Vec<Command> {
    match event {
        Event::Key(Key::Redraw) => return vec![Command::Redraw],
        Event::Key(key) => return super::press::press(state, key),
        Event::Server(server) => return met(state, server),
        Event::Work(work) => return approved(state, work),
        Event::Pin(Ok(accepted)) => {
            state.rights.clone_from(&accepted.scopes);
            if let Page::Access { purpose, .. } = state.page {
                return begin(state, purpose);
            }
        }
        Event::Pin(Err(words)) => {
            if let Page::Access { said, .. } = &mut state.page {
                *said = words;
            }
        }
        Event::Images(Ok(found)) => {
            if let Page::Images { list, .. } = &mut state.page {
                *list = Some(found);
            }
        }
        Event::Images(Err(words)) => {
            if matches!(state.page, Page::Images { .. }) {
                state.go(Page::Notice(words));
            }
        }
        Event::Disks(found) => {
            if let Page::Disks { list, .. } = &mut state.page {
                *list = Some(found);
            }
        }
        Event::Text(text) => {
            if let Page::Text { lines, .. } = &mut state.page {
                *lines = Some(text);
            }
        }
        Event::Say(line) => {
            if let Some(run) = &mut state.run {
                run.said.push(line);
                let spare = run.said.len().saturating_sub(SAID_MAX);
                run.said.drain(..spare);
            }
        }
        Event::Plan(plan) => {
            let lines = super::draw::folded(&plan.to_string());
            state.go(Page::Plan { lines, typed: String::new(), wrong: String::new() });
        }
        Event::Progress(now, step_seconds, seconds) => {
            if let Some(run) = &mut state.run {
                (run.now, run.step_seconds, run.seconds) = (now, step_seconds, seconds);
            }
        }
        Event::Ended(ended) => end(state, ended),
        Event::Left(left) => {
            if let Page::Ended { then: Some((then, seconds)), .. } = &mut state.page {
                *seconds = left;
                return if left == 0 { vec![Command::Leave(*then)] } else { Vec::new() };
            }
        }
    }
    Vec::new()
}

fn met(state: &mut State, server: Server) -> Vec<Command> {
    // Nobody is torn from a page but the main one.
    if let (Server::Unknown(found), Page::Home) = (&server, &state.page) {
        state.go(Page::Trust(*found));
    }
    state.server = server;
    Vec::new()
}

fn approved(state: &mut State, work: Work) -> Vec<Command> {
    if state.is_busy() {
        return Vec::new();
    }
    let doing = if work.action == Action::Capture { "Capturing" } else { "Restoring" };
    start(state, format!("{doing} {}, as an operator approved", work.image));
    state.then = Some(work.then.or(state.told));
    vec![Command::Work(work)]
}

/// A run begins.
pub(super) fn start(state: &mut State, title: String) {
    let (step, parts) = ("connecting".to_owned(), Vec::new());
    let now = Snapshot { step, total: 0, done: 0, present: 0, moved: 0, parts };
    state.run = Some(Under { title, now, step_seconds: 0.0, seconds: 0.0, said: Vec::new() });
    state.then = None;
    state.go(Page::Running);
}

fn end(state: &mut State, ended: Result<String, crate::job::Stop>) {
    let said = state.run.take().map(|run| run.said).unwrap_or_default();
    let (good, mut words, follows) = match ended {
        Ok(words) => (true, words, None),
        Err(stop) => (stop.exit == Exit::Done, stop.words, stop.then),
    };
    for line in said.iter().filter(|line| line.starts_with("warning")) {
        words = format!("{words}\n{line}");
    }
    // Nobody may be looking: what an operator approved from afar also ends by itself.
    let usual = if good { Then::Reboot } else { Then::Wait };
    let then = state.then.take().map(|said| follows.or(said).unwrap_or(usual)).filter(|then| *then != Then::Wait);
    let then = then.map(|then| (then, state.patience));
    state.go(Page::Ended { words, good, then });
}

/// The first page behind an entry that needs a store.
pub(super) fn begin(state: &mut State, purpose: Purpose) -> Vec<Command> {
    let needed = if purpose == Purpose::Capture { Scope::Capture } else { Scope::Restore };
    let server = state.url.is_some();
    match purpose {
        Purpose::Capture if !server => {
            let words =
                "A capture goes to a server, and none is named: add clone.server=https://HOST:PORT to the boot line.";
            state.go(Page::Notice(words.to_owned()));
        }
        Purpose::Restore if !server && !state.medium => {
            let words = "There is nothing to restore from: no server is named (clone.server=https://HOST:PORT on the \
                boot line), and no boot medium with an image was found.";
            state.go(Page::Notice(words.to_owned()));
        }
        Purpose::Restore if state.medium && (server && !matches!(state.page, Page::Sources | Page::Access { .. })) => {
            state.go(Page::Sources);
        }
        Purpose::Restore if state.medium && !server => return list(state, Source::Media),
        _ if !state.rights.contains(&needed) => {
            let said =
                if state.rights.is_empty() { String::new() } else { format!("The PIN does not allow to {needed}.") };
            state.go(Page::Access { purpose, pin: String::new(), said });
        }
        Purpose::Capture => state.go(Page::Name { name: state.name.clone(), wrong: String::new() }),
        Purpose::Restore => return list(state, Source::Server),
    }
    Vec::new()
}

/// Shows the images of a store.
pub(super) fn list(state: &mut State, from: Source) -> Vec<Command> {
    state.go(Page::Images { from, list: None });
    vec![Command::ListImages(from)]
}

/// Shows the disks to choose from.
pub(super) fn disks(state: &mut State, aim: Aim) -> Vec<Command> {
    state.go(Page::Disks { aim, list: None, chosen: Vec::new() });
    vec![Command::LookAtDisks]
}

/// All disks are chosen.
pub(super) fn go(state: &mut State, aim: Aim, paths: Vec<PathBuf>) -> Vec<Command> {
    let title = |doing: &str, image: &dyn std::fmt::Display| format!("{doing} {image}");
    match aim {
        Aim::Capture(name) => {
            start(state, title("Capturing", &name));
            vec![Command::Capture(name, paths)]
        }
        Aim::Restore(image, from, _) => {
            start(state, title("Restoring", &image));
            vec![Command::Restore(image, from, paths)]
        }
    }
}

/// An entry of the main page was chosen.
pub(super) fn entry(state: &mut State, index: usize) -> Vec<Command> {
    let text = |state: &mut State, topic| {
        state.go(Page::Text { topic, lines: None });
        vec![Command::Gather(topic)]
    };
    state.at = index.min(ENTRIES.len() - 1);
    match index {
        0 => begin(state, Purpose::Capture),
        1 => begin(state, Purpose::Restore),
        2 => text(state, Topic::Inspect),
        3 => text(state, Topic::Hardware),
        4 => text(state, Topic::Trouble),
        5 => {
            state.go(Page::Sure(Then::Reboot));
            Vec::new()
        }
        _ => {
            state.go(Page::Sure(Then::Poweroff));
            Vec::new()
        }
    }
}

/// Moves the bar among `count` lines.
pub(super) fn moved(at: usize, key: Key, count: usize) -> usize {
    let last = count.saturating_sub(1);
    match key {
        Key::Up => at.saturating_sub(1),
        Key::Down => (at + 1).min(last),
        Key::PageUp => at.saturating_sub(PAGE),
        Key::PageDown => (at + PAGE).min(last),
        Key::Home => 0,
        Key::End => last,
        _ => at.min(last),
    }
}

/// Types into a field; `true` when it changed.
pub(super) fn typed(field: &mut String, key: Key) -> bool {
    match key {
        Key::Char(c) if field.chars().count() < TYPED_MAX => field.push(c),
        Key::Backspace => {
            field.pop();
        }
        _ => return false,
    }
    true
}

/// The image that a line stands for.
pub(super) fn reference(info: &ramet_wire::api::ImageInfo) -> ImageRef {
    ImageRef { name: info.name.clone(), id: Some(info.id) }
}
