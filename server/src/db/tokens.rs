//! Tokens at rest: everything but the secret.
//!
//! In: a token's rights and the SHA-256 of its secret. Out: the same, and how often it was used.
//! Promise: the secret itself is never written.

use ramet_wire::ImageGlob;
use ramet_wire::api::Scope;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id, which is part of its text.
    pub id: String,
    /// SHA-256 of its secret: the secret is random, so a slow hash would add nothing.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// Seconds since 1970; none for never.
    pub expires: Option<i64>,
    /// Void after one run.
    pub once: bool,
    /// Runs it opened.
    pub used: i64,
}

/// Adds a token.
///
/// # Errors
/// SQLite's.
pub fn insert(connection: &Connection, token: &TokenRow, now: i64) -> rusqlite::Result<()> {
    let scopes = join(&token.scopes);
    let sql =
        "INSERT INTO tokens (id, hash, scopes, images, expires, once, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = (&token.id, token.hash, scopes, token.images.to_string(), token.expires, token.once, now);
    connection.execute(sql, row).map(|_| ())
}

/// The token with this id.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<TokenRow>> {
    connection.query_row(&format!("{SELECT} WHERE id = ?1"), [id], read).optional()
}

/// All tokens, oldest first.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    let mut query = connection.prepare_cached(&format!("{SELECT} ORDER BY created, id"))?;
    query.query_map([], read)?.collect()
}

/// How many there are.
///
/// # Errors
/// SQLite's.
pub fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 = connection.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Removes a token; false when there is none.
///
/// # Errors
/// SQLite's.
pub fn remove(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    connection.execute("DELETE FROM tokens WHERE id = ?1", [id]).map(|gone| gone > 0)
}

/// Counts one use; false when the token is gone, or void because it was for one run and had it.
///
/// # Errors
/// SQLite's.
pub fn consume(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let sql = "UPDATE tokens SET used = used + 1 WHERE id = ?1 AND (once = 0 OR used = 0)";
    connection.execute(sql, [id]).map(|used| used == 1)
}

const SELECT: &str = "SELECT id, hash, scopes, images, expires, once, used FROM tokens";

fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(",")
}

fn read(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let odd = |at: usize| rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text);
    let scopes: String = row.get(2)?;
    let images: String = row.get(3)?;
    Ok(TokenRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        scopes: scopes.split(',').map(|scope| scope.parse().map_err(|_| odd(2))).collect::<Result<_, _>>()?,
        images: images.parse().map_err(|_| odd(3))?,
        expires: row.get(4)?,
        once: row.get(5)?,
        used: row.get(6)?,
    })
}
