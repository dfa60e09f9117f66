//! What comes of a plan: the operator's lines, and the jobs to insert.
//!
//! In: machines with what was asked for them, and their power. Out: lines that say what is refused and erased; jobs.
//! Promise: all jobs of a draft are inserted or none; what was agreed to is what is inserted.

use super::engine::by_hand;
use crate::db::jobs::{self, NewJob};
use crate::db::machines::MachineRow;
use crate::inventory::candidates;
use crate::inventory::disks::{self, NoDisks};
use ramet_wire::ImageRef;
use ramet_wire::adapt::{Adapt, Becomes, may_shrink};
use ramet_wire::agents::DiskSeen;
use ramet_wire::id::{hex, sha256};
use ramet_wire::jobs::{JobDisk, JobKind, JobOptions, Plan, PlannedMachine};
use ramet_wire::machines::{Label, RunsWhat};
use ramet_wire::manifest::DiskImage;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::BTreeSet;

/// Tries of a job whose operator said nothing.
const TRIES: u32 = 3;

/// A plan, and the jobs that carry it out.
#[derive(Debug)]
pub struct Draft {
    /// For the operator.
    pub plan: Plan,
    capture: Option<NewJob>,
    rest: Vec<NewJob>,
    tree: Option<NewJob>,
}

impl Draft {
    /// Why nothing may be done, if one machine is refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.plan.machines.iter().any(|machine| machine.refused.is_some())
    }
}

/// One machine's part.
pub(super) struct Part {
    pub machine: MachineRow,
    pub kind: JobKind,
    pub image: Option<ImageRef>,
    /// The image's disks; none where they are not known.
    pub sizes: Option<Vec<ImageDisk>>,
    pub options: JobOptions,
    /// What the machine becomes beyond the copy, without a token.
    pub adapt: Adapt,
    /// Whether the image would boot was asked, or is not to be.
    pub checked: bool,
    pub warnings: Vec<String>,
    pub refused: Option<String>,
}

/// A disk of an image, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct ImageDisk {
    ordinal: u32,
    /// Bytes.
    size: u64,
    /// Bytes in use, once it is captured.
    used: Option<u64>,
    /// Bytes of partitions that no restore shrinks.
    fixed: u64,
    /// What those hold.
    kinds: Vec<String>,
}

impl ImageDisk {
    /// A captured one.
    pub fn of(disk: &DiskImage) -> Self {
        let fixed = || disk.partitions.iter().filter(|partition| !may_shrink(partition));
        let kinds: BTreeSet<&String> = fixed().map(|partition| &partition.content.kind).collect();
        Self {
            ordinal: disk.ordinal,
            size: disk.size,
            used: Some(disk.partitions.iter().map(|partition| partition.used_bytes).fold(0, u64::saturating_add)),
            fixed: fixed().map(|partition| partition.range.len()).fold(0, u64::saturating_add),
            kinds: kinds.into_iter().cloned().collect(),
        }
    }

    /// One that will be captured first.
    pub const fn to_be(ordinal: u32, size: u64) -> Self {
        Self { ordinal, size, used: None, fixed: 0, kinds: Vec::new() }
    }

    /// That it goes onto a smaller disk, of `found` bytes. Whether that can hold it, its agent computes before it writes.
    fn onto(&self, found: u64) -> String {
        let (ordinal, size) = (self.ordinal, self.size);
        let used = self.used.map(|used| format!(", of which {used} are in use")).unwrap_or_default();
        format!(
            "its disk has {found} bytes, the image's disk {ordinal} {size}{used}: its agent shrinks it, or refuses before it \
             writes"
        )
    }

    /// What of it keeps its size.
    fn keeps(&self) -> Option<String> {
        let (ordinal, fixed, kinds) = (self.ordinal, self.fixed, self.kinds.join(", "));
        (fixed > 0).then(|| format!("; {fixed} bytes of the image's disk {ordinal} are not shrunk: {kinds}"))
    }
}

