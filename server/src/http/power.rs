//! The power of machines, for operators.
//!
//! In: settings with secrets, orders. Out: settings without secrets, what orders did, what was tried.
//! Promise: no answer has a secret; one is kept only for the address and user that it was given for.

use super::admin::lines;
use super::error::Refusal;
use super::{App, json};
use crate::db::power::{self as rows, PowerRow, Target};
use crate::power::desk::{Hand, Turn};
use crate::power::drive::Order;
use crate::power::{PowerError, PowerState, Secret, Trouble, settings};
use crate::text::chain;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use ramet_wire::api::ErrorKind;
use ramet_wire::power::{MACHINES_MAX, PowerAttempt, PowerDone, PowerFault, PowerOrder, PowerShown, SetPower};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::runtime::Handle;

/// Machines of one order that are driven at once.
const AT_ONCE: usize = 8;

impl App {
    /// Gives orders; for a thread that may block.
    pub fn hand(&self, runtime: Handle) -> Hand<'_> {
        Hand { desk: &self.power, db: &self.db, clock: &self.clock, runtime }
    }
}

impl From<PowerError> for Refusal {
    fn from(error: PowerError) -> Self {
        let (status, kind) = match error.trouble {
            Trouble::Busy => (StatusCode::CONFLICT, ErrorKind::Retry),
            _ if error.is_passing() => (StatusCode::BAD_GATEWAY, ErrorKind::Retry),
            _ => (StatusCode::BAD_GATEWAY, ErrorKind::Refused),
        };
        Self::new(status, kind, format!("{error}; {}", error.next_step()))
    }
}

fn shown(row: &PowerRow) -> PowerShown {
    PowerShown {
        kind: row.kind,
        address: row.address.clone(),
        user: row.user.clone(),
        secret: row.secret.is_some(),
        options: row.options.clone(),
        probed: row.probed.clone(),
        pin: row.pin.clone(),
    }
}

async fn target(app: &Arc<App>, name: &str) -> Result<Target, Refusal> {
    let id = super::machines::resolve(app, name.to_owned()).await?;
    let found = app.db.call("reading a machine", move |db| rows::target_of(db, id)).await?;
    found.ok_or_else(|| Refusal::missing("the machine was removed meanwhile"))
}

fn turn(app: &App, machine: i64) -> Result<Turn<'_>, Refusal> {
    let busy = "a power order for this machine is under way; try again when it is done";
    app.power.turn(machine).ok_or_else(|| Refusal::new(StatusCode::CONFLICT, ErrorKind::Retry, busy))
}

/// `GET /v1/machines/{machine}/power`.
pub async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<PowerShown>, Refusal> {
    let target = target(&app, &name).await?;
    let row = app.db.call("reading power settings", move |db| rows::find(db, target.id)).await?;
    let row = row.ok_or_else(|| Refusal::missing(format!("no power is set for {}", target.name)))?;
    Ok(Json(shown(&row)))
}

