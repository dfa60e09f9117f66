//! Restore: an image in a store, back onto disks, on one screen.
//!
//! In: a door to one image, targets, and somebody who watches. Out: disks that hold the image, and a receipt.
//! Promise: a refusal has written no byte, and the types say so: after `prepare` there is only success or failure. There is
//! no success without a receipt.

mod boot;
mod choose;
mod error;
mod firmware;
mod sizes;
#[cfg(test)]
mod tests;

pub use choose::{Opened, open_disks};
pub use error::{Failed, Left, Refused, RestoreError};

use crate::adapt::size::{self, Resized, Stage};
use crate::nvram::Nvram;
use crate::progress::Part;
use crate::transfer::Downstream;
use crate::write::{
    Chunks, Crew, DiskMap, DiskPlan, MediumView, Mode, Pass, Plan, Segments, Settings, Tally, WriteError, complete,
    lies_on, placed_table, seal, survey,
};
use choose::pair_up;
use error::{at_map, at_size, at_survey, before};
use ramet_wire::adapt::{Adapt, Adapted};
use ramet_wire::api::ImageState;
use ramet_wire::boot::{Answer, Verdict};
use ramet_wire::manifest::{DiskImage, Manifest};
use ramet_wire::receipt::{DiskReceipt, Origin, Proof, Receipt, SignedReceipt};
use ramet_wire::{ImageId, ImageRef};
use sizes::{grow_all, stages};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the store hears how far a run is.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What shall be restored, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image that was asked for: a manifest of another name or id is refused.
    pub image: ImageRef,
    /// Target disks in the order of the image's ordinals; empty when `pairs` are given.
    pub targets: Vec<PathBuf>,
    /// Target disks by ordinal.
    pub pairs: Vec<(u32, PathBuf)>,
    /// Only these partitions; all and the table when empty.
    pub partitions: Vec<u32>,
    /// Everything is read again after it was written. Without it the receipt proves nothing.
    pub read_back: bool,
    /// Ends with the plan.
    pub dry_run: bool,
    /// Refuses disks on which a table, a file system or another known structure lies.
    pub blank_only: bool,
    /// Restores RAID and LDM metadata at the disk's end also onto a disk of another size.
    pub force_size: bool,
    /// Restores also where the image is known not to boot.
    pub ignore_boot_check: bool,
    /// The firmware's variables, where an entry for the image may be added.
    pub nvram: Option<Nvram>,
    /// What the destination becomes beyond the copy.
    pub adapt: Adapt,
}

/// Somebody who decides and looks on.
pub trait Watch {
    /// Shows the plan; `false` ends the restore before anything is written.
    fn confirm(&self, plan: &Plan) -> bool;

    /// Called several times a second.
    fn progress(&self, now: &Progress);
}

/// How far a restore is, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Work done: kept, written and proven bytes.
    pub done: u64,
    /// All work.
    pub total: u64,
    /// Was there already.
    pub kept: u64,
    /// Was written.
    pub written: u64,
    /// Was read back.
    pub proven: u64,
    /// Came from the store, as stored.
    pub fetched: u64,
    /// By partition: bytes that were proven, or without a read-back nothing.
    pub parts: Vec<Part>,
}

/// How a restore without an error ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// A dry run: nothing was written.
    Planned(Plan),
    /// The disks hold the image.
    Restored(Box<Outcome>),
}

/// A restore that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// What went wrong beside the disks: they hold the image all the same.
    pub warnings: Vec<String>,
    /// What was proven; `receipt.proof()` is `None` without a read-back.
    pub receipt: Receipt,
    /// The receipt as a server signed it.
    pub signed: Option<SignedReceipt>,
    /// Bytes that came from the store, as stored.
    pub fetched_bytes: u64,
    /// Bytes written, zeros included.
    pub written_bytes: u64,
    /// Bytes that were there already.
    pub kept_bytes: u64,
    /// Wall seconds from the confirmed plan to the last read-back.
    pub seconds: f64,
}

/// A way to open the targets of a restore: with the guard, or held already.
pub type OpenDisks<'o> = dyn Fn(&[(&DiskImage, PathBuf)]) -> Result<Vec<Opened>, RestoreError> + 'o;

