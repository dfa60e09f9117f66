//! Machines that should be well: asked every minute, and what rules do with one that is not.
//!
//! In: `tcp:PORT@HOST` of machines that have no job. Out: how often in a row each did not answer; restores by rules.
//! Promise: a rule fires once for a machine; a machine that is being worked on is not asked.

use crate::db::jobs::Now;
use crate::db::machines::{self, MachineRow, Report};
use crate::db::{DbError, rules};
use crate::http::App;
use crate::inventory::rule::{Match, Subject};
use crate::jobs::{draft, plan};
use ramet_wire::jobs::{AddJobs, Expect, JobOptions};
use ramet_wire::machines::{RuleInfo, RuleWhen, SetMachine};
use rusqlite::{Connection, TransactionBehavior};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Failures in a row that make a machine a failed one.
const FAILURES: i64 = 3;
/// Machines asked at once.
const ASKED: usize = 64;

/// Runs until the server stops.
pub async fn run(app: Arc<App>) {
    loop {
        tokio::time::sleep(app.limits.health_every).await;
        if let Err(error) = round(&app).await {
            tracing::error!(error = %crate::text::chain(&error), "asking machines whether they are well");
        }
    }
}

async fn round(app: &Arc<App>) -> Result<(), DbError> {
    let all = app.db.read("looking for machines to ask", |db| machines::to_ask(db)).await?;
    let gate = Arc::new(Semaphore::new(ASKED));
    let mut tasks = tokio::task::JoinSet::new();
    for (id, expect) in all {
        let gate = Arc::clone(&gate);
        tasks.spawn(async move {
            let _place = gate.acquire_owned().await;
            (id, crate::jobs::answers(&expect).await)
        });
    }
    let mut found = Vec::new();
    while let Some(task) = tasks.join_next().await {
        found.extend(task);
    }
    if found.is_empty() {
        return Ok(());
    }
    let now = app.now();
    let failed = app.db.call("noting health", move |db| machines::note_health(db, &found, FAILURES, now)).await?;
    for id in failed {
        fire(app, id).await?;
    }
    Ok(())
}

/// Lets the first rule that means this machine restore it.
async fn fire(app: &Arc<App>, id: i64) -> Result<(), DbError> {
    let ready = move |db: &mut Connection| Ok((machines::find(db, id)?, rules::ready(db, RuleWhen::Failed, id)?));
    let (machine, rules) = app.db.read("looking for rules", ready).await?;
    let Some(machine) = machine else { return Ok(()) };
    let report = known(&machine);
    let subject = Subject { report: &report, tags: &machine.tags };
    let fits = |rule: &RuleInfo| Match::read(&rule.rule.matches).is_ok_and(|wanted| wanted.fits(&subject));
    let Some(rule) = rules.into_iter().find(|rule| fits(rule)) else { return Ok(()) };
    let options = JobOptions { then: rule.rule.then, force_off: true, ..plan::of_rule(&rule.rule) };
    let restores = rule.rule.last || rule.rule.restore.is_some();
    let request =
        AddJobs::Restore { image: rule.rule.restore.clone(), to: vec![format!("id:{id}")], tag: None, options };
    let by = format!("rule {}", rule.id);
    let draft =
        if restores { Some(plan::draft(app, request, &by).await.map_err(|refusal| refusal.message)) } else { None };
    let (name, number, now) = (machine.name.clone(), rule.id, app.both());
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let word = carry_out(&tx, &machine, &rule, draft, now)?;
        tx.commit()?;
        Ok(word)
    };
    let word = app.db.call("letting a rule fire", work).await?;
    tracing::info!(rule = number, machine = name, word, "a rule fired");
    app.engine.wake.notify_one();
    Ok(())
}

/// What is known of a machine, as rules read it.
fn known(machine: &MachineRow) -> Report {
    Report {
        macs: machine.macs.clone(),
        uuid: machine.uuid.clone(),
        source: machine.source.clone(),
        disks: machine.disks.clone(),
        ..Report::default()
    }
}

fn carry_out(
    tx: &Connection,
    machine: &MachineRow,
    rule: &RuleInfo,
    draft: Option<Result<draft::Draft, String>>,
    now: Now,
) -> rusqlite::Result<String> {
    let who = format!("rule {}", rule.id);
    if !rules::fire(tx, rule.id, machine.id, now.wall)? {
        return Ok("it had fired before".to_owned());
    }
    let set = SetMachine { add_tags: rule.rule.tags.clone(), ..SetMachine::default() };
    let tagged = machines::set_row(tx, machine, &set, &who, now.wall);
    let word = match (tagged, draft) {
        (Err(machines::MachineError::Sqlite(error)), _) => return Err(error),
        (Err(machines::MachineError::Refused(why)), _) | (Ok(()), Some(Err(why))) => {
            format!("nothing is restored: {why}")
        }
        (Ok(()), None) => "tagged".to_owned(),
        (Ok(()), Some(Ok(draft))) if draft.is_refused() => {
            let why: Vec<String> = draft.plan.machines.iter().filter_map(|machine| machine.refused.clone()).collect();
            format!("nothing is restored: {}", why.join("; "))
        }
        (Ok(()), Some(Ok(draft))) => match draft::insert_in(tx, draft, now.wall)? {
            Err(why) => format!("nothing is restored: {why}"),
            Ok(jobs) => format!("jobs {jobs:?}"),
        },
    };
    machines::remember(tx, machine.id, &who, "fired", &word, now.wall)?;
    Ok(word)
}

/// Reads a stored health check.
#[must_use]
pub fn expect(text: &str) -> Option<Expect> {
    text.parse().ok()
}
