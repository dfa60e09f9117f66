//! What a key does on each page.
//!
//! In: a key. Out: another state, and commands.
//! Promise: digits and arrows choose, Enter goes on, Escape goes back; nothing irreversible hangs on one key.

use super::keys::Key;
use super::state::{Aim, Command, ENTRIES, Page, Purpose, Server, State};
use super::turn::{begin, disks, entry, go, list, moved, reference, typed};
use ramet_wire::settings::{From as Source, Then};
use std::path::PathBuf;

/// The word that stands for all disks of a plan.
pub const ERASE: &str = "erase";

/// Takes one key.
pub(super) fn press(state: &mut State, key: Key) -> Vec<Command> {
    match &state.page {
        Page::Home => home(state, key),
        Page::Trust(found) => {
            let found = *found;
            trust(state, key, found)
        }
        Page::Access { .. } => access(state, key),
        Page::Name { .. } => name(state, key),
        Page::Sources => sources(state, key),
        Page::Images { .. } => images(state, key),
        Page::Disks { .. } => choose(state, key),
        Page::Plan { .. } => plan(state, key),
        Page::Running => Vec::new(),
        Page::Ended { .. } => ended(state, key),
        Page::Text { .. } => text(state, key),
        Page::Sure(then) => {
            let then = *then;
            sure(state, key, then)
        }
        Page::Notice(_) => back(state),
    }
}

fn back(state: &mut State) -> Vec<Command> {
    state.serials.clear();
    state.go(Page::Home);
    Vec::new()
}

/// `1` to `9` as an index below `count`.
fn digit(key: Key, count: usize) -> Option<usize> {
    let Key::Char(c) = key else { return None };
    let digit = usize::try_from(c.to_digit(10)?).ok()?;
    (1..=count).contains(&digit).then(|| digit - 1)
}

fn home(state: &mut State, key: Key) -> Vec<Command> {
    if let Some(index) = digit(key, ENTRIES.len()) {
        return entry(state, index);
    }
    match (key, &state.server) {
        (Key::Enter, _) => entry(state, state.at),
        (Key::Char('t' | 'T'), Server::Unknown(found) | Server::Distrusted(found)) => {
            let found = *found;
            state.go(Page::Trust(found));
            Vec::new()
        }
        (Key::Interrupt, _) if state.guest => {
            state.go(Page::Sure(Then::Wait));
            Vec::new()
        }
        _ => {
            state.at = moved(state.at, key, ENTRIES.len());
            Vec::new()
        }
    }
}

fn trust(state: &mut State, key: Key, found: ramet_wire::Fingerprint) -> Vec<Command> {
    match key {
        Key::Char('y' | 'Y') => {
            state.server = Server::Connecting;
            state.go(Page::Home);
            vec![Command::Trust(true)]
        }
        Key::Char('n' | 'N') | Key::Escape => {
            state.server = Server::Distrusted(found);
            state.go(Page::Home);
            vec![Command::Trust(false)]
        }
        _ => Vec::new(),
    }
}

fn access(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Access { pin, said, .. } = &mut state.page else { return Vec::new() };
    match key {
        Key::Escape => back(state),
        Key::Enter if !pin.is_empty() => {
            "Asking the server ...".clone_into(said);
            vec![Command::SendPin(std::mem::take(pin))]
        }
        // A PIN is digits; people write it in groups.
        Key::Char(c) if !c.is_ascii_digit() => Vec::new(),
        key => {
            typed(pin, key);
            Vec::new()
        }
    }
}

fn name(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Name { name, wrong } = &mut state.page else { return Vec::new() };
    match key {
        Key::Escape => back(state),
        Key::Enter => match name.parse() {
            Ok(image) => disks(state, Aim::Capture(image)),
            Err(error) => {
                *wrong = format!("{error}");
                Vec::new()
            }
        },
        key => {
            if typed(name, key) {
                wrong.clear();
            }
            Vec::new()
        }
    }
}

fn sources(state: &mut State, key: Key) -> Vec<Command> {
    let chosen = if key == Key::Enter { Some(state.at) } else { digit(key, 2) };
    match (key, chosen) {
        (Key::Escape, _) => back(state),
        (_, Some(0)) => list(state, Source::Media),
        (_, Some(_)) => begin(state, Purpose::Restore),
        _ => {
            state.at = moved(state.at, key, 2);
            Vec::new()
        }
    }
}

