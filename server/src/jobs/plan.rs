//! What a request would do, before anything is done.
//!
//! In: a request. Out: a draft: one part per machine, with its power as it was read.
//! Promise: nothing is begun for a request of which one machine is refused; what was agreed to is what is done.

use super::beyond::beyond;
use super::draft::{Draft, ImageDisk, Part, assemble};
use super::engine::by_hand;
use super::hands::{Errand, PowerNow};
use crate::db::jobs;
use crate::db::machines::{self, MachineRow};
use crate::http::App;
use crate::http::error::Refusal;
use crate::inventory::candidates;
use ramet_wire::adapt::Adapt;
use ramet_wire::agents::DiskSeen;
use ramet_wire::api::{ImageInfo, ImageState};
use ramet_wire::jobs::{AddJobs, EXPECT_MAX, JobKind, JobOptions, TARGETS_MAX};
use ramet_wire::machines::{AddRule, Label, MachineState};
use ramet_wire::manifest::Manifest;
use ramet_wire::{ImageName, ImageRef};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// An image as far as planning needs it.
#[derive(Clone, Debug)]
struct Wanted {
    image: ImageRef,
    disks: Vec<ImageDisk>,
    warnings: Vec<String>,
}

/// Power systems that are asked at once.
const ASKED: usize = 16;

/// Makes the plan of a request.
///
/// # Errors
/// When the request itself is wrong: 400 and 404.
pub async fn draft(app: &Arc<App>, request: AddJobs, by: &str) -> Result<Draft, Refusal> {
    let mut parts = match request {
        AddJobs::Capture { machine, image, options } => {
            let mut found = named(app, vec![machine], None).await?;
            let Some(machine) = found.pop() else { return Err(Refusal::missing("no machine is named")) };
            vec![capture(machine, image, checked(options, 1)?)]
        }
        AddJobs::Restore { image, to, tag, options } => {
            let found = named(app, to, tag).await?;
            let options = checked(options, found.len())?;
            restores(app, image, found, &options).await?
        }
        AddJobs::Clone { machine, image, to, tag, options } => clones(app, machine, image, (to, tag), options).await?,
        AddJobs::Inventory { to, tag, options } => {
            let found = named(app, to, tag).await?;
            let options = checked(options, found.len())?;
            let part = |machine| part(machine, JobKind::Inventory, None, None, options.clone());
            found.into_iter().map(part).collect()
        }
    };
    busy(app, &mut parts).await?;
    beyond(app, &mut parts).await?;
    let power = power(app, &parts).await;
    Ok(assemble(parts, &power, by))
}

/// What a rule says of what becomes of its machines beyond the copy.
#[must_use]
pub fn of_rule(rule: &AddRule) -> JobOptions {
    JobOptions {
        identity: rule.identity,
        new_uuids: rule.new_uuids,
        size: rule.size.clone(),
        first_boot: rule.first_boot,
        ignore: rule.ignore.clone(),
        ..JobOptions::default()
    }
}

/// The tags that a machine has once a rule has fired for it, ascending.
#[must_use]
pub fn tags_with(machine: &MachineRow, rule: &AddRule) -> Vec<Label> {
    let all: std::collections::BTreeSet<&Label> = machine.tags.iter().chain(&rule.tags).collect();
    all.into_iter().cloned().collect()
}

/// The plan of a rule: an image onto a machine that is about to be accepted, whose agent is waiting.
///
/// # Errors
/// As [`draft`].
pub async fn draft_here(
    app: &Arc<App>,
    machine: MachineRow,
    image: ImageRef,
    options: JobOptions,
    by: &str,
) -> Result<Draft, Refusal> {
    let machine = MachineRow { state: MachineState::Accepted, ..machine };
    let mut parts = restores(app, Some(image), vec![machine], &options).await?;
    busy(app, &mut parts).await?;
    beyond(app, &mut parts).await?;
    Ok(assemble(parts, &[("unknown".to_owned(), None)], by))
}

