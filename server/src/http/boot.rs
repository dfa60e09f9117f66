//! Boot files, for operators: install, list, remove.
//!
//! In: the builder's files, `build.json` last. Out: what is installed.
//! Promise: until the last file is there and fits, what was installed before is served.

use super::App;
use super::body::{Reader, drain, pump, whole};
use super::error::Refusal;
use crate::boot::files::{self, BUILD_MAX, FILE_MAX, Installed};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ramet_wire::api::ErrorKind;
use ramet_wire::build::{BUILD, NAMES};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces of a body that may wait for the disk.
const QUEUE: usize = 4;

/// Where a file is sent to.
#[must_use]
pub fn file_path(name: &str) -> String {
    format!("/v1/boot/{name}")
}

/// `PUT /v1/boot/{name}`.
pub async fn put(State(app): State<Arc<App>>, Path(name): Path<String>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    // One after the other; the next body stays in the network.
    let _change = app.boot.change.lock().await;
    if name == BUILD {
        return Ok(Json(install(&app, body).await?).into_response());
    }
    let checked = NAMES.iter().find(|known| **known == name);
    let checked = checked.ok_or_else(|| Refusal::missing(format!("boot files are {}", NAMES.join(", "))));
    let (name, len) = match checked.and_then(|name| Ok((*name, length(&parts.headers)?))) {
        Ok(checked) => checked,
        Err(refusal) => {
            drain(body, ramet_wire::pack::PACK_MAX, app.limits.stall).await;
            return Err(refusal);
        }
    };
    let (to, from) = mpsc::channel(QUEUE);
    let work = app.blocking(move |app| files::receive(&app.boot.dir(), name, len, &mut Reader::new(from)));
    let ((), received) = tokio::join!(pump(body, app.limits.stall, to), work);
    received?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn install(app: &Arc<App>, mut body: Body) -> Result<Installed, Refusal> {
    let text = match whole(&mut body, BUILD_MAX, app.limits.stall, app.limits.body_wait).await {
        Ok(text) => text,
        Err(refusal) => {
            drain(body, ramet_wire::pack::PACK_MAX, app.limits.stall).await;
            return Err(refusal);
        }
    };
    let id = crate::secret::id::<8>()?;
    let set = app.blocking(move |app| files::install(&app.boot.dir(), &text, &id)).await?;
    let installed = set.to_wire();
    app.boot.replace(Some(set));
    tracing::info!(version = installed.version, kernel = installed.kernel, "boot files installed");
    Ok(installed)
}

fn length(headers: &HeaderMap) -> Result<u64, Refusal> {
    let missing =
        || Refusal::new(StatusCode::LENGTH_REQUIRED, ErrorKind::Refused, "a boot file needs a content-length");
    let text = headers.get(header::CONTENT_LENGTH).ok_or_else(missing)?;
    let len: u64 = text.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    if len > FILE_MAX {
        let message = format!("file has {len} bytes, {FILE_MAX} are allowed");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Refused, message));
    }
    Ok(len)
}

/// `GET /v1/boot`.
pub async fn list(State(app): State<Arc<App>>) -> Json<Installed> {
    Json(app.boot.set().map(|set| set.to_wire()).unwrap_or_default())
}

/// `DELETE /v1/boot`.
pub async fn remove(State(app): State<Arc<App>>) -> Result<StatusCode, Refusal> {
    let _change = app.boot.change.lock().await;
    app.blocking(|app| files::remove(&app.boot.dir())).await?;
    app.boot.replace(None);
    tracing::info!("boot files removed");
    Ok(StatusCode::NO_CONTENT)
}
