//! A boot asks for its machine's work.
//!
//! In: what an agent says of itself, in one transaction. Out: the work, for one boot; or why there is none.
//! Promise: the boot file stops offering the agent in the very transaction that hands out the work.

use super::{Now, Said, action, find, is_done, note, open_of, query, step, try_over};
use crate::db::machines::{self, MachineRow, Report};
use crate::db::{first_boot, netboot, runs, tokens};
use crate::inventory::{candidates, disks};
use crate::jobs::states::{Event, is_active};
use ramet_wire::ImageRef;
use ramet_wire::adapt::{Adapt, FirstBoot};
use ramet_wire::agents::Work;
use ramet_wire::jobs::{Cause, JobKind, JobState};
use ramet_wire::settings::Mode;
use rusqlite::{Connection, TransactionBehavior, params};

pub use super::rows::JobRow;

/// A boot that asks.
#[derive(Debug)]
pub struct Ask {
    /// What it says of its machine.
    pub report: Report,
    /// SHA-256 of its nonce.
    pub boot: [u8; 32],
    /// What its boot line says.
    pub mode: Mode,
    /// Its code, as people read it.
    pub code: String,
    /// Id, text and SHA-256 of a token that becomes real if there is work.
    pub token: (String, String, [u8; 32]),
    /// How its clone would call when it has booted, with a token of its own; the same of that: id and SHA-256.
    pub first_boot: (FirstBoot, String, [u8; 32]),
    /// For how many seconds that token is good.
    pub call_life: i64,
    /// Seconds after which it must be heard of again.
    pub lease: i64,
    /// When.
    pub now: Now,
}

/// What it gets.
#[derive(Debug)]
pub enum Claim {
    /// It is no machine of ours.
    Stranger,
    /// It looks like a machine of ours and is none.
    Conflict,
    /// Its machine has no job.
    NoJob,
    /// Not yet, or not without an operator; a sentence.
    Wait(String),
    /// Not any more, or never; a sentence.
    Nothing(String),
    /// Another boot has it: see [`freeze`].
    Twice(Box<JobRow>),
    /// The work, and a run of the same boot that is superseded by it.
    Go(Box<Work>, Option<String>),
}

/// Judges one ask.
///
/// # Errors
/// SQLite's.
pub fn claim(connection: &mut Connection, ask: &Ask) -> rusqlite::Result<Claim> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let machine = match machines::identify(&tx, &ask.report)? {
        Err(_) => return Ok(Claim::Conflict),
        Ok(None) => return Ok(Claim::Stranger),
        Ok(Some(machine)) => machine,
    };
    let jobs = open_of(&tx, machine.id)?;
    let job = jobs.iter().find(|job| is_active(job.state)).or(jobs.first()).cloned();
    let Some(job) = job else { return Ok(Claim::NoJob) };
    let asks = ask.mode == Mode::Job || ask.mode == Mode::Inventory && job.kind == JobKind::Inventory;
    let answer = match job.state {
        JobState::Leaving if job.boot == Some(ask.boot) => done(&job),
        JobState::Leaving if ask.mode == Mode::Menu || ask.mode == Mode::Wait => return Ok(Claim::NoJob),
        JobState::Leaving => returned(&tx, &job, ask)?,
        _ if !asks => return Ok(Claim::NoJob),
        JobState::Boot => take(&tx, &machine, &job, ask)?,
        JobState::Running => again(&tx, &machine, &job, ask)?,
        state => Claim::Wait(format!("job {} of this machine is {state}", job.id)),
    };
    tx.commit()?;
    Ok(answer)
}

fn done(job: &JobRow) -> Claim {
    Claim::Nothing(format!("job {}: this boot has done its work", job.id))
}

fn returned(tx: &Connection, job: &JobRow, ask: &Ask) -> rusqlite::Result<Claim> {
    let message =
        format!("its work is done, and an agent came again from {} instead of its own system", ask.report.peer);
    let next = "look at the machine's boot order: its own disk comes first, or the network before it".to_owned();
    step(tx, job, Event::Fail, &Said::bad(Cause::Returned, message.clone(), next), ask.now)?;
    Ok(Claim::Nothing(format!("job {}: {message}", job.id)))
}

/// What speaks against giving a job to this machine as it is.
fn objection(job: &JobRow, report: &Report) -> Option<Said> {
    if job.kind != JobKind::Restore {
        return None;
    }
    for pair in &job.disks {
        if disks::of(&report.disks, pair).is_none() {
            let name = pair
                .serial
                .as_ref()
                .or(pair.wwn.as_ref())
                .cloned()
                .unwrap_or_else(|| format!("of {} bytes", pair.size));
            let message = format!("disk {name}, which was planned for, is not in the machine");
            let next = format!("ramet inventory, then ramet job cancel {} and plan anew", job.id);
            return Some(Said::bad(Cause::WrongMachine, message, next));
        }
    }
    if !job.options.blank_only {
        return None;
    }
    let of_job = job.disks.iter().filter_map(|pair| disks::of(&report.disks, pair));
    let all: Vec<_> = if job.disks.is_empty() { candidates(&report.disks).collect() } else { of_job.collect() };
    let full = all.iter().find(|disk| disk.holds.as_deref() != Some(""))?;
    let holds = full.holds.as_deref().unwrap_or("something that nobody looked at");
    let message = format!("disk {} holds {holds}, and the job may only write onto empty disks", full.name);
    let next = "wipe the disk, or restore without that condition (ramet restore; a rule: --wipe-existing)";
    Some(Said::bad(Cause::DiskNotEmpty, message, next))
}

