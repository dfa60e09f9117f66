//! Power settings, with their secrets sealed, and the attempts that were made.
//!
//! In: what an operator set, what a probe found, what was tried. Out: the same rows again.
//! Promise: a probe's result is kept only for the settings that it looked at; attempts are bounded per machine.

use ramet_wire::power::{PowerAttempt, PowerKind, PowerOptions, Probed};
use ramet_wire::settings::Mac;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;

/// Attempts that are remembered of each machine.
const KEPT: i64 = 200;

/// A machine, as far as its power is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its cards.
    pub macs: Vec<Mac>,
    /// It starts by UEFI, as far as is known: a machine that never reported does.
    pub uefi: bool,
}

/// What is kept of a machine's power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerRow {
    /// Protocol.
    pub kind: PowerKind,
    /// Address.
    pub address: String,
    /// User.
    pub user: String,
    /// The sealed password.
    pub secret: Option<Vec<u8>>,
    /// The rest.
    pub options: PowerOptions,
    /// What a probe found.
    pub probed: Option<Probed>,
    /// The BMC's certificate.
    pub pin: Option<String>,
}

/// The machine of this number.
///
/// # Errors
/// SQLite's.
pub fn target_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<Target>> {
    let sql = "SELECT id, name, source FROM machines WHERE id = ?1";
    let found = connection.prepare_cached(sql)?.query_row([id], of_machine).optional()?;
    found.map(|target| with_macs(connection, target)).transpose()
}

fn of_machine(row: &Row<'_>) -> rusqlite::Result<Target> {
    let source: ramet_wire::manifest::Source = json(2, &row.get::<_, String>(2)?)?;
    let uefi = source.firmware.as_deref() != Some("bios");
    Ok(Target { id: row.get(0)?, name: row.get(1)?, macs: Vec::new(), uefi })
}

fn with_macs(connection: &Connection, target: Target) -> rusqlite::Result<Target> {
    let mut query = connection.prepare_cached("SELECT mac FROM machine_macs WHERE machine = ?1 ORDER BY mac")?;
    let texts: Vec<String> = query.query_map([target.id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Target { macs: texts.iter().filter_map(|text| text.parse().ok()).collect(), ..target })
}

/// Sets a machine's power anew.
///
/// # Errors
/// SQLite's.
pub fn put(connection: &Connection, machine: i64, row: &PowerRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO power_settings (machine_id, kind, address, user, secret, options, probed, pin)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let probed = row.probed.as_ref().map(text);
    let (kind, options) = (row.kind.word(), text(&row.options));
    let values = rusqlite::params![machine, kind, row.address, row.user, row.secret, options, probed, row.pin];
    connection.execute(sql, values).map(drop)
}

/// A machine's power; none when nobody has set it.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, machine: i64) -> rusqlite::Result<Option<PowerRow>> {
    let sql = "SELECT kind, address, user, secret, options, probed, pin FROM power_settings WHERE machine_id = ?1";
    let read = |row: &Row<'_>| {
        let (kind, options): (String, String) = (row.get(0)?, row.get(4)?);
        let probed: Option<String> = row.get(5)?;
        Ok(PowerRow {
            kind: kind.parse().map_err(|_| odd(0))?,
            address: row.get(1)?,
            user: row.get(2)?,
            secret: row.get(3)?,
            options: json(4, &options)?,
            probed: probed.map(|text| json(5, &text)).transpose()?,
            pin: row.get(6)?,
        })
    };
    connection.prepare_cached(sql)?.query_row([machine], read).optional()
}

/// Forgets a machine's power; false when there was none.
///
/// # Errors
/// SQLite's.
pub fn remove(connection: &Connection, machine: i64) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM power_settings WHERE machine_id = ?1", [machine]).map(|gone| gone > 0)
}

/// Keeps what a probe of `row` found, if these are still the settings; false when they are not.
///
/// # Errors
/// SQLite's.
pub fn found(
    connection: &Connection,
    machine: i64,
    row: &PowerRow,
    probed: &Probed,
    pin: Option<&str>,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE power_settings SET probed = ?2, pin = ?3
               WHERE machine_id = ?1 AND kind = ?4 AND address = ?5 AND user = ?6 AND secret IS ?7 AND options = ?8";
    let values = rusqlite::params![
        machine,
        text(probed),
        pin,
        row.kind.word(),
        row.address,
        row.user,
        row.secret,
        text(&row.options)
    ];
    connection.execute(sql, values).map(|changed| changed > 0)
}