/// Restores the image behind `door`. Targets pass the guard and are held until the end.
///
/// # Errors
/// [`RestoreError::Refused`] when nothing was written and somebody must decide; [`RestoreError::Failed`] otherwise.
pub fn restore(door: &dyn Downstream, request: &Request, watch: &dyn Watch) -> Result<Ending, RestoreError> {
    restore_onto(door, request, watch, &|pairs| open_disks(pairs, door.folder()))
}

/// The same with another way to open disks: for tests, and for disks that are held already.
///
/// # Errors
/// See [`restore`].
pub fn restore_onto(
    door: &dyn Downstream,
    request: &Request,
    watch: &dyn Watch,
    open: &OpenDisks<'_>,
) -> Result<Ending, RestoreError> {
    let fetched = AtomicU64::new(0);
    let run = || {
        let mut ready = prepare(door, request, open, &fetched)?;
        if request.dry_run {
            return Ok(Ending::Planned(ready.plan));
        }
        if !watch.confirm(&ready.plan) {
            return Err(Refused::Declined.into());
        }
        Ok(Ending::Restored(Box::new(execute(&mut ready, door, request, watch, &fetched)?)))
    };
    run().inspect_err(|error: &RestoreError| door.fail(&error.chain()))
}

/// Everything that is known before the first write.
struct Ready<'a> {
    manifest: Manifest,
    id: ImageId,
    origin: Origin,
    disks: Vec<(Opened, DiskMap)>,
    /// By disk, those that get another layout.
    resized: Vec<Option<Resized>>,
    segments: Segments<'a>,
    threads: usize,
    plan: Plan,
}

/// Checks the whole plan: manifest, targets, every segment, tables, sizes. Reads disks, writes nothing.
fn prepare<'a>(
    door: &'a dyn Downstream,
    request: &Request,
    open: &OpenDisks<'_>,
    fetched: &'a AtomicU64,
) -> Result<Ready<'a>, RestoreError> {
    let (manifest, id, origin) = read_manifest(door, request)?;
    let pairs = pair_up(&manifest, request)?;
    let opened = open(&pairs)?;
    choose::check(&manifest, &opened, request)?;
    let boot = boot::verdict(&manifest, request, &opened);
    if let Some(Verdict { answer: Answer::No, reasons }) = boot.as_ref().filter(|_| !request.ignore_boot_check) {
        return Err(Refused::Boot { image: request.image.clone(), reasons: reasons.join("; ") }.into());
    }
    let mut segments = Segments::new(door, fetched).map_err(|error| before("starting", error))?;
    let chunks = Chunks::new(door, fetched).map_err(|error| before("starting", error))?;
    let (mut disks, mut plans, mut all_resized) = (Vec::new(), Vec::new(), Vec::new());
    for (image, opened) in manifest.disks.iter().zip(opened) {
        let mode = choose::mode(image, request);
        let edges = [DiskMap::edges(image, &mode), size::wanted(image, &request.adapt.size)].concat();
        let found = survey(&mut segments, image, &edges).map_err(at_survey)?;
        let name = opened.medium.name().to_owned();
        let wish = (&request.adapt.size, mode == Mode::Whole);
        let resized = size::plan(image, &found, &chunks, &mut segments, &*opened.medium, wish)
            .map_err(|source| at_size(&name, source))?;
        let looking = |source| Failed::Looking { disk: name.clone(), source };
        let map = match &mode {
            Mode::Partitions(numbers) => DiskMap::partitions(image, &found, &chunks, numbers),
            Mode::Whole => {
                let view = MediumView(&*opened.medium);
                let old = crate::partition::old_tables(&view, opened.medium.sector()).map_err(looking)?;
                let placed = resized.as_ref().map(|resized| &resized.placed);
                DiskMap::whole(image, &found, &chunks, opened.medium.size(), (old, request.force_size), placed)
            }
        };
        let map = map.map_err(|source| at_map(&name, source))?;
        let only = if let Mode::Partitions(numbers) = &mode { Some(numbers.as_slice()) } else { None };
        let holds = lies_on(&*opened.medium, only).map_err(looking)?;
        if let (true, Some(found)) = (request.blank_only, holds.first()) {
            return Err(Refused::NotBlank { disk: name, found: found.clone() }.into());
        }
        let mut plan = DiskPlan::of(image, &map, &*opened.medium, opened.identity(), holds);
        if let Some(resized) = &resized {
            (plan.table, plan.sizes) = (placed_table(image), resized.lines());
        }
        plans.push(plan);
        disks.push((opened, map));
        all_resized.push(resized);
    }
    let threads = Crew::size().map_err(Refused::Memory)?;
    let proof = disks.iter().map(|(opened, _)| proof_of(opened, request)).min().unwrap_or(Proof::None);
    let plan = Plan {
        image: ImageRef { name: manifest.name.clone(), id: Some(id) },
        created: manifest.created.clone(),
        origin: origin.clone(),
        inconsistent: manifest.inconsistent,
        warnings: manifest.warnings.clone(),
        boot,
        proof,
        disks: plans,
    };
    Ok(Ready { manifest, id, origin, disks, resized: all_resized, segments, threads, plan })
}

