//! PINs at rest: what their tokens may do, and how many wrong tries are left.
//!
//! In: a PIN's rights and its hash; what somebody typed, hashed alike. Out: the PIN that it is, or one try less for all.
//! Promise: a wrong try counts against every PIN that is alive, and comparing takes the same time for right and wrong.

use super::tokens::{join, split};
use ramet_wire::ImageGlob;
use ramet_wire::api::Scope;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, TransactionBehavior};

/// Wrong tries until a PIN is void.
pub const TRIES: u32 = 10;

/// One PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRow {
    /// Its id.
    pub id: String,
    /// What `secret::PinKey` makes of it.
    pub hash: [u8; 32],
    /// What its tokens may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// Seconds since 1970.
    pub expires: i64,
    /// Wrong tries that are left.
    pub tries: u32,
}

/// Adds a PIN and drops those that have expired; false when there are `most` already.
///
/// # Errors
/// SQLite's.
pub fn insert(connection: &mut Connection, pin: &PinRow, now: i64, most: usize) -> rusqlite::Result<bool> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    step.execute("DELETE FROM pins WHERE expires <= ?1", [now])?;
    let count: i64 = step.query_row("SELECT count(*) FROM pins", [], |row| row.get(0))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= most {
        return Ok(false);
    }
    let sql =
        "INSERT INTO pins (id, hash, scopes, images, expires, tries, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = (&pin.id, pin.hash, join(&pin.scopes), pin.images.to_string(), pin.expires, pin.tries, now);
    step.execute(sql, row)?;
    step.commit()?;
    Ok(true)
}

/// The PIN whose hash this is; if there is none, all have one try less.
///
/// # Errors
/// SQLite's.
pub fn enter(connection: &mut Connection, hash: &[u8; 32], now: i64) -> rusqlite::Result<Option<PinRow>> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut found = None;
    for pin in list(&step, now)?.into_iter().filter(|pin| pin.tries > 0) {
        // All are compared: which one it is, and whether it is one, cannot be told by the time.
        if crate::secret::same(&pin.hash, hash) {
            found = Some(pin);
        }
    }
    if found.is_none() {
        step.execute("UPDATE pins SET tries = tries - 1 WHERE tries > 0", [])?;
    }
    step.commit()?;
    Ok(found)
}

/// All that have not expired, oldest first; those without tries are void.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, now: i64) -> rusqlite::Result<Vec<PinRow>> {
    let sql = "SELECT id, hash, scopes, images, expires, tries FROM pins WHERE expires > ?1 ORDER BY created, id";
    let mut query = connection.prepare_cached(sql)?;
    query.query_map([now], read)?.collect()
}

/// Removes a PIN and the tokens that were made from it; false when there is none.
///
/// # Errors
/// SQLite's.
pub fn remove(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    super::tokens::remove_of(connection, &origin(id))?;
    connection.execute("DELETE FROM pins WHERE id = ?1", [id]).map(|gone| gone > 0)
}

/// The origin of tokens that were made from a PIN.
#[must_use]
pub fn origin(id: &str) -> String {
    format!("pin {id}")
}

fn read(row: &Row<'_>) -> rusqlite::Result<PinRow> {
    let images: String = row.get(3)?;
    let odd = |_| rusqlite::Error::InvalidColumnType(3, String::new(), Type::Text);
    Ok(PinRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        scopes: split(row, 2)?,
        images: images.parse().map_err(odd)?,
        expires: row.get(4)?,
        tries: row.get(5)?,
    })
}
