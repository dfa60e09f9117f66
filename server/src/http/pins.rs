//! PINs: made by operators, typed at consoles.
//!
//! In: rights, for a while; 8 digits of a person. Out: a token with these rights.
//! Promise: ten wrong tries, whoever makes them, and every PIN is void; a PIN never opens an operator's routes.

use super::agents::{admit, check_nonce};
use super::error::Refusal;
use super::{App, json};
use crate::db::pins::{self, PinRow, TRIES};
use crate::db::tokens::{self, TokenRow};
use crate::secret;
use crate::text::clean;
use crate::time::rfc3339;
use crate::waiting::Pinned;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::agents::{AddPin, EnterPin, PinAccepted, PinAdded, PinInfo};
use ramet_wire::api::Scope;
use std::net::SocketAddr;
use std::sync::Arc;

/// Longest life of a PIN, in seconds: a week.
const LIFE_MAX: u64 = 7 * 86_400;
/// Digits of a PIN.
const DIGITS: usize = 8;

/// `POST /v1/pins`.
pub async fn add(State(app): State<Arc<App>>, body: Bytes) -> Result<(StatusCode, Json<PinAdded>), Refusal> {
    let mut add: AddPin = json(&body)?;
    add.scopes.sort_unstable();
    add.scopes.dedup();
    if add.scopes.is_empty() || !add.scopes.iter().all(|scope| matches!(scope, Scope::Capture | Scope::Restore)) {
        return Err(Refusal::bad("a PIN is for capture, for restore or for both"));
    }
    if !(1..=LIFE_MAX).contains(&add.expires) {
        return Err(Refusal::bad(format!("PIN would live {} s, 1 to {LIFE_MAX} are allowed", add.expires)));
    }
    let now = app.now();
    let (id, pin) = (secret::id::<4>()?, secret::pin()?);
    let typed = pin.clone();
    let hash = app.blocking(move |app| Ok::<_, Refusal>(app.pin_key.hash(&typed))).await?;
    let expires = now.saturating_add(i64::try_from(add.expires).unwrap_or(i64::MAX));
    let row = PinRow { id: id.clone(), hash, scopes: add.scopes, images: add.images, expires, tries: TRIES };
    let most = app.limits.pins;
    if !app.db.call("adding a PIN", move |db| pins::insert(db, &row, now, most)).await? {
        return Err(Refusal::conflict(format!("there are {most} PINs, no more are allowed")));
    }
    tracing::info!(id, "PIN added");
    Ok((StatusCode::CREATED, Json(PinAdded { id, pin })))
}

/// `GET /v1/pins`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<PinInfo>>, Refusal> {
    let now = app.now();
    let rows = app.db.call("listing PINs", move |db| pins::list(db, now)).await?;
    let info = |row: PinRow| PinInfo {
        id: row.id,
        scopes: row.scopes,
        images: row.images,
        expires: rfc3339(row.expires),
        tries: row.tries,
    };
    Ok(Json(rows.into_iter().map(info).collect()))
}

/// `DELETE /v1/pins/{pin}`.
pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let asked = id.clone();
    if !app.db.call("removing a PIN", move |db| pins::remove(db, &asked)).await? {
        return Err(Refusal::missing("there is no such PIN"));
    }
    tracing::info!(id = clean(&id, 16), "PIN removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/agents/pin`.
pub async fn enter(
    State(app): State<Arc<App>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Result<Json<PinAccepted>, Refusal> {
    let peer = admit(&app, peer)?;
    let EnterPin { nonce, pin } = json(&body)?;
    check_nonce(&nonce)?;
    if pin.len() != DIGITS || !pin.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Refusal::bad(format!("a PIN has {DIGITS} digits")));
    }
    // One after the other: tries cannot be made side by side, and the same boot gets the same token again.
    let mut waiting = app.waiting.lock().await;
    let now = app.now();
    waiting.lapse(now, &app.limits);
    let strange = || Refusal::forbidden("this boot has not said Hello lately");
    let agent = waiting.by_nonce(&nonce).ok_or_else(strange)?;
    let hash = app.blocking(move |app| Ok::<_, Refusal>(app.pin_key.hash(&pin))).await?;
    let Some(pin) = app.db.call("comparing a PIN", move |db| pins::enter(db, &hash, now)).await? else {
        tracing::warn!(%peer, "wrong PIN");
        return Err(Refusal::forbidden("this PIN is wrong, void or expired"));
    };
    if let Some(pinned) = agent.pinned.as_ref().filter(|pinned| pinned.pin == pin.id) {
        let id = pinned.token.clone();
        if app.db.call("looking up a token", move |db| tokens::find(db, &id)).await?.is_some() {
            return Ok(Json(pinned.accepted.clone()));
        }
    }
    let id = secret::id::<4>()?;
    let fresh = secret::token(&id)?;
    let row = TokenRow {
        id: id.clone(),
        hash: fresh.hash,
        scopes: pin.scopes.clone(),
        images: pin.images.clone(),
        expires: Some(pin.expires),
        once: false,
        used: 0,
        origin: pins::origin(&pin.id),
        version: None,
        armed: String::new(),
        job: None,
    };
    app.db.call("adding a token", move |db| tokens::issue(db, &row, now)).await?;
    tracing::info!(pin = pin.id, token = id, %peer, "PIN accepted");
    let accepted = PinAccepted { token: fresh.text, scopes: pin.scopes, images: pin.images };
    agent.pinned = Some(Pinned { pin: pin.id, token: id, accepted: accepted.clone() });
    Ok(Json(accepted))
}
