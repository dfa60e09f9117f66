//! Images: published by captures, shown to operators, given to restores.
//!
//! In: manifests, names, ids. Out: signed manifests and what is known of them.
//! Promise: a capture session publishes exactly its own name, once; a restore session sees exactly its own version.

use super::admin::{CheckSeen, lines};
use super::auth::Principal;
use super::error::Refusal;
use super::{App, runs};
use crate::db::runs::End;
use crate::session::{Outcome, Session};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ramet_store::{CommitError, SessionId};
use ramet_wire::api::{Committed, ImageInfo, RunState, SignedManifest, StillMissing};
use ramet_wire::manifest::{Manifest, ManifestError};
use ramet_wire::sign::Domain;
use ramet_wire::{ImageId, ImageName, ImageRef};
use std::sync::Arc;

fn reference(text: &str) -> Result<ImageRef, Refusal> {
    text.parse().map_err(|error| Refusal::bad(format!("image: {error}")))
}

/// The version that `image` means now.
///
/// # Errors
/// 404 when there is none.
pub fn find(app: &App, image: &ImageRef) -> Result<ImageInfo, Refusal> {
    Ok(app.store.image(image)?.info)
}

/// `POST /v1/images`.
pub async fn commit(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let session = principal.session()?;
    let mut outcome = session.outcome.lock().await;
    match &*outcome {
        Outcome::Open => {}
        // The answer may have been lost on its way.
        Outcome::Committed(id, number) if *id == ImageId::of(&body) => {
            return Ok((StatusCode::CREATED, Json(Committed { id: *id, number: *number })).into_response());
        }
        Outcome::Committed(id, _) => {
            return Err(Refusal::conflict(format!(
                "run {} has published {}@{id}; one image per run",
                session.run, session.image
            )));
        }
        _ => return Err(Refusal::conflict(format!("run {} has ended", session.run))),
    }
    let (name, store) = (session.image.clone(), session.store);
    let store = store.ok_or_else(|| Refusal::bug("a capture without a session in the store"))?;
    let done = app.blocking(move |app| publish(app, &name, store, &body)).await?;
    let Committed { id, number } = match done {
        Ok(committed) => committed,
        Err(missing) => return Ok((StatusCode::CONFLICT, Json(missing)).into_response()),
    };
    *outcome = Outcome::Committed(id, number);
    let committed = Some((id, number));
    let end = End { state: RunState::Done, error: String::new(), committed, receipt: None, adapted: None };
    runs::finish(&app, &session.run, end).await?;
    runs::end_store_session(&app, session.store).await;
    Ok((StatusCode::CREATED, Json(Committed { id, number })).into_response())
}

fn publish(
    app: &App,
    name: &ImageName,
    store: SessionId,
    bytes: &[u8],
) -> Result<Result<Committed, StillMissing>, Refusal> {
    let manifest = Manifest::read(bytes).map_err(|error| bad_manifest(&error))?;
    if manifest.name != *name {
        let message = format!("manifest is of image {}, the run is bound to {name}", manifest.name);
        return Err(Refusal::forbidden(message));
    }
    let signature = app.identity.key().sign(Domain::Manifest, bytes)?;
    match app.store.commit(store, bytes, &signature) {
        Ok(committed) => Ok(Ok(committed)),
        Err(CommitError::Missing(missing)) => Ok(Err(StillMissing { missing })),
        Err(CommitError::Store(error)) => Err(error.into()),
    }
}

fn bad_manifest(error: &ManifestError) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, ramet_wire::api::ErrorKind::Refused, error.to_string())
}

/// `GET /v1/images`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<ImageInfo>>, Refusal> {
    let all = app.blocking(|app| app.store.images()).await?;
    Ok(Json(all.into_iter().map(|entry| entry.info).collect()))
}

/// A restore session reaches its own version, by name or by name and id; an operator reaches all.
fn reachable(principal: &Principal, image: ImageRef) -> Result<ImageRef, Refusal> {
    let Principal::Session(session) = principal else { return Ok(image) };
    own(session, &image)
        .ok_or_else(|| Refusal::forbidden(format!("the run is bound to image {}, not to {image}", own_ref(session))))
}

fn own_ref(session: &Session) -> ImageRef {
    ImageRef { name: session.image.clone(), id: session.version }
}

fn own(session: &Session, image: &ImageRef) -> Option<ImageRef> {
    let fits = image.name == session.image && (image.id.is_none() || image.id == session.version);
    fits.then(|| own_ref(session))
}

/// `GET /v1/images/{image}`.
pub async fn show(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(image): Path<String>,
) -> Result<Json<ImageInfo>, Refusal> {
    let image = reachable(&principal, reference(&image)?)?;
    Ok(Json(app.blocking(move |app| find(app, &image)).await?))
}

/// `GET /v1/images/{image}/manifest`.
pub async fn manifest(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(image): Path<String>,
) -> Result<Json<SignedManifest>, Refusal> {
    let image = reachable(&principal, reference(&image)?)?;
    Ok(Json(app.blocking(move |app| signed(app, &image)).await?))
}

/// Manifest, key and signature of an image.
///
/// # Errors
/// 404 when there is none; those of the store.
pub fn signed(app: &App, image: &ImageRef) -> Result<SignedManifest, Refusal> {
    let (manifest, signature) = app.store.manifest(image)?;
    let manifest = String::from_utf8(manifest).map_err(|_| Refusal::bug("the manifest is not UTF-8"))?;
    Ok(SignedManifest { manifest, key: app.store.public_key(), signature })
}

/// `DELETE /v1/images/{image}`.
pub async fn remove(State(app): State<Arc<App>>, Path(image): Path<String>) -> Result<Json<Vec<ImageInfo>>, Refusal> {
    let image = reference(&image)?;
    let wanted = image.clone();
    let used = app.db.call("looking for jobs of an image", move |db| crate::db::jobs::using_image(db, &wanted)).await?;
    if let Some(job) = used {
        let name = job.name.unwrap_or_default();
        let message = format!(
            "image {image} is needed by job {}, a restore onto {name} that is {}; wait for it, or ramet job cancel {}",
            job.id, job.state, job.id
        );
        return Err(Refusal::conflict(message));
    }
    if app.sessions.restores(&image) {
        return Err(Refusal::conflict(format!("image {image} is being restored; wait for it: ramet run ls")));
    }
    let gone = app
        .blocking(move |app| -> Result<Vec<ImageInfo>, Refusal> {
            let wanted = |info: &ImageInfo| info.name == image.name && image.id.is_none_or(|id| info.id == id);
            let all = app.store.images()?.into_iter().map(|entry| entry.info);
            let gone: Vec<ImageInfo> = all.filter(wanted).collect();
            if gone.is_empty() {
                return Err(Refusal::missing(format!("image {image} does not exist")));
            }
            for info in &gone {
                app.store.remove(&ImageRef { name: info.name.clone(), id: Some(info.id) })?;
            }
            Ok(gone)
        })
        .await?;
    for info in &gone {
        tracing::info!(image = %info.name, id = %info.id, "image removed");
    }
    Ok(Json(gone))
}

/// `POST /v1/images/{image}/check`.
pub async fn check(State(app): State<Arc<App>>, Path(image): Path<String>) -> Result<Response, Refusal> {
    let image = reference(&image)?;
    let wanted = image.clone();
    app.blocking(move |app| find(app, &wanted)).await?;
    Ok(lines(&app, move |app, say| {
        let report = app.store.check_image(&image, &mut |progress| say(progress.done_bytes, progress.total_bytes))?;
        Ok(CheckSeen::new(&report))
    }))
}
