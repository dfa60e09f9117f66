//! The page of a run under way.
//!
//! In: counters and seconds. Out: bars, rate, time left, what was already there, by partition and in all.
//! Promise: figures are those of the meter; a step without a total shows none.

use super::draw::{LEFT, TOP, wrapped};
use super::frame::{Frame, Style};
use super::screen::{HEIGHT, WIDTH};
use super::state::Under;
use crate::cli::show::{bytes, minutes};
use crate::progress::Part;

/// Characters of a bar.
const BAR: usize = 30;
/// Partitions that are shown at once.
const PARTS: usize = 9;

pub(super) fn running(run: Option<&Under>, frame: &mut Frame) -> &'static str {
    let Some(run) = run else {
        frame.put(TOP, LEFT, "ending ...", Style::Bold);
        return "";
    };
    frame.put(TOP, LEFT, &run.title, Style::Bold);
    let now = &run.now;
    let elapsed = minutes(run.seconds);
    if now.total == 0 {
        frame.put(TOP + 2, LEFT, &format!("{} ...", now.step), Style::Plain);
        frame.put(TOP + 3, LEFT, &format!("{elapsed} since the start"), Style::Plain);
    } else {
        let done = now.done.min(now.total);
        let share = percent(done, now.total);
        frame.put(TOP + 2, LEFT, &format!("{:<20.20} {} {share:>3}%", now.step, bar(done, now.total)), Style::Plain);
        frame.put(TOP + 3, LEFT, &figures(run, done), Style::Plain);
        let present = percent(now.present.min(done), done.max(1));
        let line = format!("{elapsed} since the start, {present}% already present, {} moved", bytes(now.moved));
        frame.put(TOP + 4, LEFT, &line, Style::Plain);
    }
    parts(&now.parts, frame);
    for (row, line) in run.said.iter().rev().take(3).rev().enumerate() {
        let line = wrapped(line, WIDTH - 2 * LEFT).into_iter().next().unwrap_or_default();
        frame.put(HEIGHT - 5 + row, LEFT, &line, Style::Plain);
    }
    "the server and the log see this too   Ctrl-L: draw anew"
}

fn figures(run: &Under, done: u64) -> String {
    let now = &run.now;
    let seconds = run.step_seconds.max(0.001);
    let rate = float(done) / seconds;
    let left = float(now.total - done) / rate.max(1.0);
    let left = if done == 0 { "waiting".to_owned() } else { format!("{} left", minutes(left)) };
    // Bytes a second fit 64 bits until disks are a million times as fast.
    let rate = bytes(whole(rate));
    format!("{} of {}, {rate}/s, {left}", bytes(done), bytes(now.total))
}

#[allow(clippy::cast_precision_loss)] // for people: three digits are shown
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped before
fn whole(rate: f64) -> u64 {
    rate.clamp(0.0, 1e18) as u64
}

/// The partitions that matter now: those under way, with some that are done before and some that wait behind them.
fn parts(parts: &[Part], frame: &mut Frame) {
    let first = parts.iter().position(|part| part.done < part.total).unwrap_or(0);
    let first = first.saturating_sub(PARTS / 2).min(parts.len().saturating_sub(PARTS));
    for (row, part) in parts.iter().skip(first).take(PARTS).enumerate() {
        let share = percent(part.done, part.total);
        let line = format!("{:<26.26} {} {share:>3}%  {:>9}", part.name, bar(part.done, part.total), bytes(part.total));
        frame.put(TOP + 6 + row, LEFT, &line, Style::Plain);
    }
    if first + PARTS < parts.len() {
        let more = format!("and {} more", parts.len() - first - PARTS);
        frame.put(TOP + 6 + PARTS, LEFT, &more, Style::Plain);
    }
}

fn percent(part: u64, all: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(all.max(1))).unwrap_or(100).min(100)
}

fn bar(done: u64, total: u64) -> String {
    let share = if total == 0 { 100 } else { percent(done, total) };
    let full = usize::try_from(share).unwrap_or(0) * BAR / 100;
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR - full))
}