async fn named(app: &App, names: Vec<String>, tag: Option<Label>) -> Result<Vec<MachineRow>, Refusal> {
    let work = move |db: &mut Connection| machines::resolve_all(db, &names, tag.as_ref());
    let found = app.db.read("looking for machines", work).await?;
    let found = found.map_err(|name| Refusal::missing(format!("there is no machine {name}")))?;
    match found.len() {
        0 => Err(Refusal::missing("no machine is named, and none has the tag")),
        count if count > TARGETS_MAX => {
            Err(Refusal::bad(format!("{count} machines are named, {TARGETS_MAX} are allowed at once")))
        }
        _ => Ok(found),
    }
}

fn checked(options: JobOptions, machines: usize) -> Result<JobOptions, Refusal> {
    if let Some(tries) = options.tries.filter(|tries| !(1..=10).contains(tries)) {
        return Err(Refusal::bad(format!("{tries} tries, 1 to 10 are allowed")));
    }
    if options.expect.len() > EXPECT_MAX {
        let found = options.expect.len();
        return Err(Refusal::bad(format!("{found} things are expected, {EXPECT_MAX} are allowed")));
    }
    crate::http::netboot::check_disk(&options.disk)?;
    crate::http::jobs::check_beyond(&options)?;
    if machines > 1 && !(options.expect.is_empty() && options.disk.is_empty()) {
        return Err(Refusal::bad("what to expect, and which disk, is for a single machine"));
    }
    Ok(options)
}

fn part(
    machine: MachineRow,
    kind: JobKind,
    image: Option<ImageRef>,
    sizes: Option<Vec<ImageDisk>>,
    options: JobOptions,
) -> Part {
    let refused = match machine.state {
        MachineState::Accepted if kind == JobKind::Restore && machine.protected => {
            Some(format!("{} is protected; ramet machine set {} --protected no", machine.name, machine.name))
        }
        MachineState::Accepted => None,
        _ => Some(format!("{} is not accepted; ramet machine accept {}", machine.name, machine.name)),
    };
    Part { machine, kind, image, sizes, options, adapt: Adapt::default(), checked: true, warnings: Vec::new(), refused }
}

fn capture(machine: MachineRow, image: ImageName, options: JobOptions) -> Part {
    // A machine that was captured goes back to its own disk, whatever its copies do.
    let plain = JobOptions::default();
    let options = JobOptions {
        then: None,
        blank_only: false,
        identity: None,
        new_uuids: false,
        size: plain.size,
        first_boot: None,
        boot_limit: None,
        ignore: Vec::new(),
        ..options
    };
    part(machine, JobKind::Capture, Some(ImageRef { name: image, id: None }), None, options)
}

/// The version that a name means now, with its disks.
async fn wanted(app: &Arc<App>, image: ImageRef) -> Result<Wanted, Refusal> {
    app.blocking(move |app| -> Result<Wanted, Refusal> {
        let info: ImageInfo = crate::http::images::find(app, &image)?;
        if info.state == ImageState::Damaged {
            let message = format!("image {}@{} is damaged; capture its source again", info.name, info.id);
            return Err(Refusal::conflict(message));
        }
        let image = ImageRef { name: info.name, id: Some(info.id) };
        let (bytes, _) = app.store.manifest(&image)?;
        let manifest = Manifest::read(&bytes).map_err(|error| Refusal::bug(error.to_string()))?;
        let disks = manifest.disks.iter().map(ImageDisk::of).collect();
        let odd = || format!("image {image} was captured while a file system of it was in use");
        let warnings = manifest.inconsistent.then(odd).into_iter().collect();
        Ok(Wanted { image, disks, warnings })
    })
    .await
}

async fn restores(
    app: &Arc<App>,
    image: Option<ImageRef>,
    found: Vec<MachineRow>,
    options: &JobOptions,
) -> Result<Vec<Part>, Refusal> {
    let mut known: HashMap<String, Wanted> = HashMap::new();
    let mut parts = Vec::new();
    for machine in found {
        let text = image.as_ref().map(ImageRef::to_string).or_else(|| machine.runs.clone());
        let Some(reference) = text.as_ref().and_then(|text| text.parse::<ImageRef>().ok()) else {
            let name = machine.name.clone();
            let mut part = part(machine, JobKind::Restore, None, None, options.clone());
            part.refused.get_or_insert(format!("no image is known that ran on {name} last; name one"));
            parts.push(part);
            continue;
        };
        let key = reference.to_string();
        if !known.contains_key(&key) {
            known.insert(key.clone(), wanted(app, reference).await?);
        }
        let Some(wanted) = known.get(&key) else { continue };
        let (target, sizes) = (Some(wanted.image.clone()), Some(wanted.disks.clone()));
        let mut part = part(machine, JobKind::Restore, target, sizes, options.clone());
        part.warnings.extend(wanted.warnings.iter().cloned());
        parts.push(part);
    }
    Ok(parts)
}

