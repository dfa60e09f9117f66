//! Jobs at rest, and their steps from state to state.
//!
//! In: a job's row and what happened to it. Out: the next row; everything that follows from it, in the same transaction.
//! Promise: a state changes only along the table of `jobs::states`; each change leaves an event.

mod beyond;
pub mod claim;
mod list;
mod rows;
pub mod tick;

pub use beyond::{adapt_of, checked, unchecked};
pub use list::{detail, list, open_of, prune, using_image};
pub use rows::{JobRow, find, query};

use super::machines;
use crate::jobs::states::{Event, next};
use crate::text::clean;
use ramet_wire::adapt::{Adapt, Adapted};
use ramet_wire::api::{Action, RunState};
use ramet_wire::jobs::{Cause, JobDisk, JobKind, JobOptions, JobState, Seen};
use ramet_wire::{ImageName, ImageRef};
use rusqlite::{Connection, OptionalExtension, params};

/// Longest message of a job, in characters.
const MESSAGE_MAX: usize = 600;

/// A job to be.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job that it is part of.
    pub parent: Option<i64>,
    /// The job that must be confirmed before.
    pub after: Option<i64>,
    /// What it does.
    pub kind: JobKind,
    /// For which machine.
    pub machine: Option<i64>,
    /// Its image, with the version once it is known.
    pub image: Option<ImageRef>,
    /// What the operator said.
    pub options: JobOptions,
    /// Which disks.
    pub disks: Vec<JobDisk>,
    /// What its machine becomes beyond the copy, without its token.
    pub adapt: Adapt,
    /// Whether its image would boot was asked, or is not to be.
    pub checked: bool,
    /// Tries in all.
    pub tries: u32,
    /// Who asked for it.
    pub by: String,
}

/// Adds a job, queued; its number.
///
/// # Errors
/// SQLite's.
pub fn insert(step: &Connection, job: &NewJob, now: i64) -> rusqlite::Result<i64> {
    let sql =
        "INSERT INTO jobs (parent, after, kind, machine, name, rack, image, version, options, disks, state, tries,
               by, created, since, adapt, checked) VALUES (?1, ?2, ?3, ?4, (SELECT name FROM machines WHERE id = ?4),
               (SELECT rack FROM machines WHERE id = ?4), ?5, ?6, ?7, ?8, 'queued', ?9, ?10, ?11, ?11, ?12, ?13)";
    step.execute(
        sql,
        params![
            job.parent,
            job.after,
            job.kind.word(),
            job.machine,
            job.image.as_ref().map(|image| image.name.to_string()),
            job.image.as_ref().and_then(|image| image.id).map(|id| id.to_string()),
            json(&job.options),
            json(&job.disks),
            job.tries,
            job.by,
            now,
            (!job.adapt.is_nothing()).then(|| json(&job.adapt)),
            job.checked
        ],
    )?;
    let id = step.last_insert_rowid();
    note(step, id, JobState::Queued, "asked", &format!("by {}", job.by), now)?;
    Ok(id)
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What is said of a step.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Why, where it is not going well.
    pub cause: Option<Cause>,
    /// In words.
    pub message: String,
    /// What an operator can do.
    pub next: String,
}

impl Said {
    /// All is well.
    #[must_use]
    pub fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Something is not.
    #[must_use]
    pub fn bad(cause: Cause, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { cause: Some(cause), message: message.into(), next: next.into() }
    }
}

/// Adds an event.
///
/// # Errors
/// SQLite's.
pub fn note(step: &Connection, id: i64, state: JobState, what: &str, detail: &str, now: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO job_events (job, at, state, what, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    step.prepare_cached(sql)?.execute((id, now, state.word(), what, clean(detail, MESSAGE_MAX))).map(drop)
}

/// Seconds since 1970: by the clock on the wall for people, and by one that does not jump for waits.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For people.
    pub wall: i64,
    /// For waits.
    pub steady: i64,
}

