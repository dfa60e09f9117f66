//! Runs: opened by a token, kept alive by heartbeats, ended once.
//!
//! In: tokens and sessions. Out: sessions, and what operators want to know of runs.
//! Promise: a restore's version is fixed when the run opens; a token for one run opens one.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, VERSION, json};
use crate::db::runs::{self, End, NewRun};
use crate::db::tokens::TokenRow;
use crate::secret;
use crate::session::{Outcome, Session};
use crate::text::{clean, redact};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::ImageRef;
use ramet_wire::api::{
    Action, EndRun, ErrorKind, Heartbeat, ImageInfo, OpenRun, RunInfo, RunOpened, RunState, Scope, ServerVersion,
    check_agent_version,
};
use ramet_wire::manifest::{Manifest, Source, Where};
use std::net::SocketAddr;
use std::sync::Arc;

/// Runs that one answer lists at most.
const LIST_MAX: u32 = 1000;

/// `GET /v1/version`.
pub async fn version(State(app): State<Arc<App>>) -> Json<ServerVersion> {
    let key = app.identity.fingerprint();
    let time = app.clock.unix();
    Json(ServerVersion { server: VERSION.to_owned(), format: ramet_wire::manifest::FORMAT, key, time })
}

/// Read alone and first, from whatever a newer agent may send.
#[derive(serde::Deserialize)]
struct AgentOnly {
    agent: String,
}

/// The version of the agent that sent this body fits ours.
///
/// # Errors
/// 426 with both versions.
pub fn check_version(body: &[u8]) -> Result<(), Refusal> {
    let AgentOnly { agent } = json(body)?;
    check_agent_version(&agent, VERSION)
        .map_err(|message| Refusal::new(StatusCode::UPGRADE_REQUIRED, ErrorKind::Refused, message))
}

/// `POST /v1/runs`.
pub async fn open(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Result<(StatusCode, Json<RunOpened>), Refusal> {
    let Principal::Token(token) = principal else { return Err(Refusal::bug("this route has no token")) };
    check_version(&body)?;
    let open: OpenRun = json(&body)?;
    may_open(&token, &open)?;
    if app.sessions.len() >= app.limits.sessions {
        return Err(Refusal::later(format!("{} runs are under way, no more are allowed", app.limits.sessions)));
    }
    let image = match open.action {
        Action::Capture => None,
        Action::Restore => {
            let (wanted, partitions) = (open.image.clone(), open.partitions.clone());
            Some(app.blocking(move |app| fix(app, &wanted, &partitions)).await?)
        }
    };
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer);
    let secret = secret::session()?;
    let (run, session) = begin(&app, &token, &open, image.as_ref(), peer, secret.hash).await?;
    if !app.sessions.insert(secret.hash, session, app.limits.sessions) {
        let end = End::without_result(RunState::Failed, "too many runs were under way".to_owned());
        finish(&app, &run.id, end).await?;
        return Err(Refusal::later("too many runs are under way"));
    }
    tracing::info!(run = run.id, action = ?run.action, image = %run.image, agent = run.agent, token = token.id, "run opened");
    let lapses = app.limits.session_lapse.as_secs();
    let opened = RunOpened { run: run.id, session: secret.text, server: VERSION.to_owned(), lapses, image };
    Ok((StatusCode::CREATED, Json(opened)))
}

/// The version that a restore is bound to; it has all partitions that are named.
fn fix(app: &App, wanted: &ImageRef, partitions: &[u32]) -> Result<ImageInfo, Refusal> {
    let info = super::images::find(app, wanted)?;
    if partitions.is_empty() {
        return Ok(info);
    }
    let (bytes, _) = app.store.manifest(&ImageRef { name: info.name.clone(), id: Some(info.id) })?;
    let manifest = Manifest::read(&bytes).map_err(|error| Refusal::bug(error.to_string()))?;
    let has = |number: &u32| manifest.spaces().any(|(_, place, _, _)| place == Where::Partition(*number));
    match partitions.iter().find(|number| !has(number)) {
        None => Ok(info),
        Some(number) => Err(Refusal::bad(format!("image {}@{} has no partition {number}", info.name, info.id))),
    }
}

