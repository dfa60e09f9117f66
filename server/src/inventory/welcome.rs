//! Rules at work: what happens to a new machine by itself.
//!
//! In: a machine that has enrolled, and whose agent is waiting. Out: accepted, tagged, with a job for this very boot.
//! Promise: a rule's word, its job and the note that it has fired are one transaction.

use super::rule::{Match, Subject, Subnet};
use crate::db::jobs::tick;
use crate::db::machines::{self, MachineError, MachineRow, Report};
use crate::db::{DbError, rules};
use crate::http::App;
use crate::jobs::draft::{self, Draft};
use crate::jobs::plan;
use ramet_wire::jobs::JobOptions;
use ramet_wire::machines::{RuleInfo, RuleWhen, SetMachine};
use rusqlite::{Connection, TransactionBehavior};
use std::net::IpAddr;
use std::sync::Arc;

/// The rule means this machine.
fn means(rule: &RuleInfo, subject: &Subject<'_>, peer: IpAddr) -> bool {
    // What was read when it was made can be read now; if not, it means nobody.
    let subnet = rule.rule.subnet.as_deref().map(Subnet::read).transpose();
    let inside = subnet.is_ok_and(|subnet| subnet.is_none_or(|subnet| subnet.holds(peer)));
    inside && Match::read(&rule.rule.matches).is_ok_and(|wanted| wanted.fits(subject))
}

/// Lets the first rule that means a new machine do what it says. True when one did.
///
/// # Errors
/// Those of the database.
pub async fn welcome(app: &Arc<App>, id: i64, report: &Report, peer: IpAddr, boot: [u8; 32]) -> Result<bool, DbError> {
    let ready = move |db: &mut Connection| {
        let rules = rules::ready(db, RuleWhen::New, id)?;
        Ok((machines::find(db, id)?, rules))
    };
    let (machine, rules) = app.db.read("looking for rules", ready).await?;
    let Some(machine) = machine else { return Ok(false) };
    let subject = Subject { report, tags: &machine.tags };
    let Some(rule) = rules.into_iter().find(|rule| means(rule, &subject, peer)) else { return Ok(false) };
    let draft = match &rule.rule.restore {
        None => None,
        Some(image) => {
            let options = JobOptions {
                then: rule.rule.then,
                blank_only: !rule.rule.wipe_existing,
                tries: Some(1),
                ..plan::of_rule(&rule.rule)
            };
            let by = format!("rule {}", rule.id);
            let disks = report.disks.clone();
            let row = MachineRow { disks, tags: plan::tags_with(&machine, &rule.rule), ..machine.clone() };
            match plan::draft_here(app, row, image.clone(), options, &by).await {
                Ok(draft) => Some(Ok(draft)),
                Err(refusal) => Some(Err(refusal.message)),
            }
        }
    };
    let name = machine.name.clone();
    let (window, now, number) =
        (i64::try_from(app.limits.job_window.as_secs()).unwrap_or(i64::MAX), app.both(), rule.id);
    let work = move |db: &mut Connection| {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let word = carry_out(&tx, id, &rule, draft, boot, window, now)?;
        tx.commit()?;
        Ok(word)
    };
    let word = app.db.call("letting a rule fire", work).await?;
    tracing::info!(rule = number, machine = name, word, "a rule fired");
    app.engine.wake.notify_one();
    Ok(true)
}

fn carry_out(
    tx: &Connection,
    id: i64,
    rule: &RuleInfo,
    draft: Option<Result<Draft, String>>,
    boot: [u8; 32],
    window: i64,
    now: crate::db::jobs::Now,
) -> rusqlite::Result<String> {
    let who = format!("rule {}", rule.id);
    if !rules::fire(tx, rule.id, id, now.wall)? {
        return Ok("it had fired before".to_owned());
    }
    let accepted = machines::accept(tx, id, None, false, &who, now.wall);
    let set = SetMachine { add_tags: rule.rule.tags.clone(), ..SetMachine::default() };
    let tagged = accepted
        .and_then(|()| if set.add_tags.is_empty() { Ok(()) } else { machines::set(tx, id, &set, &who, now.wall) });
    let word = match (tagged, draft) {
        (Err(MachineError::Sqlite(error)), _) => return Err(error),
        (Err(MachineError::Refused(why)), _) | (Ok(()), Some(Err(why))) => format!("nothing is restored: {why}"),
        (Ok(()), None) => return Ok("accepted".to_owned()),
        (Ok(()), Some(Ok(draft))) if draft.is_refused() => {
            let why: Vec<String> = draft.plan.machines.iter().filter_map(|machine| machine.refused.clone()).collect();
            format!("nothing is restored: {}", why.join("; "))
        }
        (Ok(()), Some(Ok(draft))) => match draft::insert_in(tx, draft, now.wall)? {
            Err(why) => format!("nothing is restored: {why}"),
            Ok(jobs) => {
                for job in jobs.iter().filter_map(|job| i64::try_from(*job).ok()) {
                    tick::here(tx, job, boot, window, now)?;
                }
                return Ok(format!("jobs {jobs:?}"));
            }
        },
    };
    machines::remember(tx, id, &who, "refused", &word, now.wall)?;
    let note = crate::text::clean(&format!("{who}: {word}"), ramet_wire::machines::NOTE_MAX);
    tx.execute("UPDATE machines SET note = ?2 WHERE id = ?1", (id, note))?;
    Ok(word)
}
