//! What each page looks like.
//!
//! In: the state. Out: a frame.
//! Promise: everything that a person must read to decide stands on the page, with what to do next.

use super::frame::{Frame, Style};
use super::progress;
use super::screen::{HEIGHT, WIDTH};
use super::state::{Aim, ENTRIES, Page, Purpose, Server, State, Topic};
use crate::cli::show::bytes;
use crate::job::code;
use ramet_wire::settings::{From as Source, Then};

/// First row of a page's own.
pub(super) const TOP: usize = 2;
/// Rows of a list or text.
pub(super) const ROWS: usize = HEIGHT - TOP - 2;
/// Column where text starts.
pub(super) const LEFT: usize = 2;
/// Longest line of running text.
const TEXT: usize = WIDTH - 2 * LEFT;

/// Draws the state.
#[must_use]
pub fn draw(state: &State) -> Frame {
    let mut frame = Frame::default();
    frame.bar(0, Style::Bar);
    frame.put(0, 1, concat!("Ramet ", env!("CARGO_PKG_VERSION")), Style::Bar);
    let machine: String = state.machine.chars().take(50).collect();
    frame.put(0, WIDTH - 1 - machine.chars().count(), &machine, Style::Bar);
    let keys = page(state, &mut frame);
    frame.bar(HEIGHT - 1, Style::Bar);
    frame.put(HEIGHT - 1, 1, keys, Style::Bar);
    frame
}

/// Draws the page; returns what its keys do.
fn page(state: &State, frame: &mut Frame) -> &'static str {
    match &state.page {
        Page::Home => home(state, frame),
        Page::Trust(found) => trust(state, &found.to_string(), frame),
        Page::Access { purpose, pin, said } => access(state, *purpose, pin, said, frame),
        Page::Name { name, wrong } => {
            frame.put(TOP, LEFT, "Capture this machine", Style::Bold);
            frame.put(TOP + 2, LEFT, "Name of the image: letters, digits, '.', '_' and '-'", Style::Plain);
            field(frame, TOP + 4, name);
            prose(frame, TOP + 6, wrong, Style::Bold);
            "Enter: choose disks   Esc: back"
        }
        Page::Sources => {
            frame.put(TOP, LEFT, "Restore an image", Style::Bold);
            let lines =
                ["from this boot medium".to_owned(), format!("from {}", state.url.as_deref().unwrap_or_default())];
            rows(frame, TOP + 2, &lines, state.at, true);
            "arrows and Enter, or the digit   Esc: back"
        }
        Page::Images { from, list } => images(state, *from, list.as_deref(), frame),
        Page::Disks { aim, list, chosen } => disks(state, aim, list.as_deref(), chosen, frame),
        Page::Plan { lines, typed, wrong } => plan(state, lines, typed, wrong, frame),
        Page::Running => progress::running(state.run.as_ref(), frame),
        Page::Ended { words, good, then } => ended(words, *good, *then, frame),
        Page::Text { topic, lines } => text(state, *topic, lines.as_deref(), frame),
        Page::Sure(then) => {
            let question = match then {
                Then::Reboot => "Reboot this machine?",
                Then::Poweroff => "Power this machine off?",
                Then::Wait => "Leave the menu?",
            };
            frame.put(TOP, LEFT, question, Style::Bold);
            "y: yes   any other key: no"
        }
        Page::Notice(words) => {
            prose(frame, TOP, words, Style::Plain);
            "any key: back"
        }
    }
}

