//! `ramet-agent restore`.
//!
//! In: an image, target disks, and a person or `--yes`. Out: disks that hold it, a receipt, and what was proven.
//! Promise: without `--yes` and without a terminal nothing is written; 0 only with everything read back.

use super::args::Restore;
use super::door::{self, Options, Place};
use super::show::{self, bytes};
use super::{Exit, failed, print_json, usage, who};
use crate::nvram::Nvram;
use crate::progress::{Meter, Snapshot};
use crate::restore::{self, Ending, Outcome, Progress, Request, RestoreError, Watch};
use crate::transfer::folder::Shelf;
use crate::transfer::http::Http;
use crate::transfer::{Downstream, TransferError};
use crate::write::Plan;
use ramet_wire::ImageRef;
use ramet_wire::adapt::{Adapt, Layout, Size};
use ramet_wire::api::Action;
use ramet_wire::identity::Identity;
use ramet_wire::receipt::{Origin, Proof};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::PathBuf;

pub(super) fn run(args: &Restore) -> Exit {
    let request = match request(args) {
        Ok(request) => request,
        Err(message) => return usage(&message),
    };
    let options = Options {
        server: args.server.as_deref(),
        token_file: args.token_file.as_deref(),
        token: args.token.as_deref(),
        key: args.key.as_deref(),
        store: args.store.as_deref(),
    };
    let place = match door::place(options) {
        Ok(place) => place,
        Err(message) => return usage(&message),
    };
    if !args.yes && !args.dry_run && !std::io::stdin().is_terminal() {
        tell!("ramet-agent: nobody is here to confirm the plan; pass --yes, or --dry-run to see it");
        return Exit::Refused;
    }
    let door = match open(&place, &request.image, args) {
        Ok(door) => door,
        Err(error) => return failed(Exit::Refused, &error),
    };
    let meter = Meter::default();
    meter.begin("checking", 0);
    let watcher = Watcher { meter: &meter, yes: args.yes };
    // The run itself sends heartbeats, with its own step.
    let ended = show::during(&meter, &|_: &Snapshot| (), || restore::restore(&*door, &request, &watcher));
    match ended {
        Ok(Ending::Planned(plan)) => {
            show_plan(&plan, args.json);
            Exit::Done
        }
        Ok(Ending::Restored(outcome)) => finish(&outcome, args),
        Err(error @ RestoreError::Refused(_)) => failed(Exit::Refused, &error),
        Err(error) => {
            tell!("Run the same command again: what is already on the disks will not be sent twice.");
            failed(Exit::Failed, &error)
        }
    }
}

fn request(args: &Restore) -> Result<Request, String> {
    let image: ImageRef = args.image.parse().map_err(|error| format!("--image {:?}: {error}", args.image))?;
    if args.disks.is_empty() == args.pair.is_empty() {
        return Err("name target disks in the image's order, or pairs (--pair 0=DISK), and not both".to_owned());
    }
    if let Some(other) = args.ignore.iter().find(|check| *check != "boot-check") {
        return Err(format!("--ignore {other:?}: there is only boot-check"));
    }
    let pair = |text: &String| {
        let wrong = || format!("--pair {text:?}: wanted N=DISK");
        let (ordinal, disk) = text.split_once('=').filter(|(_, disk)| !disk.is_empty()).ok_or_else(wrong)?;
        Ok::<_, String>((ordinal.parse().map_err(|_| wrong())?, PathBuf::from(disk)))
    };
    Ok(Request {
        image,
        targets: args.disks.iter().map(PathBuf::from).collect(),
        pairs: args.pair.iter().map(pair).collect::<Result<_, _>>()?,
        partitions: args.partition.clone(),
        read_back: !args.no_read_back,
        dry_run: args.dry_run,
        blank_only: false,
        force_size: args.force_size,
        ignore_boot_check: !args.ignore.is_empty(),
        nvram: if args.no_nvram { None } else { Nvram::here() },
        adapt: Adapt {
            size: size(args)?,
            identity: identity(args)?.map(Box::new),
            new_uuids: args.new_uuids,
            first_boot: None,
        },
    })
}

/// What `--identity` says.
fn identity(args: &Restore) -> Result<Option<Identity>, String> {
    let Some(file) = &args.identity else {
        let without = args.name.is_some() || !args.mac.is_empty();
        return if without { Err("--name and --mac are for --identity".to_owned()) } else { Ok(None) };
    };
    who::declared(file, args.name.as_deref(), &args.mac).map(Some)
}

/// What `--size` and `--layout` say.
fn size(args: &Restore) -> Result<Size, String> {
    let wish = match (args.size.as_deref(), &args.layout) {
        (None | Some("keep"), None) => Size::Keep,
        (Some("fill"), None) => Size::Fill,
        (Some(other), None) => return Err(format!("--size {other}: wanted keep or fill")),
        (Some(_), Some(_)) => return Err("--size and --layout exclude each other".to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("--layout {path}: {error}"))?;
            Size::Layout(Layout::from_toml(&text).map_err(|error| format!("--layout {path}: {error}"))?)
        }
    };
    if wish != Size::Keep && !args.partition.is_empty() {
        return Err("--partition restores a partition in its size; leave out --size and --layout".to_owned());
    }
    Ok(wish)
}

