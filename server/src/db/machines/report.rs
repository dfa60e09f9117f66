//! Reports of agents: who they come from, and what is kept of them.
//!
//! In: a report, cleaned. Out: the machine that it is, a new one, or a conflict with the ones it looks like.
//! Promise: an accepted machine is changed by `refresh` alone, which its claim and nobody else calls.

use super::{MachineRow, find, remember, word};
use crate::inventory::candidates;
use ramet_wire::agents::DiskSeen;
use ramet_wire::hardware::Hardware;
use ramet_wire::machines::MachineState;
use ramet_wire::manifest::Source;
use ramet_wire::settings::Mac;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// What an agent says of its machine, cleaned.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cards.
    pub macs: Vec<Mac>,
    /// SMBIOS system UUID, as [`crate::inventory::uuid`] writes it; none where it identifies nobody.
    pub uuid: Option<String>,
    /// What its firmware tells.
    pub source: Source,
    /// Disks.
    pub disks: Vec<DiskSeen>,
    /// What else it has.
    pub hardware: Option<Hardware>,
    /// Where it asks from.
    pub peer: String,
}

/// Whose report it is.
#[derive(Clone, Debug)]
pub enum Who {
    /// An accepted machine's.
    Ours,
    /// A machine's that waits to be accepted.
    New(i64),
    /// It looks like accepted machines and is none of them; why.
    Conflict(String),
    /// Nobody's: too many wait, so it is not remembered.
    Full(usize),
    /// Nobody's: it has neither a card nor a UUID.
    Nobody,
}

