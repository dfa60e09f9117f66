//! Jobs: asked for by operators, worked on by agents.
//!
//! In: requests, words of a job's agent. Out: plans, jobs.
//! Promise: a token or session reaches its own job alone.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, json};
use crate::db::jobs::{self, Said, claim};
use crate::jobs::states::Event;
use crate::jobs::{draft, plan};
use crate::text::clean;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ramet_wire::adapt::{BootCall, Size};
use ramet_wire::jobs::{
    AddJobs, BOOT_LIMIT_MAX, Cause, JobBeat, JobDetail, JobInfo, JobKind, JobLeaving, JobOptions, JobState, JobWord,
};
use ramet_wire::settings::Then;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::HashMap;
use std::sync::Arc;

/// Jobs that one answer lists at most.
const LIST_MAX: u32 = 5000;

/// `POST /v1/jobs`.
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request: AddJobs = json(&body)?;
    let options = match &request {
        AddJobs::Capture { options, .. } | AddJobs::Restore { options, .. } => options,
        AddJobs::Clone { options, .. } | AddJobs::Inventory { options, .. } => options,
    };
    let (dry, agreed) = (options.dry_run, options.agreed.clone());
    let draft = plan::draft(&app, request, &principal.label()).await?;
    if dry {
        return Ok((StatusCode::OK, Json(draft.plan)).into_response());
    }
    if draft.is_refused() {
        return Ok((StatusCode::CONFLICT, Json(draft.plan)).into_response());
    }
    if let Some(agreed) = agreed.filter(|agreed| *agreed != draft.plan.digest) {
        let message = format!("the plan is {} by now, what was agreed to is {agreed}; look again", draft.plan.digest);
        return Err(Refusal::conflict(clean(&message, 200)));
    }
    let (mut plan, now) = (draft.plan.clone(), app.now());
    let made = app.db.call("making jobs", move |db| draft::insert(db, draft, now)).await?;
    plan.jobs = made.map_err(Refusal::conflict)?;
    tracing::info!(jobs = ?plan.jobs, by = principal.label(), "jobs asked for");
    app.engine.wake.notify_one();
    Ok((StatusCode::CREATED, Json(plan)).into_response())
}

/// What is ordered beyond the copy makes sense.
///
/// # Errors
/// 400.
pub fn check_beyond(options: &JobOptions) -> Result<(), Refusal> {
    if let Size::Layout(layout) = &options.size {
        layout.check().map_err(|error| Refusal::bad(error.to_string()))?;
    }
    let awaited = options.first_boot == Some(BootCall::Awaited);
    if awaited && options.then.is_some_and(|then| then != Then::Reboot) {
        return Err(Refusal::bad("a machine that does not start again is not seen to boot: expect no boot, or reboot"));
    }
    match options.boot_limit {
        Some(_) if !awaited => Err(Refusal::bad("a limit is for a boot that is expected")),
        Some(limit) if !(1..=BOOT_LIMIT_MAX).contains(&limit) => {
            Err(Refusal::bad(format!("a boot is waited for {limit} s, 1 to {BOOT_LIMIT_MAX} are allowed")))
        }
        _ => Ok(()),
    }
}

/// `GET /v1/jobs?open=1&machine=NAME`.
pub async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<JobInfo>>, Refusal> {
    crate::jobs::engine::flush(&app).await?;
    let open = query.get("open").is_some_and(|open| open == "1");
    let machine = match query.get("machine") {
        Some(name) => Some(super::machines::resolve(&app, name.clone()).await?),
        None => None,
    };
    Ok(Json(app.db.read("listing jobs", move |db| jobs::list(db, machine, open, LIST_MAX)).await?))
}

fn number(text: &str) -> Result<i64, Refusal> {
    text.parse::<u32>().map(i64::from).map_err(|_| Refusal::missing("there is no such job"))
}

/// `GET /v1/jobs/{job}`.
pub async fn show(State(app): State<Arc<App>>, Path(job): Path<String>) -> Result<Json<JobDetail>, Refusal> {
    let id = number(&job)?;
    crate::jobs::engine::flush(&app).await?;
    let found = app.db.read("reading a job", move |db| jobs::detail(db, id)).await?;
    found.map(Json).ok_or_else(|| Refusal::missing(format!("there is no job {id}")))
}

/// What a change of a job came to.
enum Changed {
    Missing,
    Refused(String),
    /// Jobs that are over now, and runs whose sessions are.
    Done {
        over: Vec<i64>,
        runs: Vec<String>,
    },
}

fn parts(tx: &Connection, id: i64) -> rusqlite::Result<Option<Vec<jobs::JobRow>>> {
    let Some(job) = jobs::find(tx, id)? else { return Ok(None) };
    if job.kind == JobKind::Tree {
        return jobs::query(tx, "parent = ?1", [id]).map(Some);
    }
    Ok(Some(vec![job]))
}

async fn change<F>(app: &Arc<App>, doing: &'static str, work: F) -> Result<(), Refusal>
where
    F: FnOnce(&Connection) -> rusqlite::Result<Changed> + Send + 'static,
{
    let changed = app.db.call(doing, move |db| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = work(&tx)?;
        if matches!(changed, Changed::Done { .. }) {
            tx.commit()?;
        }
        Ok(changed)
    });
    match changed.await? {
        Changed::Missing => Err(Refusal::missing("there is no such job")),
        Changed::Refused(why) => Err(Refusal::conflict(why)),
        Changed::Done { over, runs } => {
            over.into_iter().for_each(|job| app.engine.give_up(job));
            for run in runs {
                super::runs::close(app, &run).await;
            }
            app.engine.wake.notify_one();
            Ok(())
        }
    }
}

