//! What time does to jobs.
//!
//! In: the clock, the limits. Out: steps that are due, taken; and what the engine's hands shall do.
//! Promise: no job waits for ever; nothing begins beyond a limit.

use super::{JobRow, Now, Said, claim, find, note, query, step, try_over};
use crate::jobs::states::Event;
use ramet_wire::jobs::{Cause, JobKind, JobState, Seen};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::HashMap;

/// How many, how long; seconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Jobs under way at once.
    pub total: usize,
    /// Of these, with machines of one group.
    pub group: usize,
    /// Machines being switched at once, and for [`Pace::spread`] after.
    pub power: usize,
    /// For how long a machine that was switched on counts as being switched.
    pub spread: i64,
    /// Before another try; grows with each.
    pub pause: i64,
}

/// What the engine shall do, in this order.
#[derive(Debug, Default)]
pub struct Todo {
    /// Machines to switch off.
    pub down: Vec<JobRow>,
    /// Machines to switch on.
    pub up: Vec<JobRow>,
    /// Jobs to look at whether they can be confirmed.
    pub check: Vec<JobRow>,
    /// Runs whose sessions are over.
    pub over: Vec<String>,
}

/// Takes the steps that are due.
///
/// # Errors
/// SQLite's.
pub fn tick(connection: &mut Connection, pace: &Pace, kept: usize, now: Now) -> rusqlite::Result<Todo> {
    // Most of the time nothing is due: reading alone locks nobody out.
    let mut todo = Todo::default();
    if due(connection, now)? {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        lapse(&tx, &mut todo, pace, now)?;
        begin(&tx, pace, now)?;
        super::prune(&tx, kept)?;
        tx.commit()?;
    }
    for job in claim::active(connection)? {
        match job.state {
            JobState::Power => todo.down.push(job),
            JobState::Boot if !job.powered => todo.up.push(job),
            JobState::Leaving => todo.check.push(job),
            _ => {}
        }
    }
    Ok(todo)
}

fn due(connection: &Connection, now: Now) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM jobs WHERE ended IS NULL AND ((state = 'queued' AND kind <> 'tree' AND wake <= ?1)
               OR (state = 'boot' AND until <= ?1) OR (state = 'running' AND (lease <= ?1 OR until <= ?1))) LIMIT 1";
    connection.prepare_cached(sql)?.exists([now.steady])
}

fn lapse(tx: &Connection, todo: &mut Todo, pace: &Pace, now: Now) -> rusqlite::Result<()> {
    for job in query(tx, "state = 'boot' AND until <= ?1", [now.steady])? {
        let name = job.name.clone().unwrap_or_default();
        let waited = now.steady.saturating_sub(job.since);
        let message = format!("{name} was started, and no agent of it has called for {waited} s");
        let next = format!(
            "look at its console: does it start from the network, with a card that ramet machine show {name} lists? then \
             ramet job retry {}",
            job.id
        );
        try_over(tx, &job, &Said::bad(Cause::NoAgent, message, next), pace.pause, now)?;
    }
    for job in query(tx, "state = 'running' AND (lease <= ?1 OR until <= ?1)", [now.steady])? {
        todo.over.extend(job.run.clone());
        let (cause, message) = if job.cause == Some(Cause::Agent) {
            (Cause::Agent, job.message.clone())
        } else {
            let message = format!("its agent was not heard of any more, in step {:?}", job.step);
            (Cause::Silent, message)
        };
        let next = format!("look at its console, then ramet job retry {}: only what is missing is sent", job.id);
        try_over(tx, &job, &Said::bad(cause, message, next), pace.pause, now)?;
    }
    Ok(())
}

