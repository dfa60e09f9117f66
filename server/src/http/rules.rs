//! Rules, for operators.
//!
//! In: what shall happen by itself. Out: the rules there are.
//! Promise: a rule that cannot be read, or names an image that is not there, is refused when it is made.

use super::auth::Principal;
use super::error::Refusal;
use super::{App, json};
use crate::db::rules;
use crate::inventory::rule::{Match, Subnet};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use ramet_wire::jobs::JobOptions;
use ramet_wire::machines::{AddRule, RuleInfo, RuleWhen, TAGS_MAX};
use std::sync::Arc;

/// Rules that may exist.
const RULES_MAX: usize = 100;

/// `POST /v1/rules`.
pub async fn add(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<(StatusCode, Json<RuleInfo>), Refusal> {
    let rule: AddRule = json(&body)?;
    Match::read(&rule.matches).map_err(Refusal::bad)?;
    rule.subnet.as_deref().map(Subnet::read).transpose().map_err(Refusal::bad)?;
    if rule.tags.len() > TAGS_MAX {
        return Err(Refusal::bad(format!("{} tags are named, {TAGS_MAX} are allowed", rule.tags.len())));
    }
    super::jobs::check_beyond(&JobOptions { then: rule.then, ..crate::jobs::plan::of_rule(&rule) })?;
    let does = rule.accept || !rule.tags.is_empty() || rule.restore.is_some() || rule.last;
    match rule.when {
        _ if !does => return Err(Refusal::bad("the rule does nothing: give --accept, --tag, --restore or --last")),
        _ if rule.restore.is_some() && rule.last => {
            return Err(Refusal::bad("a rule restores an image, or the one that ran last, not both"));
        }
        RuleWhen::New if rule.last => return Err(Refusal::bad("on a new machine no image ran last")),
        RuleWhen::New if !rule.accept => {
            return Err(Refusal::bad("a new machine gets nothing before it is accepted: give --accept"));
        }
        RuleWhen::Failed if rule.subnet.is_some() => {
            return Err(Refusal::bad("a machine that has failed asks from nowhere: give no subnet"));
        }
        RuleWhen::Failed if (rule.restore.is_some() || rule.last) && !rule.wipe_existing => {
            return Err(Refusal::bad("a machine that ran has something on its disks: give --wipe-existing"));
        }
        RuleWhen::Failed if rule.accept => {
            return Err(Refusal::bad("a machine whose health is asked is accepted already"));
        }
        _ => {}
    }
    if let Some(image) = rule.restore.clone() {
        app.blocking(move |app| super::images::find(app, &image)).await?;
    }
    let (who, now) = (principal.label(), app.now());
    let work = move |db: &mut rusqlite::Connection| {
        let Some(id) = rules::add(db, &rule, &who, RULES_MAX, now)? else { return Ok(None) };
        Ok(rules::list(db)?.into_iter().find(|rule| i64::try_from(rule.id) == Ok(id)))
    };
    let made = app.db.call("adding a rule", work).await?;
    let made = made.ok_or_else(|| Refusal::conflict(format!("{RULES_MAX} rules exist, no more are allowed")))?;
    tracing::info!(rule = made.id, by = made.by, "rule added");
    Ok((StatusCode::CREATED, Json(made)))
}

/// `GET /v1/rules`.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<RuleInfo>>, Refusal> {
    Ok(Json(app.db.read("listing rules", |db| rules::list(db)).await?))
}

/// `DELETE /v1/rules/{rule}`.
pub async fn remove(State(app): State<Arc<App>>, Path(rule): Path<String>) -> Result<StatusCode, Refusal> {
    let id = rule.parse::<u32>().map(i64::from).map_err(|_| Refusal::missing("there is no such rule"))?;
    if !app.db.call("removing a rule", move |db| rules::remove(db, id)).await? {
        return Err(Refusal::missing(format!("there is no rule {id}")));
    }
    Ok(StatusCode::NO_CONTENT)
}