/// The manifest, if it is the one that was asked for and its image is complete.
fn read_manifest(door: &dyn Downstream, request: &Request) -> Result<(Manifest, ImageId, Origin), RestoreError> {
    let info = door.image().map_err(|error| before("asking for the image's state", error))?;
    if info.state != ImageState::Complete {
        return Err(Refused::State { image: request.image.clone(), state: info.state }.into());
    }
    let (bytes, origin) = door.manifest().map_err(|error| before("fetching the manifest", error))?;
    let manifest = Manifest::read(&bytes).map_err(Refused::Manifest)?;
    let found = ImageRef { name: manifest.name.clone(), id: Some(Manifest::id(&bytes)) };
    let other = request.image.id.is_some() && request.image.id != found.id;
    if found.name != request.image.name || other {
        return Err(Refused::OtherImage { wanted: request.image.clone(), found }.into());
    }
    Ok((manifest, Manifest::id(&bytes), origin))
}

/// Everything that writes: from here on there is no refusal.
fn execute(
    ready: &mut Ready<'_>,
    door: &dyn Downstream,
    request: &Request,
    watch: &dyn Watch,
    fetched: &AtomicU64,
) -> Result<Outcome, Box<Failed>> {
    let start = Instant::now();
    let mut crew = Crew::of(ready.threads).map_err(|source| Failed::Writing { left: Left::Untouched, source })?;
    let tallies: Vec<Tally> = ready.disks.iter().map(|(_, map)| Tally::new(map.spaces.len())).collect();
    let work: u64 = ready.plan.disks.iter().map(|disk| disk.data_bytes + disk.zero_bytes).sum();
    let heard = Cell::new(start);
    let tick = || {
        let mut now = progress(&tallies, fetched, if request.read_back { work * 2 } else { work });
        now.parts = ready.disks.iter().zip(&tallies).flat_map(|((_, map), tally)| tally.parts(map)).collect();
        watch.progress(&now);
        if heard.get().elapsed() >= HEARTBEAT {
            heard.set(Instant::now());
            door.progress("restoring", now.done, now.total);
        }
    };
    let stages = stages(ready)?;
    let joined: Vec<_> =
        ready.disks.iter().zip(&stages).map(|((disk, _), stage)| stage.joined(&*disk.medium)).collect();
    let pass = |(((opened, map), stage), (joined, tally))| {
        let (opened, map, stage, joined): (&Opened, &DiskMap, &Stage, &Option<_>) = (opened, map, stage, joined);
        let medium = joined.as_ref().map_or(&*opened.medium, |joined| joined as &dyn crate::write::Medium);
        let settings = Settings { read_back: request.read_back, blank_first: stage.shrinks() };
        Pass::new(medium, map, tally, door, fetched, settings)
    };
    let disks = ready.disks.iter().map(|(opened, map)| (opened, map));
    let mut passes: Vec<Pass<'_>> = disks.zip(&stages).zip(joined.iter().zip(&tallies)).map(pass).collect();
    write_all(&mut passes, &stages, &mut crew, &mut ready.segments, &tick)
        .map_err(|source| Failed::Writing { left: left(&passes), source })?;
    tick();
    let changes = grow_all(ready)?;
    let seconds = start.elapsed().as_secs_f64();
    let (note, warning) = firmware::entry(ready, request);
    let mut receipt = receipt(ready, &tallies, door, request, fetched, seconds);
    receipt.notes.extend(note);
    receipt.adapted = (!changes.is_empty()).then(|| Adapted { changes, ..Adapted::default() });
    receipt.check(&ready.manifest, ready.id, &request.partitions).map_err(Failed::Unproven)?;
    let json = serde_json::to_string_pretty(&receipt).map_err(Failed::Json)?;
    let signed = door.receipt(&json).map_err(Failed::Receipt)?;
    let sum = |of: fn(&Tally) -> &AtomicU64| tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum();
    Ok(Outcome {
        plan: ready.plan.clone(),
        warnings: warning.into_iter().collect(),
        receipt,
        signed,
        fetched_bytes: fetched.load(Ordering::Relaxed),
        written_bytes: sum(|tally| &tally.written),
        kept_bytes: sum(|tally| &tally.kept),
        seconds,
    })
}