/// Begins what may begin, oldest first.
fn begin(tx: &Connection, pace: &Pace, now: Now) -> rusqlite::Result<()> {
    let active = claim::active(tx)?;
    let mut total = active.len();
    let mut groups: HashMap<String, usize> = HashMap::new();
    for rack in active.iter().filter_map(|job| job.rack.clone()) {
        *groups.entry(rack).or_default() += 1;
    }
    let switching = |job: &&JobRow| match job.state {
        JobState::Power => true,
        JobState::Boot => !job.powered || now.steady.saturating_sub(job.since) < pace.spread,
        _ => false,
    };
    let mut power = active.iter().filter(switching).count();
    let ready = "state = 'queued' AND kind <> 'tree' AND wake <= ?1 AND checked = 1
                 AND (after IS NULL OR (SELECT version FROM jobs AS before WHERE before.id = jobs.after) IS NOT NULL)
                 AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.machine = jobs.machine
                     AND other.state IN ('power', 'boot', 'running', 'leaving'))";
    for job in query(tx, ready, [now.steady])? {
        if total >= pace.total || power >= pace.power {
            break;
        }
        let Some(machine) = job.machine else {
            let said = Said::bad(Cause::WrongMachine, "its machine was removed", "");
            step(tx, &job, Event::Fail, &said, now)?;
            continue;
        };
        let group = job.rack.clone().map(|rack| groups.entry(rack).or_default());
        if group.as_deref().is_some_and(|count| *count >= pace.group) {
            continue;
        }
        if job.kind == JobKind::Restore && job.version.is_none() {
            let said = Said::bad(Cause::Image, "the version of its image is not known", "ask for the restore anew");
            step(tx, &job, Event::Fail, &said, now)?;
            continue;
        }
        // Another job of the same machine may have begun a moment ago.
        let busy = "SELECT 1 FROM jobs WHERE machine = ?1 AND state IN ('power', 'boot', 'running', 'leaving')";
        if tx.prepare_cached(busy)?.exists([machine])? {
            continue;
        }
        step(tx, &job, Event::Begin, &Said::plain("looks at its power"), now)?;
        group.into_iter().for_each(|count| *count += 1);
        (total, power) = (total + 1, power + 1);
    }
    Ok(())
}

/// The machine is off, or only a person can switch it: its boot file offers the agent from now on.
///
/// # Errors
/// SQLite's.
pub fn opened(
    connection: &mut Connection,
    id: i64,
    words: &str,
    by_hand: bool,
    window: i64,
    now: Now,
) -> rusqlite::Result<bool> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(job) = find(&tx, id)? else { return Ok(false) };
    if step(&tx, &job, Event::Off, &Said::plain(words), now)?.is_none() {
        return Ok(false);
    }
    let until = now.steady.saturating_add(window);
    tx.execute("UPDATE jobs SET until = ?2, powered = ?3 WHERE id = ?1", (id, until, by_hand))?;
    tx.commit()?;
    Ok(true)
}

/// The agent of its machine is waiting already: no power is needed, and this boot has an operator's or a rule's word.
///
/// # Errors
/// SQLite's.
pub fn here(tx: &Connection, id: i64, boot: [u8; 32], window: i64, now: Now) -> rusqlite::Result<()> {
    let Some(job) = find(tx, id)? else { return Ok(()) };
    step(tx, &job, Event::Here, &Said::plain("its agent is here"), now)?;
    let sql = "UPDATE jobs SET until = ?2, powered = 1, approved = ?3 WHERE id = ?1 AND state = 'boot'";
    tx.execute(sql, (id, now.steady.saturating_add(window), boot)).map(drop)
}

/// The machine was switched on by us: the window counts from now.
///
/// # Errors
/// SQLite's.
pub fn switched_on(connection: &mut Connection, id: i64, words: &str, window: i64, now: Now) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "UPDATE jobs SET powered = 1, ours = 1, until = ?2, step = ?3 WHERE id = ?1 AND state = 'boot'";
    if tx.execute(sql, (id, now.steady.saturating_add(window), words))? == 1 {
        note(&tx, id, JobState::Boot, "on", words, now.wall)?;
    }
    // Its agent may have been faster than the power system's answer.
    tx.execute("UPDATE jobs SET powered = 1, ours = 1 WHERE id = ?1", [id])?;
    tx.commit()
}

