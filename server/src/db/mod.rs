//! The database: tokens, runs, PINs, machines, jobs and what was done, in one SQLite file.
//!
//! In: closures over a connection, from any thread. Out: their results, once they are on disk.
//! Promise: one thread writes, in order; another one reads beside it; what was answered survives a crash of process or
//! machine.

pub mod audit;
pub mod first_boot;
pub mod identities;
pub mod jobs;
pub mod machines;
pub mod netboot;
pub mod pins;
pub mod power;
pub mod rules;
pub mod runs;
mod schema;
pub mod tokens;

use rusqlite::{Connection, OptionalExtension, ffi};
use schema::{SCHEMA, SCHEMA_1, SCHEMA_2, SCHEMA_3, SCHEMA_4};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait; askers beyond wait too.
const QUEUE: usize = 256;

/// Why the database did not do it. Messages are for the log; agents never see them.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite said no.
    #[error("{doing}")]
    Sqlite {
        /// What was done.
        doing: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// Written by a newer version.
    #[error("database {} has schema {found}, this build knows {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The thread is gone.
    #[error("{doing}: the database is closed")]
    Closed {
        /// What was asked.
        doing: &'static str,
    },
}

impl DbError {
    /// The disk under the database is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Sqlite { source: rusqlite::Error::SqliteFailure(error, _), .. } = self else { return false };
        error.code == ffi::ErrorCode::DiskFull
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The database, as everybody sees it.
#[derive(Debug)]
pub struct Db {
    writer: Option<Worker>,
    reader: Option<Worker>,
}

/// One connection on a thread of its own.
#[derive(Debug)]
struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(name: &str, mut connection: Connection) -> Result<Self, DbError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        let thread = thread.map_err(|_| DbError::Closed { doing: "starting the database's thread" })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    async fn call<T, F>(&self, doing: &'static str, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = answer.send(work(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(DbError::Closed { doing })?;
        jobs.send(job).await.map_err(|_| DbError::Closed { doing })?;
        let result = wait.await.map_err(|_| DbError::Closed { doing })?;
        result.map_err(|source| DbError::Sqlite { doing, source })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Db {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let writer = Worker::start("database", connect(path)?)?;
        let reader = connect(path)?;
        let failed = |source| DbError::Sqlite { doing: "opening the database", source };
        reader.pragma_update(None, "query_only", true).map_err(failed)?;
        let reader = Worker::start("database-read", reader)?;
        Ok(Self { writer: Some(writer), reader: Some(reader) })
    }

    /// Runs `work` on the database's thread.
    ///
    /// # Errors
    /// [`DbError`]; `doing` is a gerund with its object.
    pub async fn call<T, F>(&self, doing: &'static str, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.as_ref().ok_or(DbError::Closed { doing })?.call(doing, work).await
    }

    /// Runs `work`, which changes nothing, beside what is being written: it sees what is on disk by now.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn read<T, F>(&self, doing: &'static str, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.reader.as_ref().ok_or(DbError::Closed { doing })?.call(doing, work).await
    }

    /// A value that this database keeps for ever, made by `new` when it is asked for first.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn secret(&self, key: &'static str, new: [u8; 32]) -> Result<Vec<u8>, DbError> {
        self.call("reading a secret", move |connection| {
            connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)", (key, new))?;
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        })
        .await
    }

    /// Copies the database, as it is now, into a new file: SQLite's online backup.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn copy_to(&self, path: PathBuf) -> Result<(), DbError> {
        self.call("copying the database", move |connection| {
            connection.backup("main", &path, None::<fn(rusqlite::backup::Progress)>)
        })
        .await
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // The writer's connection closes last, so that it is the one which folds the log into the file.
        self.reader = None;
        self.writer = None;
    }
}

fn connect(path: &Path) -> Result<Connection, DbError> {
    let doing = "opening the database";
    let failed = |source| DbError::Sqlite { doing, source };
    // Made private first; SQLite gives its other files the same mode. An error comes again when it opens the file.
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
    // FULL: a token that was used once must not come back after a power cut.
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA {
        return Err(DbError::Schema { path: path.to_owned(), found });
    }
    migrate(&mut connection, found).map_err(|source| DbError::Sqlite { doing: "updating the database", source })?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let step = connection.transaction()?;
    if found < 1 {
        step.execute_batch(SCHEMA_1)?;
    }
    if found < 2 {
        step.execute_batch(SCHEMA_2)?;
    }
    if found < 3 {
        step.execute_batch(SCHEMA_3)?;
    }
    if found < 4 {
        step.execute_batch(SCHEMA_4)?;
    }
    step.pragma_update(None, "user_version", SCHEMA)?;
    step.commit()
}

