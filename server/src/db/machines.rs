//! Machines at rest.
//!
//! In: what operators say of them, and what agents report. Out: rows, lists, and who a report comes from.
//! Promise: a card or a UUID belongs to one accepted machine at most; what strangers write is bounded in number.

mod health;
mod list;
mod report;

pub use health::{note_health, to_ask};
pub(super) use list::booted;
pub use list::{all_accepted, detail, list, resolve, resolve_all};
pub use report::{Report, Who, enrol, identify, refresh};

use ramet_wire::agents::{DiskSeen, MACS_MAX};
use ramet_wire::hardware::Hardware;
use ramet_wire::machines::{AddMachine, Label, MachineState, SetMachine, TAGS_MAX};
use ramet_wire::manifest::Source;
use ramet_wire::settings::Mac;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;

/// Events that a machine's history keeps.
const HISTORY: i64 = 200;

/// What jobs and claims need to know of a machine.
#[derive(Clone, Debug)]
pub struct MachineRow {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// How far it is trusted.
    pub state: MachineState,
    /// SMBIOS system UUID, as [`crate::inventory::uuid`] writes it.
    pub uuid: Option<String>,
    /// Cards.
    pub macs: Vec<Mac>,
    /// What its firmware tells.
    pub source: Source,
    /// Its disks, as it reported them last.
    pub disks: Vec<DiskSeen>,
    /// Tags, ascending.
    pub tags: Vec<Label>,
    /// Rack or circuit.
    pub group: Option<String>,
    /// Restores are refused.
    pub protected: bool,
    /// A job's agent needs an operator's word.
    pub approve: bool,
    /// The firmware asks the network at every start.
    pub network_first: bool,
    /// Kind of its power system.
    pub power: Option<String>,
    /// Name and version of what runs on it.
    pub runs: Option<String>,
    /// Since when.
    pub runs_since: Option<i64>,
    /// By which run.
    pub runs_run: Option<String>,
    /// It was to be a machine of its own, and is a plain copy.
    pub runs_without: bool,
    /// When it was first heard of, or added.
    pub first_seen: i64,
}

/// Why a machine is not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// SQLite said no.
    #[error("working on the inventory")]
    Sqlite(#[from] rusqlite::Error),
    /// An operator must decide.
    #[error("{0}")]
    Refused(String),
}

type Done<T> = Result<T, MachineError>;

fn refused<T>(message: impl Into<String>) -> Done<T> {
    Err(MachineError::Refused(message.into()))
}

pub(super) fn odd(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text)
}

const COLUMNS: &str = "id, name, state, uuid, source, disks, tags, protected, approve, network_first, runs_image,
    runs_since, runs_run, first_seen, (SELECT kind FROM power_settings WHERE machine_id = machines.id), rack,
    runs_without";

/// As it lies.
#[must_use]
pub const fn word(state: MachineState) -> &'static str {
    match state {
        MachineState::New => "new",
        MachineState::Accepted => "accepted",
        MachineState::Conflict => "conflict",
        MachineState::Unknown => "unknown",
    }
}

fn state(word: &str) -> MachineState {
    match word {
        "new" => MachineState::New,
        "accepted" => MachineState::Accepted,
        "conflict" => MachineState::Conflict,
        _ => MachineState::Unknown,
    }
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(at)?).map_err(|_| odd(at))
}

fn read(row: &Row<'_>) -> rusqlite::Result<MachineRow> {
    Ok(MachineRow {
        id: row.get(0)?,
        name: row.get(1)?,
        state: state(&row.get::<_, String>(2)?),
        uuid: row.get(3)?,
        macs: Vec::new(),
        source: json(row, 4)?,
        disks: json(row, 5)?,
        tags: json(row, 6)?,
        protected: row.get(7)?,
        approve: row.get(8)?,
        network_first: row.get(9)?,
        runs: row.get(10)?,
        runs_since: row.get(11)?,
        runs_run: row.get(12)?,
        first_seen: row.get(13)?,
        power: row.get(14)?,
        group: row.get(15)?,
        runs_without: row.get(16)?,
    })
}

