//! What a job's machine becomes beyond the copy: the order at rest, and whether it was carried out.
//!
//! In: a job, the receipt's word. Out: the order without its token; why a clone is not what was ordered.
//! Promise: an order that this version does not know is an error here, not a plain copy.

use super::{JobRow, Now, Said, note, query};
use ramet_wire::adapt::{Adapt, Adapted};
use ramet_wire::jobs::Cause;
use rusqlite::{Connection, OptionalExtension};

/// What its machine becomes beyond the copy, without its token; none: a plain copy.
///
/// # Errors
/// SQLite's, and for an order that this version does not know.
pub fn adapt_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<Adapt>> {
    let sql = "SELECT adapt FROM jobs WHERE id = ?1";
    let text: Option<Option<String>> = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let odd = |_| rusqlite::Error::InvalidColumnType(0, "adapt".to_owned(), rusqlite::types::Type::Text);
    text.flatten().map(|text| serde_json::from_str(&text).map_err(odd)).transpose()
}

/// Restores whose image is known and of which nobody has asked whether it would boot.
///
/// # Errors
/// SQLite's.
pub fn unchecked(connection: &Connection) -> rusqlite::Result<Vec<JobRow>> {
    query(connection, "checked = 0 AND state = 'queued' AND version IS NOT NULL", [])
}

/// Somebody has asked; with what is to be known of it.
///
/// # Errors
/// SQLite's.
pub fn checked(tx: &Connection, job: &JobRow, words: &[String], now: Now) -> rusqlite::Result<()> {
    tx.execute("UPDATE jobs SET checked = 1 WHERE id = ?1", [job.id])?;
    words.iter().try_for_each(|words| note(tx, job.id, job.state, "boot-check", words, now.wall))
}

/// Why the clone is not what was ordered, although its disk holds the image.
///
/// # Errors
/// SQLite's.
pub(super) fn without_identity(
    tx: &Connection,
    job: &JobRow,
    adapted: Option<&Adapted>,
) -> rusqlite::Result<Option<Said>> {
    let Some(adapt) = adapt_of(tx, job.id)? else { return Ok(None) };
    let done = match adapted {
        Some(adapted) => adapted.identity || adapt.identity.is_none(),
        None => adapt.identity.is_none() && !adapt.new_uuids,
    };
    if done {
        return Ok(None);
    }
    let name = job.name.as_deref().unwrap_or("the machine");
    let why = adapted.and_then(|adapted| adapted.without.clone());
    let why = why.unwrap_or_else(|| "its agent does not say that it did it".to_owned());
    let message = format!("{name} holds the image without identity: {}", crate::text::redact(&why));
    let next = format!(
        "do not start {name} beside its source; correct what is said, then ramet job retry {}, or restore with \
         --no-identity",
        job.id
    );
    Ok(Some(Said::bad(Cause::WithoutIdentity, message, next)))
}