/// `POST /v1/jobs/{job}/cancel`: at any point; a tree with all its parts.
pub async fn cancel(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(job): Path<String>,
) -> Result<Json<JobDetail>, Refusal> {
    let (id, now, who) = (number(&job)?, app.both(), principal.label());
    let work = move |tx: &Connection| {
        let Some(parts) = parts(tx, id)? else { return Ok(Changed::Missing) };
        let (mut over, mut runs) = (Vec::new(), Vec::new());
        // Those that wait for another go first, so that they are cancelled and not failed by it.
        for job in parts.iter().rev().filter(|job| !job.state.is_over()) {
            let message = format!("cancelled by {who} while it was {}", job.state);
            let next = match job.state {
                JobState::Running if job.kind == JobKind::Restore => {
                    format!("its disks are half written; ramet job retry {} sends only what is missing", job.id)
                }
                _ => String::new(),
            };
            runs.extend(job.run.clone());
            jobs::step(tx, job, Event::Cancel, &Said::bad(Cause::Operator, message, next), now)?;
            over.push(job.id);
        }
        if over.is_empty() {
            return Ok(Changed::Refused(format!("job {id} is over already")));
        }
        Ok(Changed::Done { over, runs })
    };
    change(&app, "cancelling a job", work).await?;
    show(State(app), Path(job)).await
}

/// `POST /v1/jobs/{job}/retry`: a job that is over without proof begins anew; of a tree those parts.
pub async fn retry(State(app): State<Arc<App>>, Path(job): Path<String>) -> Result<Json<JobDetail>, Refusal> {
    let (id, now) = (number(&job)?, app.both());
    let work = move |tx: &Connection| {
        let Some(parts) = parts(tx, id)? else { return Ok(Changed::Missing) };
        let mut begun = 0;
        for job in &parts {
            let again = matches!(job.state, JobState::Failed | JobState::Cancelled | JobState::Lost);
            if !again {
                continue;
            }
            let Some(machine) = job.machine else {
                return Ok(Changed::Refused(format!("the machine of job {} was removed", job.id)));
            };
            if let Some(open) = jobs::open_of(tx, machine)?.first() {
                return Ok(Changed::Refused(format!("its machine is busy with job {}", open.id)));
            }
            jobs::step(tx, job, Event::Retry, &Said::plain("waits for its turn"), now)?;
            begun += 1;
        }
        if begun == 0 {
            return Ok(Changed::Refused(format!("job {id} has nothing to be repeated")));
        }
        Ok(Changed::Done { over: Vec::new(), runs: Vec::new() })
    };
    change(&app, "repeating a job", work).await?;
    show(State(app), Path(job)).await
}

/// The job of a token or a session.
fn own(principal: &Principal) -> Result<i64, Refusal> {
    let job = match principal {
        Principal::Token(token) => token.job,
        Principal::Session(session) => session.job,
        _ => None,
    };
    job.ok_or_else(|| Refusal::forbidden("this is of no job"))
}

/// `POST /v1/jobs/current`.
pub async fn beat(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<JobWord>, Refusal> {
    let beat: JobBeat = json(&body)?;
    let id = own(&principal)?;
    let found = app.db.read("reading a job", move |db| jobs::find(db, id)).await?;
    let job = found.ok_or_else(|| Refusal::missing("the job is gone"))?;
    let number = u64::try_from(id).unwrap_or(0);
    let has = has_job(&principal, &job);
    let go_on = has && matches!(job.state, JobState::Running | JobState::Leaving);
    if go_on {
        app.engine.beat(id, clean(&beat.step, 100), beat.done, beat.total);
    }
    let message = if go_on { String::new() } else { format!("job {id} is {}: {}", job.state, job.message) };
    Ok(Json(JobWord { job: number, go_on, message }))
}

/// The job is still that of this token, or of this run.
fn has_job(principal: &Principal, job: &jobs::JobRow) -> bool {
    match principal {
        Principal::Token(token) => job.token.as_deref() == Some(token.id.as_str()),
        Principal::Session(session) => job.run.as_deref() == Some(session.run.as_str()),
        _ => false,
    }
}

/// `POST /v1/jobs/current/leaving`.
pub async fn leaving(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let mut leaving: JobLeaving = json(&body)?;
    leaving.error = leaving.error.map(|error| clean(&error, 500));
    let id = own(&principal)?;
    let (now, pause) = (app.both(), i64::try_from(app.limits.job_pause.as_secs()).unwrap_or(i64::MAX));
    let caller = principal.clone();
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let job = jobs::find(&tx, id)?.filter(|job| has_job(&caller, job));
        let run = job.as_ref().and_then(|job| job.run.clone());
        if job.is_some() {
            claim::leaving(&tx, id, &leaving, pause, now)?;
            tx.commit()?;
        }
        Ok((job.is_some(), run.filter(|_| leaving.error.is_some())))
    };
    let (had, run) = app.db.call("noting that an agent leaves", work).await?;
    if let Some(run) = run {
        super::runs::close(&app, &run).await;
    }
    app.engine.wake.notify_one();
    if had { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::conflict(format!("job {id} is not yours any more"))) }
}
