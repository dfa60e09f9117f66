//! Upkeep of the store, backups, and the API's own description.
//!
//! In: operators' orders. Out: lines of JSON while the work goes on, the last one its result; a tar archive.
//! Promise: work that was begun is finished even when nobody listens any more; the last line says how it ended.

use super::App;
use super::body::{Blocks, Lines};
use super::error::Refusal;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use ramet_store::CheckReport;
use ramet_wire::api::{ApiError, ImageState};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Lines that may wait for the reader; further progress is dropped, results are not.
const QUEUE: usize = 16;
/// Between two lines of progress.
const TICK: Duration = Duration::from_secs(1);

/// One line of an answer that takes its time. The last one is `report` or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// How far the work is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, as far as known.
        total: u64,
    },
    /// It ended; what it found or did.
    Report(serde_json::Value),
    /// It failed.
    Error(ApiError),
}

impl Line {
    fn bytes(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text.into()
    }
}

/// How work tells of its progress.
pub type Say<'a> = dyn Fn(u64, u64) + Send + Sync + 'a;

/// Runs `work` on a thread that may block, and answers with its lines. Even silent work says something every now and
/// then, so that nobody between gives the connection up.
pub fn lines<T, F>(app: &Arc<App>, work: F) -> Response
where
    T: Serialize,
    F: FnOnce(&App, &Say<'_>) -> Result<T, Refusal> + Send + 'static,
{
    let (to, from) = mpsc::channel(QUEUE);
    let (app, seen) = (Arc::clone(app), Arc::new((AtomicU64::new(0), AtomicU64::new(0))));
    let (told, alive) = (Arc::clone(&seen), to.clone());
    let tick = tokio::spawn(async move {
        loop {
            tokio::time::sleep(TICK).await;
            let (done, total) = (seen.0.load(Ordering::Relaxed), seen.1.load(Ordering::Relaxed));
            let _ = alive.try_send(Line::Progress { done, total }.bytes());
        }
    });
    tokio::task::spawn_blocking(move || {
        let say = |done, total| {
            told.0.store(done, Ordering::Relaxed);
            told.1.store(total, Ordering::Relaxed);
        };
        let result = work(&app, &say).and_then(|report| {
            serde_json::to_value(report).map_err(|error| Refusal::bug(format!("writing the report: {error}")))
        });
        tick.abort();
        let last = match result {
            Ok(report) => Line::Report(report),
            Err(refusal) => Line::Error(refusal.to_wire()),
        };
        let _ = to.blocking_send(last.bytes());
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(from))).into_response()
}

/// What a check found. `ramet store check --json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckSeen {
    /// Nothing is damaged, no image lacks anything.
    pub clean: bool,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Packs read.
    pub packs: u64,
    /// Chunks decompressed and hashed.
    pub chunks: u64,
    /// Damage, by file.
    pub damages: Vec<DamagedFile>,
    /// Images and their state after the check.
    pub images: Vec<CheckedImage>,
    /// Files that are not of the store.
    pub strays: Vec<String>,
}

/// A damaged file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DamagedFile {
    /// Its path in the store.
    pub object: String,
    /// What is wrong.
    pub reason: String,
    /// Images that have something in it, `NAME@ID`.
    pub images: Vec<String>,
}

/// An image after a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckedImage {
    /// `NAME@ID`.
    pub image: String,
    /// Whether it can be restored.
    pub state: ImageState,
    /// Chunks that it lacks.
    pub missing: u64,
    /// Why its own files cannot be used.
    pub problem: Option<String>,
}

impl CheckSeen {
    /// For the wire.
    #[must_use]
    pub fn new(report: &CheckReport) -> Self {
        let named = |(name, id): &(ramet_wire::ImageName, ramet_wire::ImageId)| format!("{name}@{id}");
        let damages = report.damages.iter().map(|damage| DamagedFile {
            object: damage.object.clone(),
            reason: damage.reason.clone(),
            images: damage.images.iter().map(named).collect(),
        });
        let images = report.images.iter().map(|entry| CheckedImage {
            image: format!("{}@{}", entry.info.name, entry.info.id),
            state: entry.info.state,
            missing: entry.missing,
            problem: entry.problem.clone(),
        });
        Self {
            clean: report.is_clean(),
            files: report.files,
            bytes: report.bytes,
            packs: report.packs,
            chunks: report.chunks,
            damages: damages.collect(),
            images: images.collect(),
            strays: report.strays.clone(),
        }
    }
}

/// What a collect did. `ramet store collect --json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CollectSeen {
    /// Segments and chunks that images need.
    pub live_chunks: u64,
    /// Packs whose needed frames were written anew.
    pub rewritten_packs: u64,
    /// Bytes of these frames.
    pub rewritten_bytes: u64,
    /// Packs condemned by this run.
    pub condemned_packs: u64,
    /// Bytes of these.
    pub condemned_bytes: u64,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Packs that a later run will delete.
    pub waiting_packs: u64,
    /// Packs that images do not need, or hardly, and that are too young to go.
    pub young_packs: u64,
}

/// `GET /v1/openapi.json`.
pub async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (headers, crate::openapi::text()).into_response()
}

/// `POST /v1/store/check`.
pub async fn check(State(app): State<Arc<App>>) -> Response {
    lines(&app, |app, say| {
        let report = app.store.check(&mut |progress| say(progress.done_bytes, progress.total_bytes))?;
        if !report.is_clean() {
            tracing::error!(damages = report.damages.len(), "the store is damaged");
        }
        Ok(CheckSeen::new(&report))
    })
}

/// `POST /v1/store/collect`.
pub async fn collect(State(app): State<Arc<App>>) -> Response {
    lines(&app, |app, _say| {
        let report = app.store.collect(&app.limits.collect)?;
        tracing::info!(?report, "store collected");
        Ok(CollectSeen {
            live_chunks: report.live_chunks,
            rewritten_packs: report.rewritten_packs,
            rewritten_bytes: report.rewritten_bytes,
            condemned_packs: report.condemned_packs,
            condemned_bytes: report.condemned_bytes,
            deleted_packs: report.deleted_packs,
            deleted_bytes: report.deleted_bytes,
            waiting_packs: report.waiting_packs,
            young_packs: report.young_packs,
        })
    })
}

/// `POST /v1/backup`.
pub async fn backup(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let archive = crate::backup::create(&app).await.map_err(|error| {
        tracing::error!(error = %crate::text::chain(&error), "backup");
        Refusal::later("the server cannot write the backup; its log says why")
    })?;
    let open = || {
        let file = std::fs::File::open(archive.path())?;
        let len = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, len))
    };
    let (file, len) = open().map_err(|error| Refusal::bug(format!("opening the backup: {error}")))?;
    tracing::info!(bytes = len, "backup");
    // The file has no name any more; it goes with the answer.
    drop(archive);
    let read = move |offset, len| {
        let mut block = vec![0; len];
        file.read_exact_at(&mut block, offset)?;
        Ok(Bytes::from(block))
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar")),
        (header::CONTENT_LENGTH, HeaderValue::from(len)),
    ];
    Ok((headers, Body::new(Blocks::new(Arc::new(read), 0, len, None))).into_response())
}
