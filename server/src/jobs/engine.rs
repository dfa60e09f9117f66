//! The engine: what is due is done, once a second, and at once when something happened.
//!
//! In: the database's jobs. Out: machines switched, jobs confirmed or ended.
//! Promise: one hand per job; a hand that was lost with the server is begun anew, which is harmless.

use super::hands::{Errand, Hands, HandsError, PowerNow};
use super::look;
use crate::db::jobs::tick::{self, Pace, Todo};
use crate::db::jobs::{self, JobRow, Now, Said};
use crate::db::machines::{self, MachineRow};
use crate::http::App;
use ramet_wire::jobs::{Cause, JobKind, JobState};
use ramet_wire::settings::Mac;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What the engine keeps in memory: nothing that a restart would miss.
#[derive(Debug, Default)]
pub struct Engine {
    /// Something happened.
    pub wake: Notify,
    /// What was heard is being written.
    writing: tokio::sync::Mutex<()>,
    /// Jobs that a hand works on, and how it is told that nobody wants it any more.
    busy: Mutex<HashMap<i64, Errand>>,
    /// Progress of jobs' agents that is not in the database yet.
    beats: Mutex<HashMap<i64, (String, u64, u64)>>,
    /// The same of runs.
    runs: Mutex<HashMap<String, (String, u64, u64)>>,
    /// Cards whose boot file was asked for.
    fetched: Mutex<HashSet<Mac>>,
    /// Cards that nobody knew and that were offered the agent, and when.
    welcomed: Mutex<HashMap<Mac, i64>>,
}

/// Cards that are remembered between two ticks.
const FETCHED_MAX: usize = 20_000;
/// Seconds after which a card that nobody knows is offered the agent again.
const WELCOME: i64 = 3600;

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// A job's agent lives.
    pub fn beat(&self, job: i64, step: String, done: u64, total: u64) {
        locked(&self.beats).insert(job, (step, done, total));
    }

    /// A run goes on.
    pub fn progress(&self, run: String, step: String, done: u64, total: u64) {
        locked(&self.runs).insert(run, (step, done, total));
    }

    /// A card's boot file was asked for.
    pub fn note_fetch(&self, mac: Mac) {
        let mut fetched = locked(&self.fetched);
        if fetched.len() < FETCHED_MAX {
            fetched.insert(mac);
        }
    }

    /// A card that nobody knows is offered the agent: once an hour, so that a machine that cannot enrol starts from its
    /// disk at the next try.
    pub fn welcomes(&self, mac: Mac, now: i64) -> bool {
        let mut welcomed = locked(&self.welcomed);
        welcomed.retain(|_, at| now.saturating_sub(*at) < WELCOME);
        if welcomed.len() >= FETCHED_MAX || welcomed.contains_key(&mac) {
            return false;
        }
        welcomed.insert(mac, now);
        true
    }

    /// A job is over: the hand that works on it ends at its next step.
    pub fn give_up(&self, job: i64) {
        if let Some(errand) = locked(&self.busy).get(&job) {
            errand.give_up();
        }
    }

    fn take(&self, job: i64) -> Option<Errand> {
        match locked(&self.busy).entry(job) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => Some(free.insert(Errand::of(job)).clone()),
        }
    }

    fn release(&self, job: i64) {
        locked(&self.busy).remove(&job);
    }
}

/// Writes what was heard since the last time, in one transaction.
///
/// # Errors
/// Those of the database.
pub async fn flush(app: &App) -> Result<(), crate::db::DbError> {
    // Whoever reads afterwards sees what was heard before, also when another one writes it.
    let _writing = app.engine.writing.lock().await;
    let beats = std::mem::take(&mut *locked(&app.engine.beats));
    let runs = std::mem::take(&mut *locked(&app.engine.runs));
    let macs: Vec<String> =
        std::mem::take(&mut *locked(&app.engine.fetched)).into_iter().map(|mac| mac.to_string()).collect();
    if beats.is_empty() && runs.is_empty() && macs.is_empty() {
        return Ok(());
    }
    let (now, lease) = (app.both(), seconds(app.limits.job_lease));
    let work = move |db: &mut rusqlite::Connection| {
        if !beats.is_empty() || !runs.is_empty() {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let until = now.steady.saturating_add(lease);
            for (job, (step, done, total)) in beats {
                jobs::claim::beat(&tx, job, &step, (done, total), until)?;
            }
            for (run, (step, done, total)) in runs {
                crate::db::runs::heartbeat(&tx, &run, &step, done, total)?;
            }
            tx.commit()?;
        }
        if macs.is_empty() { Ok(()) } else { tick::fetched(db, &macs, now) }
    };
    app.db.call("noting progress", work).await
}

fn seconds(wait: std::time::Duration) -> i64 {
    i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)
}

/// Runs until the server stops.
pub async fn run(app: Arc<App>) {
    let (lease, window, now) = (seconds(app.limits.job_lease), seconds(app.limits.job_window), app.both());
    if let Err(error) = app.db.call("taking up jobs", move |db| tick::taken_up(db, lease, window, now)).await {
        tracing::error!(error = %crate::text::chain(&error), "jobs are not taken up");
    }
    loop {
        if let Err(error) = turn(&app).await {
            tracing::error!(error = %crate::text::chain(&error), "the engine's turn");
        }
        tokio::select! {
            () = app.engine.wake.notified() => {}
            () = tokio::time::sleep(app.limits.job_tick) => {}
        }
    }
}

