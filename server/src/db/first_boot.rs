//! First boots: a clone says once, with a token of its job, that it runs and who it is.
//!
//! In: what it says, cleaned. Out: the job with its strongest proof, the machine with who runs on it, and its doubles.
//! Promise: a token counts once, for its job and its machine alone; a call changes no job's end that was before it.

use super::jobs::{self, Now};
use super::tokens::{self, TokenRow};
use super::{audit, machines};
use ramet_wire::ImageGlob;
use ramet_wire::adapt::{BootSeen, Booted};
use ramet_wire::api::Scope;
use ramet_wire::jobs::{JobState, Seen};
use rusqlite::{Connection, TransactionBehavior};

/// Doubles of a machine that are noted.
const DOUBLES: u32 = 5;
/// How the origins of such tokens start.
const ORIGIN: &str = "first boot of job";

fn origin(job: i64) -> String {
    format!("{ORIGIN} {job}")
}

/// Makes the token real with which the clone of a job calls; one of an earlier try is void.
///
/// # Errors
/// SQLite's.
pub fn hand_out(tx: &Connection, job: i64, id: &str, hash: [u8; 32], life: i64, now: i64) -> rusqlite::Result<()> {
    take_back(tx, job)?;
    let token = TokenRow {
        id: id.to_owned(),
        hash,
        scopes: vec![Scope::FirstBoot],
        images: ImageGlob::any(),
        expires: Some(now.saturating_add(life)),
        once: true,
        used: 0,
        origin: origin(job),
        version: None,
        armed: String::new(),
        job: Some(job),
    };
    tokens::issue(tx, &token, now)
}

/// The clone of this job calls no more.
///
/// # Errors
/// SQLite's.
pub fn take_back(tx: &Connection, job: i64) -> rusqlite::Result<()> {
    tokens::remove_of(tx, &origin(job))
}

/// What a call came to.
#[derive(Debug)]
pub struct Called {
    /// The machine's name.
    pub machine: String,
    /// Seconds since the agent of its job left, where it has.
    pub seconds: Option<i64>,
    /// Machines that have said the same, and what.
    pub doubles: Vec<(String, String)>,
}

/// A clone calls. None where the token is void by now, or its job or machine is gone.
///
/// # Errors
/// SQLite's.
pub fn call(
    connection: &mut Connection,
    token: &TokenRow,
    booted: Booted,
    peer: &str,
    now: Now,
) -> rusqlite::Result<Option<Called>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !tokens::consume(&tx, &token.id)? {
        return Ok(None);
    }
    let Some(job) = token.job.map(|id| jobs::find(&tx, id)).transpose()?.flatten() else { return Ok(None) };
    let Some(machine) = job.machine else { return Ok(None) };
    let Some(row) = machines::find(&tx, machine)? else { return Ok(None) };
    let number = u64::try_from(job.id).unwrap_or(0);
    let seen = BootSeen { at: crate::time::rfc3339(now.wall), job: number, peer: peer.to_owned(), booted };
    let text = jobs::json(&seen);
    tx.execute("UPDATE jobs SET booted = ?2 WHERE id = ?1", (job.id, &text))?;
    tx.execute("UPDATE machines SET booted = ?2, health_bad = 0 WHERE id = ?1", (machine, &text))?;
    let seconds = job.left_at.map(|left| now.steady.saturating_sub(left));
    // An agent whose last word was lost has left all the same.
    if job.state == JobState::Leaving {
        let sql = "UPDATE jobs SET left_at = ?2 WHERE id = ?1 AND left_at IS NULL";
        tx.execute(sql, (job.id, now.steady))?;
    }
    let words = said(&seen.booted);
    tx.execute("UPDATE jobs SET seen = ?2 WHERE id = ?1", (job.id, Seen::Booted.word()))?;
    jobs::note(&tx, job.id, job.state, Seen::Booted.word(), &words, now.wall)?;
    let who = format!("job {}", job.id);
    machines::remember(&tx, machine, &who, "booted", &words, now.wall)?;
    let doubles = mark(&tx, machine, &seen.booted)?;
    for (other, name, what) in &doubles {
        let own = format!("duplicate identity: {what} as {name}");
        machines::remember(&tx, machine, &who, "duplicate", &own, now.wall)?;
        let theirs = format!("duplicate identity: {what} as {}", row.name);
        machines::remember(&tx, *other, &who, "duplicate", &theirs, now.wall)?;
        let (what, object) = ("duplicate identity".to_owned(), format!("{} {name}", row.name));
        let act = audit::Act { who: "server".to_owned(), peer: peer.to_owned(), what, object, result: own };
        audit::add(&tx, &act, now.wall)?;
    }
    tx.commit()?;
    let doubles = doubles.into_iter().map(|(_, name, what)| (name, what)).collect();
    Ok(Some(Called { machine: row.name, seconds, doubles }))
}

/// `booted as web02, kernel 6.1.0, Debian GNU/Linux 12, 10.0.0.2`
fn said(booted: &Booted) -> String {
    let mut words = vec![format!("booted as {}", booted.host), format!("kernel {}", booted.kernel)];
    words.extend(Some(booted.os.clone()).filter(|os| !os.is_empty()));
    words.extend(booted.addresses.iter().cloned());
    words.join(", ")
}

/// By what a clone is told from others. A machine-id that is none tells nothing (machine-id(5)).
fn marks(booted: &Booted) -> Vec<String> {
    let id = &booted.machine_id;
    let is_id = id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()) && id.bytes().any(|c| c != b'0');
    let keys = booted.ssh_keys.iter().map(|key| format!("SSH-key {key}"));
    is_id.then(|| format!("machine-id {}", id.to_ascii_lowercase())).into_iter().chain(keys).collect()
}

/// Remembers the marks of a machine; who has one of them too, and which.
fn mark(tx: &Connection, machine: i64, booted: &Booted) -> rusqlite::Result<Vec<(i64, String, String)>> {
    tx.execute("DELETE FROM boot_marks WHERE machine = ?1", [machine])?;
    let mut doubles: Vec<(i64, String, String)> = Vec::new();
    for mark in marks(booted) {
        let sql = "SELECT id, name FROM boot_marks JOIN machines ON machines.id = machine WHERE mark = ?1
                   ORDER BY name LIMIT ?2";
        let mut query = tx.prepare_cached(sql)?;
        let others = query.query_map((&mark, DOUBLES), |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (id, name) in others.collect::<rusqlite::Result<Vec<(i64, String)>>>()? {
            if doubles.len() < DOUBLES as usize && !doubles.iter().any(|(known, ..)| *known == id) {
                doubles.push((id, name, format!("same {mark}")));
            }
        }
        tx.execute("INSERT OR IGNORE INTO boot_marks (mark, machine) VALUES (?1, ?2)", (&mark, machine))?;
    }
    Ok(doubles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_nothing_is_no_mark() {
        let of = |machine_id: &str| {
            let ssh_keys = vec!["SHA256:abc".to_owned()];
            marks(&Booted { machine_id: machine_id.to_owned(), ssh_keys, ..Booted::default() })
        };
        assert_eq!(of("uninitialized"), ["SSH-key SHA256:abc"]);
        assert_eq!(of(""), ["SSH-key SHA256:abc"]);
        assert_eq!(of(&"0".repeat(32)), ["SSH-key SHA256:abc"]);
        assert_eq!(of(&"AB".repeat(16)), [format!("machine-id {}", "ab".repeat(16)), "SSH-key SHA256:abc".to_owned()]);
    }
}
