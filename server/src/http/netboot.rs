//! Machines armed for network boot, for operators.
//!
//! In: a MAC and what its machine shall do. Out: what is armed.
//! Promise: what is armed can be rendered into a boot script: nothing in it needs quoting that cannot be quoted.

use super::agents::check_mac;
use super::error::Refusal;
use super::{App, json};
use crate::db::netboot::{self, ArmRow};
use crate::text::clean;
use crate::time::{EXPIRES_MAX, rfc3339};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ramet_wire::agents::{Arm, Armed};
use ramet_wire::settings::{Mac, Mode, VALUE_MAX, disks};
use std::sync::Arc;

/// Longest name of a machine, in characters.
const NAME_MAX: usize = 64;

fn mac(text: &str) -> Result<Mac, Refusal> {
    let mac: Mac = text.parse().map_err(Refusal::bad)?;
    check_mac(mac).map(|()| mac)
}

/// `clone.disk` as an agent would take it.
///
/// # Errors
/// 400.
pub fn check_disk(disk: &str) -> Result<(), Refusal> {
    if disk.is_empty() {
        return Ok(());
    }
    if disk.len() > VALUE_MAX {
        return Err(Refusal::bad(format!("disk has {} bytes, {VALUE_MAX} are allowed", disk.len())));
    }
    if !disk.chars().all(|c| c == ' ' || c.is_ascii_graphic() && c != '"') {
        return Err(Refusal::bad("disk has a character that does not fit into a boot line"));
    }
    disks(disk).map(drop).map_err(|error| Refusal::bad(format!("disk: {error}")))
}

/// `PUT /v1/netboot/{mac}`.
pub async fn arm(State(app): State<Arc<App>>, Path(text): Path<String>, body: Bytes) -> Result<Json<Armed>, Refusal> {
    let mac = mac(&text)?;
    let mut arm: Arm = json(&body)?;
    match (arm.mode, &arm.image) {
        (Mode::Restore, Some(_)) | (Mode::Menu | Mode::Inventory, None) => {}
        (Mode::Capture, Some(image)) if image.id.is_none() => {}
        (Mode::Capture, Some(_)) => {
            return Err(Refusal::bad("a capture makes a new version: give a name without an id"));
        }
        (Mode::Capture | Mode::Restore, None) => return Err(Refusal::bad("capture and restore need an image")),
        (Mode::Menu | Mode::Inventory, Some(_)) => return Err(Refusal::bad("menu and inventory take no image")),
        (Mode::Job | Mode::Wait, _) => {
            return Err(Refusal::bad("a machine is armed for capture, restore, inventory or menu"));
        }
    }
    check_disk(&arm.disk)?;
    if let Some(seconds) = arm.expires
        && !(1..=EXPIRES_MAX).contains(&seconds)
    {
        return Err(Refusal::bad(format!("armed for {seconds} s, 1 to {EXPIRES_MAX} are allowed")));
    }
    arm.name = clean(arm.name.trim(), NAME_MAX);
    let (now, most) = (app.now(), app.limits.armed);
    let added = app.db.call("arming a machine", move |db| {
        if netboot::put(db, mac, &arm, now, most)? { netboot::find(db, mac, now) } else { Ok(None) }
    });
    let row = added.await?;
    let row = row.ok_or_else(|| Refusal::conflict(format!("{most} machines are armed, no more are allowed")))?;
    tracing::info!(%mac, mode = ?row.arm.mode, image = row.arm.image.as_ref().map(tracing::field::display), "armed");
    Ok(Json(to_wire(row)))
}

fn to_wire(row: ArmRow) -> Armed {
    Armed { mac: row.mac, arm: row.arm, expires: row.expires.map(rfc3339), fetched: row.fetched.map(rfc3339) }
}

/// `GET /v1/netboot`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Armed>>, Refusal> {
    crate::jobs::engine::flush(&app).await?;
    let now = app.now();
    let rows = app.db.call("listing armed machines", move |db| netboot::list(db, now)).await?;
    Ok(Json(rows.into_iter().map(to_wire).collect()))
}

/// `DELETE /v1/netboot/{mac}`.
pub async fn disarm(State(app): State<Arc<App>>, Path(text): Path<String>) -> Result<StatusCode, Refusal> {
    let mac = mac(&text)?;
    if !app.db.call("disarming a machine", move |db| netboot::remove(db, mac)).await? {
        return Err(Refusal::missing(format!("{mac} is not armed")));
    }
    tracing::info!(%mac, "disarmed");
    Ok(StatusCode::NO_CONTENT)
}