/// Leads a job to its next state, with all that follows from it; none when `event` cannot happen to it now. `job` is the
/// row as it was read in this transaction.
///
/// # Errors
/// SQLite's.
pub fn step(
    step: &Connection,
    job: &JobRow,
    event: Event,
    said: &Said,
    now: Now,
) -> rusqlite::Result<Option<JobState>> {
    let Some(to) = next(job.state, event) else { return Ok(None) };
    let message = clean(&said.message, MESSAGE_MAX);
    let bad = said.cause.map(Cause::word);
    let ended = to.is_over().then_some(now.wall);
    let sql = "UPDATE jobs SET state = ?2, step = ?3, cause = ?4, message = ?5, next = ?6, since = ?7, wake = 0,
               until = NULL, ended = ?8, started = coalesce(started, CASE WHEN ?2 IN ('power', 'boot') THEN ?9 END)
               WHERE id = ?1 AND state = ?10";
    // A step that goes well keeps no trouble of a try before; a try that is repeated keeps it for people to see.
    let (words, trouble) =
        if bad.is_some() { (String::new(), message.clone()) } else { (message.clone(), String::new()) };
    let row = params![
        job.id,
        to.word(),
        words,
        bad,
        trouble,
        clean(&said.next, MESSAGE_MAX),
        now.steady,
        ended,
        now.wall,
        job.state.word()
    ];
    if step.prepare_cached(sql)?.execute(row)? != 1 {
        return Ok(None);
    }
    let what = bad.unwrap_or_else(|| event_word(event));
    note(step, job.id, to, what, &message, now.wall)?;
    if matches!(to, JobState::Queued) || to.is_over() {
        take_back(step, job, &message, now)?;
    }
    match event {
        Event::Begin | Event::Here => {
            let sql = "UPDATE jobs SET try_now = try_now + 1, done = 0, total = 0, run = NULL, left_at = NULL,
                       seen = 'nothing', approved = NULL, booted = NULL WHERE id = ?1";
            step.execute(sql, [job.id])?;
        }
        Event::Off => {
            step.execute("UPDATE jobs SET powered = 0 WHERE id = ?1", [job.id])?;
        }
        Event::Retry => {
            let sql = "UPDATE jobs SET try_now = 0, ours = 0, seen = 'nothing', ended = NULL,
                       checked = kind <> 'restore' OR EXISTS
                           (SELECT 1 FROM json_each(options, '$.ignore') WHERE value = 'boot-check'),
                       version = CASE WHEN kind = 'capture' THEN NULL ELSE version END WHERE id = ?1";
            step.execute(sql, [job.id])?;
        }
        _ => {}
    }
    if to.is_over() {
        over(step, job, to, &message, now)?;
    }
    if let Some(parent) = job.parent {
        weigh(step, parent, now)?;
    }
    Ok(Some(to))
}

const fn event_word(event: Event) -> &'static str {
    match event {
        Event::Begin => "begun",
        Event::Here => "here",
        Event::Off => "off",
        Event::Claim => "claimed",
        Event::Done => "done",
        Event::Seen => "confirmed",
        Event::Again => "again",
        Event::Fail => "failed",
        Event::Lose => "lost",
        Event::Cancel => "cancelled",
        Event::Retry => "retried",
    }
}

/// What its agent was given opens nothing more; a run that goes on has failed.
fn take_back(step: &Connection, job: &JobRow, why: &str, now: Now) -> rusqlite::Result<()> {
    if let Some(token) = &job.token {
        super::tokens::revoke(step, token)?;
    }
    // A clone whose restore is proven calls all the same, however its job ends.
    if job.state != JobState::Leaving {
        super::first_boot::take_back(step, job.id)?;
    }
    let sql = "UPDATE runs SET state = 'failed', error = ?2, ended = ?3 WHERE job = ?1 AND state = 'running'";
    step.prepare_cached(sql)?.execute((job.id, format!("job {}: {why}", job.id), now.wall))?;
    step.execute("UPDATE jobs SET boot = NULL, token = NULL, lease = NULL, peer = NULL WHERE id = ?1", [job.id])
        .map(drop)
}

