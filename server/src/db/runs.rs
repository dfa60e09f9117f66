//! Runs at rest: who captured or restored what, how far, and with what proof.
//!
//! In: a run's opening, its heartbeats, its end. Out: rows for operators, and sessions to take up after a restart.
//! Promise: a run ends once; a later end changes nothing.

use super::jobs::Now;
use ramet_wire::adapt::Adapted;
use ramet_wire::api::{Action, RunInfo, RunState};
use ramet_wire::receipt::SignedReceipt;
use ramet_wire::{ImageId, ImageName, ImageRef};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

/// A run as it is opened.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: String,
    /// Direction.
    pub action: Action,
    /// Which image.
    pub image: ImageName,
    /// Restore: which version.
    pub version: Option<ImageId>,
    /// Restore: only these partitions; empty for all.
    pub partitions: Vec<u32>,
    /// Peer and machine, cleaned.
    pub agent: String,
    /// The agent's version.
    pub agent_version: String,
    /// What the machine says of itself, as JSON.
    pub machine: String,
    /// The token that opened it.
    pub token: String,
    /// SHA-256 of the session's secret.
    pub session: [u8; 32],
    /// Capture: the store's session.
    pub store_session: Option<String>,
    /// The job whose run it is.
    pub job: Option<i64>,
}

/// A run that was under way when the server stopped, or had just ended.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// The run.
    pub id: String,
    /// Direction.
    pub action: Action,
    /// Which image.
    pub image: ImageName,
    /// Which version.
    pub version: Option<ImageId>,
    /// Which partitions.
    pub partitions: Vec<u32>,
    /// SHA-256 of the session's secret.
    pub session: [u8; 32],
    /// The store's session.
    pub store_session: Option<String>,
    /// The job whose run it is.
    pub job: Option<i64>,
    /// The run goes on.
    pub running: bool,
    /// Capture: the commit number of the version that was published.
    pub committed: Option<u64>,
    /// Restore: the countersigned receipt.
    pub receipt: Option<SignedReceipt>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct End {
    /// The final state.
    pub state: RunState,
    /// Why it failed; empty otherwise.
    pub error: String,
    /// Capture: the version that was published, and its commit number.
    pub committed: Option<(ImageId, u64)>,
    /// Restore: the countersigned receipt, as JSON.
    pub receipt: Option<String>,
    /// Restore: what it says was done beyond the copy.
    pub adapted: Option<Adapted>,
}

impl End {
    /// A run that failed or was lost.
    #[must_use]
    pub fn without_result(state: RunState, error: String) -> Self {
        Self { state, error, committed: None, receipt: None, adapted: None }
    }
}

/// Counts the token's use and opens the run, both or neither; false when the token is void.
///
/// # Errors
/// SQLite's.
pub fn open(connection: &mut Connection, run: &NewRun, lease: i64, now: i64, keep: usize) -> rusqlite::Result<bool> {
    let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !super::tokens::consume(&step, &run.token)? {
        return Ok(false);
    }
    let numbers: Vec<String> = run.partitions.iter().map(u32::to_string).collect();
    let sql = "INSERT INTO runs (id, action, image, version, partitions, agent, agent_version, machine, token, session,
               store_session, state, started, job, armed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
               'running', ?12, ?13, (SELECT armed FROM tokens WHERE id = ?9))";
    step.execute(
        sql,
        rusqlite::params![
            run.id,
            action_text(run.action),
            run.image.as_str(),
            run.version.map(|id| id.to_string()),
            numbers.join(","),
            run.agent,
            run.agent_version,
            run.machine,
            run.token,
            run.session,
            run.store_session,
            now,
            run.job
        ],
    )?;
    // Its job may have been ended since the token was handed out.
    if let Some(job) = run.job
        && !super::jobs::run_opened(&step, job, &run.token, &run.id, lease)?
    {
        return Ok(false);
    }
    let old = "DELETE FROM runs WHERE state <> 'running' AND number <= (SELECT max(number) FROM runs) - ?1";
    step.execute(old, [i64::try_from(keep).unwrap_or(i64::MAX)])?;
    step.commit()?;
    Ok(true)
}

/// Notes how far a run is.
///
/// # Errors
/// SQLite's.
pub fn heartbeat(connection: &Connection, id: &str, step: &str, done: u64, total: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE runs SET step = ?2, done = ?3, total = ?4 WHERE id = ?1 AND state = 'running'";
    connection.execute(sql, (id, step, signed(done), signed(total))).map(|_| ())
}

/// Ends a run; false when it has ended before. One that is done disarms the machines that were armed for once.
///
/// # Errors
/// SQLite's.
pub fn end(connection: &Connection, id: &str, end: &End, grace: i64, now: Now) -> rusqlite::Result<bool> {
    let version = end.committed.map(|(id, _)| id.to_string());
    let number = end.committed.map(|(_, number)| signed(number));
    let sql = "UPDATE runs SET state = ?2, error = ?3, version = coalesce(?4, version), committed = ?5, receipt = ?6,
               ended = ?7 WHERE id = ?1 AND state = 'running'";
    let row = (id, state_text(end.state), &end.error, version, number, &end.receipt, now.wall);
    let step = connection.unchecked_transaction()?;
    let ended = step.execute(sql, row)? == 1;
    if ended && end.state == RunState::Done {
        let armed: String = step.query_row("SELECT armed FROM runs WHERE id = ?1", [id], |row| row.get(0))?;
        super::netboot::fulfil(&step, &armed)?;
    }
    if ended {
        super::jobs::run_ended(&step, id, end.adapted.as_ref(), grace, now)?;
    }
    step.commit()?;
    Ok(ended)
}

