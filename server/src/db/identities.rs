//! Identities at rest: what operators declare for machines and for tags, as it was given.
//!
//! In: TOML that was read once and found good. Out: the same, and what it comes to for a machine.
//! Promise: a declaration that does not render for a machine that it means is not kept.

use super::machines::{self, MachineError, MachineRow, odd};
use crate::inventory::identity::{self, Layer};
use ramet_wire::machines::Label;
use ramet_wire::tags::{Declared, TagDetail, TagInfo};
use rusqlite::{Connection, OptionalExtension, Row};

/// Tags for which an identity may be declared.
const TAGS_MAX: i64 = 1000;

fn declared(row: &Row<'_>) -> rusqlite::Result<Declared> {
    Ok(Declared { toml: row.get(0)?, by: row.get(1)?, at: crate::time::rfc3339(row.get(2)?) })
}

/// What is declared for a machine alone.
///
/// # Errors
/// SQLite's.
pub fn of_machine(connection: &Connection, machine: i64) -> rusqlite::Result<Option<Declared>> {
    let sql = "SELECT toml, by, at FROM identities WHERE machine = ?1";
    connection.prepare_cached(sql)?.query_row([machine], declared).optional()
}

fn of_tag(connection: &Connection, tag: &Label) -> rusqlite::Result<Option<Declared>> {
    let sql = "SELECT toml, by, at FROM identities WHERE tag = ?1";
    connection.prepare_cached(sql)?.query_row([tag.as_str()], declared).optional()
}

/// All that is declared for a machine, the weakest first: its tags in ascending order, then itself.
///
/// # Errors
/// SQLite's.
pub fn layers(connection: &Connection, machine: &MachineRow) -> rusqlite::Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for tag in &machine.tags {
        layers.extend(of_tag(connection, tag)?.map(|found| Layer { from: format!("tag {tag}"), toml: found.toml }));
    }
    let own = of_machine(connection, machine.id)?;
    layers.extend(own.map(|found| Layer { from: format!("machine {}", machine.name), toml: found.toml }));
    Ok(layers)
}

/// What is declared for this machine renders for it.
fn check(tx: &Connection, machine: &MachineRow) -> Result<(), MachineError> {
    let layers = layers(tx, machine)?;
    let rendered = identity::effective(&layers, &identity::vars(machine));
    rendered.map(drop).map_err(|why| MachineError::Refused(format!("{}: {why}", machine.name)))
}

/// Declares who the clones on a machine are; empty for nothing.
///
/// # Errors
/// [`MachineError`].
pub fn set_machine(tx: &Connection, id: i64, toml: &str, who: &str, now: i64) -> Result<(), MachineError> {
    tx.execute("DELETE FROM identities WHERE machine = ?1", [id])?;
    if toml.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO identities (machine, toml, by, at) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, (id, toml, who, now))?;
    match machines::find(tx, id)? {
        Some(machine) => check(tx, &machine),
        None => Ok(()),
    }
}

/// The same of a tag, for all machines that have it.
///
/// # Errors
/// [`MachineError`].
pub fn set_tag(tx: &Connection, tag: &Label, toml: &str, who: &str, now: i64) -> Result<(), MachineError> {
    tx.execute("DELETE FROM identities WHERE tag = ?1", [tag.as_str()])?;
    if toml.is_empty() {
        return Ok(());
    }
    let count: i64 = tx.query_row("SELECT count(*) FROM identities WHERE tag IS NOT NULL", [], |row| row.get(0))?;
    if count >= TAGS_MAX {
        let why = format!("an identity is declared for {TAGS_MAX} tags, no more are allowed");
        return Err(MachineError::Refused(why));
    }
    tx.execute("INSERT INTO identities (tag, toml, by, at) VALUES (?1, ?2, ?3, ?4)", (tag.as_str(), toml, who, now))?;
    let named = machines::resolve_all(tx, &[], Some(tag))?.unwrap_or_default();
    named.iter().try_for_each(|machine| check(tx, machine))
}

const TAGS: &str = "SELECT tag, sum(machines), max(declared) FROM (
    SELECT value AS tag, count(*) AS machines, 0 AS declared FROM machines, json_each(tags) GROUP BY value
    UNION ALL SELECT tag, 0, 1 FROM identities WHERE tag IS NOT NULL)";

fn info(row: &Row<'_>) -> rusqlite::Result<TagInfo> {
    let tag = row.get::<_, String>(0)?.parse().map_err(|_| odd(0))?;
    Ok(TagInfo { tag, machines: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0), declared: row.get(2)? })
}

/// All tags that a machine has, or for which an identity is declared, ascending.
///
/// # Errors
/// SQLite's.
pub fn tags(connection: &Connection) -> rusqlite::Result<Vec<TagInfo>> {
    let mut query = connection.prepare_cached(&format!("{TAGS} GROUP BY tag ORDER BY tag"))?;
    query.query_map([], info)?.collect()
}

/// One of them.
///
/// # Errors
/// SQLite's.
pub fn tag(connection: &Connection, tag: &Label) -> rusqlite::Result<Option<TagDetail>> {
    let sql = format!("{TAGS} WHERE tag = ?1 GROUP BY tag");
    let found = connection.prepare_cached(&sql)?.query_row([tag.as_str()], info).optional()?;
    let identity = of_tag(connection, tag)?;
    Ok(found.map(|tag| TagDetail { tag, identity }))
}