fn may_open(token: &TokenRow, open: &OpenRun) -> Result<(), Refusal> {
    let (scope, word) = match open.action {
        Action::Capture => (Scope::Capture, "capture"),
        Action::Restore => (Scope::Restore, "restore"),
    };
    if !token.scopes.contains(&scope) {
        return Err(Refusal::forbidden(format!("the token is not for {word}")));
    }
    if !token.images.matches(&open.image.name) {
        let message = format!("the token is for images {}, not for {}", token.images, open.image.name);
        return Err(Refusal::forbidden(message));
    }
    if let Some(version) = token.version
        && open.image.id != Some(version)
    {
        return Err(Refusal::forbidden(format!(
            "the token is for {}@{version}, not for {}",
            open.image.name, open.image
        )));
    }
    match (open.action, open.image.id, open.partitions.is_empty()) {
        (Action::Capture, Some(_), _) => Err(Refusal::bad("a capture makes a new version: give a name without an id")),
        (Action::Capture, None, false) => Err(Refusal::bad("a capture takes whole disks: give no partitions")),
        _ if open.partitions.len() > ramet_wire::table::PARTITIONS_MAX => {
            let (found, most) = (open.partitions.len(), ramet_wire::table::PARTITIONS_MAX);
            Err(Refusal::bad(format!("{found} partitions are named, {most} are allowed")))
        }
        _ => Ok(()),
    }
}

async fn begin(
    app: &Arc<App>,
    token: &TokenRow,
    open: &OpenRun,
    image: Option<&ImageInfo>,
    peer: Option<SocketAddr>,
    hash: [u8; 32],
) -> Result<(NewRun, Session), Refusal> {
    let store = match open.action {
        Action::Capture => Some(app.blocking(|app| app.store.open_session()).await?),
        Action::Restore => None,
    };
    let machine = machine(&open.machine);
    let who = [peer.map(|peer| peer.ip().to_string()), machine.host.clone(), machine.serial.clone()];
    let run = NewRun {
        id: secret::id::<8>()?,
        action: open.action,
        image: open.image.name.clone(),
        version: image.map(|image| image.id),
        partitions: open.partitions.clone(),
        agent: clean(&who.into_iter().flatten().collect::<Vec<_>>().join(" "), 200),
        agent_version: clean(&open.agent, 32),
        machine: serde_json::to_string(&machine).unwrap_or_default(),
        token: token.id.clone(),
        session: hash,
        store_session: store.map(|id| id.to_string()),
        job: token.job,
    };
    let (row, now, keep) = (run.clone(), app.both(), app.limits.runs);
    let lease = now.steady.saturating_add(i64::try_from(app.limits.job_lease.as_secs()).unwrap_or(i64::MAX));
    let opened = app.db.call("opening a run", move |db| runs::open(db, &row, lease, now.wall, keep)).await;
    if !matches!(opened, Ok(true)) {
        end_store_session(app, store).await;
    }
    if !opened? {
        return Err(Refusal::unknown("the token was for one run, and had it"));
    }
    let session = Session::new(&run, store, app.steady.unix());
    Ok((run, session))
}

/// What a machine says of itself, cleaned and bounded.
pub fn machine(source: &Source) -> Source {
    let short = |text: &Option<String>| text.as_deref().map(|text| clean(text, 128));
    Source {
        host: short(&source.host),
        uuid: short(&source.uuid),
        serial: short(&source.serial),
        vendor: short(&source.vendor),
        product: short(&source.product),
        firmware: short(&source.firmware),
    }
}

/// `GET /v1/runs`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<RunInfo>>, Refusal> {
    crate::jobs::engine::flush(&app).await?;
    Ok(Json(app.db.call("listing runs", |db| runs::list(db, LIST_MAX)).await?))
}

/// `GET /v1/runs/{run}`.
pub async fn show(State(app): State<Arc<App>>, Path(run): Path<String>) -> Result<Json<RunInfo>, Refusal> {
    crate::jobs::engine::flush(&app).await?;
    let found = app.db.call("reading a run", move |db| runs::find(db, &run)).await?;
    found.map(Json).ok_or_else(|| Refusal::missing("there is no such run"))
}

