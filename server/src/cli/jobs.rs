//! The commands that give machines work, and those about jobs.
//!
//! In: their options. Out: the plan, then jobs; what the server answers about them.
//! Promise: nothing is begun before a person, or `--yes`, has agreed to exactly the plan that the server carries out.

use super::args::fleet::{Capture, Clone as CloneArgs, Inventory, JobAction, JobLs, Restore};
use super::beyond::{answers, becomes, boot_lines, of_clone, of_restore};
use super::show::{bytes, json, table};
use super::watch;
use super::{Fault, write};
use crate::client::Operator;
use crate::text::clean;
use ramet_wire::adapt::BootCall;
use ramet_wire::jobs::{AddJobs, JobDetail, JobInfo, JobKind, JobOptions, JobState, Plan, PlannedMachine, Seen};
use std::io::{BufRead, IsTerminal, Write as _};

/// What all commands that give work have in common.
struct Asked {
    dry_run: bool,
    yes: bool,
    watch: bool,
    json: bool,
}

pub(super) fn capture(args: &Capture) -> Result<(), Fault> {
    let options = JobOptions {
        hard_off: args.hard_off,
        expect: answers(&args.expect)?,
        tries: args.tries,
        disk: args.disk.clone(),
        ..JobOptions::default()
    };
    let jobs = AddJobs::Capture { machine: args.machine.clone(), image: args.image.clone(), options };
    let asked = Asked { dry_run: args.dry_run, yes: args.yes, watch: args.watch, json: args.json };
    work(&args.reach().operator()?, jobs, &asked)
}

pub(super) fn restore(args: &Restore) -> Result<(), Fault> {
    let usage = |text: &str| Err(Fault::Usage(text.to_owned()));
    let (mut to, mut image) = (args.to.clone(), None);
    if args.last {
        to.insert(0, args.image.clone());
    } else {
        let wanted = args.image.parse();
        image = Some(wanted.map_err(|error| Fault::Usage(format!("image {:?}: {error}", clean(&args.image, 80))))?);
    }
    if to.is_empty() && args.tag.is_none() {
        return usage("onto which machines? give --to MACHINE... or --tag TAG");
    }
    let options = JobOptions {
        then: args.then.map(|then| then.0),
        force_off: args.force_off,
        tries: args.tries,
        disk: args.disk.clone(),
        blank_only: args.blank_only,
        ..of_restore(args)?
    };
    let jobs = AddJobs::Restore { image, to, tag: args.tag.clone(), options };
    let asked = Asked { dry_run: args.dry_run, yes: args.yes, watch: args.watch, json: args.json };
    work(&args.reach().operator()?, jobs, &asked)
}

pub(super) fn clone(args: &CloneArgs) -> Result<(), Fault> {
    if args.to.is_empty() && args.tag.is_none() {
        return Err(Fault::Usage("onto which machines? give --to MACHINE... or --tag TAG".to_owned()));
    }
    let options = JobOptions {
        then: args.then.map(|then| then.0),
        force_off: args.force_off,
        hard_off: args.hard_off,
        tries: args.tries,
        disk: args.disk.clone(),
        blank_only: args.blank_only,
        ..of_clone(args)?
    };
    let (machine, image, to) = (args.machine.clone(), args.image.clone(), args.to.clone());
    let jobs = AddJobs::Clone { machine, image, to, tag: args.tag.clone(), options };
    let asked = Asked { dry_run: args.dry_run, yes: args.yes, watch: args.watch, json: args.json };
    work(&args.reach().operator()?, jobs, &asked)
}

pub(super) fn inventory(args: &Inventory) -> Result<(), Fault> {
    if args.machines.is_empty() && args.tag.is_none() {
        return Err(Fault::Usage("which machines? name them, or give --tag TAG".to_owned()));
    }
    let options = JobOptions {
        force_off: args.force_off,
        expect: answers(&args.expect)?,
        tries: args.tries,
        disk: args.disk.clone(),
        ..JobOptions::default()
    };
    let jobs = AddJobs::Inventory { to: args.machines.clone(), tag: args.tag.clone(), options };
    let asked = Asked { dry_run: args.dry_run, yes: args.yes, watch: args.watch, json: args.json };
    work(&args.reach().operator()?, jobs, &asked)
}

fn options(jobs: &mut AddJobs) -> &mut JobOptions {
    match jobs {
        AddJobs::Capture { options, .. }
        | AddJobs::Restore { options, .. }
        | AddJobs::Clone { options, .. }
        | AddJobs::Inventory { options, .. } => options,
    }
}