/// Which disks, and what is to be said of them.
fn pairs(part: &mut Part) -> Vec<JobDisk> {
    let (machine, options) = (&part.machine, &part.options);
    if part.kind == JobKind::Inventory || part.refused.is_some() {
        return Vec::new();
    }
    if machine.disks.is_empty() {
        let why = "its disks are not known yet: its agent takes the only candidate, or ends without writing";
        if part.kind == JobKind::Restore {
            part.warnings.push(why.to_owned());
        }
        return Vec::new();
    }
    let all: Vec<ImageDisk> = match (&part.sizes, part.kind, options.disk.is_empty()) {
        (Some(sizes), JobKind::Restore, _) => sizes.clone(),
        (None, JobKind::Restore, _) => return Vec::new(),
        (_, _, true) => (0_u32..).zip(candidates(&machine.disks)).map(|(at, _)| ImageDisk::to_be(at, 0)).collect(),
        // What is named is what is captured.
        (_, _, false) => return Vec::new(),
    };
    let any = part.kind == JobKind::Restore && !options.size.is_keep();
    let least = |disk: &ImageDisk| (disk.ordinal, if any { disk.fixed } else { disk.size });
    let least: Vec<(u32, u64)> = all.iter().map(least).collect();
    match disks::choose(&least, &machine.disks, &options.disk) {
        Ok(pairs) => {
            let of = |pair: &JobDisk| Some((pair.size, all.iter().find(|disk| disk.ordinal == pair.ordinal)?));
            let smaller = pairs.iter().filter_map(of).filter(|(found, disk)| *found < disk.size);
            part.warnings.extend(smaller.map(|(found, disk)| disk.onto(found)));
            pairs
        }
        Err(why) => {
            let small = any && matches!(why, NoDisks::Size { .. });
            let fixed = if small { all.iter().filter_map(ImageDisk::keeps).collect() } else { String::new() };
            part.refused = Some(format!("{}: {why}{fixed}", machine.name));
            Vec::new()
        }
    }
}

fn judge(part: &mut Part, power: &str, erases: &[DiskSeen]) {
    let name = &part.machine.name;
    if power == "on" && part.kind != JobKind::Capture && !part.options.force_off {
        part.refused.get_or_insert(format!("{name} is on; switch it off, or ask with --force-off"));
    }
    if part.options.blank_only
        && let Some(disk) = erases.iter().find(|disk| disk.holds.as_deref().is_some_and(|holds| !holds.is_empty()))
    {
        let holds = disk.holds.clone().unwrap_or_default();
        part.refused.get_or_insert(format!("disk {} of {name} holds {holds}", disk.name));
    }
    let blind = part.machine.power.as_deref().is_some_and(|kind| kind.starts_with("fence") || kind.starts_with("w"));
    if blind && !part.machine.network_first {
        let kind = part.machine.power.clone().unwrap_or_default();
        part.warnings.push(format!("{kind} cannot set the next start: {name} must start from the network by itself"));
    }
    if by_hand(&part.machine) {
        part.warnings.push(format!("a person switches {name} on, from the network, when its job is in boot"));
    }
}

/// Puts the parts, each with its power as read and why it was not read, together.
pub(super) fn assemble(mut parts: Vec<Part>, power: &[(String, Option<String>)], by: &str) -> Draft {
    let tree = (parts.len() > 1).then(|| new_job(JobKind::Tree, None, &parts[parts.len() - 1], Vec::new(), by));
    let (mut capture, mut rest, mut planned) = (None, Vec::new(), Vec::new());
    for (part, (power, unread)) in parts.iter_mut().zip(power) {
        let pairs = pairs(part);
        let erases: Vec<DiskSeen> = match part.kind {
            JobKind::Restore => pairs.iter().filter_map(|pair| disks::of(&part.machine.disks, pair)).cloned().collect(),
            _ => Vec::new(),
        };
        part.warnings.extend(unread.clone());
        judge(part, power, &erases);
        let job = new_job(part.kind, Some(part.machine.id), part, pairs, by);
        if part.kind == JobKind::Capture {
            capture = Some(job)
        } else {
            rest.push(job)
        }
        planned.push(to_wire(part, power, erases));
    }
    let all = planned.iter().zip(&parts).map(|(planned, part)| (agreed(planned), &part.adapt));
    let text = serde_json::to_vec(&all.collect::<Vec<_>>()).unwrap_or_default();
    let digest = hex(&sha256(&text)[..8]);
    Draft { plan: Plan { digest, machines: planned, jobs: Vec::new() }, capture, rest, tree }
}