/// State of the newest run that a token opened; none while it has opened none.
///
/// # Errors
/// SQLite's.
pub fn state_of_token(connection: &Connection, token: &str) -> rusqlite::Result<Option<RunState>> {
    let sql = "SELECT state FROM runs WHERE token = ?1 ORDER BY number DESC LIMIT 1";
    let state: Option<String> = connection.prepare_cached(sql)?.query_row([token], |row| row.get(0)).optional()?;
    Ok(state.map(|state| read_state(&state)))
}

/// One run.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<RunInfo>> {
    connection.query_row(&format!("SELECT {COLUMNS}, receipt FROM runs WHERE id = ?1"), [id], read).optional()
}

/// The newest runs, newest first, without their receipts: those can be large.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection, most: u32) -> rusqlite::Result<Vec<RunInfo>> {
    let sql = format!("SELECT {COLUMNS}, NULL FROM runs ORDER BY number DESC LIMIT ?1");
    let mut query = connection.prepare_cached(&sql)?;
    query.query_map([most], read)?.collect()
}

/// The runs that are under way, or ended after `since`, with what a session needs: the answer to an agent's last
/// request may have been lost together with the server.
///
/// # Errors
/// SQLite's.
pub fn recent(connection: &Connection, since: i64) -> rusqlite::Result<Vec<OpenRow>> {
    let sql = "SELECT id, action, image, version, partitions, session, store_session, state, committed, receipt, job
               FROM runs WHERE state = 'running' OR ended > ?1";
    let mut query = connection.prepare(sql)?;
    let rows = query.query_map([since], |row| {
        let numbers: String = row.get(4)?;
        let numbers = numbers.split(',').filter(|number| !number.is_empty());
        Ok(OpenRow {
            id: row.get(0)?,
            action: read_action(row, 1)?,
            image: parsed(row, 2)?,
            version: optional(row, 3)?,
            partitions: numbers.map(|number| number.parse().map_err(|_| odd(4))).collect::<Result<_, _>>()?,
            session: row.get(5)?,
            store_session: row.get(6)?,
            job: row.get(10)?,
            running: row.get::<_, String>(7)? == "running",
            committed: row.get::<_, Option<i64>>(8)?.map(unsigned),
            receipt: read_receipt(row, 9)?,
        })
    })?;
    rows.collect()
}

const COLUMNS: &str = "id, action, image, version, state, agent, started, ended, step, error, done, total";

fn read(row: &Row<'_>) -> rusqlite::Result<RunInfo> {
    let (step, error): (String, String) = (row.get(8)?, row.get(9)?);
    let ended: Option<i64> = row.get(7)?;
    let state: String = row.get(4)?;
    Ok(RunInfo {
        run: row.get(0)?,
        action: read_action(row, 1)?,
        image: ImageRef { name: parsed(row, 2)?, id: optional(row, 3)? },
        state: read_state(&state),
        agent: row.get(5)?,
        started: crate::time::rfc3339(row.get(6)?),
        ended: ended.map(crate::time::rfc3339),
        detail: if error.is_empty() { step } else { error },
        done: unsigned(row.get(10)?),
        total: unsigned(row.get(11)?),
        receipt: read_receipt(row, 12)?,
    })
}

fn read_receipt(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<SignedReceipt>> {
    row.get::<_, Option<String>>(at)?.map(|text| serde_json::from_str(&text).map_err(|_| odd(at))).transpose()
}

fn odd(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, String::new(), Type::Text)
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    row.get::<_, String>(at)?.parse().map_err(|_| odd(at))
}

fn optional<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
    row.get::<_, Option<String>>(at)?.map(|text| text.parse().map_err(|_| odd(at))).transpose()
}

fn read_action(row: &Row<'_>, at: usize) -> rusqlite::Result<Action> {
    match row.get::<_, String>(at)?.as_str() {
        "capture" => Ok(Action::Capture),
        "restore" => Ok(Action::Restore),
        _ => Err(odd(at)),
    }
}

const fn action_text(action: Action) -> &'static str {
    match action {
        Action::Capture => "capture",
        Action::Restore => "restore",
    }
}

const fn state_text(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Done => "done",
        RunState::Unproven => "unproven",
        RunState::Failed => "failed",
        RunState::Lost => "lost",
        RunState::Unknown => "unknown",
    }
}

fn read_state(text: &str) -> RunState {
    match text {
        "running" => RunState::Running,
        "done" => RunState::Done,
        "unproven" => RunState::Unproven,
        "failed" => RunState::Failed,
        "lost" => RunState::Lost,
        _ => RunState::Unknown,
    }
}

/// SQLite's integers are signed; no count of bytes comes near the end.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
