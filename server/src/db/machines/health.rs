//! Health of machines at rest.
//!
//! In: who answered. Out: whom to ask, and who has just failed.
//! Promise: a machine fails once, when its count reaches the limit; an answer clears the count.

use ramet_wire::jobs::Expect;
use rusqlite::{Connection, TransactionBehavior};

/// Accepted machines with something to be asked, and without a job.
///
/// # Errors
/// SQLite's.
pub fn to_ask(connection: &Connection) -> rusqlite::Result<Vec<(i64, Expect)>> {
    let sql = "SELECT id, health FROM machines WHERE health IS NOT NULL AND state = 'accepted'
               AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.machine = machines.id AND ended IS NULL)";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let rows = rows.collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
    Ok(rows.into_iter().filter_map(|(id, text)| Some((id, crate::inventory::health::expect(&text)?))).collect())
}

/// Notes who answered; the machines that have failed just now.
///
/// # Errors
/// SQLite's.
pub fn note_health(
    connection: &mut Connection,
    found: &[(i64, bool)],
    failures: i64,
    now: i64,
) -> rusqlite::Result<Vec<i64>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut failed = Vec::new();
    for (id, well) in found {
        if *well {
            tx.prepare_cached("UPDATE machines SET health_bad = 0 WHERE id = ?1 AND health_bad > 0")?.execute([id])?;
            continue;
        }
        let sql = "UPDATE machines SET health_bad = health_bad + 1 WHERE id = ?1 RETURNING health_bad";
        let count: i64 = tx.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
        if count == failures {
            super::remember(&tx, *id, "server", "failed", &format!("has not answered {failures} times in a row"), now)?;
            failed.push(*id);
        }
    }
    tx.commit()?;
    Ok(failed)
}