/// What an operator agrees to: power and warnings come and go.
fn agreed(machine: &PlannedMachine) -> impl serde::Serialize + use<> {
    let disks: Vec<_> = machine.erases.iter().map(|disk| (disk.serial.clone(), disk.wwn.clone(), disk.size)).collect();
    let calls = machine.becomes.as_ref().is_some_and(|becomes| becomes.first_boot);
    (machine.machine.clone(), machine.kind, machine.image.clone(), disks, machine.refused.is_some(), calls)
}

fn to_wire(part: &Part, power: &str, erases: Vec<DiskSeen>) -> PlannedMachine {
    let machine = &part.machine;
    let runs = match (&machine.runs, machine.runs_since, &machine.runs_run) {
        (Some(image), Some(since), Some(run)) => {
            let (since, run, without_identity) = (crate::time::rfc3339(since), run.clone(), machine.runs_without);
            image.parse().ok().map(|image| RunsWhat { image, since, run, without_identity })
        }
        _ => None,
    };
    PlannedMachine {
        machine: machine.name.parse().unwrap_or_else(|_| unnamed()),
        kind: part.kind,
        image: part.image.clone(),
        power: power.to_owned(),
        runs,
        erases,
        becomes: Becomes::of(&part.adapt, part.kind == JobKind::Restore && part.options.first_boot.is_some()),
        warnings: part.warnings.clone(),
        refused: part.refused.clone(),
    }
}

fn unnamed() -> Label {
    "unnamed".parse().expect("these letters are a label")
}

fn new_job(kind: JobKind, machine: Option<i64>, part: &Part, disks: Vec<JobDisk>, by: &str) -> NewJob {
    let hand = machine.is_some() && by_hand(&part.machine);
    let tries = part.options.tries.unwrap_or(if hand { 1 } else { TRIES });
    let options = JobOptions { dry_run: false, agreed: None, ..part.options.clone() };
    let (image, by) = (part.image.clone(), by.to_owned());
    let adapt = if kind == JobKind::Restore { part.adapt.clone() } else { Adapt::default() };
    let checked = kind != JobKind::Restore || part.checked;
    NewJob { parent: None, after: None, kind, machine, image, options, disks, adapt, checked, tries, by }
}

/// Makes the jobs of a draft, all in one transaction; their numbers, or why a machine of them is busy by now.
///
/// # Errors
/// SQLite's.
pub fn insert(db: &mut Connection, draft: Draft, now: i64) -> rusqlite::Result<Result<Vec<u64>, String>> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let made = insert_in(&tx, draft, now)?;
    if made.is_ok() {
        tx.commit()?;
    }
    Ok(made)
}

/// The same, in a transaction of others.
///
/// # Errors
/// SQLite's.
pub fn insert_in(tx: &Connection, draft: Draft, now: i64) -> rusqlite::Result<Result<Vec<u64>, String>> {
    for job in draft.capture.iter().chain(&draft.rest) {
        let Some(machine) = job.machine else { continue };
        if let Some(open) = jobs::open_of(tx, machine)?.first() {
            return Ok(Err(format!(
                "machine {} is busy with job {} by now",
                open.name.clone().unwrap_or_default(),
                open.id
            )));
        }
    }
    let mut made = Vec::new();
    let mut add = |job: &NewJob| -> rusqlite::Result<i64> {
        let id = jobs::insert(tx, job, now)?;
        made.extend(u64::try_from(id));
        Ok(id)
    };
    let parent = draft.tree.as_ref().map(&mut add).transpose()?;
    let capture = draft.capture.map(|job| add(&NewJob { parent, ..job })).transpose()?;
    for job in draft.rest {
        add(&NewJob { parent, after: capture, ..job })?;
    }
    Ok(Ok(made))
}
