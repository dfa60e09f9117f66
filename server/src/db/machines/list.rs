//! Questions about machines.
//!
//! In: names, tags. Out: machines as operators see them.
//! Promise: a list reads no reports: four queries, whatever its length.

use super::{MachineRow, find, json, odd, read, state};
use ramet_wire::adapt::BootSeen;
use ramet_wire::jobs::{Expect, JobKind, JobState};
use ramet_wire::machines::{BusyWith, Label, MachineDetail, MachineEvent, MachineInfo, RunsWhat};
use ramet_wire::settings::Mac;
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::HashMap;

/// Machines that a note names as doubles.
const DOUBLES: usize = 5;

const COLUMNS: &str = "id, name, state, model, memory, disk_count, disk_bytes, tags, rack, protected, approve,
    network_first, kind, runs_image, runs_since, runs_run, seen, note, booted,
    runs_without";

/// The call of a clone in column `at`.
pub(in crate::db) fn booted(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<BootSeen>> {
    row.get::<_, Option<String>>(at)?.map(|text| serde_json::from_str(&text).map_err(|_| odd(at))).transpose()
}

fn info(row: &Row<'_>) -> rusqlite::Result<(i64, MachineInfo)> {
    let (id, count): (i64, i64) = (row.get(0)?, row.get(4)?);
    let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
    let label = |at: usize| row.get::<_, String>(at)?.parse::<Label>().map_err(|_| odd(at));
    let rack: Option<String> = row.get(8)?;
    let (image, since, run): (Option<String>, Option<i64>, Option<String>) = (row.get(13)?, row.get(14)?, row.get(15)?);
    let runs = match (image, since, run) {
        (Some(image), Some(since), Some(run)) => {
            let (since, without_identity) = (crate::time::rfc3339(since), row.get(19)?);
            Some(RunsWhat { image: image.parse().map_err(|_| odd(13))?, since, run, without_identity })
        }
        _ => None,
    };
    let info = MachineInfo {
        id: unsigned(id),
        name: label(1)?,
        state: state(&row.get::<_, String>(2)?),
        macs: Vec::new(),
        model: row.get(3)?,
        memory: unsigned(count),
        disks: row.get(5)?,
        disk_bytes: unsigned(row.get(6)?),
        tags: json(row, 7)?,
        group: rack.map(|rack| rack.parse().map_err(|_| odd(8))).transpose()?,
        protected: row.get(9)?,
        approve: row.get(10)?,
        network_first: row.get(11)?,
        power: row.get(12)?,
        runs,
        job: None,
        seen: row.get::<_, Option<i64>>(16)?.map(crate::time::rfc3339),
        booted: booted(row, 18)?,
        note: row.get(17)?,
    };
    Ok((id, info))
}

/// All machines, or those with a tag, or one; by name.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, tag: Option<&Label>, only: Option<i64>) -> rusqlite::Result<Vec<MachineInfo>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM machines LEFT JOIN power_settings ON machine_id = id
         WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?2))
         ORDER BY name"
    );
    let mut rows = connection.prepare_cached(&sql)?;
    let rows = rows.query_map((only, tag.map(Label::as_str)), info)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut macs: HashMap<i64, Vec<Mac>> = HashMap::new();
    let sql = "SELECT machine, mac FROM machine_macs WHERE ?1 IS NULL OR machine = ?1 ORDER BY mac";
    let mut query = connection.prepare_cached(sql)?;
    let mut found = query.query([only])?;
    while let Some(row) = found.next()? {
        let mac = row.get_ref(1)?.as_str().map_err(|_| odd(1))?.parse().map_err(|_| odd(1))?;
        macs.entry(row.get(0)?).or_default().push(mac);
    }
    let mut busy: HashMap<i64, BusyWith> = HashMap::new();
    // The active one comes last, and so it is the one that stays.
    let sql = "SELECT machine, id, kind, state FROM jobs WHERE ended IS NULL AND machine IS NOT NULL
               AND (?1 IS NULL OR machine = ?1) ORDER BY state <> 'queued', id DESC";
    let mut query = connection.prepare_cached(sql)?;
    let mut found = query.query([only])?;
    while let Some(row) = found.next()? {
        let (kind, state) = (JobKind::of(&row.get::<_, String>(2)?), JobState::of(&row.get::<_, String>(3)?));
        let id = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        busy.insert(row.get(0)?, BusyWith { id, kind, state });
    }
    let mut doubles = doubles(connection, only)?;
    let whole = |(id, info): (i64, MachineInfo)| {
        let notes = [Some(info.note), doubles.remove(&id)].into_iter().flatten().filter(|note| !note.is_empty());
        MachineInfo {
            macs: macs.remove(&id).unwrap_or_default(),
            job: busy.remove(&id),
            note: notes.collect::<Vec<_>>().join("; "),
            ..info
        }
    };
    Ok(rows.into_iter().map(whole).collect())
}

