//! One capture or one restore, from its order to its last sentence, whoever gave the order.
//!
//! In: an order, the surroundings, somebody who looks on. Out: a sentence about what was done, or why not.
//! Promise: the run is opened before disks are looked for, so that the server's record has every ending it can have.

use super::choose::{NoDisk, choose};
use super::ending::Stop;
use super::here::Here;
use super::medium::Medium;
use super::stock::Found;
use crate::capture::source::{self, this_machine};
use crate::capture::{self, CaptureError, Captured};
use crate::cli::Exit;
use crate::cli::show::bytes;
use crate::disk::Disks;
use crate::nvram::Nvram;
use crate::progress::Snapshot;
use crate::restore::{self, Ending as Restored, Outcome, Progress, RestoreError, Watch};
use crate::transfer::client::Limits;
use crate::transfer::http::{Address, Http};
use crate::transfer::{Downstream, TransferError, Upstream};
use crate::write::Plan;
use ramet_wire::adapt::{Adapt, Adapted};
use ramet_wire::api::Action;
use ramet_wire::receipt::Proof;
use ramet_wire::settings::{DiskChoice, Timeouts};
use ramet_wire::{ImageName, ImageRef};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Between two looks at the meter.
const TICK: Duration = Duration::from_millis(200);
/// Between two heartbeats to the server, also while a person thinks: a session without one lapses.
const BEAT: Duration = Duration::from_secs(10);
/// How long the list of disks must stand still before the only candidate is taken: controllers find theirs one by one.
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks at the disks.
const LOOK: Duration = Duration::from_millis(500);

/// Somebody who looks on.
pub trait Front: Sync {
    /// A line worth reading.
    fn say(&self, line: &str);

    /// Called several times a second.
    fn progress(&self, now: &Snapshot);

    /// Shows the plan; `false` ends the restore before anything is written.
    fn confirm(&self, plan: &Plan) -> bool;
}

/// Which disks.
#[derive(Clone, Debug)]
pub enum Which {
    /// The named ones, or the only candidate.
    Choice(Vec<DiskChoice>),
    /// These, by ordinal.
    Paths(Vec<PathBuf>),
}

/// A capture to do.
#[derive(Clone, Debug)]
pub struct CaptureOrder {
    /// The image's name.
    pub name: ImageName,
    /// The server.
    pub server: Address,
    /// What to capture.
    pub disks: Which,
    /// How long disks are waited for.
    pub timeouts: Timeouts,
}

/// A restore to do.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The image.
    pub image: ImageRef,
    /// Where from.
    pub from: Origin,
    /// Where to.
    pub disks: Which,
    /// Only onto empty disks.
    pub blank_only: bool,
    /// What the destination becomes beyond the copy.
    pub adapt: Adapt,
    /// Whether it would boot was judged already, or a person sees the plan.
    pub ignore_boot_check: bool,
    /// How long disks are waited for.
    pub timeouts: Timeouts,
}

/// Where an image comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A server.
    Server(Address),
    /// The boot medium.
    Medium(Medium),
}

/// How long a booted agent tries: nobody sits beside it to start it anew.
#[must_use]
pub fn limits(timeouts: &Timeouts) -> Limits {
    let stall = timeouts.server.clamp(Duration::from_secs(5), Duration::from_secs(60));
    Limits { tries: 1, patience: timeouts.server, pause: Duration::from_millis(250), stall }
}