async fn turn(app: &Arc<App>) -> Result<(), crate::db::DbError> {
    flush(app).await?;
    let limits = &app.limits;
    let pace = Pace {
        total: limits.jobs,
        group: limits.jobs_of_group,
        power: limits.jobs_power,
        spread: seconds(limits.power_spread),
        pause: seconds(limits.job_pause),
    };
    super::beyond::check_queued(app).await?;
    let (now, kept) = (app.both(), limits.jobs_kept);
    let Todo { down, up, check, over } =
        app.db.call("looking for due jobs", move |db| tick::tick(db, &pace, kept, now)).await?;
    for run in over {
        crate::http::runs::close(app, &run).await;
    }
    let all = down.into_iter().chain(up).chain(check);
    for (job, errand) in all.filter_map(|job| app.engine.take(job.id).map(|errand| (job, errand))) {
        let app = Arc::clone(app);
        tokio::spawn(async move {
            let id = job.id;
            let done = match job.state {
                JobState::Power => down_one(&app, &job, errand).await,
                JobState::Boot => up_one(&app, &job, errand).await,
                _ => look::look(&app, &job, errand).await,
            };
            if let Err(error) = done {
                tracing::error!(job = id, error = %crate::text::chain(&error), "a job's step");
            }
            app.engine.release(id);
            if job.state == JobState::Power {
                app.engine.wake.notify_one();
            }
        });
    }
    Ok(())
}

/// The machine of a job.
pub(super) async fn machine_of(app: &App, job: &JobRow) -> Result<Option<MachineRow>, crate::db::DbError> {
    let Some(id) = job.machine else { return Ok(None) };
    app.db.read("reading a machine", move |db| machines::find(db, id)).await
}

/// A person switches this machine.
#[must_use]
pub fn by_hand(machine: &MachineRow) -> bool {
    machine.power.as_deref().is_none_or(|kind| kind == "manual")
}

async fn down_one(app: &Arc<App>, job: &JobRow, errand: Errand) -> Result<(), crate::db::DbError> {
    let Some(machine) = machine_of(app, job).await? else { return Ok(()) };
    let id = job.id;
    if by_hand(&machine) {
        let words = format!("a person switches {} on now, from the network", machine.name);
        let (window, now) = (seconds(app.limits.manual_window), app.both());
        let open = move |db: &mut rusqlite::Connection| tick::opened(db, id, &words, true, window, now);
        app.db.call("opening a job's window", open).await?;
        return Ok(());
    }
    let (hands, job2) = (Arc::clone(&app.hands), job.clone());
    let done = tokio::task::spawn_blocking(move || bring_down(&*hands, &job2, &machine, &errand)).await;
    match done.unwrap_or_else(|_| Err(stopped())) {
        Ok(words) => {
            let (window, now) = (seconds(app.limits.job_window), app.both());
            let open = move |db: &mut rusqlite::Connection| tick::opened(db, id, &words, false, window, now);
            app.db.call("opening a job's window", open).await.map(drop)
        }
        Err(error) => power_failed(app, job, error).await,
    }
}

fn stopped() -> HandsError {
    let (message, next) = ("a worker of the server stopped".to_owned(), "the server's log says why".to_owned());
    HandsError { cause: Cause::PowerUnable, message, next, again: true }
}

fn bring_down(hands: &dyn Hands, job: &JobRow, machine: &MachineRow, errand: &Errand) -> Result<String, HandsError> {
    let id = machine.id;
    match hands.status(id, errand)? {
        PowerNow::Off => return Ok("its machine is off".to_owned()),
        PowerNow::Unknown => return Ok("its machine's power cannot be read; taken for off".to_owned()),
        PowerNow::On => {}
    }
    // Whoever asked for a capture has asked for this machine to be stopped; a target may run what nobody thought of.
    let allowed = job.kind == JobKind::Capture || job.options.force_off || job.ours;
    if !allowed {
        let message = format!("{} is on, and nobody allowed to switch it off", machine.name);
        let next = format!("switch it off, then ramet job retry {}; or ask again with --force-off", job.id);
        return Err(HandsError { cause: Cause::MachineOn, message, next, again: false });
    }
    let hard = job.options.hard_off || job.kind == JobKind::Restore;
    let warnings = hands.off(id, errand, hard)?;
    Ok(std::iter::once("its machine is off now".to_owned()).chain(warnings).collect::<Vec<_>>().join("; "))
}

async fn up_one(app: &Arc<App>, job: &JobRow, errand: Errand) -> Result<(), crate::db::DbError> {
    let Some(machine) = machine_of(app, job).await? else { return Ok(()) };
    let uefi = machine.source.firmware.as_deref() != Some("bios");
    let (hands, id, number) = (Arc::clone(&app.hands), machine.id, job.id);
    let done = tokio::task::spawn_blocking(move || hands.on_from_network(id, &errand, uefi)).await;
    match done.unwrap_or_else(|_| Err(stopped())) {
        Ok(warnings) => {
            let words: Vec<String> =
                std::iter::once("its machine is on; waits for its agent".to_owned()).chain(warnings).collect();
            let (words, window, now) = (words.join("; "), seconds(app.limits.job_window), app.both());
            let on = move |db: &mut rusqlite::Connection| tick::switched_on(db, number, &words, window, now);
            app.db.call("noting power", on).await
        }
        Err(error) => power_failed(app, job, error).await,
    }
}

async fn power_failed(app: &Arc<App>, job: &JobRow, error: HandsError) -> Result<(), crate::db::DbError> {
    tracing::warn!(job = job.id, cause = error.cause.word(), message = error.message, "power");
    let said = Said::bad(error.cause, error.message, error.next);
    let again = error.again.then(|| seconds(app.limits.job_pause));
    let (id, from, now): (i64, JobState, Now) = (job.id, job.state, app.both());
    let work = move |db: &mut rusqlite::Connection| tick::power_failed(db, id, from, &said, again, now);
    app.db.call("noting that power failed", work).await
}