fn take(tx: &Connection, machine: &MachineRow, job: &JobRow, ask: &Ask) -> rusqlite::Result<Claim> {
    if job.until.is_some_and(|until| until <= ask.now.steady) {
        return Ok(Claim::Wait(format!("job {}: the time in which its agent may call is over", job.id)));
    }
    if machine.approve && job.approved != Some(ask.boot) {
        let words = format!("an operator must approve {}: ramet agent approve {} --job {}", ask.code, ask.code, job.id);
        if job.step != words {
            tx.execute("UPDATE jobs SET step = ?2 WHERE id = ?1", (job.id, &words))?;
            note(tx, job.id, job.state, "waits", &words, ask.now.wall)?;
        }
        return Ok(Claim::Wait(words));
    }
    if let Some(said) = objection(job, &ask.report) {
        step(tx, job, Event::Fail, &said, ask.now)?;
        return Ok(Claim::Nothing(format!("job {}: {}", job.id, said.message)));
    }
    machines::refresh(tx, machine, &ask.report, ask.now.wall)?;
    let words = format!("claimed from {}", ask.report.peer);
    step(tx, job, Event::Claim, &Said::plain(words), ask.now)?;
    if job.kind == JobKind::Inventory {
        let sql = "UPDATE jobs SET boot = ?2, seen = 'done', follows = 'reboot', left_at = ?3 WHERE id = ?1";
        tx.execute(sql, (job.id, ask.boot, ask.now.steady))?;
        if let Some(job) = find(tx, job.id)? {
            step(tx, &job, Event::Done, &Said::plain("the machine is in the inventory"), ask.now)?;
        }
        return Ok(Claim::Nothing("the server has noted this machine".to_owned()));
    }
    hand_out(tx, job, ask, None)
}

fn again(tx: &Connection, machine: &MachineRow, job: &JobRow, ask: &Ask) -> rusqlite::Result<Claim> {
    let state = match &job.run {
        Some(run) => runs::find(tx, run)?.map(|run| run.state),
        None => None,
    };
    if job.boot == Some(ask.boot) {
        if is_done(state) || job.cause == Some(Cause::Agent) {
            return Ok(done(job));
        }
        if let Some(token) = &job.token {
            tokens::revoke(tx, token)?;
        }
        // Its agent began anew: what it had before is over.
        if let Some(run) = &job.run {
            let sql = "UPDATE runs SET state = 'failed', error = 'its agent began anew', ended = ?2, job = NULL
                       WHERE id = ?1 AND state = 'running'";
            tx.execute(sql, (run, ask.now.wall))?;
        }
        machines::refresh(tx, machine, &ask.report, ask.now.wall)?;
        return hand_out(tx, job, ask, job.run.clone());
    }
    if job.cause == Some(Cause::Agent) || job.lease.is_some_and(|lease| lease <= ask.now.steady) {
        return Ok(Claim::Wait(format!("job {}: its last try is being ended", job.id)));
    }
    Ok(Claim::Twice(Box::new(job.clone())))
}

fn hand_out(tx: &Connection, job: &JobRow, ask: &Ask, before: Option<String>) -> rusqlite::Result<Claim> {
    let image =
        job.image.clone().map(|name| ImageRef { name, id: job.version.filter(|_| job.kind == JobKind::Restore) });
    let (Some(action), Some(image)) = (action(job.kind), image) else {
        return Ok(Claim::Nothing(format!("job {} has no work", job.id)));
    };
    let (id, text, hash) = ask.token.clone();
    let origin = format!("job {}", job.id);
    let mut token = netboot::one_use(id.clone(), hash, action, &image, ask.now.wall, origin, String::new());
    token.job = Some(job.id);
    tokens::issue(tx, &token, ask.now.wall)?;
    let sql = "UPDATE jobs SET boot = ?2, peer = ?3, token = ?4, lease = ?5, run = NULL WHERE id = ?1";
    let lease = ask.now.steady.saturating_add(ask.lease);
    tx.execute(sql, params![job.id, ask.boot, ask.report.peer, id, lease])?;
    let then = if job.kind == JobKind::Capture { None } else { job.options.then };
    let disk = if job.disks.is_empty() { job.options.disk.clone() } else { disks::words(&job.disks) };
    let number = u64::try_from(job.id).unwrap_or(0);
    let blank_only = job.options.blank_only;
    let adapt = if job.kind == JobKind::Restore { beyond(tx, job, ask)? } else { None };
    let work = Work { action, image, token: text, then, disk, job: Some(number), blank_only, adapt };
    Ok(Claim::Go(Box::new(work), before))
}