/// Machines that have called as if they were one: for each what it shares, and with whom.
fn doubles(connection: &Connection, only: Option<i64>) -> rusqlite::Result<HashMap<i64, String>> {
    let sql = "SELECT own.machine, name, substr(own.mark, 1, instr(own.mark, ' ') - 1) FROM boot_marks AS own
               JOIN boot_marks AS other ON other.mark = own.mark AND other.machine <> own.machine
               JOIN machines ON machines.id = other.machine WHERE ?1 IS NULL OR own.machine = ?1
               GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let mut query = connection.prepare_cached(sql)?;
    let mut found = query.query([only])?;
    let mut shared: HashMap<i64, Vec<String>> = HashMap::new();
    while let Some(row) = found.next()? {
        let (name, what): (String, String) = (row.get(1)?, row.get(2)?);
        let all = shared.entry(row.get(0)?).or_default();
        if all.len() < DOUBLES {
            all.push(format!("{what} as {name}"));
        }
    }
    let note = |all: Vec<String>| format!("duplicate identity: same {}", all.join(", same "));
    Ok(shared.into_iter().map(|(id, all)| (id, note(all))).collect())
}

/// All that is known of one machine.
///
/// # Errors
/// SQLite's.
pub fn detail(connection: &Connection, id: i64, most: u32) -> rusqlite::Result<Option<MachineDetail>> {
    let Some(machine) = list(connection, None, Some(id))?.pop() else { return Ok(None) };
    let run = machine.runs.as_ref().map(|runs| runs.run.clone());
    let receipt = run.map(|run| super::super::runs::find(connection, &run)).transpose()?.flatten();
    let sql = "SELECT at, who, what, detail FROM machine_history WHERE machine = ?1 ORDER BY id DESC LIMIT ?2";
    let mut history = connection.prepare_cached(sql)?;
    let history = history.query_map((id, most), |row| {
        let at = crate::time::rfc3339(row.get(0)?);
        Ok(MachineEvent { at, who: row.get(1)?, what: row.get(2)?, detail: row.get(3)? })
    })?;
    let history = history.collect::<rusqlite::Result<_>>()?;
    let identity = super::super::identities::of_machine(connection, id)?;
    let sql = "SELECT source, disks, hardware, first_seen, peer, health FROM machines WHERE id = ?1";
    connection
        .query_row(sql, [id], |row| {
            let hardware: Option<String> = row.get(2)?;
            let health: Option<String> = row.get(5)?;
            Ok(MachineDetail {
                machine,
                source: json(row, 0)?,
                disks: json(row, 1)?,
                hardware: hardware.map(|text| serde_json::from_str(&text).map_err(|_| odd(2))).transpose()?,
                first_seen: crate::time::rfc3339(row.get(3)?),
                peer: row.get(4)?,
                health: health.map(|text| text.parse::<Expect>().map_err(|_| odd(5))).transpose()?,
                identity,
                receipt: receipt.and_then(|run| run.receipt),
                history,
            })
        })
        .optional()
}

/// The machine that `text` names: its name, or the address of one of its cards, or `id:NUMBER`.
///
/// # Errors
/// SQLite's.
pub fn resolve(connection: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    if let Some(id) = text.strip_prefix("id:").and_then(|id| id.parse::<i64>().ok()) {
        return Ok(find(connection, id)?.map(|row| row.id));
    }
    let sql = "SELECT id FROM machines WHERE name = ?1";
    if let Some(id) = connection.prepare_cached(sql)?.query_row([text], |row| row.get(0)).optional()? {
        return Ok(Some(id));
    }
    match text.parse::<Mac>() {
        Ok(mac) => Ok(super::owner_of(connection, mac)?.map(|(id, _)| id)),
        Err(_) => Ok(None),
    }
}

/// The machines that are named, in that order, then the accepted ones with the tag, by name; none twice. The first name
/// that is nobody's, if there is one.
///
/// # Errors
/// SQLite's.
pub fn resolve_all(
    connection: &Connection,
    names: &[String],
    tag: Option<&Label>,
) -> rusqlite::Result<Result<Vec<MachineRow>, String>> {
    let mut ids = Vec::new();
    for name in names {
        match resolve(connection, name)? {
            Some(id) if !ids.contains(&id) => ids.push(id),
            Some(_) => {}
            None => return Ok(Err(name.clone())),
        }
    }
    if let Some(tag) = tag {
        let sql = "SELECT id FROM machines WHERE state = 'accepted'
                   AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?1) ORDER BY name";
        let mut query = connection.prepare_cached(sql)?;
        for id in query.query_map([tag.as_str()], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()? {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    let rows = ids.into_iter().map(|id| find(connection, id)).collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Ok(rows.into_iter().flatten().collect()))
}

/// All accepted machines' numbers.
///
/// # Errors
/// SQLite's.
pub fn all_accepted(connection: &Connection) -> rusqlite::Result<Vec<MachineRow>> {
    let sql = format!("SELECT {} FROM machines WHERE state = 'accepted' ORDER BY id", super::COLUMNS);
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map([], read)?.collect()
}