/// Disk after disk up to its table, with what must shrink before it; then, when all are read back, the sector of each that makes it whole.
fn write_all(
    passes: &mut [Pass<'_>],
    stages: &[Stage],
    crew: &mut Crew,
    segments: &mut Segments<'_>,
    tick: &dyn Fn(),
) -> Result<(), WriteError> {
    for (pass, stage) in passes.iter_mut().zip(stages) {
        pass.run(crew, segments, tick)?;
        stage.shrink(pass.medium)?;
        complete(pass, crew.one())?;
    }
    for pass in passes.iter() {
        seal(pass, crew.one())?;
    }
    passes.iter().filter(|pass| pass.blanked()).for_each(|pass| pass.medium.announce());
    Ok(())
}

fn left(passes: &[Pass<'_>]) -> Left {
    let blank: Vec<String> = passes
        .iter()
        .filter(|pass| pass.blanked() && !pass.sealed())
        .map(|pass| pass.medium.name().to_owned())
        .collect();
    if blank.is_empty() { Left::Untouched } else { Left::Blank(blank) }
}

fn proof_of(opened: &Opened, request: &Request) -> Proof {
    if request.read_back { opened.medium.proof() } else { Proof::None }
}

fn progress(tallies: &[Tally], fetched: &AtomicU64, total: u64) -> Progress {
    let sum = |of: fn(&Tally) -> &AtomicU64| tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum();
    let (kept, written, proven): (u64, u64, u64) =
        (sum(|tally| &tally.kept), sum(|tally| &tally.written), sum(|tally| &tally.proven));
    let done = (kept + written + proven).min(total);
    Progress { done, total, kept, written, proven, fetched: fetched.load(Ordering::Relaxed), parts: Vec::new() }
}

fn receipt(
    ready: &Ready<'_>,
    tallies: &[Tally],
    door: &dyn Downstream,
    request: &Request,
    fetched: &AtomicU64,
    seconds: f64,
) -> Receipt {
    let disk = |((opened, map), tally): (&(Opened, DiskMap), &Tally)| DiskReceipt {
        ordinal: map.ordinal,
        path: opened.medium.name().to_owned(),
        serial: opened.serial.clone(),
        wwn: opened.wwn.clone(),
        size: opened.medium.size(),
        proof: proof_of(opened, request),
        kept_bytes: tally.kept.load(Ordering::Relaxed),
        written_bytes: tally.written.load(Ordering::Relaxed),
        table_bytes: tally.table.load(Ordering::Relaxed),
        spaces: tally.spaces(map),
    };
    Receipt {
        format: 1,
        image: ready.manifest.name.clone(),
        id: ready.id,
        origin: ready.origin.clone(),
        run: door.run(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        finished: jiff::Timestamp::now().to_string(),
        seconds,
        fetched_bytes: fetched.load(Ordering::Relaxed),
        notes: Vec::new(),
        adapted: None,
        disks: ready.disks.iter().zip(tallies).map(disk).collect(),
    }
}
