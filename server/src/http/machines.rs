//! The inventory, for operators.
//!
//! In: names, what shall be changed. Out: machines.
//! Promise: a change is one transaction, of one machine or of all that are named.

use super::agents::check_mac;
use super::auth::Principal;
use super::error::Refusal;
use super::{App, json};
use crate::db::machines::{self, MachineError};
use crate::inventory;
use crate::text::clean;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::agents::MACS_MAX;
use ramet_wire::jobs::Expect;
use ramet_wire::machines::{
    AcceptMachine, AddMachine, Changed, Label, MachineDetail, MachineInfo, NOTE_MAX, SetMachine, SetMachines, TAGS_MAX,
};
use ramet_wire::settings::Mac;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::HashMap;
use std::sync::Arc;

/// Events of a machine that are shown.
const HISTORY: u32 = 200;

/// Work in one transaction, which is only kept when all of it was done.
///
/// # Errors
/// 409, and those of the database.
pub(super) async fn change<T, F>(app: &App, doing: &'static str, work: F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, MachineError> + Send + 'static,
{
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match work(&tx) {
            Ok(done) => tx.commit().map(|()| Ok(done)),
            Err(MachineError::Sqlite(error)) => Err(error),
            Err(MachineError::Refused(why)) => Ok(Err(why)),
        }
    };
    app.db.call(doing, work).await?.map_err(Refusal::conflict)
}

/// The number of the machine that is named.
///
/// # Errors
/// 404.
pub async fn resolve(app: &App, name: String) -> Result<i64, Refusal> {
    let shown = clean(&name, 80);
    let found = app.db.read("looking for a machine", move |db| machines::resolve(db, &name)).await?;
    found.ok_or_else(|| Refusal::missing(format!("there is no machine {shown}")))
}

fn check_macs(macs: &[Mac]) -> Result<(), Refusal> {
    if macs.len() > MACS_MAX {
        return Err(Refusal::bad(format!("{} cards are named, {MACS_MAX} are allowed", macs.len())));
    }
    macs.iter().try_for_each(|mac| check_mac(*mac))
}

fn check_tags(count: usize) -> Result<(), Refusal> {
    let fits = count <= TAGS_MAX;
    fits.then_some(()).ok_or_else(|| Refusal::bad(format!("{count} tags are named, {TAGS_MAX} are allowed")))
}

fn check_set(mut set: SetMachine) -> Result<SetMachine, Refusal> {
    check_macs(&set.add_macs)?;
    check_macs(&set.remove_macs)?;
    check_tags(set.add_tags.len())?;
    check_tags(set.remove_tags.len())?;
    if let Some(group) = set.group.as_deref().filter(|group| !group.is_empty()) {
        group.parse::<Label>().map_err(|error| Refusal::bad(format!("group: {error}")))?;
    }
    if let Some(health) = set.health.as_deref().filter(|health| !health.is_empty()) {
        health.parse::<Expect>().map_err(Refusal::bad)?;
    }
    if let Some(toml) = &set.identity {
        inventory::identity::check(toml).map_err(Refusal::bad)?;
    }
    set.note = set.note.map(|note| clean(&note, NOTE_MAX));
    Ok(set)
}

/// `GET /v1/machines?tag=TAG`.
pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<MachineInfo>>, Refusal> {
    let tag = query.get("tag").map(|tag| tag.parse::<Label>()).transpose();
    let tag = tag.map_err(|error| Refusal::bad(format!("tag: {error}")))?;
    Ok(Json(app.db.read("listing machines", move |db| machines::list(db, tag.as_ref(), None)).await?))
}

/// `GET /v1/machines/{machine}`.
pub async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<MachineDetail>, Refusal> {
    let id = resolve(&app, name).await?;
    detail(&app, id).await
}

async fn detail(app: &App, id: i64) -> Result<Json<MachineDetail>, Refusal> {
    let found = app.db.read("reading a machine", move |db| machines::detail(db, id, HISTORY)).await?;
    found.map(Json).ok_or_else(|| Refusal::missing("the machine is gone"))
}

/// `POST /v1/machines`.
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<(StatusCode, Json<MachineDetail>), Refusal> {
    let mut machine: AddMachine = json(&body)?;
    check_macs(&machine.macs)?;
    check_tags(machine.tags.len())?;
    if machine.macs.is_empty() {
        return Err(Refusal::bad("a machine needs the address of at least one card"));
    }
    if let Some(text) = &machine.uuid {
        let known = inventory::uuid(text);
        let shown = clean(text, 80);
        machine.uuid =
            Some(known.ok_or_else(|| Refusal::bad(format!("UUID {shown:?} is none, or identifies nobody")))?);
    }
    let (who, now, most) = (principal.label(), app.now(), app.limits.machines);
    let id = change(&app, "adding a machine", move |tx| machines::add(tx, &machine, &who, most, now)).await?;
    Ok((StatusCode::CREATED, detail(&app, id).await?))
}

/// `POST /v1/machines/{machine}/accept`.
pub async fn accept(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<MachineDetail>, Refusal> {
    let accept: AcceptMachine = json(&body)?;
    let (id, who, now) = (resolve(&app, name).await?, principal.label(), app.now());
    let work = move |tx: &Connection| machines::accept(tx, id, accept.name.as_ref(), accept.replace, &who, now);
    change(&app, "accepting a machine", work).await?;
    detail(&app, id).await
}

/// `PUT /v1/machines/{machine}`.
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<MachineDetail>, Refusal> {
    let set = check_set(json(&body)?)?;
    let (id, who, now) = (resolve(&app, name).await?, principal.label(), app.now());
    change(&app, "changing a machine", move |tx| machines::set(tx, id, &set, &who, now)).await?;
    detail(&app, id).await
}

/// `PUT /v1/machines`: many at once.
pub async fn set_many(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<Changed>, Refusal> {
    let many: SetMachines = json(&body)?;
    let set = check_set(many.set)?;
    if set.name.is_some() || !set.add_macs.is_empty() || !set.remove_macs.is_empty() {
        return Err(Refusal::bad("a name and cards are given to one machine, not to many"));
    }
    let (who, now) = (principal.label(), app.now());
    let work = move |tx: &Connection| {
        let rows = machines::resolve_all(tx, &many.machines, many.tag.as_ref())?;
        let mut rows =
            rows.map_err(|name| MachineError::Refused(format!("there is no machine {}", clean(&name, 80))))?;
        if many.all {
            rows = machines::all_accepted(tx)?;
        }
        for row in &rows {
            machines::set_row(tx, row, &set, &who, now)?;
        }
        Ok(rows.len() as u64)
    };
    let machines = change(&app, "changing machines", work).await?;
    Ok(Json(Changed { machines }))
}

/// `DELETE /v1/machines/{machine}`.
pub async fn remove(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let id = resolve(&app, name).await?;
    change(&app, "removing a machine", move |tx| machines::remove(tx, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
