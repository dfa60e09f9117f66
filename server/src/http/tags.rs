//! Who clones are, for operators: what is declared for tags, and what comes of it for a machine.
//!
//! In: TOML, names. Out: tags, and identities as an agent would get them.
//! Promise: looking changes nothing; what cannot be read or rendered is said with its key.

use super::auth::Principal;
use super::error::Refusal;
use super::machines::{change, resolve};
use super::{App, json};
use crate::db::{identities, machines};
use crate::inventory::identity::{check, effective, vars};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use ramet_wire::machines::Label;
use ramet_wire::tags::{MachineIdentity, SetTag, TagDetail, TagInfo};
use rusqlite::Connection;
use std::sync::Arc;

fn label(tag: &str) -> Result<Label, Refusal> {
    tag.parse().map_err(|error| Refusal::bad(format!("tag: {error}")))
}

/// `GET /v1/tags`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<TagInfo>>, Refusal> {
    Ok(Json(app.db.read("listing tags", |db| identities::tags(db)).await?))
}

/// `GET /v1/tags/{tag}`.
pub async fn show(State(app): State<Arc<App>>, Path(tag): Path<String>) -> Result<Json<TagDetail>, Refusal> {
    let tag = label(&tag)?;
    let asked = tag.clone();
    let found = app.db.read("reading a tag", move |db| identities::tag(db, &asked)).await?;
    let missing = || Refusal::missing(format!("no machine has the tag {tag}, and nothing is declared for it"));
    found.map(Json).ok_or_else(missing)
}

/// `PUT /v1/tags/{tag}`.
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(tag): Path<String>,
    body: Bytes,
) -> Result<Json<TagDetail>, Refusal> {
    let (tag, SetTag { identity }) = (label(&tag)?, json(&body)?);
    check(&identity).map_err(Refusal::bad)?;
    let (who, now, meant) = (principal.label(), app.now(), tag.clone());
    let work = move |tx: &Connection| {
        identities::set_tag(tx, &meant, &identity, &who, now)?;
        Ok(identities::tag(tx, &meant)?)
    };
    let found = change(&app, "declaring an identity", work).await?;
    let none = TagDetail { tag: TagInfo { tag, machines: 0, declared: false }, identity: None };
    Ok(Json(found.unwrap_or(none)))
}

/// `GET /v1/machines/{machine}/identity`.
pub async fn identity(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<MachineIdentity>, Refusal> {
    let id = resolve(&app, name).await?;
    let work = move |db: &mut Connection| {
        let Some(machine) = machines::find(db, id)? else { return Ok(None) };
        let layers = identities::layers(db, &machine)?;
        Ok(Some((machine, layers)))
    };
    let found = app.db.read("reading an identity", work).await?;
    let (machine, layers) = found.ok_or_else(|| Refusal::missing("the machine is gone"))?;
    let answer = app.blocking(move |_| {
        let vars = vars(&machine);
        let identity = effective(&layers, &vars).map_err(Refusal::conflict)?;
        let name = machine.name.parse().map_err(|_| Refusal::bug("the machine has no name"))?;
        let from = layers.into_iter().map(|layer| layer.from).collect();
        Ok::<_, Refusal>(MachineIdentity { machine: name, from, vars, identity })
    });
    Ok(Json(answer.await?))
}
