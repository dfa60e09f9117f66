//! Tokens at rest: everything but the secret.
//!
//! In: a token's rights and the SHA-256 of its secret. Out: the same, and how often it was used.
//! Promise: the secret itself is never written.

use ramet_wire::api::Scope;
use ramet_wire::{ImageGlob, ImageId};
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
    /// Who had it made: empty for an operator, else `pin ID`, `code CODE` or `armed`.
    pub origin: String,
    /// Restore: only this version.
    pub version: Option<ImageId>,
    /// Ids of the armed machines whose work it is, with commas.
    pub armed: String,
    /// The job whose work it is.
    pub job: Option<i64>,
}

/// Adds a token.
///
/// # Errors
/// SQLite's.
pub fn insert(connection: &Connection, token: &TokenRow, now: i64) -> rusqlite::Result<()> {
    let scopes = join(&token.scopes);
    let sql = "INSERT INTO tokens (id, hash, scopes, images, expires, once, created, origin, version, armed, job)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let images = token.images.to_string();
    let version = token.version.map(|id| id.to_string());
    let row = rusqlite::params![
        token.id,
        token.hash,
        scopes,
        images,
        token.expires,
        token.once,
        now,
        token.origin,
        version,
        token.armed,
        token.job
    ];
    connection.execute(sql, row).map(|_| ())
}

/// Adds a token that no operator asked for by name, and drops those of that kind that have expired.
///
/// # Errors
/// SQLite's.
pub fn issue(connection: &Connection, token: &TokenRow, now: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tokens WHERE origin <> '' AND expires <= ?1", [now])?;
    insert(connection, token, now)
}

/// The token is there, has not expired, and has opened no run.
///
/// # Errors
/// SQLite's.
pub fn is_fresh(connection: &Connection, id: &str, now: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM tokens WHERE id = ?1 AND used = 0 AND (expires IS NULL OR expires > ?2)";
    connection.prepare_cached(sql)?.exists((id, now))
}

/// Removes a token unless it has opened a run.
///
/// # Errors
/// SQLite's.
pub fn revoke(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tokens WHERE id = ?1 AND used = 0", [id]).map(|_| ())
}

/// Removes all tokens of this origin.
///
/// # Errors
/// SQLite's.
pub fn remove_of(connection: &Connection, origin: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tokens WHERE origin = ?1", [origin]).map(|_| ())
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

/// How many operators have made.
///
/// # Errors
/// SQLite's.
pub fn count(connection: &Connection) -> rusqlite::Result<usize> {
    let count: i64 = connection.query_row("SELECT count(*) FROM tokens WHERE origin = ''", [], |row| row.get(0))?;
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

const SELECT: &str = "SELECT id, hash, scopes, images, expires, once, used, origin, version, armed, job FROM tokens";

/// Scopes as they lie.
pub(super) fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(",")
}

/// The scopes in column `at`.
pub(super) fn split(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<Scope>> {
    let scopes: String = row.get(at)?;
    scopes.split(',').map(|scope| scope.parse().map_err(|_| odd(at))).collect()
}

fn odd(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text)
}

fn read(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let images: String = row.get(3)?;
    let version: Option<String> = row.get(8)?;
    Ok(TokenRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        scopes: split(row, 2)?,
        images: images.parse().map_err(|_| odd(3))?,
        expires: row.get(4)?,
        once: row.get(5)?,
        used: row.get(6)?,
        origin: row.get(7)?,
        version: version.map(|id| id.parse().map_err(|_| odd(8))).transpose()?,
        armed: row.get(9)?,
        job: row.get(10)?,
    })
}
