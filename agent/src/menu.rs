//! The menu: what an operator meets on the console.
//!
//! In: keys, what the server says, what a run comes to. Out: a screen of 80 columns and 24 lines, and an ending.
//! Promise: everything that works without a server works without a server.

pub mod keys;
pub mod screen;

use crate::cli::Exit;
use crate::job::{Ending, Here};
use ramet_wire::settings::{Settings, Then};

/// Shows the menu until somebody chose an ending.
#[must_use]
pub fn run(_settings: &Settings, _here: &Here) -> Ending {
    Ending { words: "the menu was left".to_owned(), exit: Exit::Done, then: Then::Wait }
}