/// Captures.
///
/// # Errors
/// [`Stop`]; the server has heard it where a run was open.
pub fn capture(order: &CaptureOrder, here: &Here, front: &dyn Front) -> Result<String, Stop> {
    let doing = format!("capturing {}", order.name);
    let stop = |exit, error: &(dyn std::error::Error + 'static)| Stop::of(exit, &doing, error, &here.network());
    here.meter.begin("connecting", 0);
    let image = ImageRef { name: order.name.clone(), id: None };
    let opened = watched(here, front, &|_| (), || Http::open(&order.server, Action::Capture, &image, &[], &|_| false));
    let door = opened.map_err(|error| stop(exit_of(&error), &error))?;
    let beat = |now: &Snapshot| Upstream::progress(&door, &now.step, now.done, now.total);
    let run = || {
        let chosen = find(&order.disks, None, &order.timeouts, here).map_err(|error| stop(Exit::Refused, &error))?;
        let paths: Vec<PathBuf> = chosen.into_iter().map(|(_, path)| path).collect();
        front.say(&format!("{doing} from {}", list(&paths)));
        let disks = source::open_all(&Disks::from_sysfs(), &paths).map_err(|error| stop(Exit::Refused, &error))?;
        let (machine, nvram) = (this_machine(), Nvram::here());
        let request = capture::Request { name: order.name.clone(), machine, force_mounted: false, nvram };
        capture::capture(&request, &disks, &door, &here.meter)
            .map_err(|error| stop(if CaptureError::is_refusal(&error) { Exit::Refused } else { Exit::Failed }, &error))
    };
    let ended = watched(here, front, &beat, run).inspect_err(|stop| Upstream::fail(&door, &stop.words));
    let captured = ended?;
    captured.warnings.iter().for_each(|warning| front.say(&format!("warning: {warning}")));
    Ok(said_of(&captured))
}

fn said_of(captured: &Captured) -> String {
    let Captured { image, id, read_bytes, present_bytes, stored_bytes, seconds, .. } = captured;
    let (read, present, stored) = (bytes(*read_bytes), bytes(*present_bytes), bytes(*stored_bytes));
    format!("captured {image}@{id} in {seconds:.0} s: {read} read, {present} were in the store already, {stored} sent")
}

/// Restores.
///
/// # Errors
/// [`Stop`]; the server has heard it where a run was open.
pub fn restore(order: &RestoreOrder, here: &Here, front: &dyn Front) -> Result<String, Stop> {
    let doing = format!("restoring {}", order.image);
    let stop = |exit, error: &(dyn std::error::Error + 'static)| Stop::of(exit, &doing, error, &here.network());
    here.meter.begin("connecting", 0);
    let opened = watched(here, front, &|_| (), || -> Result<Box<dyn Downstream>, Stop> {
        match &order.from {
            Origin::Server(server) => {
                let door = Http::open(server, Action::Restore, &order.image, &[], &|_| false);
                Ok(Box::new(door.map_err(|error| stop(exit_of(&error), &error))?))
            }
            Origin::Medium(medium) => Ok(Box::new(medium.checked(&order.image, here)?)),
        }
    });
    let door = opened?;
    // While it writes, the run tells the server by itself.
    let beat = |now: &Snapshot| {
        if now.step != RESTORING {
            door.progress(&now.step, now.done, now.total);
        }
    };
    let run = || {
        let chosen = door.image().map_err(|error| stop(exit_of(&error), &error)).and_then(|info| {
            find(&order.disks, Some(info.disks), &order.timeouts, here).map_err(|error| stop(Exit::Refused, &error))
        });
        let pairs = chosen.inspect_err(|stop| door.fail(&stop.words))?;
        let paths: Vec<PathBuf> = pairs.iter().map(|(_, path)| path.clone()).collect();
        front.say(&format!("{doing} onto {}", list(&paths)));
        here.meter.begin("checking the plan", 0);
        let request = restore::Request {
            image: order.image.clone(),
            targets: Vec::new(),
            pairs,
            partitions: Vec::new(),
            read_back: true,
            dry_run: false,
            blank_only: order.blank_only,
            force_size: false,
            ignore_boot_check: order.ignore_boot_check,
            nvram: Nvram::here(),
            adapt: order.adapt.clone(),
        };
        let watcher = Watcher { here, front };
        restore::restore(&*door, &request, &watcher).map_err(|error| {
            let exit = if matches!(error, RestoreError::Refused(_)) { Exit::Refused } else { Exit::Failed };
            stop(exit, &error)
        })
    };
    match watched(here, front, &beat, run)? {
        Restored::Restored(outcome) => {
            outcome.plan.warnings.iter().for_each(|warning| front.say(&format!("warning of the capture: {warning}")));
            let words = said(&outcome);
            match without_identity(&order.adapt, outcome.receipt.adapted.as_ref()) {
                None => Ok(words),
                // It would start as its source's double: it stays, with its message.
                Some(why) => {
                    let words = format!("{words}, without identity: {why}; do not start it beside its source");
                    Err(Stop { words, exit: Exit::Failed, then: None })
                }
            }
        }
        Restored::Planned(plan) => Ok(format!("planned {}", plan.image)),
    }
}

/// Why the disk holds a plain copy although an identity was ordered.
fn without_identity(adapt: &Adapt, adapted: Option<&Adapted>) -> Option<String> {
    let missing = adapt.identity.is_some() && adapted.is_none_or(|adapted| !adapted.identity);
    let why = || adapted.and_then(|adapted| adapted.without.clone()).unwrap_or_else(|| "nothing applied it".to_owned());
    missing.then(why)
}

/// The step in which a restore writes.
pub const RESTORING: &str = "restoring";
/// The step in which somebody looks at the plan.
pub const ASKING: &str = "waiting for an answer";

fn said(outcome: &Outcome) -> String {
    let disks: Vec<&str> = outcome.plan.disks.iter().map(|disk| disk.path.as_str()).collect();
    let (written, kept) = (bytes(outcome.written_bytes), bytes(outcome.kept_bytes));
    let proof = match outcome.receipt.proof() {
        Proof::Device => "all read back from the device",
        Proof::File => "all read back past this process's writes",
        Proof::None => "NOT read back",
    };
    let signed = if outcome.signed.is_some() { ", receipt signed by the server" } else { "" };
    let (image, seconds) = (&outcome.plan.image, outcome.seconds);
    let changes = outcome.receipt.adapted.as_ref().map_or(0, |adapted| adapted.changes.len());
    let changed = if changes == 0 { String::new() } else { format!(", {changes} changes for this machine") };
    format!(
        "restored {image} onto {} in {seconds:.0} s: {written} written, {kept} were there already, \
         {proof}{changed}{signed}",
        disks.join(", ")
    )
}

struct Watcher<'a> {
    here: &'a Here,
    front: &'a dyn Front,
}

impl Watch for Watcher<'_> {
    fn confirm(&self, plan: &Plan) -> bool {
        self.here.meter.begin(ASKING, 0);
        let _wait = self.here.pulse.waiting();
        self.front.confirm(plan)
    }

    fn progress(&self, now: &Progress) {
        self.here.meter.set(RESTORING, now.total, now.done, now.kept, now.fetched);
        self.here.meter.set_parts(now.parts.clone());
    }

    fn step(&self, step: &str) {
        self.here.meter.begin(step, 0);
    }
}