/// The schema in an empty database, for tests of queries.
#[cfg(test)]
pub fn testing(connection: &mut Connection) {
    migrate(connection, 0).expect("the schema is good");
}

/// Whether a file is a database of this program that is whole, for a restore.
///
/// # Errors
/// [`DbError`] when it is not.
pub fn check_file(path: &Path) -> Result<(), DbError> {
    let failed = |source| DbError::Sqlite { doing: "checking the database", source };
    let connection = connect(path)?;
    let sound: Option<String> =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).optional().map_err(failed)?;
    match sound.as_deref() {
        Some("ok") => Ok(()),
        _ => Err(failed(rusqlite::Error::InvalidQuery)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_made_once_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ramet.db");
        let db = Db::open(&path).unwrap();
        assert_eq!(db.secret("x", [1; 32]).await.unwrap(), [1; 32]);
        drop(db);
        let db = Db::open(&path).unwrap();
        assert_eq!(db.secret("x", [2; 32]).await.unwrap(), [1; 32]);
    }

    #[test]
    fn refuses_a_database_of_a_newer_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ramet.db");
        drop(Db::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let refused = Db::open(&path).unwrap_err();
        assert!(refused.to_string().contains("schema 99, this build knows 4"), "{refused}");
    }

    #[tokio::test]
    async fn a_database_of_schema_1_is_brought_up_to_date_with_its_tokens_and_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ramet.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(SCHEMA_1).unwrap();
        old.execute_batch(
            "INSERT INTO tokens VALUES ('0123abcd', zeroblob(32), 'capture', 'web-*', NULL, 0, 3, 100);
             INSERT INTO runs (number, id, action, image, partitions, agent, agent_version, machine, token, session,
                 state, started) VALUES (1, 'aa', 'capture', 'web-1', '', '', '0.1.0', '{}', '0123abcd', zeroblob(32),
                 'running', 100);
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let db = Db::open(&path).unwrap();
        let token = db.call("", |db| tokens::find(db, "0123abcd")).await.unwrap().unwrap();
        assert_eq!((token.images.to_string().as_str(), token.used, token.version), ("web-*", 3, None));
        assert_eq!((token.origin.as_str(), token.armed.as_str()), ("", ""));
        assert_eq!(db.call("", |db| runs::list(db, 9)).await.unwrap().len(), 1);
        assert!(db.call("", |db| netboot::list(db, 100)).await.unwrap().is_empty());
        assert!(db.call("", |db| pins::list(db, 100)).await.unwrap().is_empty());
        drop(db);
        let version: i64 =
            Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, SCHEMA);
    }

    #[tokio::test]
    async fn a_database_of_schema_3_is_brought_up_to_date_with_its_machines_and_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ramet.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&[SCHEMA_1, SCHEMA_2, SCHEMA_3].concat()).unwrap();
        old.execute_batch(
            "INSERT INTO machines (id, name, state, tags, first_seen) VALUES (7, 'web01', 'accepted', '[\"web\"]', 50);
             INSERT INTO jobs (id, kind, machine, name, image, version, options, state, tries, since, by, created)
                 VALUES (3, 'restore', 7, 'web01', 'web', '0101010101010101', '{\"force_off\":true}', 'queued', 3, 60,
                 'operator local', 60);
             PRAGMA user_version = 3;",
        )
        .unwrap();
        drop(old);
        let db = Db::open(&path).unwrap();
        let job = db.call("", |db| jobs::find(db, 3)).await.unwrap().unwrap();
        assert!(job.options.force_off && job.options.identity.is_none() && job.booted.is_none(), "{job:?}");
        assert_eq!(db.call("", |db| jobs::adapt_of(db, 3)).await.unwrap(), None, "a plain copy stays one");
        let unchecked = db.call("", |db| jobs::unchecked(db)).await.unwrap();
        assert!(unchecked.is_empty(), "what was planned before goes on");
        let machine = db.call("", |db| machines::detail(db, 7, 9)).await.unwrap().unwrap();
        assert_eq!((machine.machine.booted, machine.identity), (None, None));
        let tags = db.call("", |db| identities::tags(db)).await.unwrap();
        assert_eq!(tags.iter().map(|tag| (tag.tag.as_str(), tag.machines)).collect::<Vec<_>>(), [("web", 1)]);
        drop(db);
        let version: i64 =
            Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, SCHEMA);
    }
}
