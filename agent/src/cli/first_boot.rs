//! `ramet-agent first-boot`: what the unit in a clone runs.
//!
//! In: the file with its settings. Out: one line for the journal.
//! Promise: it succeeds when no other call is to come, and only then; else the service manager starts it again.

use super::args::FirstBoot;
use super::{Exit, failed};
use crate::firstboot::{self, Ending};
use ramet_system::Root;
use std::io;
use std::path::Path;

pub(super) fn run(args: &FirstBoot) -> Exit {
    let root = Path::new("/");
    let leave = || {
        let gone = Root::open(root).and_then(|mut root| ramet_system::first_boot::leave_no_trace(&mut root));
        gone.map(drop).map_err(io::Error::other)
    };
    match firstboot::run(Path::new(&args.conf), root, &leave) {
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