/// `PUT /v1/machines/{machine}/power`.
pub async fn set(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<PowerShown>, Refusal> {
    let SetPower { kind, address, user, secret, options } = json(&body)?;
    settings::check(kind, &address, &user, secret.as_deref(), &options).map_err(Refusal::bad)?;
    let target = target(&app, &name).await?;
    let _turn = turn(&app, target.id)?;
    let id = target.id;
    let before = app.db.call("reading power settings", move |db| rows::find(db, id)).await?;
    let sealed = match secret {
        Some(secret) => Some(app.power.seal(id, &Secret::new(secret)).map_err(|error| {
            tracing::error!(error = %chain(&error), "encrypting a BMC's password");
            Refusal::later("the server cannot encrypt the password; its log says why")
        })?),
        // A password must not go where it was not meant for because somebody changed the address.
        None => match before.filter(|row| row.secret.is_some()) {
            Some(row) if (row.kind, &row.address, &row.user) == (kind, &address, &user) => row.secret,
            Some(_) => return Err(Refusal::bad("kind, address or user changed: give the secret again")),
            None => None,
        },
    };
    let row = PowerRow { kind, address, user, secret: sealed, options, probed: None, pin: None };
    let answer = shown(&row);
    app.db.call("setting a machine's power", move |db| rows::put(db, id, &row)).await?;
    tracing::info!(machine = target.name, %kind, address = answer.address, "power set");
    Ok(Json(answer))
}

/// `DELETE /v1/machines/{machine}/power`.
pub async fn remove(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let target = target(&app, &name).await?;
    let _turn = turn(&app, target.id)?;
    if !app.db.call("removing power settings", move |db| rows::remove(db, target.id)).await? {
        return Err(Refusal::missing(format!("no power is set for {}", target.name)));
    }
    tracing::info!(machine = target.name, "power removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/machines/{machine}/power/attempts`.
pub async fn attempts(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Vec<PowerAttempt>>, Refusal> {
    let target = target(&app, &name).await?;
    Ok(Json(app.db.call("reading power attempts", move |db| rows::attempts(db, target.id)).await?))
}

/// `POST /v1/machines/{machine}/power/probe`.
pub async fn probe(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let target = target(&app, &name).await?;
    let runtime = Handle::current();
    Ok(lines(&app, move |app, _say| Ok(shown(&app.hand(runtime).probe(target.id)?))))
}

/// `POST /v1/power`.
pub async fn order(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refusal> {
    let order: PowerOrder = json(&body)?;
    let count = order.machines.len();
    if !(1..=MACHINES_MAX).contains(&count) {
        return Err(Refusal::bad(format!("the order is for {count} machines, 1 to {MACHINES_MAX} are allowed")));
    }
    let mut targets = Vec::with_capacity(count);
    // All of them are there, or nothing happens.
    for name in &order.machines {
        let found = target(&app, name).await?;
        if targets.iter().any(|before: &Target| before.id == found.id) {
            return Err(Refusal::bad(format!("machine {} is named twice", found.name)));
        }
        targets.push(found);
    }
    tracing::info!(action = %order.action, machines = ?order.machines, force_off = order.force_off, "power ordered");
    let runtime = Handle::current();
    Ok(lines(&app, move |app, say| Ok(carry_out(&app.hand(runtime), &order, &targets, say))))
}

/// Drives all machines, some at a time; the answers stand in the order of the names.
fn carry_out(hand: &Hand<'_>, order: &PowerOrder, targets: &[Target], say: &super::admin::Say<'_>) -> Vec<PowerDone> {
    let (next, ended, done) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((at, target)) = targets.get(next.fetch_add(1, Ordering::Relaxed)).map(|t| (t.id, t)) {
            let answer = one(hand, order, target);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, answer));
            let count = ended.fetch_add(1, Ordering::Relaxed) + 1;
            say(count as u64, targets.len() as u64);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..targets.len().min(AT_ONCE) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(id, _)| targets.iter().position(|target| target.id == *id));
    done.into_iter().map(|(_, answer)| answer).collect()
}

fn one(hand: &Hand<'_>, order: &PowerOrder, target: &Target) -> PowerDone {
    let began = Instant::now();
    let how = Order { force_off: order.force_off, network: order.network.then_some(target.uefi) };
    let result = hand.order(target.id, None, order.action, how, &|| false);
    let seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let machine = target.name.clone();
    match result {
        Ok(driven) => PowerDone { machine, state: driven.state, error: None, notes: driven.notes, seconds },
        Err(error) => {
            tracing::warn!(machine, action = %order.action, %error, "power");
            let next = error.next_step().to_owned();
            let fault = PowerFault { trouble: error.trouble, message: error.to_string(), next };
            PowerDone { machine, state: PowerState::Unknown, error: Some(fault), notes: Vec::new(), seconds }
        }
    }
}