/// The plan, the question, the jobs.
fn work(operator: &Operator, mut jobs: AddJobs, asked: &Asked) -> Result<(), Fault> {
    options(&mut jobs).dry_run = true;
    let plan = operator.add_jobs(&jobs)?;
    let text = planned(&plan);
    match (asked.json, asked.dry_run) {
        (true, true) => json(&plan)?,
        (false, true) => write(&text)?,
        (_, false) => eprint!("{text}"),
    }
    refused(&plan)?;
    if asked.dry_run {
        return Ok(());
    }
    agreed(asked.yes, &question(&plan))?;
    let options = options(&mut jobs);
    (options.dry_run, options.agreed) = (false, Some(plan.digest));
    let begun = operator.add_jobs(&jobs)?;
    refused(&begun)?;
    if asked.json && !asked.watch {
        return json(&begun);
    }
    let numbers: Vec<String> = begun.jobs.iter().map(u64::to_string).collect();
    eprintln!("jobs {}", numbers.join(" "));
    match (asked.watch, begun.jobs.first()) {
        // The parent ends when all of its parts have.
        (true, Some(first)) => watch::watch(operator, &[*first], None, asked.json),
        (false, Some(first)) => {
            eprintln!("`ramet job watch {first}` shows how far they are");
            Ok(())
        }
        (_, None) => Err(Fault::Found("the server made no job; its log says why".to_owned())),
    }
}

/// Whoever is refused is a reason to do nothing.
fn refused(plan: &Plan) -> Result<(), Fault> {
    let refused: Vec<String> = plan
        .machines
        .iter()
        .filter_map(|machine| Some(format!("{}: {}", machine.machine, clean(machine.refused.as_deref()?, 200))))
        .collect();
    match refused.as_slice() {
        [] => Ok(()),
        all => Err(Fault::Refused(format!("nothing was done: {}", all.join("; ")))),
    }
}

fn planned(plan: &Plan) -> String {
    let row = |machine: &PlannedMachine| {
        vec![
            machine.machine.to_string(),
            machine.kind.to_string(),
            machine.image.as_ref().map(ToString::to_string).unwrap_or_default(),
            clean(&machine.power, 20),
            machine.runs.as_ref().map(|runs| runs.image.to_string()).unwrap_or_default(),
            erases(machine),
            machine.becomes.as_ref().map(becomes).unwrap_or_default(),
        ]
    };
    let head = ["MACHINE", "DOES", "IMAGE", "POWER", "RUNS", "ERASES", "BECOMES"];
    let mut text = table(&head, &plan.machines.iter().map(row).collect::<Vec<_>>());
    for machine in &plan.machines {
        for warning in &machine.warnings {
            text.push_str(&format!("warning: {}: {}\n", machine.machine, clean(warning, 300)));
        }
    }
    text
}

fn erases(machine: &PlannedMachine) -> String {
    let disk = |disk: &ramet_wire::agents::DiskSeen| {
        let serial = disk.serial.as_deref().or(disk.wwn.as_deref()).unwrap_or("no serial");
        let holds = disk.holds.as_deref().filter(|holds| !holds.is_empty());
        let holds = holds.map(|holds| format!(", {}", clean(holds, 20))).unwrap_or_default();
        format!("{} ({}, {}{holds})", clean(&disk.name, 20), bytes(disk.size), clean(serial, 40))
    };
    let disks: Vec<String> = machine.erases.iter().map(disk).collect();
    if disks.is_empty() { "nothing".to_owned() } else { disks.join(", ") }
}

fn question(plan: &Plan) -> String {
    let disks: usize = plan.machines.iter().map(|machine| machine.erases.len()).sum();
    let machines = plan.machines.len();
    if disks == 0 {
        return format!("Start {machines} machines into the agent?");
    }
    let hit = plan.machines.iter().filter(|machine| !machine.erases.is_empty()).count();
    format!("Erase {disks} disks of {hit} machines?")
}

