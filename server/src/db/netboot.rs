//! Machines that are armed for network boot, and which boot has the work of each.
//!
//! In: a MAC and what its machine shall do; a boot that asks. Out: the work, for one boot at a time.
//! Promise: while one boot has a machine's work, no other boot gets it; disarming takes back what was handed out.

use super::tokens::{self, TokenRow};
use ramet_wire::agents::Arm;
use ramet_wire::api::{Action, RunState, Scope};
use ramet_wire::jobs::JobKind;
use ramet_wire::settings::{Mac, Mode};
use ramet_wire::{ImageGlob, ImageRef};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Seconds for which a token that was handed to a boot is good, and keeps the work from others.
pub const HOLD: i64 = 15 * 60;

/// An armed machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmRow {
    /// Another one each time that it is armed.
    pub id: i64,
    /// Its card.
    pub mac: Mac,
    /// What it does.
    pub arm: Arm,
    /// Seconds since 1970; none for never.
    pub expires: Option<i64>,
    /// When its boot script was fetched last.
    pub fetched: Option<i64>,
    /// The boot that has its work.
    held: Option<Held>,
}

/// Who has the work.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    boot: [u8; 32],
    peer: String,
    token: String,
    at: i64,
}

/// A boot that asks for work.
#[derive(Debug)]
pub struct Ask {
    /// Its machine's cards.
    pub macs: Vec<Mac>,
    /// What its boot line says.
    pub mode: Mode,
    /// SHA-256 of its nonce.
    pub boot: [u8; 32],
    /// Where it asks from.
    pub peer: String,
    /// Seconds since 1970.
    pub now: i64,
    /// Id and SHA-256 of a token that becomes real if there is work.
    pub token: (String, [u8; 32]),
}

/// What a boot that asked gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of its cards is armed.
    Unarmed,
    /// A person shall decide, or it shall only tell what it is.
    Rest(Mode),
    /// Its boot line wants something else than this.
    Other(Mode),
    /// Two of its cards are armed with different work.
    Collision(Box<(ArmRow, ArmRow)>),
    /// Another boot has the work.
    Held {
        /// Where that one asked from.
        peer: String,
        /// When, in seconds since 1970.
        at: i64,
    },
    /// It has done its work.
    Done,
    /// The work is its own; the token is good.
    Go(Box<ArmRow>, Action, ImageRef),
}

/// Arms a machine anew; what it was armed with before is forgotten. False when there are `most` already.
///
/// # Errors
/// SQLite's.
pub fn put(connection: &mut Connection, mac: Mac, arm: &Arm, now: i64, most: usize) -> rusqlite::Result<bool> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step.execute("DELETE FROM netboot WHERE expires <= ?1", [now])?;
    remove(&step, mac)?;
    let count: i64 = step.query_row("SELECT count(*) FROM netboot", [], |row| row.get(0))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= most {
        return Ok(false);
    }
    let expires = arm.expires.map(|seconds| now.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)));
    let image = arm.image.as_ref().map(ImageRef::to_string);
    let follows = arm.then.map(|then| word(&then));
    step.execute(
        "INSERT INTO netboot (mac, mode, image, once, follows, disk, name, expires, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        rusqlite::params![mac.to_string(), word(&arm.mode), image, arm.once, follows, arm.disk, arm.name, expires, now],
    )?;
    step.commit()?;
    Ok(true)
}

/// Disarms a machine and takes back the token that it was given and has not used; false when it was not armed.
///
/// # Errors
/// SQLite's.
pub fn remove(connection: &Connection, mac: Mac) -> rusqlite::Result<bool> {
    let mac = mac.to_string();
    connection
        .execute("DELETE FROM tokens WHERE used = 0 AND id IN (SELECT token FROM netboot WHERE mac = ?1)", [&mac])?;
    connection.execute("DELETE FROM netboot WHERE mac = ?1", [&mac]).map(|gone| gone > 0)
}

/// Disarms those of `armed` (ids with commas) that were armed for once.
///
/// # Errors
/// SQLite's.
pub fn fulfil(connection: &Connection, armed: &str) -> rusqlite::Result<()> {
    for id in armed.split(',').filter_map(|id| id.parse::<i64>().ok()) {
        connection.execute("DELETE FROM netboot WHERE id = ?1 AND once = 1", [id])?;
    }
    Ok(())
}

/// All that are armed now, by MAC.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, now: i64) -> rusqlite::Result<Vec<ArmRow>> {
    let sql = format!("SELECT {COLUMNS} FROM netboot WHERE expires IS NULL OR expires > ?1 ORDER BY mac");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map([now], read)?.collect()
}

/// What one card is armed with.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, mac: Mac, now: i64) -> rusqlite::Result<Option<ArmRow>> {
    let sql = format!("SELECT {COLUMNS} FROM netboot WHERE mac = ?1 AND (expires IS NULL OR expires > ?2)");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map((mac.to_string(), now), read)?.next().transpose()
}

/// What the boot file of a card says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A menu that chooses the local disk.
    Menu,
    /// It is armed.
    Armed(Box<ArmRow>),
    /// A job of its machine waits for its agent: number, kind, the machine's name.
    Job(i64, JobKind, String),
    /// A job of its machine is under way, and the agent is not to be started: the local disk.
    Disk,
    /// Nobody knows it, and a rule takes up new machines.
    Welcome,
}