fn home(state: &State, frame: &mut Frame) -> &'static str {
    let url = state.url.as_deref().unwrap_or("none named; all that is local works, and images of a boot medium");
    frame.put(TOP, LEFT, "server", Style::Plain);
    frame.put(TOP, LEFT + 13, url, Style::Bold);
    match &state.server {
        Server::Unnamed => {}
        Server::Connecting => frame.put(TOP + 1, LEFT + 13, "connecting ...", Style::Plain),
        Server::Unknown(found) | Server::Distrusted(found) => {
            identity(frame, &found.to_string());
            frame.put(TOP + 2, LEFT + 13, "nobody has said that this is the right one; t: look again", Style::Bold);
        }
        Server::Reached { key, code, message } => {
            identity(frame, &key.to_string());
            if !code.is_empty() {
                approve(frame, TOP + 2, code);
            }
            frame.put(TOP + 4, LEFT + 13, message, Style::Plain);
        }
        Server::Trouble(words) => prose_at(frame, TOP + 1, LEFT + 13, 3, words, Style::Bold),
    }
    let lines = ENTRIES.map(str::to_owned);
    rows(frame, TOP + 6, &lines, state.at, true);
    if state.medium {
        frame.put(TOP + 14, LEFT, "This boot medium carries an image.", Style::Plain);
    }
    "arrows and Enter, or the digit   Ctrl-L: draw anew"
}

fn identity(frame: &mut Frame, key: &str) {
    // 71 characters: nothing else fits on that line.
    frame.put(TOP + 1, LEFT, key, Style::Plain);
}

/// What an operator types elsewhere.
fn approve(frame: &mut Frame, row: usize, plain: &str) {
    let code = code(plain);
    frame.put(row, LEFT, "code", Style::Plain);
    frame.put(row, LEFT + 13, &code, Style::Bold);
    let command = format!("ramet agent approve {code} --capture NAME | --restore IMAGE");
    frame.put(row + 1, LEFT, "on the server", Style::Plain);
    frame.put(row + 1, LEFT + 14, &command, Style::Plain);
}

fn trust(state: &State, found: &str, frame: &mut Frame) -> &'static str {
    let url = state.url.as_deref().unwrap_or_default();
    prose(frame, TOP, &format!("The server at {url} shows this identity:"), Style::Plain);
    frame.put(TOP + 3, LEFT, found, Style::Bold);
    let words = "Nobody has pinned one for this machine. Compare it, digit for digit, with what `ramet key` prints on the \
        server. Whoever answers \"yes\" to a stranger's identity restores a stranger's disk.";
    prose(frame, TOP + 5, words, Style::Plain);
    frame.put(TOP + 10, LEFT, "Is it the same?", Style::Bold);
    "y: yes, it is the same   n: no"
}

fn access(state: &State, purpose: Purpose, pin: &str, said: &str, frame: &mut Frame) -> &'static str {
    let title = if purpose == Purpose::Capture { "Capture this machine" } else { "Restore an image" };
    frame.put(TOP, LEFT, title, Style::Bold);
    match &state.server {
        Server::Reached { code, key, .. } => {
            frame.put(TOP + 2, LEFT, state.url.as_deref().unwrap_or_default(), Style::Plain);
            frame.put(TOP + 3, LEFT, &key.to_string(), Style::Plain);
            frame.put(TOP + 5, LEFT, "Either an operator lets this machine in:", Style::Plain);
            approve(frame, TOP + 7, code);
            frame.put(TOP + 10, LEFT, "or a PIN is typed here, made by `ramet pin add`:", Style::Plain);
            field(frame, TOP + 12, pin);
            prose(frame, TOP + 14, said, Style::Bold);
            "Enter: send the PIN   Esc: back"
        }
        Server::Trouble(words) => {
            prose(frame, TOP + 2, words, Style::Bold);
            "Esc: back"
        }
        Server::Connecting | Server::Unnamed => {
            frame.put(TOP + 2, LEFT, "connecting to the server ...", Style::Plain);
            "Esc: back"
        }
        Server::Unknown(_) | Server::Distrusted(_) => {
            prose(
                frame,
                TOP + 2,
                "Nobody has said that the server is the right one. Go back and press t.",
                Style::Bold,
            );
            "Esc: back"
        }
    }
}

