//! `ramet-agent menu`.
//!
//! In: disks to choose from, a file of settings. Out: what a booted agent with these settings shows and does.
//! Promise: the same code as on a booted machine; nothing is rebooted, and without `RAMET_RUN` no file is written.

use super::args::Menu;
use super::{Exit, usage};
use crate::job::{self, Here};
use crate::menu::screen::Terminal;
use ramet_wire::settings::{Mode, Settings, from_conf};
use std::path::PathBuf;

pub(super) fn run(args: &Menu) -> Exit {
    let text = match args.conf.as_ref().map(std::fs::read_to_string).transpose() {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => return usage(&format!("reading {}: {error}", args.conf.as_deref().unwrap_or_default())),
    };
    let settings = from_conf(&text).and_then(|raw| Settings::of(&raw));
    let keys = settings.as_ref().is_ok_and(|settings| settings.mode == Mode::Menu);
    let disks = args.disks.iter().map(PathBuf::from).collect();
    let here = Here::on_any_linux(disks, Box::new(Terminal::open(keys)));
    job::run(settings, here)
}