/// Remembers one attempt, and forgets the oldest of the machine.
///
/// # Errors
/// SQLite's; also when the machine is gone.
pub fn record(
    connection: &mut Connection,
    machine: i64,
    job: Option<i64>,
    at: i64,
    attempt: &PowerAttempt,
) -> rusqlite::Result<()> {
    let step = connection.transaction()?;
    let sql = "INSERT INTO power_attempts (machine_id, job_id, at, what, how, result, detail, seconds)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let PowerAttempt { what, how, result, detail, seconds, .. } = attempt;
    step.execute(sql, rusqlite::params![machine, job, at, what, how, result, detail, seconds])?;
    let sql = "DELETE FROM power_attempts WHERE machine_id = ?1 AND id <=
               (SELECT id FROM power_attempts WHERE machine_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    step.execute(sql, (machine, KEPT))?;
    step.commit()
}

/// The newest attempts of a machine, the newest first.
///
/// # Errors
/// SQLite's.
pub fn attempts(connection: &Connection, machine: i64) -> rusqlite::Result<Vec<PowerAttempt>> {
    let sql = "SELECT at, job_id, what, how, result, detail, seconds FROM power_attempts
               WHERE machine_id = ?1 ORDER BY id DESC LIMIT ?2";
    let read = |row: &Row<'_>| {
        Ok(PowerAttempt {
            at: crate::time::rfc3339(row.get(0)?),
            job: row.get::<_, Option<i64>>(1)?.and_then(|job| u64::try_from(job).ok()),
            what: row.get(2)?,
            how: row.get(3)?,
            result: row.get(4)?,
            detail: row.get(5)?,
            seconds: row.get(6)?,
        })
    };
    connection.prepare_cached(sql)?.query_map((machine, KEPT), read)?.collect()
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn json<T: DeserializeOwned>(at: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| odd(at))
}

fn odd(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::power::PowerState;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::testing(&mut connection);
        connection
            .execute_batch(
                "PRAGMA foreign_keys = on;
                 INSERT INTO machines (id, name, state, source, first_seen)
                     VALUES (7, 'web01', 'accepted', '{\"firmware\":\"bios\"}', 1), (8, 'web02', 'new', '{}', 1);
                 INSERT INTO machine_macs VALUES ('52:54:00:00:00:01', 7);",
            )
            .unwrap();
        connection
    }

    fn row() -> PowerRow {
        let (kind, address, user) = (PowerKind::Ipmi, "10.0.0.1".to_owned(), "admin".to_owned());
        let options = PowerOptions { min_suite: Some(17), ..PowerOptions::default() };
        PowerRow { kind, address, user, secret: Some(vec![1, 2]), options, probed: None, pin: None }
    }

    #[test]
    fn settings_and_targets_are_read_back_and_go_with_the_machine() {
        let db = database();
        let target = target_of(&db, 7).unwrap().unwrap();
        assert_eq!((target.id, target.macs.len(), target.uefi), (7, 1, false));
        assert!(target_of(&db, 8).unwrap().unwrap().uefi);
        assert_eq!(target_of(&db, 9).unwrap(), None);
        assert_eq!(find(&db, 7).unwrap(), None);
        put(&db, 7, &row()).unwrap();
        assert_eq!(find(&db, 7).unwrap(), Some(row()));
        db.execute("DELETE FROM machines WHERE id = 7", []).unwrap();
        assert_eq!(find(&db, 7).unwrap(), None);
        assert!(put(&db, 7, &row()).is_err(), "a machine that is not there has no power");
    }

    #[test]
    fn a_probe_of_settings_that_were_changed_meanwhile_is_forgotten() {
        let db = database();
        put(&db, 7, &row()).unwrap();
        let probed = Probed {
            at: "now".into(),
            kind: PowerKind::Ipmi,
            suite: Some(17),
            system: None,
            next_boot: true,
            reads_state: true,
            state: PowerState::On,
            notes: vec![],
        };
        assert!(found(&db, 7, &row(), &probed, Some("sha256:00")).unwrap());
        let kept = find(&db, 7).unwrap().unwrap();
        assert_eq!((kept.probed.as_ref(), kept.pin.as_deref()), (Some(&probed), Some("sha256:00")));
        let other = PowerRow { secret: Some(vec![3]), ..row() };
        put(&db, 7, &other).unwrap();
        assert!(!found(&db, 7, &row(), &probed, None).unwrap());
        assert_eq!(find(&db, 7).unwrap(), Some(other));
        assert!(remove(&db, 7).unwrap() && !remove(&db, 7).unwrap());
    }

    #[test]
    fn attempts_are_remembered_newest_first_and_bounded() {
        let mut db = database();
        let attempt = |detail: usize| PowerAttempt {
            at: String::new(),
            job: None,
            what: "on".into(),
            how: "ipmi suite 17".into(),
            result: "ok".into(),
            detail: detail.to_string(),
            seconds: 0.5,
        };
        for n in 0..250 {
            record(&mut db, 7, Some(3), 100, &attempt(n)).unwrap();
        }
        record(&mut db, 8, None, 100, &attempt(1)).unwrap();
        let kept = attempts(&db, 7).unwrap();
        assert_eq!((kept.len(), kept[0].detail.as_str(), kept[199].detail.as_str()), (200, "249", "50"));
        assert_eq!((kept[0].job, kept[0].at.as_str()), (Some(3), "1970-01-01T00:01:40Z"));
        assert_eq!(attempts(&db, 8).unwrap().len(), 1);
    }
}