/// What the end of a job means for its machine and for the jobs that wait for it.
fn over(step: &Connection, job: &JobRow, state: JobState, message: &str, now: Now) -> rusqlite::Result<()> {
    if let Some(machine) = job.machine {
        let (what, who) = (format!("{} {}", job.kind, state), format!("job {}", job.id));
        let image = job.image_ref().map(|image| image.to_string()).unwrap_or_default();
        let detail =
            [image.as_str(), message].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
        machines::remember(step, machine, &who, &what, &detail, now.wall)?;
    }
    // Those that wait for an image go on with it, wherever the machine that it is of has come to rest.
    if state == JobState::Confirmed || (state != JobState::Cancelled && job.version.is_some()) {
        return Ok(());
    }
    for row in query(step, "after = ?1 AND state = 'queued'", [job.id])? {
        let message = format!("job {} was to publish the image before, and is {state}", job.id);
        let next = format!("ramet job retry {}, then ramet job retry {}", job.id, row.id);
        self::step(step, &row, Event::Fail, &Said::bad(Cause::Before, message, next), now)?;
    }
    Ok(())
}

/// The state of a tree follows from its parts.
fn weigh(step: &Connection, parent: i64, now: Now) -> rusqlite::Result<()> {
    let sql =
        "SELECT count(*), sum(ended IS NULL), sum(state = 'confirmed'), sum(try_now > 0), sum(state = 'cancelled'),
               sum(done), sum(total) FROM jobs WHERE parent = ?1";
    let (all, open, good, begun, cancelled, done, total): (i64, i64, i64, i64, i64, i64, i64) =
        step.query_row(sql, [parent], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        })?;
    let state = match (open, good == all, cancelled == all) {
        (0, true, _) => JobState::Confirmed,
        (0, _, true) => JobState::Cancelled,
        (0, ..) => JobState::Failed,
        _ if begun > 0 => JobState::Running,
        _ => JobState::Queued,
    };
    let words = format!("{good} of {all} confirmed");
    let next = if state == JobState::Failed {
        format!("ramet job show {parent}, then ramet job retry {parent}")
    } else {
        String::new()
    };
    let sql = "UPDATE jobs SET state = ?2, step = ?3, next = ?4, done = ?5, total = ?6, since = ?7,
               ended = CASE WHEN ?8 THEN coalesce(ended, ?7) END, started = coalesce(started, CASE WHEN ?9 THEN ?7 END)
               WHERE id = ?1 AND kind = 'tree'";
    let row = params![parent, state.word(), words, next, done, total, now.wall, state.is_over(), begun > 0];
    let before: Option<String> =
        step.query_row("SELECT state FROM jobs WHERE id = ?1", [parent], |row| row.get(0)).optional()?;
    step.execute(sql, row)?;
    if before.as_deref() != Some(state.word()) {
        note(step, parent, state, state.word(), &words, now.wall)?;
    }
    Ok(())
}

/// Ends this try: another one follows if one is left, after a pause that grows; else the job has failed, or is lost where
/// its agent fell silent.
///
/// # Errors
/// SQLite's.
pub fn try_over(
    tx: &Connection,
    job: &JobRow,
    said: &Said,
    pause: i64,
    now: Now,
) -> rusqlite::Result<Option<JobState>> {
    if job.try_now < job.tries {
        let to = step(tx, job, Event::Again, said, now)?;
        if to.is_some() {
            let wait = pause.saturating_mul(i64::from(job.try_now.max(1)));
            tx.execute("UPDATE jobs SET wake = ?2 WHERE id = ?1", (job.id, now.steady.saturating_add(wait)))?;
            return Ok(to);
        }
    }
    if said.cause == Some(Cause::Silent) && job.state == JobState::Running {
        return step(tx, job, Event::Lose, said, now);
    }
    step(tx, job, Event::Fail, said, now)
}

