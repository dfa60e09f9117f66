//! Who did what: one row for each act of an operator, and of the server in an operator's stead.
//!
//! In: acts, once they are over. Out: the newest, newest first.
//! Promise: rows are only added; the oldest go when there are too many, and numbers are never used again.

use ramet_wire::machines::AuditEvent;
use rusqlite::Connection;

/// Acts that are kept.
const KEPT: i64 = 100_000;
/// How often old ones are looked for: each so many acts.
const SWEEP: i64 = 1000;

/// An act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// `operator ID`, `rule 3`, `server`.
    pub who: String,
    /// From where; empty for the server itself.
    pub peer: String,
    /// What.
    pub what: String,
    /// Onto what.
    pub object: String,
    /// `done`, or why not.
    pub result: String,
}

/// Adds one.
///
/// # Errors
/// SQLite's.
pub fn add(connection: &Connection, act: &Act, now: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO audit (at, who, peer, what, object, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = (now, &act.who, &act.peer, &act.what, &act.object, &act.result);
    connection.prepare_cached(sql)?.execute(row)?;
    let id = connection.last_insert_rowid();
    if id % SWEEP == 0 {
        connection.execute("DELETE FROM audit WHERE id <= ?1", [id - KEPT])?;
    }
    Ok(())
}

/// The newest `most` acts before number `before`, newest first.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, before: Option<u64>, most: u32) -> rusqlite::Result<Vec<AuditEvent>> {
    let sql = "SELECT id, at, who, peer, what, object, result FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map((before, most), |row| {
        Ok(AuditEvent {
            id: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
            at: crate::time::rfc3339(row.get(1)?),
            who: row.get(2)?,
            peer: row.get(3)?,
            what: row.get(4)?,
            object: row.get(5)?,
            result: row.get(6)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(result: String) -> Act {
        let word = |text: &str| text.to_owned();
        Act { who: word("operator local"), peer: word("::1"), what: word("PUT /x"), object: String::new(), result }
    }

    #[test]
    fn the_newest_acts_come_first_and_older_ones_by_their_number() {
        let mut db = Connection::open_in_memory().unwrap();
        super::super::testing(&mut db);
        (0..5).for_each(|n| add(&db, &act(n.to_string()), 100 + n).unwrap());
        let results = |before, most| -> Vec<String> {
            list(&db, before, most).unwrap().into_iter().map(|event| event.result).collect()
        };
        assert_eq!(results(None, 2), ["4", "3"]);
        assert_eq!(results(Some(4), 9), ["2", "1", "0"]);
        assert!(results(Some(1), 9).is_empty());
    }

    #[test]
    fn the_oldest_acts_go_and_the_newest_stay() {
        let mut db = Connection::open_in_memory().unwrap();
        super::super::testing(&mut db);
        let step = db.transaction().unwrap();
        (0..KEPT + SWEEP).for_each(|n| add(&step, &act(n.to_string()), n).unwrap());
        step.commit().unwrap();
        let count: i64 = db.query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap();
        assert_eq!(count, KEPT);
        assert_eq!(list(&db, None, 1).unwrap()[0].result, (KEPT + SWEEP - 1).to_string());
    }
}
