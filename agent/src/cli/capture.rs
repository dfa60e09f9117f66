//! `ramet-agent capture`.
//!
//! In: disks, a name, a store. Out: the published image with its figures.
//! Promise: status 2 when nothing was sent, 1 when the next run can go on from here.

use super::args::Capture;
use super::door::{self, Options, Place};
use super::show::{self, bytes};
use super::{Exit, failed, print_json, usage};
use crate::capture::source::{self, this_machine};
use crate::capture::{self, CaptureError, Captured, Request};
use crate::disk::Disks;
use crate::nvram::Nvram;
use crate::progress::Meter;
use crate::transfer::folder::Folder;
use crate::transfer::http::Http;
use crate::transfer::{TransferError, Upstream};
use ramet_wire::api::Action;
use ramet_wire::{ImageName, ImageRef};
use std::path::PathBuf;

pub(super) fn run(args: &Capture) -> Exit {
    let name: ImageName = match args.image.parse() {
        Ok(name) => name,
        Err(error) => return usage(&format!("--image {:?}: {error}", args.image)),
    };
    if args.disks.is_empty() {
        return usage("no disk named; `ramet-agent inspect DISK` shows what is on one");
    }
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
    let paths: Vec<PathBuf> = args.disks.iter().map(PathBuf::from).collect();
    let disks = match source::open_all(&Disks::from_sysfs(), &paths) {
        Ok(disks) => disks,
        Err(error) => return failed(Exit::Refused, &error),
    };
    let (machine, force_mounted, nvram) = (this_machine(), args.force_mounted, Nvram::here());
    let request = Request { name, machine, force_mounted, nvram };
    let door = match open(&place, &request) {
        Ok(door) => door,
        Err(error) => return failed(Exit::Refused, &error),
    };
    let meter = Meter::default();
    let beat = |now: &crate::progress::Snapshot| door.progress(&now.step, now.done, now.total);
    match show::during(&meter, &beat, || capture::capture(&request, &disks, &*door, &meter)) {
        Ok(captured) => {
            report(&captured, args.json);
            Exit::Done
        }
        Err(error) => {
            door.fail(&show::chain(&error));
            let exit = if CaptureError::is_refusal(&error) { Exit::Refused } else { Exit::Failed };
            if exit == Exit::Failed {
                tell!("The image does not exist; what was sent stays. Run the same command again to send the rest.");
            }
            failed(exit, &error)
        }
    }
}

fn open(place: &Place, request: &Request) -> Result<Box<dyn Upstream>, TransferError> {
    let image = ImageRef { name: request.name.clone(), id: None };
    Ok(match place {
        Place::Server(address) => Box::new(Http::open(address, Action::Capture, &image, &[], &door::accept_identity)?),
        Place::Folder(path, _) => Box::new(Folder::for_capture(path)?),
    })
}

fn report(captured: &Captured, json: bool) {
    for warning in &captured.warnings {
        tell!("warning: {warning}");
    }
    if json {
        return print_json(captured);
    }
    let Captured { image, id, read_bytes, zero_bytes, present_bytes, new_bytes, stored_bytes, seconds, .. } = captured;
    say!("captured {image}@{id} in {seconds:.1} s");
    say!("  read     {:>10}  and {} of zeros recorded", bytes(*read_bytes), bytes(*zero_bytes));
    say!("  present  {:>10}  were in the store already", bytes(*present_bytes));
    say!("  new      {:>10}  stored as {}", bytes(*new_bytes), bytes(*stored_bytes));
    if captured.uncaptured_bytes > 0 {
        say!("  outside  {:>10}  unpartitioned, not in the image", bytes(captured.uncaptured_bytes));
    }
}
