//! The operator's command, and its exit status.
//!
//! In: arguments. Out: the outcome on standard output, all else on standard error, and one of six statuses.
//! Promise: 0 means done and proven; 1 failed; 2 refused before any write; 3 wrong usage; 4 restored, not read
//! back; 5 restored, but a plain copy.

pub mod args;
mod capture;
mod completion;
mod door;
mod first_boot;
mod identity;
mod inspect;
mod menu;
mod restore;
pub mod show;
mod who;

use argh::FromArgs;
use args::{Args, Command};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done and proven.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Refused before any write.
    Refused = 2,
    /// Wrong usage.
    Usage = 3,
    /// Restored, but not read back.
    Unproven = 4,
    /// Restored and proven, but not what was ordered beyond the copy.
    Plain = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs `args` (without the program's name).
#[must_use]
pub fn run(args: Vec<String>) -> Exit {
    let args = args::split_equals(args);
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let args = match Args::from_args(&["ramet-agent"], &words) {
        Ok(args) => args,
        Err(early) if early.status.is_ok() => {
            say!("{}", early.output.trim_end());
            return Exit::Done;
        }
        Err(early) => return usage(early.output.trim_end()),
    };
    if args.version {
        say!("ramet-agent {}", env!("CARGO_PKG_VERSION"));
        return Exit::Done;
    }
    match args.command {
        Some(Command::Inspect(inspect)) => inspect::run(&inspect),
        Some(Command::Capture(capture)) => capture::run(&capture),
        Some(Command::Restore(restore)) => restore::run(&restore),
        Some(Command::Menu(menu)) => menu::run(&menu),
        Some(Command::Identity(who)) => identity::run(&who),
        Some(Command::FirstBoot(first_boot)) => first_boot::run(&first_boot),
        Some(Command::Completion(completion)) => completion::run(&completion.shell),
        None => usage("no command given; try --help"),
    }
}

fn usage(message: &str) -> Exit {
    tell!("{message}");
    Exit::Usage
}

/// Says how a command failed, with all causes.
fn failed(exit: Exit, error: &dyn std::error::Error) -> Exit {
    tell!("ramet-agent: {}", show::chain(error));
    exit
}

/// Prints an outcome as one JSON object.
fn print_json(outcome: &impl serde::Serialize) {
    match serde_json::to_string_pretty(outcome) {
        Ok(text) => say!("{text}"),
        Err(error) => tell!("ramet-agent: writing the outcome as JSON: {error}"),
    }
}
