//! What machines become beyond the copy, and whether they would boot: part of a plan, and of a job whose image has just
//! been captured.
//!
//! In: parts of a plan, what is declared, manifests, inventories. Out: orders for agents; machines that are refused.
//! Promise: what is refused here has switched no machine on and written no byte.

use super::draft::Part;
use crate::db::jobs::{self, JobRow, Said};
use crate::db::machines::{self, MachineRow};
use crate::db::{DbError, identities};
use crate::http::App;
use crate::http::error::Refusal;
use crate::inventory::disks;
use crate::inventory::identity::{Claims, Layer, effective, vars};
use crate::jobs::states::Event;
use ramet_wire::ImageRef;
use ramet_wire::adapt::{Adapt, Check};
use ramet_wire::agents::DiskSeen;
use ramet_wire::boot::{self, Answer, Target, Verdict};
use ramet_wire::hardware::Hardware;
use ramet_wire::jobs::{Cause, JobDisk, JobKind};
use ramet_wire::manifest::Manifest;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::HashMap;
use std::sync::Arc;

/// What the inventory has for one restore.
type Known = (Vec<Layer>, Option<Hardware>);

/// Fills in what each machine becomes; refuses those that cannot become it, or would not boot.
///
/// # Errors
/// Those of the database and of the store.
pub(super) async fn beyond(app: &Arc<App>, parts: &mut Vec<Part>) -> Result<(), Refusal> {
    let wanted: Vec<(usize, MachineRow, bool)> = parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.kind == JobKind::Restore && part.refused.is_none())
        .map(|(at, part)| (at, part.machine.clone(), asks(part)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let work = move |db: &mut Connection| {
        let known = |(at, machine, asks): (usize, MachineRow, bool)| -> rusqlite::Result<(usize, Known)> {
            let hardware = if asks { machines::hardware_of(db, machine.id)? } else { None };
            Ok((at, (identities::layers(db, &machine)?, hardware)))
        };
        wanted.into_iter().map(known).collect::<rusqlite::Result<HashMap<_, _>>>()
    };
    let known = app.db.read("reading identities", work).await?;
    let taken = std::mem::take(parts);
    *parts = app.blocking(move |app| Ok::<_, Refusal>(judge(app, taken, known))).await?;
    Ok(())
}

/// Whether its image would boot is asked now: it is there, and nobody overruled it.
fn asks(part: &Part) -> bool {
    !part.options.ignore.contains(&Check::BootCheck) && part.image.as_ref().is_some_and(|image| image.id.is_some())
}

fn judge(app: &App, mut parts: Vec<Part>, mut known: HashMap<usize, Known>) -> Vec<Part> {
    let (mut claims, mut images) = (Claims::default(), Images::default());
    for (at, part) in parts.iter_mut().enumerate() {
        let Some((layers, hardware)) = known.remove(&at) else { continue };
        match order(part, &layers) {
            Ok(adapt) => part.adapt = adapt,
            Err(why) => {
                part.refused = Some(why);
                continue;
            }
        }
        if let Some(identity) = &part.adapt.identity
            && let Err(why) = claims.take(&part.machine.name, identity)
        {
            part.refused = Some(why);
            continue;
        }
        part.checked = asks(part) || part.options.ignore.contains(&Check::BootCheck);
        if asks(part) {
            let known = (&part.machine, hardware.as_ref());
            let answer = images.would_boot(app, part.image.as_ref(), known, &[], &part.options.disk);
            part.refused =
                answer.no.map(|why| format!("{}: {why}; --ignore boot-check overrules it", part.machine.name));
            part.warnings.extend(answer.warnings);
        }
    }
    parts
}

/// The order for one machine, without a token.
fn order(part: &Part, layers: &[Layer]) -> Result<Adapt, String> {
    let (options, name) = (&part.options, &part.machine.name);
    let identity = match options.identity {
        Some(false) => None,
        wanted => {
            let found = effective(layers, &vars(&part.machine)).map_err(|why| format!("{name}: {why}"))?;
            if found.is_none() && wanted == Some(true) {
                return Err(format!("no identity is declared for {name}; ramet machine set {name} --identity FILE"));
            }
            found.map(Box::new)
        }
    };
    Ok(Adapt { size: options.size.clone(), identity, new_uuids: options.new_uuids, first_boot: None })
}

/// What was asked of an image for a machine.
#[derive(Debug, Default)]
struct WouldBoot {
    /// It would not, and why.
    no: Option<String>,
    /// What is to be known otherwise.
    warnings: Vec<String>,
}

/// Manifests that were read for one plan; none for one that cannot be read, which other checks say.
#[derive(Debug, Default)]
struct Images(HashMap<String, Option<Manifest>>);

impl Images {
    /// `pairs` are the disks that were chosen; where none were, they are chosen by `words` as they will be.
    fn would_boot(
        &mut self,
        app: &App,
        image: Option<&ImageRef>,
        (machine, hardware): (&MachineRow, Option<&Hardware>),
        pairs: &[JobDisk],
        words: &str,
    ) -> WouldBoot {
        let Some(image) = image else { return WouldBoot::default() };
        let read = || Manifest::read(&app.store.manifest(image).ok()?.0).ok();
        let Some(manifest) = self.0.entry(image.to_string()).or_insert_with(read) else { return WouldBoot::default() };
        let wanted: Vec<(u32, u64)> = manifest.disks.iter().map(|disk| (disk.ordinal, 0)).collect();
        let pairs = match pairs {
            [] => disks::choose(&wanted, &machine.disks, words).unwrap_or_default(),
            pairs => pairs.to_vec(),
        };
        let disk = |(ordinal, _): &(u32, u64)| {
            disks::of(&machine.disks, pairs.iter().find(|pair| pair.ordinal == *ordinal)?).cloned()
        };
        let disks: Vec<DiskSeen> = wanted.iter().map(disk).collect::<Option<_>>().unwrap_or_default();
        let target = Target { firmware: machine.source.firmware.as_deref(), hardware, disks: &disks };
        let Verdict { answer, reasons } = boot::judge(manifest.boot.as_ref(), manifest, &target);
        let why = reasons.join("; ");
        match answer {
            Answer::Yes => WouldBoot::default(),
            Answer::No => WouldBoot { no: Some(format!("{image} would not boot: {why}")), warnings: Vec::new() },
            Answer::Unknown => {
                WouldBoot { no: None, warnings: vec![format!("whether {image} boots is not known: {why}")] }
            }
        }
    }
}

/// Restores whose image was captured a moment ago: those that would not boot end before their machine is switched on.
///
/// # Errors
/// Those of the database.
pub(super) async fn check_queued(app: &Arc<App>) -> Result<(), DbError> {
    let work = |db: &mut Connection| {
        let jobs = jobs::unchecked(db)?;
        let known = |job: JobRow| -> rusqlite::Result<Option<(JobRow, MachineRow, Option<Hardware>)>> {
            let Some(machine) = job.machine.map(|id| machines::find(db, id)).transpose()?.flatten() else {
                return Ok(None);
            };
            let hardware = machines::hardware_of(db, machine.id)?;
            Ok(Some((job, machine, hardware)))
        };
        let known = jobs.into_iter().map(known).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(known.into_iter().flatten().collect::<Vec<_>>())
    };
    let all = app.db.read("looking for jobs to be checked", work).await?;
    if all.is_empty() {
        return Ok(());
    }
    let judged = app
        .blocking(move |app| {
            let mut images = Images::default();
            let ask = |(job, machine, hardware): (JobRow, MachineRow, Option<Hardware>)| {
                let (image, known) = (job.image_ref(), (&machine, hardware.as_ref()));
                let answer = images.would_boot(app, image.as_ref(), known, &job.disks, &job.options.disk);
                (job, answer)
            };
            Ok::<_, Refusal>(all.into_iter().map(ask).collect::<Vec<_>>())
        })
        .await;
    let Ok(judged) = judged else { return Ok(()) };
    let now = app.both();
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (job, answer) in judged {
            // It may have been cancelled meanwhile.
            let Some(job) = jobs::find(&tx, job.id)?.filter(|found| found.state == job.state) else { continue };
            jobs::checked(&tx, &job, &answer.warnings, now)?;
            let Some(why) = answer.no else { continue };
            let next = format!(
                "add what is missing to the image's source, or ask for the restore of {} with --ignore boot-check",
                job.image_ref().map(|image| image.to_string()).unwrap_or_default()
            );
            jobs::step(&tx, &job, Event::Fail, &Said::bad(Cause::WillNotBoot, why, next), now)?;
        }
        tx.commit()
    };
    app.db.call("noting whether images would boot", work).await
}