/// What the machine becomes beyond the copy, with the token of its clone's call.
fn beyond(tx: &Connection, job: &JobRow, ask: &Ask) -> rusqlite::Result<Option<Box<Adapt>>> {
    let mut adapt = super::adapt_of(tx, job.id)?.unwrap_or_default();
    if job.options.first_boot.is_some() {
        let (call, id, hash) = ask.first_boot.clone();
        let limit = job.options.boot_limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(0);
        first_boot::hand_out(tx, job.id, &id, hash, ask.call_life.saturating_add(limit), ask.now.wall)?;
        adapt.first_boot = Some(call);
    }
    Ok((!adapt.is_nothing()).then(|| Box::new(adapt)))
}

/// Two boots claim one job: it fails with both addresses. Called when the session of the first can publish nothing more.
///
/// # Errors
/// SQLite's.
pub fn freeze(connection: &mut Connection, id: i64, ask: &Ask) -> rusqlite::Result<Option<String>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(job) = find(&tx, id)?.filter(|job| job.state == JobState::Running && job.boot != Some(ask.boot)) else {
        return Ok(None);
    };
    let holder = job.peer.clone().unwrap_or_default();
    let message = format!("claimed twice: from {holder} and from {}; nothing of either is accepted", ask.report.peer);
    let next = format!("find out which of the two is the machine, then ramet job retry {id}");
    step(&tx, &job, Event::Fail, &Said::bad(Cause::ClaimedTwice, message.clone(), next), ask.now)?;
    tx.commit()?;
    Ok(Some(message))
}

/// An operator approves this boot for the job of its machine; the window opens anew.
///
/// # Errors
/// SQLite's.
pub fn approve(
    tx: &Connection,
    id: i64,
    report: &Report,
    boot: [u8; 32],
    window: i64,
    now: Now,
) -> rusqlite::Result<Result<(), String>> {
    let machine = machines::identify(tx, report)?;
    let job = find(tx, id)?;
    let (Ok(Some(machine)), Some(job)) = (machine, job) else {
        return Ok(Err(format!("job {id} is not of the machine with this code")));
    };
    if job.machine != Some(machine.id) {
        return Ok(Err(format!("job {id} is not of {}, which is the machine with this code", machine.name)));
    }
    if job.state != JobState::Boot {
        return Ok(Err(format!("job {id} is {}, and does not wait for its agent", job.state)));
    }
    let sql = "UPDATE jobs SET approved = ?2, until = max(until, ?3) WHERE id = ?1";
    tx.execute(sql, (id, boot, now.steady.saturating_add(window)))?;
    note(tx, id, job.state, "approved", "", now.wall)?;
    Ok(Ok(()))
}

/// The last word of a job's agent.
///
/// # Errors
/// SQLite's.
pub fn leaving(
    tx: &Connection,
    id: i64,
    leaving: &ramet_wire::jobs::JobLeaving,
    pause: i64,
    now: Now,
) -> rusqlite::Result<()> {
    use ramet_wire::api::ErrorKind;
    let Some(job) = find(tx, id)? else { return Ok(()) };
    let then = serde_json::to_value(leaving.then).ok().and_then(|word| word.as_str().map(str::to_owned));
    match (&leaving.error, job.state) {
        (None, JobState::Leaving) if job.left_at.is_none() => {
            let sql = "UPDATE jobs SET left_at = ?2, follows = ?3, step = 'its agent has left', wake = 0 WHERE id = ?1";
            tx.execute(sql, (id, now.steady, then))?;
            super::prove(tx, &job, ramet_wire::jobs::Seen::Left, now)
        }
        (None, JobState::Running) => {
            let said = Said::bad(Cause::Agent, "its agent left without a result", format!("ramet job retry {id}"));
            try_over(tx, &job, &said, pause, now).map(drop)
        }
        (Some(error), JobState::Running) => {
            let error = crate::text::redact(error);
            let said = Said::bad(Cause::Agent, error, format!("read what its agent says, then ramet job retry {id}"));
            match leaving.kind {
                Some(ErrorKind::Refused | ErrorKind::Damaged | ErrorKind::Bug) => {
                    step(tx, &job, Event::Fail, &said, now).map(drop)
                }
                _ => try_over(tx, &job, &said, pause, now).map(drop),
            }
        }
        _ => Ok(()),
    }
}

/// Its agent lives.
///
/// # Errors
/// SQLite's.
pub fn beat(tx: &Connection, id: i64, step: &str, progress: (u64, u64), lease: i64) -> rusqlite::Result<()> {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "UPDATE jobs SET step = ?2, done = ?3, total = ?4, lease = max(coalesce(lease, 0), ?5)
               WHERE id = ?1 AND state = 'running' AND cause IS NOT 'agent'";
    tx.prepare_cached(sql)?.execute((id, step, signed(progress.0), signed(progress.1), lease)).map(drop)
}

/// The active jobs of all machines, trees apart.
///
/// # Errors
/// SQLite's.
pub fn active(connection: &Connection) -> rusqlite::Result<Vec<JobRow>> {
    query(connection, "kind <> 'tree' AND state IN ('power', 'boot', 'running', 'leaving')", [])
}
