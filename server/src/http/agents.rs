//! Agents without a token: they say Hello, operators give them work.
//!
//! In: Hellos of anyone, operators' approvals. Out: orders; a one-use token goes to the nonce it is meant for and to no
//! other.
//! Promise: a Hello changes nothing for any other machine; text of strangers is cleaned before it is kept.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, fleet, json, runs};
use crate::db::netboot::{self, ArmRow, Ask, Verdict};
use crate::db::tokens;
use crate::inventory;
use crate::secret;
use crate::text::clean;
use crate::waiting::{self, Agent, Full, Handed};
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::ImageRef;
use ramet_wire::agents::{
    AgentSeen, Approve, CONTROLLERS_MAX, DISKS_MAX, DiskSeen, Hello, MACS_MAX, NONCE_LEN, OrderState, Orders, TEXT_MAX,
    Work,
};
use ramet_wire::api::{Action, ErrorKind, ImageInfo, Scope};
use ramet_wire::settings::{Mac, Mode};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Largest body of a Hello: 64 disks, 32 cards and the modaliases with the longest texts.
pub const HELLO_MAX: usize = 192 << 10;
/// Seconds until an agent that waits asks again.
const POLL: u64 = 3;
/// Seconds until an agent for which there is nothing asks again, if it does.
const POLL_NOTHING: u64 = 30;

/// The peer's address, and whether it may ask now.
///
/// # Errors
/// 429.
pub fn admit(app: &App, peer: Option<Extension<ConnectInfo<SocketAddr>>>) -> Result<IpAddr, Refusal> {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ConnectInfo(peer))| peer.ip().to_canonical());
    if app.rate.admits(peer, Instant::now()) {
        return Ok(peer);
    }
    Err(Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Retry,
        "too many requests without a token; ask again later",
    ))
}

/// 32 lower-case hex digits.
///
/// # Errors
/// 400.
pub fn check_nonce(nonce: &str) -> Result<(), Refusal> {
    let fits = nonce.len() == NONCE_LEN && nonce.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    fits.then_some(()).ok_or_else(|| Refusal::bad(format!("the nonce is not {NONCE_LEN} lower-case hex digits")))
}

