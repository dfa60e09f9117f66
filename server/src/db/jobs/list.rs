//! Questions about jobs.
//!
//! In: what is asked for. Out: jobs as operators see them, and who uses what.
//! Promise: answers are bounded; nothing is changed here but by `prune`.

use super::rows::{COLUMNS, JobRow, find, query, row};
use ramet_wire::ImageRef;
use ramet_wire::adapt::Becomes;
use ramet_wire::jobs::{JobDetail, JobEvent, JobInfo, JobState};
use rusqlite::Connection;

/// The newest jobs, newest first; those of one machine, or those that are not over.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, machine: Option<i64>, open: bool, most: u32) -> rusqlite::Result<Vec<JobInfo>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM jobs WHERE (?1 IS NULL OR machine = ?1) AND (NOT ?2 OR ended IS NULL)
         ORDER BY id DESC LIMIT ?3"
    );
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map((machine, open, most), |found| Ok(row(found)?.to_wire()))?.collect()
}

/// One job with its parts and all that happened.
///
/// # Errors
/// SQLite's.
pub fn detail(connection: &Connection, id: i64) -> rusqlite::Result<Option<JobDetail>> {
    let Some(job) = find(connection, id)? else { return Ok(None) };
    let parts = query(connection, "parent = ?1", [id])?;
    let mut events =
        connection.prepare_cached("SELECT at, state, what, detail FROM job_events WHERE job = ?1 ORDER BY id")?;
    let events = events.query_map([id], |row| {
        Ok(JobEvent {
            at: crate::time::rfc3339(row.get(0)?),
            state: JobState::of(&row.get::<_, String>(1)?),
            what: row.get(2)?,
            detail: row.get(3)?,
        })
    })?;
    let events = events.collect::<rusqlite::Result<_>>()?;
    let adapt = super::adapt_of(connection, id)?.unwrap_or_default();
    let sql = "SELECT booted FROM jobs WHERE id = ?1";
    let booted = connection.prepare_cached(sql)?.query_row([id], |row| crate::db::machines::booted(row, 0))?;
    let job = job.to_wire();
    let becomes = Becomes::of(&adapt, job.first_boot.is_some());
    Ok(Some(JobDetail { job, parts: parts.iter().map(JobRow::to_wire).collect(), becomes, booted, events }))
}

/// The jobs of a machine that are not over.
///
/// # Errors
/// SQLite's.
pub fn open_of(connection: &Connection, machine: i64) -> rusqlite::Result<Vec<JobRow>> {
    query(connection, "machine = ?1 AND ended IS NULL", [machine])
}

/// The first job that is not over and needs this version of an image, or this image while its version is not fixed.
///
/// # Errors
/// SQLite's.
pub fn using_image(connection: &Connection, image: &ImageRef) -> rusqlite::Result<Option<JobRow>> {
    let wanted =
        "image = ?1 AND kind = 'restore' AND ended IS NULL AND (version IS NULL OR ?2 IS NULL OR version = ?2)";
    let id = image.id.map(|id| id.to_string());
    Ok(query(connection, wanted, (image.name.as_str(), id))?.into_iter().next())
}

/// Forgets the oldest jobs that are over, beyond the newest `keep`.
///
/// # Errors
/// SQLite's.
pub fn prune(connection: &Connection, keep: usize) -> rusqlite::Result<usize> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let sql = "DELETE FROM jobs WHERE ended IS NOT NULL AND id <= (SELECT max(id) FROM jobs) - ?1
               AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.parent = jobs.id OR other.after = jobs.id)
               AND (parent IS NULL OR (SELECT ended FROM jobs AS root WHERE root.id = jobs.parent) IS NOT NULL)";
    connection.execute(sql, [keep])
}