/// A power system did not do it.
///
/// # Errors
/// SQLite's.
pub fn power_failed(
    connection: &mut Connection,
    id: i64,
    from: JobState,
    said: &Said,
    again: Option<i64>,
    now: Now,
) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // In the meantime its agent may have called: then the machine is on, whatever its power system says.
    let Some(job) = find(&tx, id)?.filter(|job| job.state == from) else { return Ok(()) };
    match again {
        Some(pause) => try_over(&tx, &job, said, pause, now)?,
        None => step(&tx, &job, Event::Fail, said, now)?,
    };
    tx.commit()
}

/// What the look at a leaving job came to.
#[derive(Clone, Debug)]
pub enum Look {
    /// Nothing is known yet; what is waited for.
    Wait(String),
    /// All was seen.
    Confirmed,
    /// It cannot be confirmed.
    Not(Said),
}

/// Notes a look.
///
/// # Errors
/// SQLite's.
pub fn looked(connection: &mut Connection, id: i64, look: &Look, seen: Seen, now: Now) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(job) = find(&tx, id)?.filter(|job| job.state == JobState::Leaving) else { return Ok(()) };
    super::prove(&tx, &job, seen, now)?;
    match look {
        Look::Wait(words) => {
            if job.step != *words {
                tx.execute("UPDATE jobs SET step = ?2 WHERE id = ?1", (id, words))?;
            }
        }
        Look::Confirmed => {
            let said = job.booted.as_ref().map(|host| Said::plain(format!("booted as {host}"))).unwrap_or_default();
            step(&tx, &job, Event::Seen, &said, now)?;
        }
        Look::Not(said) => {
            step(&tx, &job, Event::Fail, said, now)?;
        }
    }
    tx.commit()
}

/// Boot files that were asked for: machines that are sent to their own disk while their job is leaving prove it.
///
/// # Errors
/// SQLite's.
pub fn fetched(connection: &mut Connection, macs: &[String], now: Now) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for mac in macs {
        let sql = "UPDATE machines SET fetched = ?2 WHERE id IN (SELECT machine FROM machine_macs WHERE mac = ?1)";
        tx.prepare_cached(sql)?.execute((mac, now.wall))?;
        let wanted = "state = 'leaving' AND machine IN (SELECT machine FROM machine_macs WHERE mac = ?1)";
        for job in query(&tx, wanted, [mac])? {
            // An agent whose last word was lost has left all the same.
            tx.execute("UPDATE jobs SET left_at = ?2 WHERE id = ?1 AND left_at IS NULL", (job.id, now.steady))?;
            super::prove(&tx, &job, Seen::AskedDisk, now)?;
        }
        let sql = "UPDATE netboot SET fetched = ?2 WHERE mac = ?1 AND (fetched IS NULL OR fetched < ?2)";
        tx.prepare_cached(sql)?.execute((mac, now.wall))?;
    }
    tx.commit()
}

/// After a start of the server: agents could not be heard of while it was down, and waits begin anew.
///
/// # Errors
/// SQLite's.
pub fn taken_up(connection: &mut Connection, lease: i64, window: i64, now: Now) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let later = |seconds: i64| now.steady.saturating_add(seconds);
    let sql = "UPDATE jobs SET lease = ?1 WHERE state = 'running' AND lease IS NOT NULL";
    tx.execute(sql, [later(lease)])?;
    // A clock that was set back meanwhile must not keep a wait for ever.
    tx.execute("UPDATE jobs SET until = min(until, ?1) WHERE until IS NOT NULL AND state = 'running'", [later(lease)])?;
    tx.execute("UPDATE jobs SET until = min(until, ?1) WHERE until IS NOT NULL AND state = 'boot'", [later(window)])?;
    tx.execute("UPDATE jobs SET wake = 0 WHERE ended IS NULL", [])?;
    tx.execute("UPDATE jobs SET since = ?1 WHERE since > ?1 AND ended IS NULL", [now.steady])?;
    tx.execute("UPDATE jobs SET left_at = ?1 WHERE left_at > ?1 AND ended IS NULL", [now.steady])?;
    // An agent that could not reach the server has not let its window pass.
    tx.execute("UPDATE jobs SET until = max(until, ?1) WHERE state = 'boot'", [later(lease.min(window))])?;
    tx.commit()
}