/// `POST /v1/runs/current`.
pub async fn heartbeat(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let session = principal.session()?;
    let beat: Heartbeat = json(&body)?;
    let step = clean(&beat.step, 100);
    // Locked: its end is being decided just now.
    if session.outcome.try_lock().is_ok_and(|outcome| matches!(*outcome, Outcome::Over)) {
        return Err(Refusal::conflict(format!("run {} has ended", session.run)));
    }
    renew_store_session(&app, session).await?;
    if let Some(job) = session.job {
        app.engine.beat(job, step.clone(), beat.done, beat.total);
    }
    // Written together with those of others, within a second.
    app.engine.progress(session.run.clone(), step, beat.done, beat.total);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/runs/current/end`.
pub async fn end(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let session = principal.session()?;
    let EndRun { error } = json(&body)?;
    let mut outcome = session.outcome.lock().await;
    if matches!(*outcome, Outcome::Open) {
        let end = End::without_result(RunState::Failed, redact(&clean(&error, 1000)));
        finish(&app, &session.run, end).await?;
        *outcome = Outcome::Over;
        end_store_session(&app, session.store).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Writes a run's end into the database and the log.
pub async fn finish(app: &App, run: &str, end: End) -> Result<(), Refusal> {
    let (id, now) = (run.to_owned(), app.both());
    tracing::info!(run, state = ?end.state, error = end.error, "run ended");
    let grace = i64::try_from(app.limits.last_word.as_secs()).unwrap_or(i64::MAX);
    let work = move |db: &mut rusqlite::Connection| {
        let ended = runs::end(db, &id, &end, grace, now)?;
        if ended { runs::find(db, &id) } else { Ok(None) }
    };
    if let Some(run) = app.db.call("ending a run", work).await? {
        app.metrics.run_ended(&run);
    }
    app.engine.wake.notify_one();
    Ok(())
}

/// A run whose job has ended: its session can publish and prove nothing more. What is being published just now is waited
/// for.
pub async fn close(app: &Arc<App>, run: &str) {
    let Some(session) = app.sessions.of_run(run) else { return };
    let mut outcome = session.outcome.lock().await;
    if matches!(*outcome, Outcome::Open) {
        *outcome = Outcome::Over;
        end_store_session(app, session.store).await;
    }
}

/// Tells the store that the capture goes on.
pub async fn renew_store_session(app: &Arc<App>, session: &Session) -> Result<(), Refusal> {
    let Some(id) = session.store else { return Ok(()) };
    app.blocking(move |app| app.store.renew(id)).await
}

/// Tells the store that the capture is over; what it left is kept for a while, for the next try.
pub async fn end_store_session(app: &Arc<App>, id: Option<ramet_store::SessionId>) {
    let Some(id) = id else { return };
    // The lapse of a session that cannot be ended does the same, later.
    let _ = app.blocking(move |app| app.store.end(id)).await;
}

/// The session is that of a run which goes on.
///
/// # Errors
/// 409 when it has ended.
pub async fn still_open(session: &Session) -> Result<(), Refusal> {
    match *session.outcome.lock().await {
        Outcome::Open => Ok(()),
        _ => Err(Refusal::conflict(format!("run {} has ended", session.run))),
    }
}

/// Every so often: runs that were not heard of for too long are lost.
pub async fn watch(app: Arc<App>) {
    let lapse = app.limits.session_lapse;
    loop {
        tokio::time::sleep(
            (lapse / 8).clamp(std::time::Duration::from_millis(100), std::time::Duration::from_secs(30)),
        )
        .await;
        for session in app.sessions.take_lapsed(app.steady.unix(), lapse.as_secs()) {
            if !matches!(*session.outcome.lock().await, Outcome::Open) {
                continue;
            }
            let error = format!("not heard of for {} s", lapse.as_secs());
            let _ = finish(&app, &session.run, End::without_result(RunState::Lost, error)).await;
            end_store_session(&app, session.store).await;
        }
    }
}