/// A Hello within its bounds, with clean texts.
fn checked(hello: Hello) -> Result<Hello, Refusal> {
    check_nonce(&hello.nonce)?;
    let many =
        |what: &str, found: usize, most: usize| Refusal::bad(format!("{found} {what} are named, {most} are allowed"));
    if hello.macs.len() > MACS_MAX {
        return Err(many("cards", hello.macs.len(), MACS_MAX));
    }
    if hello.disks.len() > DISKS_MAX {
        return Err(many("disks", hello.disks.len(), DISKS_MAX));
    }
    let mut macs: Vec<Mac> = Vec::new();
    for mac in hello.macs {
        check_mac(mac)?;
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let short = |text: &str| clean(text, TEXT_MAX);
    let disk = |disk: DiskSeen| DiskSeen {
        name: short(&disk.name),
        model: disk.model.as_deref().map(short),
        serial: disk.serial.as_deref().map(short),
        wwn: disk.wwn.as_deref().map(short),
        holds: disk.holds.as_deref().map(short),
        controllers: disk.controllers.iter().take(CONTROLLERS_MAX).map(|alias| short(alias)).collect(),
        ..disk
    };
    let (agent, machine) = (clean(&hello.agent, 32), runs::machine(&hello.machine));
    let hardware = hello.hardware.map(|hardware| Box::new(inventory::cleaned(*hardware)));
    Ok(Hello { agent, machine, macs, disks: hello.disks.into_iter().map(disk).collect(), hardware, ..hello })
}

/// The address of one card: not zero, not of a group.
///
/// # Errors
/// 400.
pub fn check_mac(mac: Mac) -> Result<(), Refusal> {
    let one = mac.0 != [0; 6] && mac.0[0] & 1 == 0;
    one.then_some(()).ok_or_else(|| Refusal::bad(format!("{mac} is not the address of one card")))
}

/// `POST /v1/agents`.
pub async fn hello(
    State(app): State<Arc<App>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Result<Json<Orders>, Refusal> {
    let peer = admit(&app, peer)?;
    runs::check_version(&body)?;
    let hello = checked(json(&body)?)?;
    let now = app.now();
    let mut waiting = app.waiting.lock().await;
    let agent = waiting.meet(hello, peer, now, &app.limits).map_err(full)?;
    // The lock is held: one boot's work is decided before the next one asks.
    Ok(Json(orders(&app, agent, now).await?))
}

fn full(full: Full) -> Refusal {
    tracing::warn!(%full, "an agent is not remembered");
    Refusal::later(full.to_string())
}

/// What this agent shall do now.
async fn orders(app: &Arc<App>, agent: &mut Agent, now: i64) -> Result<Orders, Refusal> {
    if let Some(handed) = &agent.handed {
        let id = handed.token.clone();
        if app.db.call("looking up a token", move |db| tokens::is_fresh(db, &id, now)).await? {
            return Ok(go(agent));
        }
        agent.handed = None;
    }
    if let Some(orders) = fleet::orders(app, agent).await? {
        return Ok(orders);
    }
    match agent.hello.mode {
        Mode::Menu | Mode::Wait => Ok(rest(agent, OrderState::Waiting, agent.word.clone())),
        Mode::Inventory => Ok(rest(agent, OrderState::Nothing, "the server has noted this machine".to_owned())),
        Mode::Job | Mode::Capture | Mode::Restore => armed(app, agent, now).await,
    }
}

pub(super) fn go(agent: &mut Agent) -> Orders {
    let work = agent.handed.as_ref().map(|handed| handed.work.clone());
    (agent.state, agent.note) = (OrderState::Go, String::new());
    Orders { state: OrderState::Go, code: agent.code.clone(), poll: POLL, work, message: String::new() }
}

pub(super) fn rest(agent: &mut Agent, state: OrderState, message: String) -> Orders {
    let poll = if state == OrderState::Nothing { POLL_NOTHING } else { POLL };
    (agent.state, agent.note) = (state, message.clone());
    Orders { state, code: agent.code.clone(), poll, work: None, message }
}

/// The work with which a card of this agent is armed, if this boot may have it.
async fn armed(app: &App, agent: &mut Agent, now: i64) -> Result<Orders, Refusal> {
    let fresh = secret::token(&secret::id::<4>()?)?;
    let id = fresh.text[secret::PREFIX.len()..].split('_').next().unwrap_or_default().to_owned();
    let ask = Ask {
        macs: agent.hello.macs.clone(),
        mode: agent.hello.mode,
        boot: ramet_wire::id::sha256(agent.hello.nonce.as_bytes()),
        peer: agent.peer.to_string(),
        now,
        token: (id.clone(), fresh.hash),
    };
    let verdict = app.db.call("looking for work", move |db| netboot::claim(db, &ask)).await?;
    let code = waiting::shown(&agent.code);
    match verdict {
        Verdict::Go(row, action, image) => {
            let ArmRow { mac, arm, .. } = *row;
            tracing::info!(%mac, peer = %agent.peer, code, ?action, %image, token = id, "work handed out");
            let work = Work {
                action,
                image,
                token: fresh.text,
                then: arm.then,
                disk: arm.disk,
                job: None,
                blank_only: false,
                adapt: None,
            };
            agent.handed = Some(Handed { work, token: id });
            Ok(go(agent))
        }
        Verdict::Held { peer, at } => {
            let since = crate::time::rfc3339(at);
            if agent.state != OrderState::Claimed {
                tracing::warn!(holder = peer, since, other = %agent.peer, code, "claimed twice");
            }
            let message = format!(
                "another boot of this machine has its work: {peer} since {since}, this one asks from {}; an operator can \
                 arm it again, or approve {code}",
                agent.peer
            );
            Ok(rest(agent, OrderState::Claimed, message))
        }
        Verdict::Collision(rows) => Err(collision(&rows.0, &rows.1)),
        Verdict::Unarmed if agent.hello.mode == Mode::Job => {
            let word =
                if agent.word.is_empty() { "this machine has no job, and no card of it is armed" } else { &agent.word };
            Ok(rest(agent, OrderState::Nothing, word.to_owned()))
        }
        Verdict::Unarmed => Ok(rest(agent, OrderState::Waiting, format!("an operator must approve {code}"))),
        Verdict::Rest(Mode::Menu) => Ok(rest(agent, OrderState::Waiting, format!("an operator must approve {code}"))),
        Verdict::Rest(_) => Ok(rest(agent, OrderState::Nothing, "the server has noted this machine".to_owned())),
        Verdict::Other(mode) => {
            let message = format!(
                "this machine is armed for {}, its boot line says {}; start it again from the network, or approve {code}",
                word(mode),
                word(agent.hello.mode)
            );
            Ok(rest(agent, OrderState::Waiting, message))
        }
        Verdict::Done => Ok(rest(agent, OrderState::Nothing, "this boot has done its work".to_owned())),
    }
}

fn collision(one: &ArmRow, other: &ArmRow) -> Refusal {
    let said = |row: &ArmRow| {
        let image = row.arm.image.as_ref().map(|image| format!(" {image}")).unwrap_or_default();
        format!("{} for {}{image}", row.mac, word(row.arm.mode))
    };
    let message = format!("two cards of this machine are armed with different work: {}, {}", said(one), said(other));
    tracing::warn!(message, "refused");
    Refusal::conflict(message)
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Menu => "menu",
        Mode::Capture => "capture",
        Mode::Restore => "restore",
        Mode::Inventory => "inventory",
        Mode::Job => "job",
        Mode::Wait => "wait",
    }
}

/// `GET /v1/agents`.
pub async fn list(State(app): State<Arc<App>>) -> Json<Vec<AgentSeen>> {
    let mut waiting = app.waiting.lock().await;
    waiting.lapse(app.now(), &app.limits);
    Json(waiting.list())
}

/// `POST /v1/agents/{code}/approve`.
pub async fn approve(
    State(app): State<Arc<App>>,
    Path(code): Path<String>,
    body: Bytes,
) -> Result<Json<AgentSeen>, Refusal> {
    let approve: Approve = json(&body)?;
    if let Some(job) = approve.job {
        if approve.capture.is_some() || approve.restore.is_some() {
            return Err(Refusal::bad("an approval is for exactly one of capture, restore and job"));
        }
        return fleet::approve(&app, &code, job).await;
    }
    let (action, image) = match (approve.capture, approve.restore) {
        (Some(name), None) => (Action::Capture, ImageRef { name, id: None }),
        (None, Some(image)) => {
            // The version that the operator sees now: one that is published later does not slip in.
            let info = app.blocking(move |app| super::images::find(app, &image)).await?;
            (Action::Restore, ImageRef { name: info.name, id: Some(info.id) })
        }
        _ => return Err(Refusal::bad("an approval is for exactly one of capture, restore and job")),
    };
    super::netboot::check_disk(&approve.disk)?;
    let code = waiting::typed(&code).ok_or_else(|| Refusal::bad("a code has 8 characters, as XXXX-XXXX"))?;
    let now = app.now();
    let mut waiting = app.waiting.lock().await;
    waiting.lapse(now, &app.limits);
    let agent =
        waiting.by_code(&code).ok_or_else(|| Refusal::missing("no agent that was heard of lately has this code"))?;
    let id = secret::id::<4>()?;
    let fresh = secret::token(&id)?;
    let token = netboot::one_use(id.clone(), fresh.hash, action, &image, now, format!("code {code}"), String::new());
    let before = agent.handed.take().map(|handed| handed.token);
    let work = move |db: &mut rusqlite::Connection| {
        if let Some(before) = before {
            tokens::revoke(db, &before)?;
        }
        tokens::issue(db, &token, now)
    };
    app.db.call("approving an agent", work).await?;
    tracing::info!(code = waiting::shown(&code), peer = %agent.peer, ?action, %image, token = id, "agent approved");
    let work = Work {
        action,
        image,
        token: fresh.text,
        then: approve.then,
        disk: approve.disk,
        job: None,
        blank_only: false,
        adapt: None,
    };
    agent.handed = Some(Handed { work, token: id });
    (agent.state, agent.note) = (OrderState::Go, String::new());
    Ok(Json(agent.to_wire()))
}

/// `GET /v1/agents/images`: the newest version of each image that the token may restore.
pub async fn images(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Vec<ImageInfo>>, Refusal> {
    let Principal::Token(token) = principal else { return Err(Refusal::bug("this route has no token")) };
    if !token.scopes.contains(&Scope::Restore) {
        return Err(Refusal::forbidden("the token is not for restore"));
    }
    let all = app.blocking(|app| app.store.images()).await?;
    let mut newest: BTreeMap<_, ImageInfo> = BTreeMap::new();
    for info in all.into_iter().map(|entry| entry.info).filter(|info| token.images.matches(&info.name)) {
        if token.version.is_none_or(|id| id == info.id)
            && newest.get(&info.name).is_none_or(|known| known.number < info.number)
        {
            newest.insert(info.name.clone(), info);
        }
    }
    Ok(Json(newest.into_values().collect()))
}
