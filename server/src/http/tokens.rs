//! Tokens, for operators: make, list, remove.
//!
//! In: rights. Out: a token's text, once; afterwards only what it may do.
//! Promise: an operator's token reaches everything, so it has no pattern and is not for one run.

use super::error::Refusal;
use super::{App, json};
use crate::db::tokens::{self, TokenRow};
use crate::secret;
use crate::time::{EXPIRES_MAX, rfc3339};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ramet_wire::ImageGlob;
use ramet_wire::api::{AddToken, Scope, TokenAdded, TokenInfo};
use std::sync::Arc;

/// `POST /v1/tokens`.
pub async fn add(State(app): State<Arc<App>>, body: Bytes) -> Result<(StatusCode, Json<TokenAdded>), Refusal> {
    let mut add: AddToken = json(&body)?;
    add.scopes.sort_unstable();
    add.scopes.dedup();
    let admin = add.scopes.contains(&Scope::Admin);
    if add.scopes.is_empty() {
        return Err(Refusal::bad("a token needs at least one scope"));
    }
    if admin && (add.once || add.images != ImageGlob::any()) {
        return Err(Refusal::bad(
            "an operator's token reaches everything: it takes no image pattern and is not for one run",
        ));
    }
    if add.scopes.contains(&Scope::FirstBoot) {
        return Err(Refusal::bad("a token for a first boot is made with the work of its job, and by nobody else"));
    }
    let expires = match add.expires {
        None => None,
        Some(seconds) if (1..=EXPIRES_MAX).contains(&seconds) => {
            Some(app.now().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)))
        }
        Some(seconds) => {
            return Err(Refusal::bad(format!("token would live {seconds} s, 1 to {EXPIRES_MAX} are allowed")));
        }
    };
    let id = secret::id::<4>()?;
    let fresh = secret::token(&id)?;
    let row = TokenRow {
        id: id.clone(),
        hash: fresh.hash,
        scopes: add.scopes,
        images: add.images,
        expires,
        once: add.once,
        used: 0,
        origin: String::new(),
        version: None,
        armed: String::new(),
        job: None,
    };
    let (now, most) = (app.now(), app.limits.tokens);
    let added = app.db.call("adding a token", move |db| {
        let room = tokens::count(db)? < most;
        if room {
            tokens::insert(db, &row, now)?;
        }
        Ok(room)
    });
    if !added.await? {
        return Err(Refusal::conflict(format!("there are {most} tokens, no more are allowed")));
    }
    tracing::info!(id, "token added");
    Ok((StatusCode::CREATED, Json(TokenAdded { id, token: fresh.text })))
}

/// `GET /v1/tokens`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<TokenInfo>>, Refusal> {
    let rows = app.db.call("listing tokens", |db| tokens::list(db)).await?;
    let info = |row: TokenRow| TokenInfo {
        id: row.id,
        scopes: row.scopes,
        images: row.images,
        expires: row.expires.map(rfc3339),
        once: row.once,
        used: u64::try_from(row.used).unwrap_or(0),
    };
    Ok(Json(rows.into_iter().map(info).collect()))
}

/// `DELETE /v1/tokens/{token}`.
pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let asked = id.clone();
    if !app.db.call("removing a token", move |db| tokens::remove(db, &asked)).await? {
        return Err(Refusal::missing("there is no such token"));
    }
    tracing::info!(id = crate::text::clean(&id, 16), "token removed");
    Ok(StatusCode::NO_CONTENT)
}
