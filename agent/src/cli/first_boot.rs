//! `ramet-agent first-boot`: what the unit in a clone runs.
//!
//! In: the file with its settings. Out: one line for the journal.
//! Promise: it succeeds when no other call is to come, and only then; else the service manager starts it again.

use super::args::FirstBoot;
use super::{Exit, failed};
use crate::firstboot::{self, Ending};
use std::path::Path;

pub(super) fn run(args: &FirstBoot) -> Exit {
    match firstboot::run(Path::new(&args.conf), Path::new("/")) {
        Ok(Ending::Heard) => {
            say!("the server knows that this machine has booted");
            Exit::Done
        }
        Ok(Ending::Void(why)) => {
            say!("the server takes no call of this machine any more: {why}");
            Exit::Done
        }
        Err(error) => failed(Exit::Failed, &error),
    }
}