fn open(place: &Place, image: &ImageRef, args: &Restore) -> Result<Box<dyn Downstream>, TransferError> {
    Ok(match place {
        Place::Server(address) => {
            Box::new(Http::open(address, Action::Restore, image, &args.partition, &door::accept_identity)?)
        }
        Place::Folder(dir, key) => {
            let accept = |found| {
                tell!("The folder's key is {found}; nobody pinned it: integrity will be checked, origin not.");
                args.yes || args.dry_run || door::confirm("Go on?")
            };
            Box::new(Shelf::open(dir, image, *key, &accept)?)
        }
    })
}

struct Watcher<'a> {
    meter: &'a Meter,
    yes: bool,
}

impl Watch for Watcher<'_> {
    fn confirm(&self, plan: &Plan) -> bool {
        self.meter.begin("waiting for an answer", 0);
        if self.yes {
            return true;
        }
        tell!("\r\x1b[K{}", plan.to_string().trim_end());
        door::confirm("Erase and restore?")
    }

    fn progress(&self, now: &Progress) {
        self.meter.set("restoring", now.total, now.done, now.kept, now.fetched);
        self.meter.set_parts(now.parts.clone());
    }

    fn step(&self, step: &str) {
        self.meter.begin(step, 0);
    }
}

fn show_plan(plan: &Plan, json: bool) {
    if json { print_json(plan) } else { say!("{}", plan.to_string().trim_end()) }
}

/// The outcome for scripts: the receipt, and the figures that are not part of it.
#[derive(Serialize)]
struct Restored<'a> {
    image: &'a ImageRef,
    proof: Proof,
    fetched_bytes: u64,
    written_bytes: u64,
    kept_bytes: u64,
    seconds: f64,
    receipt: &'a ramet_wire::receipt::Receipt,
    signed: bool,
}

fn finish(outcome: &Outcome, args: &Restore) -> Exit {
    if let Some(path) = &args.receipt
        && let Err(error) = write_receipt(outcome, path)
    {
        tell!("ramet-agent: writing the receipt to {path}: {error}; the disks hold the image all the same");
        return Exit::Failed;
    }
    let proof = outcome.receipt.proof();
    for warning in &outcome.warnings {
        tell!("warning: {warning}");
    }
    for warning in &outcome.plan.warnings {
        tell!("warning of the capture: {warning}");
    }
    if args.json {
        print_json(&Restored {
            image: &outcome.plan.image,
            proof,
            fetched_bytes: outcome.fetched_bytes,
            written_bytes: outcome.written_bytes,
            kept_bytes: outcome.kept_bytes,
            seconds: outcome.seconds,
            receipt: &outcome.receipt,
            signed: outcome.signed.is_some(),
        });
    } else {
        report(outcome, proof);
    }
    if let Some(why) = outcome.receipt.adapted.as_ref().and_then(|adapted| adapted.without.as_ref()) {
        tell!("ramet-agent: the disks hold a plain copy: {why}; do not start it beside its source");
        return Exit::Plain;
    }
    if proof == Proof::None { Exit::Unproven } else { Exit::Done }
}

fn report(outcome: &Outcome, proof: Proof) {
    say!("restored {} in {:.1} s", outcome.plan.image, outcome.seconds);
    say!("  present  {:>10}  were on the disks already", bytes(outcome.kept_bytes));
    say!("  written  {:>10}", bytes(outcome.written_bytes));
    say!("  fetched  {:>10}  as stored", bytes(outcome.fetched_bytes));
    match proof {
        Proof::Device => say!("  proven             every byte was read back from the device and hashed"),
        Proof::File => say!("  proven             every byte was read back past this process's writes and hashed"),
        Proof::None => say!("  NOT proven         nothing was read back (--no-read-back)"),
    }
    match &outcome.receipt.origin {
        Origin::Pinned(key) => say!("  origin             signed by the pinned key {key}"),
        Origin::IntegrityOnly(key) => {
            say!("  origin             integrity checked, origin not (folder's key {key})")
        }
    }
    for change in outcome.receipt.adapted.iter().flat_map(|adapted| &adapted.changes) {
        say!("  changed            {}: {}", change.what, change.how);
    }
    for note in &outcome.receipt.notes {
        say!("  note               {note}");
    }
    if outcome.signed.is_some() {
        say!("  receipt            checked and signed by the server");
    }
}

/// The server's signed form where there is one, else the bare receipt.
fn write_receipt(outcome: &Outcome, path: &str) -> std::io::Result<()> {
    let text = match &outcome.signed {
        Some(signed) => serde_json::to_string_pretty(signed),
        None => serde_json::to_string_pretty(&outcome.receipt),
    };
    std::fs::write(path, text.map_err(std::io::Error::from)? + "\n")
}
