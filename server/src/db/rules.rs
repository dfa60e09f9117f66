//! Rules at rest, and for which machines each has fired.
//!
//! In: rules of operators. Out: those that have not fired for a machine yet.
//! Promise: a rule fires once for a machine, whatever restarts come between.

use crate::db::machines::odd;
use ramet_wire::machines::{AddRule, RuleInfo, RuleWhen};
use rusqlite::{Connection, Row};

/// Adds a rule; none when there are `most`.
///
/// # Errors
/// SQLite's.
pub fn add(connection: &Connection, rule: &AddRule, by: &str, most: usize, now: i64) -> rusqlite::Result<Option<i64>> {
    let count: i64 = connection.query_row("SELECT count(*) FROM rules", [], |row| row.get(0))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= most {
        return Ok(None);
    }
    let sql = "INSERT INTO rules (rule, created, by) VALUES (?1, ?2, ?3)";
    connection.execute(sql, (super::jobs::json(rule), now, by))?;
    Ok(Some(connection.last_insert_rowid()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<RuleInfo> {
    let count = |at: usize| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(RuleInfo {
        id: count(0)?,
        rule: serde_json::from_str(&row.get::<_, String>(1)?).map_err(|_| odd(1))?,
        created: crate::time::rfc3339(row.get(2)?),
        by: row.get(3)?,
        fired: count(4)?,
    })
}

const SELECT: &str = "SELECT id, rule, created, by, (SELECT count(*) FROM rules_fired WHERE rule = id) FROM rules";

/// All rules, oldest first.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<RuleInfo>> {
    let mut query = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
    query.query_map([], read)?.collect()
}

/// Removes a rule; false when there is none.
///
/// # Errors
/// SQLite's.
pub fn remove(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM rules WHERE id = ?1", [id]).map(|gone| gone > 0)
}

/// Rules of this kind that have not fired for the machine, oldest first; those for new machines only where it was first
/// seen after they were made.
///
/// # Errors
/// SQLite's.
pub fn ready(connection: &Connection, when: RuleWhen, machine: i64) -> rusqlite::Result<Vec<RuleInfo>> {
    let sql = format!(
        "{SELECT} WHERE NOT EXISTS (SELECT 1 FROM rules_fired WHERE rule = id AND machine = ?1)
         AND (?2 OR created <= (SELECT first_seen FROM machines WHERE machines.id = ?1)) ORDER BY id"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let rules = query.query_map((machine, when == RuleWhen::Failed), read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rules.into_iter().filter(|rule| rule.rule.when == when).collect())
}

/// There is a rule for new machines.
///
/// # Errors
/// SQLite's.
pub fn welcomes(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM rules WHERE rule ->> 'when' = 'new'")?.exists([])
}

/// Notes that a rule fires for a machine; false when it has before.
///
/// # Errors
/// SQLite's.
pub fn fire(tx: &Connection, rule: u64, machine: i64, now: i64) -> rusqlite::Result<bool> {
    let rule = i64::try_from(rule).unwrap_or(i64::MAX);
    let sql = "INSERT OR IGNORE INTO rules_fired (rule, machine, at) VALUES (?1, ?2, ?3)";
    Ok(tx.execute(sql, (rule, machine, now))? == 1)
}