/// Asks, unless it was agreed to already.
pub(super) fn agreed(yes: bool, question: &str) -> Result<(), Fault> {
    if yes {
        return Ok(());
    }
    let mut input = std::io::stdin().lock();
    if !input.is_terminal() {
        return Err(Fault::Refused(format!("{question} There is no terminal to ask; give --yes")));
    }
    eprint!("{question} Type yes: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.map_err(|source| Fault::Io { doing: "reading the answer", source })?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Fault::Refused("nothing was done".to_owned())) }
}

pub(super) fn job(action: JobAction) -> Result<(), Fault> {
    match action {
        JobAction::JobLs(args) => list(&args),
        JobAction::JobShow(args) => {
            let detail = args.reach().operator()?.job(args.id)?;
            if args.json { json(&detail) } else { write(&described(&detail)) }
        }
        JobAction::JobWatch(args) => {
            let operator = args.reach().operator()?;
            let timeout = args.timeout.map(|life| std::time::Duration::from_secs(life.0));
            watch::watch(&operator, &args.ids, timeout, args.json)
        }
        JobAction::JobCancel(args) => {
            let operator = args.reach().operator()?;
            each(&args.ids, args.json, |id| operator.cancel_job(id))
        }
        JobAction::JobRetry(args) => {
            let operator = args.reach().operator()?;
            each(&args.ids, args.json, |id| operator.retry_job(id))
        }
    }
}

fn each(
    ids: &[u64],
    as_json: bool,
    ask: impl Fn(u64) -> Result<JobDetail, crate::client::ClientError>,
) -> Result<(), Fault> {
    if ids.is_empty() {
        return Err(Fault::Usage("which job? give its number".to_owned()));
    }
    let jobs = ids.iter().map(|id| ask(*id)).collect::<Result<Vec<_>, _>>()?;
    if as_json { json(&jobs) } else { Ok(()) }
}

fn list(args: &JobLs) -> Result<(), Fault> {
    let mut jobs = args.reach().operator()?.jobs()?;
    jobs.retain(|job| {
        let asked =
            args.only.map_or(args.all || args.machine.is_some() || !job.state.is_over(), |only| only.0 == job.state);
        asked && (args.machine.is_none() || args.machine == job.machine)
    });
    if args.json { json(&jobs) } else { write(&jobs_table(&jobs)) }
}

pub(super) fn jobs_table(jobs: &[JobInfo]) -> String {
    let row = |job: &JobInfo| {
        let done = if moves(job) { format!("{}%", percent(job)) } else { String::new() };
        vec![
            job.id.to_string(),
            job.machine.as_ref().map(ToString::to_string).unwrap_or_default(),
            job.kind.to_string(),
            job.image.as_ref().map(ToString::to_string).unwrap_or_default(),
            job.state.to_string(),
            clean(&job.step, 30),
            done,
            if job.kind == JobKind::Tree { String::new() } else { format!("{}/{}", job.try_now, job.tries) },
            said(job),
        ]
    };
    let head = ["JOB", "MACHINE", "DOES", "IMAGE", "STATE", "STEP", "DONE", "TRY", "MESSAGE"];
    table(&head, &jobs.iter().map(row).collect::<Vec<_>>())
}

/// It has work whose progress is known.
pub(super) fn moves(job: &JobInfo) -> bool {
    job.state == JobState::Running && job.kind != JobKind::Tree && job.total > 0
}

/// Whole percents; 100 only when all is done.
pub(super) fn percent(job: &JobInfo) -> u64 {
    let percent = u128::from(job.done.min(job.total)) * 100 / u128::from(job.total.max(1));
    u64::try_from(percent).unwrap_or(100)
}

/// Why, and what to do next; for one that succeeded, the proof.
pub(super) fn said(job: &JobInfo) -> String {
    let words: Vec<String> =
        [&job.message, &job.next].into_iter().filter(|text| !text.is_empty()).map(|text| clean(text, 200)).collect();
    let mut words = words;
    // What never called is a question, also where nobody waited.
    match (&job.booted, job.first_boot) {
        (Some(host), _) => words.insert(0, format!("booted as {}", clean(host, 64))),
        (None, Some(BootCall::Noted)) if job.seen >= Seen::Left => words.push("has not called".to_owned()),
        _ => {}
    }
    if words.is_empty() && job.state == JobState::Confirmed && job.kind != JobKind::Tree {
        return format!("seen: {}", job.seen);
    }
    words.join("; ")
}

fn described(detail: &JobDetail) -> String {
    let job = &detail.job;
    let mut text = jobs_table(std::slice::from_ref(job));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<8} {}\n", clean(&value, 300)));
        }
    };
    line("cause", job.cause.map(|cause| cause.to_string()).unwrap_or_default());
    line("seen", job.seen.to_string());
    line("by", job.by.clone());
    line("created", job.created.clone());
    line("started", job.started.clone().unwrap_or_default());
    line("ended", job.ended.clone().unwrap_or_default());
    line("run", job.run.clone().unwrap_or_default());
    for disk in &job.disks {
        let name = disk.serial.as_deref().or(disk.wwn.as_deref()).unwrap_or("no serial");
        line("disk", format!("{}: {name}, {}", disk.ordinal, bytes(disk.size)));
    }
    if let Some(what) = &detail.becomes {
        line("becomes", becomes(what));
    }
    if let Some(seen) = &detail.booted {
        boot_lines(seen, &mut line);
    }
    if !detail.parts.is_empty() {
        text.push_str(&jobs_table(&detail.parts));
    }
    for event in &detail.events {
        text.push_str(&format!(
            "{}  {:<9} {:<12} {}\n",
            event.at,
            event.state,
            clean(&event.what, 20),
            clean(&event.detail, 200)
        ));
    }
    text
}
