//! Questions about chunks: which are missing, where they are, which arrived damaged.
//!
//! In: ids. Out: a bitmap, signed addresses, the ids that really are damaged.
//! Promise: the agent never builds an address; each is bound to one pack and good for a while.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, json, runs};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ramet_wire::ChunkId;
use ramet_wire::api::{IDS_MAX, Located, LocatedPack, ReportDamage, decode_ids, encode_bitmap};
use std::collections::HashMap;
use std::sync::Arc;

fn ids(body: &[u8]) -> Result<Vec<ChunkId>, Refusal> {
    let wrong = || Refusal::bad(format!("body has {} bytes, 1 to {IDS_MAX} ids of 32 bytes are wanted", body.len()));
    decode_ids(body).ok_or_else(wrong)
}

/// `POST /v1/chunks/missing`.
pub async fn missing(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let session = principal.session()?;
    runs::still_open(session).await?;
    let ids = ids(&body)?;
    let store = session.store.ok_or_else(|| Refusal::bug("a capture without a session in the store"))?;
    let bits = app.blocking(move |app| app.store.missing(store, &ids)).await?;
    app.metrics.asked(&bits);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], encode_bitmap(&bits)).into_response())
}

/// `POST /v1/chunks/locate`.
pub async fn locate(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Located>, Refusal> {
    runs::still_open(principal.session()?).await?;
    let ids = ids(&body)?;
    let places = app.blocking(move |app| app.store.locate(&ids)).await?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base = app.names.base(host);
    let expires = app.clock.unix().saturating_add(app.limits.url_life.as_secs());
    let mut located = Located::default();
    let mut packs: HashMap<ramet_wire::PackName, usize> = HashMap::new();
    for (index, place) in (0_u32..).zip(places) {
        let Some(place) = place else {
            located.missing.push(index);
            continue;
        };
        let at = *packs.entry(place.pack).or_insert_with(|| {
            let url = format!("{base}/v1/packs/{}?{}", place.pack, app.url_key.query(&place.pack, expires));
            located.packs.push(LocatedPack { pack: place.pack, url, chunks: Vec::new() });
            located.packs.len() - 1
        });
        located.packs[at].chunks.push((index, place.offset, place.stored, place.raw));
    }
    Ok(Json(located))
}

/// Answer to [`ReportDamage`].
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct DamageSeen {
    /// Copies that the server found damaged too, and struck.
    pub struck: Vec<ChunkId>,
    /// Chunks of which no good copy is left.
    pub lost: Vec<ChunkId>,
}

/// `POST /v1/damage`.
pub async fn damage(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<DamageSeen>, Refusal> {
    runs::still_open(principal.session()?).await?;
    let run = principal.session()?.run.clone();
    let ReportDamage { chunks } = json(&body)?;
    if chunks.is_empty() || chunks.len() > IDS_MAX {
        return Err(Refusal::bad(format!("{} chunks are reported, 1 to {IDS_MAX} are allowed", chunks.len())));
    }
    let reported = chunks.len();
    let report = app.blocking(move |app| app.store.report_damage(&chunks)).await?;
    let (struck, lost) = (report.struck.len(), report.lost.len());
    tracing::warn!(run, reported, struck, lost, images = report.images.len(), "chunks arrived damaged");
    Ok(Json(DamageSeen { struck: report.struck, lost: report.lost }))
}
