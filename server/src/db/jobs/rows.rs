//! A job's row.
//!
//! In: columns. Out: values, every word of them judged.
//! Promise: a word that this version does not know is an error here, not a guess.

use ramet_wire::jobs::{Cause, JobDisk, JobInfo, JobKind, JobOptions, JobState, Seen};
use ramet_wire::settings::Then;
use ramet_wire::{ImageId, ImageName, ImageRef};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row};

/// A job.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Its number.
    pub id: i64,
    /// The job that it is part of.
    pub parent: Option<i64>,
    /// What it does.
    pub kind: JobKind,
    /// For which machine; none for a tree, and when the machine was removed.
    pub machine: Option<i64>,
    /// The machine's name when it was asked for.
    pub name: Option<String>,
    /// The machine's group when it was asked for.
    pub rack: Option<String>,
    /// Its image, without a version.
    pub image: Option<ImageName>,
    /// The version.
    pub version: Option<ImageId>,
    /// What the operator said.
    pub options: JobOptions,
    /// Which disks.
    pub disks: Vec<JobDisk>,
    /// How far it is.
    pub state: JobState,
    /// The step under way.
    pub step: String,
    /// Bytes done and to do.
    pub progress: (i64, i64),
    /// Which try this is.
    pub try_now: u32,
    /// Tries in all.
    pub tries: u32,
    /// Why it is not going well.
    pub cause: Option<Cause>,
    /// In words.
    pub message: String,
    /// What an operator can do.
    pub next: String,
    /// The strongest proof.
    pub seen: Seen,
    /// Since when it is in this state, by the steady clock.
    pub since: i64,
    /// When this state has lasted too long, by the steady clock.
    pub until: Option<i64>,
    /// Its machine was switched on since it is in *boot*.
    pub powered: bool,
    /// Its machine was off and was switched on by this job: what runs on it is ours to switch off.
    pub ours: bool,
    /// SHA-256 of the nonce of the boot that has it.
    pub boot: Option<[u8; 32]>,
    /// Where that boot asked from.
    pub peer: Option<String>,
    /// SHA-256 of the nonce of the boot that an operator approved.
    pub approved: Option<[u8; 32]>,
    /// The token of that boot.
    pub token: Option<String>,
    /// Its newest run.
    pub run: Option<String>,
    /// When its agent must be heard of, by the steady clock.
    pub lease: Option<i64>,
    /// When its agent left, by the steady clock.
    pub left_at: Option<i64>,
    /// How its agent said that the machine goes on.
    pub follows: Option<Then>,
    /// The host as which its clone has called.
    pub booted: Option<String>,
    pub(super) by: String,
    pub(super) created: i64,
    pub(super) started: Option<i64>,
    pub(super) ended: Option<i64>,
}

/// The columns of [`row`].
pub const COLUMNS: &str = "id, parent, after, kind, machine, name, rack, image, version, options, disks, state, step, done,
    total, try_now, tries, cause, message, next, seen, since, until, powered, ours, boot, peer, approved, token, run, lease,
    left_at, follows, by, created, started, ended, booted ->> '$.booted.host'";

fn odd(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text)
}

/// Reads [`COLUMNS`].
///
/// # Errors
/// SQLite's, and for words that are none.
pub fn row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let text = |at: usize| row.get::<_, String>(at);
    let optional = |at: usize| row.get::<_, Option<String>>(at);
    let (image, version, cause, follows) = (optional(7)?, optional(8)?, optional(17)?, optional(32)?);
    let then = |word: String| serde_json::from_value(serde_json::Value::String(word)).map_err(|_| odd(32));
    Ok(JobRow {
        id: row.get(0)?,
        parent: row.get(1)?,
        kind: JobKind::of(&text(3)?),
        machine: row.get(4)?,
        name: row.get(5)?,
        rack: row.get(6)?,
        image: image.map(|name| name.parse().map_err(|_| odd(7))).transpose()?,
        version: version.map(|id| id.parse().map_err(|_| odd(8))).transpose()?,
        options: serde_json::from_str(&text(9)?).map_err(|_| odd(9))?,
        disks: serde_json::from_str(&text(10)?).map_err(|_| odd(10))?,
        state: JobState::of(&text(11)?),
        step: row.get(12)?,
        progress: (row.get(13)?, row.get(14)?),
        try_now: row.get(15)?,
        tries: row.get(16)?,
        cause: cause.map(|word| Cause::of(&word)),
        message: row.get(18)?,
        next: row.get(19)?,
        seen: Seen::of(&text(20)?),
        since: row.get(21)?,
        until: row.get(22)?,
        powered: row.get(23)?,
        ours: row.get(24)?,
        boot: row.get(25)?,
        peer: row.get(26)?,
        approved: row.get(27)?,
        token: row.get(28)?,
        run: row.get(29)?,
        lease: row.get(30)?,
        left_at: row.get(31)?,
        follows: follows.map(then).transpose()?,
        by: row.get(33)?,
        created: row.get(34)?,
        started: row.get(35)?,
        ended: row.get(36)?,
        booted: row.get(37)?,
    })
}

/// One job.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<JobRow>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], row).optional()
}

/// The jobs of which `wanted` is true, oldest first.
///
/// # Errors
/// SQLite's.
pub fn query(connection: &Connection, wanted: &str, params: impl Params) -> rusqlite::Result<Vec<JobRow>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE {wanted} ORDER BY id");
    connection.prepare_cached(&sql)?.query_map(params, row)?.collect()
}

impl JobRow {
    /// Name and version of its image.
    #[must_use]
    pub fn image_ref(&self) -> Option<ImageRef> {
        self.image.clone().map(|name| ImageRef { name, id: self.version })
    }

    /// For operators.
    #[must_use]
    pub fn to_wire(&self) -> JobInfo {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        JobInfo {
            id: count(self.id),
            parent: self.parent.map(count),
            kind: self.kind,
            machine: self.name.as_deref().and_then(|name| name.parse().ok()),
            image: self.image_ref(),
            state: self.state,
            step: self.step.clone(),
            done: count(self.progress.0),
            total: count(self.progress.1),
            try_now: self.try_now,
            tries: self.tries,
            cause: self.cause,
            message: self.message.clone(),
            next: self.next.clone(),
            seen: self.seen,
            disks: self.disks.clone(),
            then: self.options.then,
            by: self.by.clone(),
            created: crate::time::rfc3339(self.created),
            started: self.started.map(crate::time::rfc3339),
            ended: self.ended.map(crate::time::rfc3339),
            run: self.run.clone(),
            first_boot: self.options.first_boot.filter(|_| self.kind == JobKind::Restore),
            booted: self.booted.clone(),
        }
    }
}
