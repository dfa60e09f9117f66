//! `ramet-agent identity`.
//!
//! In: disks that hold a clone, a declaration. Out: the same clone as a machine of its own; with --dry-run a diff.
//! Promise: a dry run writes nothing to the clone; without `--yes` and without a terminal nothing is written.

use super::args::Identity;
use super::{Exit, door, failed, print_json, usage, who};
use crate::adapt::system::{self, Held};
use crate::disk::{Disks, open_targets};
use crate::write::TargetDisk;
use std::io::IsTerminal as _;
use std::path::PathBuf;

pub(super) fn run(args: &Identity) -> Exit {
    let declared = match who::declared(&args.identity, args.name.as_deref(), &args.mac) {
        Ok(declared) => declared,
        Err(message) => return usage(&message),
    };
    if args.disks.is_empty() {
        return usage("name the disks that hold the clone, in the image's order");
    }
    if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() {
        tell!("ramet-agent: nobody is here to confirm the changes; pass --yes, or --dry-run to see them");
        return Exit::Refused;
    }
    let paths: Vec<PathBuf> = args.disks.iter().map(PathBuf::from).collect();
    let targets = match open_targets(&Disks::from_sysfs(), &paths, &[], None) {
        Ok(targets) => targets,
        Err(error) => return failed(Exit::Refused, &error),
    };
    let disks: Vec<TargetDisk> = targets.into_iter().map(TargetDisk::new).collect();
    let held: Vec<Held<'_>> = (0..).zip(&disks).map(|(ordinal, medium)| Held { ordinal, medium }).collect();
    // What is new stays what it is when the command is repeated.
    let run = "by hand";
    if !args.yes && !args.dry_run {
        match system::identify(&held, &declared, run, true) {
            Ok(applied) => tell!("{}", applied.diff.trim_end()),
            Err(error) => return failed(Exit::Refused, &error),
        }
        if !door::confirm("Change this clone?") {
            return Exit::Refused;
        }
    }
    match system::identify(&held, &declared, run, args.dry_run) {
        Ok(applied) if args.json => {
            print_json(&applied.changes);
            Exit::Done
        }
        Ok(applied) if args.dry_run => {
            say!("{}", applied.diff.trim_end());
            Exit::Done
        }
        Ok(applied) => {
            applied.changes.iter().for_each(|change| say!("{}: {}", change.what, change.how));
            Exit::Done
        }
        Err(error) => failed(if args.dry_run { Exit::Refused } else { Exit::Failed }, &error),
    }
}