fn images(state: &State, from: Source, list: Option<&[ramet_wire::api::ImageInfo]>, frame: &mut Frame) -> &'static str {
    let place = if from == Source::Media { "on this boot medium" } else { "on the server" };
    frame.put(TOP, LEFT, &format!("Images {place}"), Style::Bold);
    match list {
        None => frame.put(TOP + 2, LEFT, "asking ...", Style::Plain),
        Some([]) => frame.put(TOP + 2, LEFT, "There is none that may be restored.", Style::Bold),
        Some(list) => {
            let line = |info: &ramet_wire::api::ImageInfo| {
                let (name, size) = (info.name.as_str(), bytes(info.data_bytes));
                let disks = if info.disks == 1 { String::new() } else { format!(" {} disks", info.disks) };
                let day = info.created.get(..10).unwrap_or(&info.created);
                format!("{name:<28.28} {:<16} {day} {size:>9}{disks}", info.id.to_string())
            };
            let lines: Vec<String> = list.iter().map(line).collect();
            rows(frame, TOP + 2, &lines, state.at, false);
        }
    }
    "arrows and Enter   Esc: back"
}

fn disks(
    state: &State,
    aim: &Aim,
    list: Option<&[crate::job::Found]>,
    chosen: &[usize],
    frame: &mut Frame,
) -> &'static str {
    let (title, keys) = match aim {
        Aim::Capture(name) => {
            (format!("Capture into {name}: which disk?"), "Enter: this one   Space: one of several   Esc: back")
        }
        Aim::Restore(image, _, 1) => (format!("Restore {image}: onto which disk?"), "Enter: this one   Esc: back"),
        Aim::Restore(image, _, disks) => (
            format!("Restore {image}: onto which {disks} disks, in order?"),
            "Enter: the next one   Space: take it back   Esc: back",
        ),
    };
    frame.put(TOP, LEFT, &title, Style::Bold);
    match list {
        None => frame.put(TOP + 2, LEFT, "looking ...", Style::Plain),
        Some([]) => {
            let words = "No disk was found. The page Troubleshooting says more.";
            frame.put(TOP + 2, LEFT, words, Style::Bold);
        }
        Some(list) => {
            let line = |(index, disk): (usize, &crate::job::Found)| {
                let nth = chosen.iter().position(|chosen| *chosen == index);
                let mark = nth.map_or_else(|| "   ".to_owned(), |nth| format!("[{nth}]"));
                format!("{mark} {}", disk.describe())
            };
            let lines: Vec<String> = list.iter().enumerate().map(line).collect();
            rows(frame, TOP + 2, &lines, state.at, false);
            if let Some(why) = list.get(state.at).and_then(|disk| disk.against.as_deref()) {
                prose(frame, HEIGHT - 4, &format!("note: it {why}"), Style::Bold);
            }
        }
    }
    keys
}

fn plan(state: &State, lines: &[String], typed: &str, wrong: &str, frame: &mut Frame) -> &'static str {
    let room = HEIGHT - TOP - 7;
    let top = state.at.min(lines.len().saturating_sub(room));
    for (row, line) in lines.iter().skip(top).take(room).enumerate() {
        let style = if line.starts_with("WARNING") { Style::Bold } else { Style::Plain };
        frame.put(TOP + row, LEFT, line, style);
    }
    if top + room < lines.len() {
        frame.put(HEIGHT - 7, LEFT, "more below", Style::Bold);
    }
    let serials = state.serials.join(" or ");
    let serial = if serials.is_empty() { String::new() } else { format!("the disk's serial number ({serials}) or ") };
    prose(
        frame,
        HEIGHT - 6,
        &format!("Everything on it will be lost. To go on, type {serial}the word erase:"),
        Style::Bold,
    );
    field(frame, HEIGHT - 4, typed);
    frame.put(HEIGHT - 3, LEFT, wrong, Style::Bold);
    "Enter: erase and restore   arrows: scroll   Esc: no, nothing is written"
}

fn ended(words: &str, good: bool, then: Option<(Then, u64)>, frame: &mut Frame) -> &'static str {
    frame.put(TOP, LEFT, if good { "Done" } else { "It did not go through" }, Style::Bold);
    let mut row = TOP + 2;
    // As on a console without a menu, so that a log of this one can be searched for it.
    for line in format!("RAMET: {words}").lines() {
        row = prose(frame, row, line, Style::Plain) + 1;
    }
    if let Some((then, seconds)) = then {
        let what = if then == Then::Poweroff { "powers off" } else { "reboots" };
        frame.put(HEIGHT - 3, LEFT, &format!("This machine {what} in {seconds} s."), Style::Bold);
        return "any key: stay";
    }
    "Enter: back to the menu   r: reboot   p: power off"
}