/// One machine.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<MachineRow>> {
    let sql = format!("SELECT {COLUMNS} FROM machines WHERE id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([id], read).optional()?;
    found.map(|row| Ok(MachineRow { macs: macs_of(connection, id)?, ..row })).transpose()
}

/// What else it has than disks, as it reported it last.
///
/// # Errors
/// SQLite's.
pub fn hardware_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<Hardware>> {
    let found = connection.prepare_cached("SELECT hardware FROM machines WHERE id = ?1")?.query_row([id], |row| {
        row.get::<_, Option<String>>(0)?.map(|text| serde_json::from_str(&text).map_err(|_| odd(0))).transpose()
    });
    Ok(found.optional()?.flatten())
}

/// Cards of a machine, ascending.
fn macs_of(connection: &Connection, id: i64) -> rusqlite::Result<Vec<Mac>> {
    let mut query = connection.prepare_cached("SELECT mac FROM machine_macs WHERE machine = ?1 ORDER BY mac")?;
    query.query_map([id], |row| row.get::<_, String>(0)?.parse().map_err(|_| odd(0)))?.collect()
}

/// The accepted machine that has this card.
///
/// # Errors
/// SQLite's.
pub fn owner_of(connection: &Connection, mac: Mac) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT id, name FROM machines JOIN machine_macs ON machine = id WHERE mac = ?1 AND state = 'accepted'";
    connection.prepare_cached(sql)?.query_row([mac.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn owner_of_uuid(connection: &Connection, uuid: &str) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT id, name FROM machines WHERE uuid = ?1 AND state = 'accepted'";
    connection.prepare_cached(sql)?.query_row([uuid], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Adds a line to a machine's history.
///
/// # Errors
/// SQLite's.
pub fn remember(
    connection: &Connection,
    id: i64,
    who: &str,
    what: &str,
    detail: &str,
    now: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO machine_history (machine, at, who, what, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute((id, now, who, what, crate::text::clean(detail, 300)))?;
    let sql = "DELETE FROM machine_history WHERE machine = ?1 AND id <= coalesce(
               (SELECT id FROM machine_history WHERE machine = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2), 0)";
    connection.prepare_cached(sql)?.execute((id, HISTORY)).map(drop)
}

/// An image was captured from a machine's disks, or restored onto them.
///
/// # Errors
/// SQLite's.
pub fn runs_now(connection: &Connection, id: i64, image: &str, run: &str, now: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE machines SET runs_image = ?2, runs_since = ?3, runs_run = ?4, health_bad = 0, runs_without = 0
               WHERE id = ?1";
    connection.execute(sql, (id, image, now, run)).map(drop)
}

/// What runs on it was to be a machine of its own, and is a plain copy.
///
/// # Errors
/// SQLite's.
pub fn runs_without(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE machines SET runs_without = 1 WHERE id = ?1", [id]).map(drop)
}

/// Its disks were written: what called from them before is no more.
///
/// # Errors
/// SQLite's.
pub fn forget_boot(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE machines SET booted = NULL WHERE id = ?1", [id])?;
    connection.execute("DELETE FROM boot_marks WHERE machine = ?1", [id]).map(drop)
}

/// Nobody else that is accepted has these.
fn free(connection: &Connection, own: i64, macs: &[Mac], uuid: Option<&str>) -> Done<()> {
    for mac in macs {
        if let Some((_, name)) = owner_of(connection, *mac)?.filter(|(id, _)| *id != own) {
            return refused(format!("card {mac} belongs to {name}"));
        }
    }
    if let Some(uuid) = uuid
        && let Some((_, name)) = owner_of_uuid(connection, uuid)?.filter(|(id, _)| *id != own)
    {
        return refused(format!("UUID {uuid} belongs to {name}"));
    }
    Ok(())
}

fn name_is_free(connection: &Connection, own: i64, name: &Label) -> Done<()> {
    let sql = "SELECT 1 FROM machines WHERE name = ?1 AND id <> ?2";
    if connection.prepare_cached(sql)?.exists((name.as_str(), own))? {
        return refused(format!("there is another machine {name}"));
    }
    Ok(())
}

/// Adds a machine that an operator knows.
///
/// # Errors
/// [`MachineError`].
pub fn add(tx: &Connection, machine: &AddMachine, who: &str, most: usize, now: i64) -> Done<i64> {
    let count: i64 = tx.query_row("SELECT count(*) FROM machines WHERE state = 'accepted'", [], |row| row.get(0))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= most {
        return refused(format!("{most} machines are in the inventory, no more are allowed"));
    }
    name_is_free(tx, 0, &machine.name)?;
    free(tx, 0, &machine.macs, machine.uuid.as_deref())?;
    let tags: BTreeSet<&Label> = machine.tags.iter().collect();
    let sql = "INSERT INTO machines (name, state, uuid, tags, rack, protected, approve, network_first, first_seen)
               VALUES (?1, 'accepted', ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let rack = machine.group.as_ref().map(Label::as_str);
    let (name, tags) = (machine.name.as_str(), super::jobs::json(&tags));
    let (protected, approve, first) = (machine.protected, machine.approve, machine.network_first);
    tx.execute(sql, params![name, machine.uuid, tags, rack, protected, approve, first, now])?;
    let id = tx.last_insert_rowid();
    for mac in &machine.macs {
        tx.execute("INSERT OR IGNORE INTO machine_macs (mac, machine) VALUES (?1, ?2)", (mac.to_string(), id))?;
    }
    forget_doubles(tx, id)?;
    remember(tx, id, who, "added", "", now)?;
    Ok(id)
}

/// Those that enrolled themselves and are this machine are forgotten.
fn forget_doubles(tx: &Connection, id: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM machines WHERE state IN ('new', 'conflict') AND id <> ?1 AND (
               id IN (SELECT machine FROM machine_macs WHERE mac IN (SELECT mac FROM machine_macs WHERE machine = ?1))
               OR uuid = (SELECT uuid FROM machines WHERE id = ?1))";
    tx.execute(sql, [id]).map(drop)
}

/// Makes a machine that enrolled itself one of ours. With `replace`, cards and UUID are taken from those that had them.
///
/// # Errors
/// [`MachineError`].
pub fn accept(tx: &Connection, id: i64, name: Option<&Label>, replace: bool, who: &str, now: i64) -> Done<()> {
    let Some(row) = find(tx, id)? else { return refused("there is no such machine") };
    if row.state == MachineState::Accepted {
        return refused(format!("{} is accepted already", row.name));
    }
    if replace {
        for mac in &row.macs {
            let sql = "DELETE FROM machine_macs WHERE mac = ?1 AND machine <> ?2";
            tx.execute(sql, (mac.to_string(), id))?;
        }
        tx.execute("UPDATE machines SET uuid = NULL WHERE uuid = ?1 AND id <> ?2", (&row.uuid, id))?;
    } else {
        free(tx, id, &row.macs, row.uuid.as_deref())?;
    }
    if let Some(name) = name {
        name_is_free(tx, id, name)?;
        tx.execute("UPDATE machines SET name = ?2 WHERE id = ?1", (id, name.as_str()))?;
    }
    tx.execute("UPDATE machines SET state = 'accepted', note = '' WHERE id = ?1", [id])?;
    forget_doubles(tx, id)?;
    remember(tx, id, who, "accepted", if replace { "cards and UUID were taken from others" } else { "" }, now)?;
    Ok(())
}

/// Changes what is named.
///
/// # Errors
/// [`MachineError`].
pub fn set(tx: &Connection, id: i64, set: &SetMachine, who: &str, now: i64) -> Done<()> {
    let Some(row) = find(tx, id)? else { return refused("there is no such machine") };
    set_cards(tx, &row, set)?;
    set_row(tx, &row, set, who, now)
}

fn set_cards(tx: &Connection, row: &MachineRow, set: &SetMachine) -> Done<()> {
    let id = row.id;
    if let Some(name) = &set.name {
        name_is_free(tx, id, name)?;
        tx.execute("UPDATE machines SET name = ?2 WHERE id = ?1", (id, name.as_str()))?;
    }
    if row.state == MachineState::Accepted {
        free(tx, id, &set.add_macs, None)?;
    }
    let mut macs: BTreeSet<Mac> = row.macs.iter().copied().collect();
    macs.extend(&set.add_macs);
    macs.retain(|mac| !set.remove_macs.contains(mac));
    if macs.is_empty() || macs.len() > MACS_MAX {
        return refused(format!("{} would have {} cards, 1 to {MACS_MAX} are allowed", row.name, macs.len()));
    }
    for mac in &set.add_macs {
        tx.execute("INSERT OR IGNORE INTO machine_macs (mac, machine) VALUES (?1, ?2)", (mac.to_string(), id))?;
    }
    for mac in &set.remove_macs {
        tx.execute("DELETE FROM machine_macs WHERE mac = ?1 AND machine = ?2", (mac.to_string(), id))?;
    }
    Ok(())
}

/// Changes what is named, name and cards apart.
///
/// # Errors
/// [`MachineError`].
pub fn set_row(tx: &Connection, row: &MachineRow, set: &SetMachine, who: &str, now: i64) -> Done<()> {
    let id = row.id;
    let mut tags: BTreeSet<Label> = row.tags.iter().cloned().collect();
    tags.extend(set.add_tags.iter().cloned());
    tags.retain(|tag| !set.remove_tags.contains(tag));
    if tags.len() > TAGS_MAX {
        return refused(format!("{} would have {} tags, {TAGS_MAX} are allowed", row.name, tags.len()));
    }
    let some = |text: &Option<String>| text.clone().map(|text| if text.is_empty() { None } else { Some(text) });
    let (rack, health) = (some(&set.group), some(&set.health));
    let sql = "UPDATE machines SET tags = ?2, rack = CASE WHEN ?3 THEN ?4 ELSE rack END,
               protected = coalesce(?5, protected), approve = coalesce(?6, approve),
               network_first = coalesce(?7, network_first), health = CASE WHEN ?8 THEN ?9 ELSE health END,
               health_bad = CASE WHEN ?8 THEN 0 ELSE health_bad END, note = coalesce(?10, note) WHERE id = ?1";
    tx.prepare_cached(sql)?.execute(params![
        id,
        super::jobs::json(&tags),
        rack.is_some(),
        rack.flatten(),
        set.protected,
        set.approve,
        set.network_first,
        health.is_some(),
        health.flatten(),
        set.note
    ])?;
    if let Some(toml) = &set.identity {
        super::identities::set_machine(tx, id, toml, who, now)?;
    }
    // What is declared is not told: files and hashes of passwords may stand in it.
    let identity = set.identity.as_ref().map(|toml| format!("{} bytes", toml.len()));
    let detail = serde_json::to_string(&SetMachine { identity, ..set.clone() }).unwrap_or_default();
    remember(tx, id, who, "changed", &detail, now)?;
    Ok(())
}

/// Removes a machine that no job works on.
///
/// # Errors
/// [`MachineError`].
pub fn remove(tx: &Connection, id: i64) -> Done<()> {
    if let Some(job) = super::jobs::open_of(tx, id)?.first() {
        return refused(format!("job {} of this machine is {}; ramet job cancel {} first", job.id, job.state, job.id));
    }
    tx.execute("DELETE FROM machines WHERE id = ?1", [id])?;
    Ok(())
}