fn images(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Images { from, list: Some(list) } = &state.page else {
        return if key == Key::Escape { back(state) } else { Vec::new() };
    };
    match key {
        Key::Escape => back(state),
        Key::Enter => {
            let chosen = list.get(state.at).map(|info| Aim::Restore(reference(info), *from, info.disks));
            chosen.map_or_else(Vec::new, |aim| disks(state, aim))
        }
        key => {
            state.at = moved(state.at, key, list.len());
            Vec::new()
        }
    }
}

fn choose(state: &mut State, key: Key) -> Vec<Command> {
    let at = state.at;
    let Page::Disks { aim, list: Some(list), chosen } = &mut state.page else {
        return if key == Key::Escape { back(state) } else { Vec::new() };
    };
    let capture = matches!(aim, Aim::Capture(_));
    match key {
        Key::Escape => return back(state),
        Key::Char(' ') if at < list.len() => match chosen.iter().position(|index| *index == at) {
            Some(position) => drop(chosen.remove(position)),
            None => chosen.push(at),
        },
        Key::Enter if at < list.len() => {
            let wanted = if let Aim::Restore(_, _, disks) = aim { usize::try_from(*disks).unwrap_or(1) } else { 1 };
            if !chosen.contains(&at) && (chosen.len() < wanted && !capture || chosen.is_empty()) {
                chosen.push(at);
            }
            if chosen.len() == wanted || (capture && !chosen.is_empty()) {
                let picked: Vec<_> = chosen.iter().filter_map(|index| list.get(*index).cloned()).collect();
                let paths: Vec<PathBuf> = picked.iter().map(|disk| disk.path.clone()).collect();
                let aim = aim.clone();
                state.serials = picked.into_iter().filter_map(|disk| disk.serial).collect();
                return go(state, aim, paths);
            }
        }
        key => state.at = moved(at, key, list.len()),
    }
    Vec::new()
}

fn plan(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Plan { lines, typed: field, wrong } = &mut state.page else { return Vec::new() };
    match key {
        Key::Escape => {
            state.page = Page::Running;
            vec![Command::Answer(false)]
        }
        Key::Enter => {
            let text = field.trim();
            let serial = state.serials.iter().any(|serial| !text.is_empty() && serial.trim() == text);
            if serial || text.eq_ignore_ascii_case(ERASE) {
                state.page = Page::Running;
                return vec![Command::Answer(true)];
            }
            *wrong = format!("That is neither the disk's serial number nor the word {ERASE}.");
            Vec::new()
        }
        Key::Up | Key::Down | Key::PageUp | Key::PageDown => {
            state.at = moved(state.at, key, lines.len());
            Vec::new()
        }
        key => {
            if typed(field, key) {
                wrong.clear();
            }
            Vec::new()
        }
    }
}

fn ended(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Ended { then, .. } = &mut state.page else { return Vec::new() };
    if then.take().is_some() {
        return vec![Command::Stay];
    }
    match key {
        Key::Char('r' | 'R') => vec![Command::Leave(Then::Reboot)],
        Key::Char('p' | 'P') => vec![Command::Leave(Then::Poweroff)],
        Key::Enter | Key::Escape => back(state),
        _ => Vec::new(),
    }
}

fn text(state: &mut State, key: Key) -> Vec<Command> {
    let Page::Text { topic, lines } = &state.page else { return Vec::new() };
    let (topic, count) = (*topic, lines.as_ref().map_or(0, Vec::len));
    match key {
        Key::Escape | Key::Enter => return back(state),
        Key::Left => state.left = state.left.saturating_sub(20),
        Key::Right => state.left = (state.left + 20).min(400),
        Key::Char('a' | 'A') => return vec![Command::Gather(topic)],
        key => state.at = moved(state.at, key, count),
    }
    Vec::new()
}

fn sure(state: &mut State, key: Key, then: Then) -> Vec<Command> {
    match key {
        Key::Char('y' | 'Y') => vec![Command::Leave(then)],
        _ => back(state),
    }
}