/// What a run's end means for its job; called in the transaction that ends the run.
///
/// # Errors
/// SQLite's.
pub fn run_ended(tx: &Connection, run: &str, adapted: Option<&Adapted>, grace: i64, now: Now) -> rusqlite::Result<()> {
    let sql = "SELECT job, action, state, error, image, version, receipt IS NOT NULL FROM runs WHERE id = ?1 AND job IS NOT NULL";
    type Row = (i64, String, String, String, String, Option<String>, bool);
    let found: Option<Row> = tx
        .query_row(sql, [run], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        })
        .optional()?;
    let Some((id, _, state, error, image, version, _)) = found else { return Ok(()) };
    let Some(job) = find(tx, id)?.filter(|job| job.state == JobState::Running && job.run.as_deref() == Some(run))
    else {
        return Ok(());
    };
    match state.as_str() {
        "done" => {
            let version = version.unwrap_or_default();
            tx.execute("UPDATE jobs SET version = ?2, seen = 'done' WHERE id = ?1", (id, &version))?;
            tx.execute("UPDATE jobs SET version = ?2 WHERE after = ?1 AND ended IS NULL", (id, &version))?;
            if let Some(machine) = job.machine {
                machines::runs_now(tx, machine, &format!("{image}@{version}"), run, now.wall)?;
                if job.kind == JobKind::Restore {
                    machines::forget_boot(tx, machine)?;
                }
            }
            let words = if job.kind == JobKind::Capture { "the image is published" } else { "the receipt is accepted" };
            let job = JobRow { version: version.parse().ok(), ..job };
            if let Some(said) = beyond::without_identity(tx, &job, adapted)? {
                job.machine.map(|machine| machines::runs_without(tx, machine)).transpose()?;
                return step(tx, &job, Event::Fail, &said, now).map(drop);
            }
            step(tx, &job, Event::Done, &Said::plain(words), now).map(drop)
        }
        "unproven" => {
            let said = Said::bad(Cause::Agent, "restored without read-back, which proves nothing", "ramet job retry");
            step(tx, &job, Event::Fail, &said, now).map(drop)
        }
        // Its last word says whether another try may help; without one the engine decides.
        _ => {
            let sql =
                "UPDATE jobs SET step = 'its agent gives up', cause = 'agent', message = ?2, until = ?3, lease = NULL
                       WHERE id = ?1";
            tx.execute(sql, (id, clean(&error, MESSAGE_MAX), now.steady.saturating_add(grace))).map(drop)
        }
    }
}

/// A run was opened with the token of a job; false when that job does not wait for it any more.
///
/// # Errors
/// SQLite's.
pub fn run_opened(tx: &Connection, job: i64, token: &str, run: &str, lease: i64) -> rusqlite::Result<bool> {
    let sql =
        "UPDATE jobs SET run = ?3, lease = ?4, step = 'begins' WHERE id = ?1 AND token = ?2 AND state = 'running'";
    Ok(tx.execute(sql, (job, token, run, lease))? == 1)
}

/// The strongest proof that was seen so far.
///
/// # Errors
/// SQLite's.
pub fn prove(tx: &Connection, job: &JobRow, seen: Seen, now: Now) -> rusqlite::Result<()> {
    if seen <= job.seen {
        return Ok(());
    }
    tx.execute("UPDATE jobs SET seen = ?2 WHERE id = ?1", (job.id, seen.word()))?;
    note(tx, job.id, job.state, seen.word(), "", now.wall)
}

/// The name under which a capture of this job publishes.
#[must_use]
pub fn action(kind: JobKind) -> Option<Action> {
    match kind {
        JobKind::Capture => Some(Action::Capture),
        JobKind::Restore => Some(Action::Restore),
        _ => None,
    }
}

/// What a run's state means for the agent that had the job.
#[must_use]
pub const fn is_done(state: Option<RunState>) -> bool {
    matches!(state, Some(RunState::Done | RunState::Unproven))
}

/// The image's name of a clone whose operator gave none: the machine's.
#[must_use]
pub fn image_of(machine: &str) -> Option<ImageName> {
    machine.parse().ok()
}