async fn clones(
    app: &Arc<App>,
    machine: String,
    image: Option<ImageName>,
    to: (Vec<String>, Option<Label>),
    options: JobOptions,
) -> Result<Vec<Part>, Refusal> {
    let mut found = named(app, vec![machine], None).await?;
    let Some(source) = found.pop() else { return Err(Refusal::missing("no machine is named")) };
    let mut targets = named(app, to.0, to.1).await?;
    // A tag may be the source's too: a machine is not cloned onto itself.
    targets.retain(|target| target.id != source.id);
    if targets.is_empty() {
        return Err(Refusal::bad(format!("{} is the only target, and is what is cloned", source.name)));
    }
    let options = checked(options, targets.len())?;
    let name = image.or_else(|| jobs::image_of(&source.name));
    let name = name.ok_or_else(|| Refusal::bad(format!("{} is no name for an image; give one", source.name)))?;
    let usable: Vec<&DiskSeen> = candidates(&source.disks).collect();
    let sizes: Vec<ImageDisk> =
        (0_u32..).zip(usable).map(|(ordinal, disk)| ImageDisk::to_be(ordinal, disk.size)).collect();
    let sizes = (!sizes.is_empty()).then_some(sizes);
    let image = ImageRef { name: name.clone(), id: None };
    let own = JobOptions { expect: Vec::new(), disk: String::new(), force_off: false, ..options.clone() };
    let mut parts = vec![capture(source, name, own)];
    let target = |machine| part(machine, JobKind::Restore, Some(image.clone()), sizes.clone(), options.clone());
    parts.extend(targets.into_iter().map(target));
    Ok(parts)
}

/// A machine does one thing at a time.
async fn busy(app: &App, parts: &mut [Part]) -> Result<(), Refusal> {
    let ids: Vec<i64> = parts.iter().map(|part| part.machine.id).collect();
    let work = move |db: &mut Connection| {
        ids.iter().map(|id| Ok(jobs::open_of(db, *id)?.into_iter().next())).collect::<rusqlite::Result<Vec<_>>>()
    };
    let open = app.db.read("looking for jobs", work).await?;
    for (part, job) in parts.iter_mut().zip(open) {
        if let Some(job) = job {
            let (name, id, state) = (&part.machine.name, job.id, job.state);
            let why = format!("{name} is busy with job {id}, which is {state}; wait for it, or ramet job cancel {id}");
            part.refused.get_or_insert(why);
        }
    }
    Ok(())
}

/// What each machine's power is, in words, with what could not be read.
async fn power(app: &Arc<App>, parts: &[Part]) -> Vec<(String, Option<String>)> {
    let gate = Arc::new(Semaphore::new(ASKED));
    let mut tasks = Vec::new();
    for part in parts {
        if by_hand(&part.machine) {
            tasks.push(None);
            continue;
        }
        let (gate, hands, id) = (Arc::clone(&gate), Arc::clone(&app.hands), part.machine.id);
        tasks.push(Some(tokio::spawn(async move {
            let _place = gate.acquire_owned().await;
            tokio::task::spawn_blocking(move || hands.status(id, &Errand::default())).await
        })));
    }
    let mut all = Vec::new();
    for task in tasks {
        let Some(task) = task else {
            all.push(("manual".to_owned(), None));
            continue;
        };
        all.push(match task.await {
            Ok(Ok(Ok(PowerNow::On))) => ("on".to_owned(), None),
            Ok(Ok(Ok(PowerNow::Off))) => ("off".to_owned(), None),
            Ok(Ok(Err(error))) => ("unknown".to_owned(), Some(format!("its power cannot be read: {}", error.message))),
            _ => ("unknown".to_owned(), None),
        });
    }
    all
}
