//! Agents of machines in the inventory: their job's work, or a place among the new ones.
//!
//! In: Hellos, cleaned. Out: orders; none where the inventory has no word in it.
//! Promise: a job goes to one boot; a second one freezes it before anything of the first is accepted.

use super::agents::{go, rest};
use super::error::Refusal;
use super::{App, runs};
use crate::db::jobs::claim::{self, Ask, Claim};
use crate::db::machines::{self, Report, Who};
use crate::inventory::{self, welcome};
use crate::secret;
use crate::waiting::{self, Agent, Handed};
use axum::Json;
use ramet_wire::adapt::FirstBoot;
use ramet_wire::agents::{AgentSeen, OrderState, Orders};
use ramet_wire::id::sha256;
use rusqlite::{Connection, TransactionBehavior};
use std::sync::Arc;

fn seconds(wait: std::time::Duration) -> i64 {
    i64::try_from(wait.as_secs()).unwrap_or(i64::MAX)
}

fn ask(app: &App, agent: &Agent, host: Option<&str>, report: Report) -> Result<Ask, Refusal> {
    let id = secret::id::<4>()?;
    let fresh = secret::token(&id)?;
    let call = secret::id::<4>()?;
    let secret::Fresh { text, hash } = secret::token(&call)?;
    // A clone reaches the server as the agent that makes it does.
    let first_boot = FirstBoot { server: app.names.base(host), key: app.identity.fingerprint(), token: text };
    Ok(Ask {
        first_boot: (first_boot, call, hash),
        call_life: seconds(app.limits.first_boot_life),
        report,
        boot: sha256(agent.hello.nonce.as_bytes()),
        mode: agent.hello.mode,
        code: waiting::shown(&agent.code),
        token: (id, fresh.text, fresh.hash),
        lease: seconds(app.limits.job_lease),
        now: app.both(),
    })
}

/// What the inventory and the jobs have to say to this agent.
///
/// # Errors
/// Those of the database.
pub async fn orders(app: &Arc<App>, agent: &mut Agent, host: Option<&str>) -> Result<Option<Orders>, Refusal> {
    let report = inventory::report(&agent.hello, agent.peer);
    let mut said = claimed(app, agent, host, report.clone()).await?;
    if matches!(said, Claim::Stranger | Claim::Conflict) && !agent.enrolled {
        agent.enrolled = true;
        if enrol(app, agent, &report).await? {
            // A rule has accepted it, and may have made a job for this very boot.
            said = claimed(app, agent, host, report).await?;
        }
    }
    let code = waiting::shown(&agent.code);
    Ok(match said {
        Claim::Stranger | Claim::Conflict | Claim::NoJob => None,
        Claim::Wait(words) => Some(rest(agent, OrderState::Waiting, words)),
        Claim::Nothing(words) => Some(rest(agent, OrderState::Nothing, words)),
        Claim::Twice(job) => {
            tracing::warn!(job = job.id, holder = job.peer, other = %agent.peer, code, "claimed twice");
            Some(rest(agent, OrderState::Claimed, freeze(app, agent, *job).await?))
        }
        Claim::Go(work, before) => {
            if let Some(run) = before {
                runs::close(app, &run).await;
            }
            let token = work.token[secret::PREFIX.len()..].split('_').next().unwrap_or_default().to_owned();
            tracing::info!(job = work.job, peer = %agent.peer, code, image = %work.image, "a job is claimed");
            agent.handed = Some(Handed { work: *work, token });
            app.engine.wake.notify_one();
            Some(go(agent))
        }
    })
}

async fn claimed(app: &Arc<App>, agent: &Agent, host: Option<&str>, report: Report) -> Result<Claim, Refusal> {
    let ask = ask(app, agent, host, report)?;
    Ok(app.db.call("looking for a job", move |db| claim::claim(db, &ask)).await?)
}

/// The first boot's session ends before its job does, so that nothing of it is accepted in between.
async fn freeze(app: &Arc<App>, agent: &Agent, job: claim::JobRow) -> Result<String, Refusal> {
    if let Some(run) = &job.run {
        runs::close(app, run).await;
    }
    let ask = ask(app, agent, None, inventory::report(&agent.hello, agent.peer))?;
    let id = job.id;
    let message = app.db.call("freezing a job", move |db| claim::freeze(db, id, &ask)).await?;
    app.engine.wake.notify_one();
    Ok(format!("job {id}: {}", message.unwrap_or_else(|| "its work was just finished by another boot".to_owned())))
}

/// Gives a stranger a place in the inventory; true when a rule took it up.
async fn enrol(app: &Arc<App>, agent: &mut Agent, report: &Report) -> Result<bool, Refusal> {
    let (most, now, own) = (app.limits.enrolled, app.now(), report.clone());
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let who = machines::enrol(&tx, &own, most, now)?;
        tx.commit()?;
        Ok(who)
    };
    let who = app.db.call("enrolling a machine", work).await?;
    agent.word = match &who {
        Who::Ours | Who::Nobody => String::new(),
        Who::New(id) => format!("this machine is new: ramet machine accept new-{id}"),
        Who::Conflict(why) => format!("this machine is in conflict: {why}; an operator must decide: ramet machine ls"),
        Who::Full(most) => {
            tracing::warn!(peer = %agent.peer, most, "a machine is not enrolled");
            // It is asked again: an operator may have made room.
            agent.enrolled = false;
            format!("{most} machines wait to be accepted, no more are allowed; accept or remove some")
        }
    };
    let Who::New(id) = who else { return Ok(false) };
    let boot = sha256(agent.hello.nonce.as_bytes());
    Ok(welcome::welcome(app, id, report, agent.peer, boot).await?)
}

/// An operator approves the boot with this code for its machine's job.
///
/// # Errors
/// 400, 404, 409.
pub async fn approve(app: &Arc<App>, code: &str, job: u64) -> Result<Json<AgentSeen>, Refusal> {
    let code = waiting::typed(code).ok_or_else(|| Refusal::bad("a code has 8 characters, as XXXX-XXXX"))?;
    let id = i64::try_from(job).map_err(|_| Refusal::missing("there is no such job"))?;
    let mut waiting = app.waiting.lock().await;
    waiting.lapse(app.now(), &app.limits);
    let agent =
        waiting.by_code(&code).ok_or_else(|| Refusal::missing("no agent that was heard of lately has this code"))?;
    let (report, boot) = (inventory::report(&agent.hello, agent.peer), sha256(agent.hello.nonce.as_bytes()));
    let (window, now) = (seconds(app.limits.job_window), app.both());
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = claim::approve(&tx, id, &report, boot, window, now)?;
        if done.is_ok() {
            tx.commit()?;
        }
        Ok(done)
    };
    app.db.call("approving an agent", work).await?.map_err(Refusal::conflict)?;
    tracing::info!(code = waiting::shown(&code), job, "agent approved for its job");
    Ok(Json(agent.to_wire()))
}