/// What a card is told now: its job's word first, then what it is armed with.
///
/// # Errors
/// SQLite's.
pub fn told(connection: &Connection, mac: Mac, now: i64) -> rusqlite::Result<Told> {
    let sql = "SELECT jobs.id, jobs.kind, jobs.state, machines.name FROM machine_macs
               JOIN machines ON machines.id = machine_macs.machine AND machines.state = 'accepted'
               JOIN jobs ON jobs.machine = machines.id AND jobs.state IN ('power', 'boot', 'running', 'leaving')
               WHERE mac = ?1";
    let job = connection.prepare_cached(sql)?.query_row([mac.to_string()], |row| {
        let (kind, state): (String, String) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, JobKind::of(&kind), state == "boot", row.get(3)?))
    });
    match job.optional()? {
        Some((id, kind, true, name)) => return Ok(Told::Job(id, kind, name)),
        Some((_, _, false, _)) => return Ok(Told::Disk),
        None => {}
    }
    if let Some(row) = find(connection, mac, now)? {
        return Ok(Told::Armed(Box::new(row)));
    }
    let known = connection.prepare_cached("SELECT 1 FROM machine_macs WHERE mac = ?1")?.exists([mac.to_string()])?;
    Ok(if !known && super::rules::welcomes(connection)? { Told::Welcome } else { Told::Menu })
}

/// Gives a boot its machine's work, if there is any and nobody else has it.
///
/// # Errors
/// SQLite's.
pub fn claim(connection: &mut Connection, ask: &Ask) -> rusqlite::Result<Verdict> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut rows = Vec::new();
    for mac in &ask.macs {
        rows.extend(find(&step, *mac, ask.now)?);
    }
    let Some(first) = rows.first().cloned() else { return Ok(Verdict::Unarmed) };
    if let Some(other) = rows.iter().find(|row| !same_work(&row.arm, &first.arm)) {
        return Ok(Verdict::Collision(Box::new((first, other.clone()))));
    }
    let (action, image) = match (first.arm.mode, &first.arm.image) {
        (Mode::Capture, Some(image)) => (Action::Capture, image.clone()),
        (Mode::Restore, Some(image)) => (Action::Restore, image.clone()),
        (mode, _) => return Ok(Verdict::Rest(mode)),
    };
    if ask.mode != Mode::Job && ask.mode != first.arm.mode {
        return Ok(Verdict::Other(first.arm.mode));
    }
    for held in rows.iter().filter_map(|row| row.held.as_ref()) {
        let run = super::runs::state_of_token(&step, &held.token)?;
        if held.boot == ask.boot {
            if matches!(run, Some(RunState::Done | RunState::Unproven)) {
                return Ok(Verdict::Done);
            }
            continue;
        }
        let waits = run.is_none() && ask.now < held.at.saturating_add(HOLD);
        if waits || run == Some(RunState::Running) {
            return Ok(Verdict::Held { peer: held.peer.clone(), at: held.at });
        }
    }
    for held in rows.iter().filter_map(|row| row.held.as_ref()) {
        tokens::revoke(&step, &held.token)?;
    }
    hand_out(&step, ask, &rows, action, &image)?;
    step.commit()?;
    Ok(Verdict::Go(Box::new(first), action, image))
}

fn hand_out(step: &Connection, ask: &Ask, rows: &[ArmRow], action: Action, image: &ImageRef) -> rusqlite::Result<()> {
    let armed: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    let (id, hash) = ask.token.clone();
    let token = one_use(id, hash, action, image, ask.now, "armed".to_owned(), armed.join(","));
    tokens::issue(step, &token, ask.now)?;
    for row in rows {
        let sql = "UPDATE netboot SET boot = ?2, peer = ?3, token = ?4, handed = ?5 WHERE id = ?1";
        step.execute(sql, (row.id, ask.boot, &ask.peer, &ask.token.0, ask.now))?;
    }
    Ok(())
}

/// A token for exactly this action and image, for one run that begins soon.
#[must_use]
pub fn one_use(
    id: String,
    hash: [u8; 32],
    action: Action,
    image: &ImageRef,
    now: i64,
    origin: String,
    armed: String,
) -> TokenRow {
    let scope = match action {
        Action::Capture => Scope::Capture,
        Action::Restore => Scope::Restore,
    };
    // A name has no `*`: as a pattern it means itself.
    let images: ImageGlob = image.name.as_str().parse().unwrap_or_else(|_| ImageGlob::any());
    let expires = Some(now.saturating_add(HOLD));
    TokenRow {
        id,
        hash,
        scopes: vec![scope],
        images,
        expires,
        once: true,
        used: 0,
        origin,
        version: image.id,
        armed,
        job: None,
    }
}

fn same_work(one: &Arm, other: &Arm) -> bool {
    (one.mode, &one.image, one.then, &one.disk) == (other.mode, &other.image, other.then, &other.disk)
}

const COLUMNS: &str = "id, mac, mode, image, once, follows, disk, name, expires, fetched, boot, peer, token, handed";

fn read(row: &Row<'_>) -> rusqlite::Result<ArmRow> {
    let odd = |at: usize| rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text);
    let (mac, mode): (String, String) = (row.get(1)?, row.get(2)?);
    let (image, follows): (Option<String>, Option<String>) = (row.get(3)?, row.get(5)?);
    let arm = Arm {
        mode: unword(&mode).ok_or_else(|| odd(2))?,
        image: image.map(|image| image.parse().map_err(|_| odd(3))).transpose()?,
        once: row.get(4)?,
        expires: None,
        then: follows.map(|then| unword(&then).ok_or_else(|| odd(5))).transpose()?,
        disk: row.get(6)?,
        name: row.get(7)?,
    };
    let boot: Option<[u8; 32]> = row.get(10)?;
    let held = match boot {
        Some(boot) => Some(Held { boot, peer: row.get(11)?, token: row.get(12)?, at: row.get(13)? }),
        None => None,
    };
    let mac = mac.parse().map_err(|_| odd(1))?;
    Ok(ArmRow { id: row.get(0)?, mac, arm, expires: row.get(8)?, fetched: row.get(9)?, held })
}

/// One of the wire's words, as it lies.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn unword<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}