/// Nothing was begun: a clear answer is a refusal, silence a failure.
fn exit_of(error: &TransferError) -> Exit {
    match error {
        TransferError::Away { .. } => Exit::Failed,
        _ => Exit::Refused,
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Finds the disks, and waits for those that are still to appear.
fn find(which: &Which, disks: Option<u32>, timeouts: &Timeouts, here: &Here) -> Result<Vec<(u32, PathBuf)>, NoDisk> {
    let wanted = match which {
        Which::Paths(paths) => return Ok((0..).zip(paths.iter().cloned()).collect()),
        Which::Choice(wanted) => wanted,
    };
    here.meter.begin("waiting for disks", 0);
    let start = Instant::now();
    let (mut seen, mut since): (Vec<Found>, Instant) = (Vec::new(), start);
    loop {
        let _wait = here.pulse.waiting();
        let now = here.stock.look(here.medium().as_deref());
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        let late = start.elapsed() >= timeouts.disk;
        let settled = since.elapsed() >= SETTLED.min(timeouts.disk);
        match choose(&seen, wanted, disks) {
            // A named disk is the right one whatever else appears.
            Ok(pairs) if settled || !wanted.is_empty() => return Ok(pairs),
            Err(error) if late || (!error.may_pass() && settled) => return Err(error),
            _ => std::thread::sleep(LOOK),
        }
    }
}

/// Runs `work` while a second thread shows the meter and calls `beat` now and then.
fn watched<T>(here: &Here, front: &dyn Front, beat: &(dyn Fn(&Snapshot) + Sync), work: impl FnOnce() -> T) -> T {
    let (stop, stopped) = channel::<()>();
    let stopped = Mutex::new(stopped);
    std::thread::scope(|scope| {
        let ticker = scope.spawn(|| {
            let Ok(stopped) = stopped.lock() else { return };
            let mut beaten = Instant::now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let now = here.meter.snapshot();
                front.progress(&now);
                if beaten.elapsed() >= BEAT {
                    beat(&now);
                    beaten = Instant::now();
                }
            }
        });
        // Dropped also when `work` panics.
        let _stop = stop;
        let done = work();
        drop(_stop);
        let _ = ticker.join();
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::identity::Identity;

    #[test]
    fn an_identity_that_was_ordered_and_not_applied_is_said_and_nothing_else_is() {
        let ordered = Adapt { identity: Some(Box::new(Identity::default())), ..Adapt::default() };
        let done = Adapted { identity: true, ..Adapted::default() };
        let not = Adapted { without: Some("no system that is known".to_owned()), ..Adapted::default() };
        assert_eq!(without_identity(&Adapt::default(), None), None);
        assert_eq!(without_identity(&ordered, Some(&done)), None);
        assert_eq!(without_identity(&ordered, Some(&not)).as_deref(), Some("no system that is known"));
        assert!(without_identity(&ordered, None).is_some());
    }
}