fn alike(connection: &Connection, report: &Report) -> rusqlite::Result<Vec<MachineRow>> {
    let mut ids = BTreeSet::new();
    let mut by_mac = connection.prepare_cached("SELECT machine FROM machine_macs WHERE mac = ?1")?;
    for mac in &report.macs {
        ids.extend(by_mac.query_map([mac.to_string()], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?);
    }
    if let Some(uuid) = &report.uuid {
        let mut by_uuid = connection.prepare_cached("SELECT id FROM machines WHERE uuid = ?1")?;
        ids.extend(by_uuid.query_map([uuid], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(ids.into_iter().map(|id| find(connection, id)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// What speaks against `report` being of `row`, which looks like it.
fn against(row: &MachineRow, report: &Report) -> Option<String> {
    let shared = row.macs.iter().find(|mac| report.macs.contains(mac));
    match (&row.uuid, &report.uuid, shared) {
        (Some(known), Some(said), Some(mac)) if known != said => {
            Some(format!("card {mac} is of {}, whose UUID is {known}, not {said}", row.name))
        }
        (Some(known), Some(said), None) if known == said && !row.macs.is_empty() && !report.macs.is_empty() => {
            Some(format!("UUID {known} is of {}, which has none of its cards", row.name))
        }
        _ => None,
    }
}

/// Which accepted machine this is, if it is exactly one and nothing speaks against it.
///
/// # Errors
/// SQLite's; a conflict as its sentence inside.
pub fn identify(connection: &Connection, report: &Report) -> rusqlite::Result<Result<Option<MachineRow>, String>> {
    let mut accepted: Vec<MachineRow> = alike(connection, report)?;
    accepted.retain(|row| row.state == MachineState::Accepted);
    if let Some(why) = accepted.iter().find_map(|row| against(row, report)) {
        return Ok(Err(why));
    }
    if let [one, other, ..] = accepted.as_slice() {
        return Ok(Err(format!("its cards and UUID are of both {} and {}", one.name, other.name)));
    }
    Ok(Ok(accepted.pop()))
}

/// Notes a report of a machine that is not ours yet; whose it is.
///
/// # Errors
/// SQLite's.
pub fn enrol(tx: &Connection, report: &Report, most: usize, now: i64) -> rusqlite::Result<Who> {
    if report.macs.is_empty() && report.uuid.is_none() {
        return Ok(Who::Nobody);
    }
    let (state, note) = match identify(tx, report)? {
        Ok(Some(_)) => return Ok(Who::Ours),
        Ok(None) => (MachineState::New, String::new()),
        Err(why) => (MachineState::Conflict, why),
    };
    let mut known: Vec<MachineRow> = alike(tx, report)?;
    known.retain(|row| row.state != MachineState::Accepted);
    // The same machine again, also when a stranger with its card and another UUID came between.
    let same = known.iter().find(|row| against(row, report).is_none()).map(|row| row.id);
    let double = same.is_none() && !known.is_empty();
    let (state, note) = match (state, double) {
        (MachineState::New, true) => {
            (MachineState::Conflict, known.iter().find_map(|row| against(row, report)).unwrap_or(note))
        }
        other => (other.0, note),
    };
    let id = match same {
        Some(id) => id,
        None => {
            let sql = "SELECT count(*) FROM machines WHERE state IN ('new', 'conflict')";
            let count: i64 = tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= most {
                return Ok(Who::Full(most));
            }
            insert(tx, report, state, now)?
        }
    };
    let changed = tx.execute(
        "UPDATE machines SET state = ?2, note = ?3 WHERE id = ?1 AND (state <> ?2 OR note <> ?3)",
        (id, word(state), &note),
    )?;
    if changed > 0 && state == MachineState::Conflict {
        remember(tx, id, "agent", "conflict", &note, now)?;
    }
    write(tx, id, report, now)?;
    Ok(if state == MachineState::Conflict { Who::Conflict(note) } else { Who::New(id) })
}

fn insert(tx: &Connection, report: &Report, state: MachineState, now: i64) -> rusqlite::Result<i64> {
    // A name that nobody has: its number is in it, and an operator may have given that name to another.
    tx.execute("INSERT INTO machines (name, state, first_seen) VALUES ('enrolling', ?1, ?2)", (word(state), now))?;
    let id = tx.last_insert_rowid();
    for suffix in std::iter::once(String::new()).chain((1_u32..).map(|n| format!("-{n}"))) {
        let sql = "UPDATE OR IGNORE machines SET name = ?2 WHERE id = ?1";
        if tx.execute(sql, (id, format!("new-{id}{suffix}")))? == 1 {
            break;
        }
    }
    remember(tx, id, "agent", "enrolled", &format!("from {}", report.peer), now)?;
    Ok(id)
}

/// Writes what a claim's report says into its machine's row.
///
/// # Errors
/// SQLite's.
pub fn refresh(tx: &Connection, row: &MachineRow, report: &Report, now: i64) -> rusqlite::Result<()> {
    write(tx, row.id, report, now)
}

fn write(tx: &Connection, id: i64, report: &Report, now: i64) -> rusqlite::Result<()> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let model = [text(&report.source.vendor), text(&report.source.product)].join(" ").trim().to_owned();
    let usable: Vec<&DiskSeen> = candidates(&report.disks).collect();
    let bytes = usable.iter().fold(0_u64, |sum, disk| sum.saturating_add(disk.size));
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let hardware = report.hardware.as_ref().map(super::super::jobs::json);
    let memory = report.hardware.as_ref().map(|hardware| signed(hardware.memory));
    let sql = "UPDATE machines SET uuid = coalesce(?2, uuid), serial = ?3, source = ?4, disks = ?5,
               hardware = coalesce(?6, hardware), model = ?7, memory = coalesce(?8, memory), disk_count = ?9,
               disk_bytes = ?10, peer = ?11, seen = ?12 WHERE id = ?1";
    let (source, disks) = (super::super::jobs::json(&report.source), super::super::jobs::json(&report.disks));
    let count = signed(usable.len() as u64);
    let row = params![
        id,
        report.uuid,
        report.source.serial,
        source,
        disks,
        hardware,
        model,
        memory,
        count,
        signed(bytes),
        report.peer,
        now
    ];
    tx.prepare_cached(sql)?.execute(row)?;
    for mac in &report.macs {
        let sql = "INSERT OR IGNORE INTO machine_macs (mac, machine) VALUES (?1, ?2)";
        tx.prepare_cached(sql)?.execute((mac.to_string(), id))?;
    }
    Ok(())
}