fn text(state: &State, topic: Topic, lines: Option<&[String]>, frame: &mut Frame) -> &'static str {
    let title = match topic {
        Topic::Inspect => "What is on the disks",
        Topic::Hardware => "This machine",
        Topic::Trouble => "Troubleshooting",
    };
    frame.put(TOP - 1, LEFT, title, Style::Bold);
    let Some(lines) = lines else {
        frame.put(TOP + 1, LEFT, "looking ...", Style::Plain);
        return "Esc: back";
    };
    let top = state.at.min(lines.len().saturating_sub(1));
    for (row, line) in lines.iter().skip(top).take(ROWS).enumerate() {
        let shown: String = line.chars().skip(state.left).collect();
        frame.put(TOP + row, 0, &shown, Style::Plain);
    }
    if top + ROWS < lines.len() {
        let left = format!("{} more lines", lines.len() - top - ROWS);
        frame.put(HEIGHT - 2, LEFT, &left, Style::Bold);
    }
    "arrows, page keys: scroll   a: look again   Esc: back"
}

/// Lines with a bar on one of them, scrolled so that it is seen.
fn rows(frame: &mut Frame, top: usize, lines: &[String], at: usize, numbered: bool) {
    let room = (HEIGHT - 4).saturating_sub(top).max(1);
    let first = at.saturating_sub(room - 1);
    for (row, (index, line)) in lines.iter().enumerate().skip(first).take(room).enumerate() {
        let number = if numbered { format!("{}  ", index + 1) } else { String::new() };
        let style = if index == at { Style::Bar } else { Style::Plain };
        frame.put(top + row, LEFT, &format!(" {number}{line} "), style);
    }
    if first + room < lines.len() {
        frame.put(top + room, LEFT, "more below", Style::Bold);
    }
}

/// A field to type into, with a bar where the next character goes.
fn field(frame: &mut Frame, row: usize, text: &str) {
    frame.put(row, LEFT, "> ", Style::Plain);
    frame.put(row, LEFT + 2, text, Style::Bold);
    frame.put(row, LEFT + 2 + text.chars().count(), " ", Style::Bar);
}

/// Words broken into lines; returns the last row.
fn prose(frame: &mut Frame, row: usize, words: &str, style: Style) -> usize {
    let lines = wrapped(words, TEXT);
    let room = (HEIGHT - 1).saturating_sub(row);
    lines.iter().take(room).enumerate().for_each(|(at, line)| frame.put(row + at, LEFT, line, style));
    row + lines.len().clamp(1, room.max(1)) - 1
}

fn prose_at(frame: &mut Frame, row: usize, column: usize, most: usize, words: &str, style: Style) {
    let lines = wrapped(words, WIDTH - LEFT - column);
    lines.iter().take(most).enumerate().for_each(|(at, line)| frame.put(row + at, column, line, style));
}

/// The lines of a text whose columns matter: what is too long goes on below, indented.
pub(super) fn folded(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.chars().count() <= TEXT {
            lines.push(line.to_owned());
            continue;
        }
        let mut first = String::new();
        let mut rest = line;
        // Up to the last space that fits: columns in front of it stay as they are.
        let fits = line.char_indices().nth(TEXT).map_or(line.len(), |(at, _)| at);
        if let Some((head, tail)) = line[..fits].rfind(' ').map(|at| line.split_at(at)) {
            head.trim_end().clone_into(&mut first);
            rest = tail;
        }
        lines.extend((!first.is_empty()).then_some(first));
        lines.extend(wrapped(rest, TEXT - 4).into_iter().map(|line| format!("    {line}")));
    }
    lines
}

/// Lines of at most `width` characters, broken at spaces; a longer word is cut.
pub(super) fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in words.split_whitespace() {
        let mut word = word.to_owned();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.chars().count() > width {
            let rest = word.chars().skip(width).collect();
            lines.push(word.chars().take(width).collect());
            word = rest;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}
