//! The audit: what an operator asks for that changes something is written down with how it went.
//!
//! In: requests of operators, and their answers. Out: rows; a list for operators.
//! Promise: an act is written down before its answer leaves; of a body only words that are no secret are kept.

use super::App;
use super::auth::Principal;
use super::error::{Refusal, Said};
use super::routes::{Route, Takes, Verb};
use crate::db::audit;
use crate::text::{clean, redact};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use ramet_wire::machines::AuditEvent;
use std::net::SocketAddr;
use std::sync::Arc;

/// Acts that one answer lists, unless it is said; and at most.
const LIST: u32 = 1000;
const LIST_MAX: u32 = 10_000;
/// Longest object, in characters.
const OBJECT_MAX: usize = 300;
/// Longest result.
const RESULT_MAX: usize = 300;
/// Fields of requests that say onto what, and how far it may go. A password's field is not among them, and whatever a
/// later version adds is not either until somebody has thought about it.
const TOLD: &[&str] = &[
    "accept",
    "action",
    "address",
    "all",
    "capture",
    "do",
    "force_off",
    "group",
    "hard_off",
    "image",
    "images",
    "job",
    "kind",
    "last",
    "mac",
    "machine",
    "machines",
    "macs",
    "match",
    "mode",
    "name",
    "once",
    "options",
    "protected",
    "replace",
    "restore",
    "scopes",
    "set",
    "subnet",
    "tag",
    "tags",
    "then",
    "to",
    "user",
    "wipe_existing",
    "when",
];

/// An act under way.
#[derive(Debug)]
pub(super) struct Act(Option<audit::Act>, bool);

impl Act {
    /// What a request is for; nothing where it is no operator's, or changes nothing.
    pub fn new(route: &Route, principal: &Principal, uri: &Uri, peer: Option<SocketAddr>) -> Self {
        let Principal::Admin(_) = principal else { return Self(None, false) };
        // `POST /v1/images/{image}/check` and its like read only, and may take hours.
        if route.verb == Verb::Get || route.path.ends_with("/check") {
            return Self(None, false);
        }
        let act = audit::Act {
            who: principal.label(),
            peer: peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default(),
            what: format!("{} {}", route.verb.text(), route.path),
            object: named(route.path, uri.path()),
            result: String::new(),
        };
        Self(Some(act), matches!(route.takes, Takes::Bytes(_)))
    }

    /// Reads what the body names, and gives it back. The gate has bounded it: it is in memory.
    pub async fn read(&mut self, body: Body) -> Body {
        let (Some(act), true) = (&mut self.0, self.1) else { return body };
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let told = told(&bytes);
        let words = [act.object.as_str(), told.as_str()];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        act.object = clean(&redact(&words.join(" ")), OBJECT_MAX);
        Body::from(bytes)
    }

    /// Notes how it went.
    pub fn ended(&mut self, response: &Response) {
        let Some(act) = &mut self.0 else { return };
        let said = response.extensions().get::<Said>().map(|said| said.0.as_str()).unwrap_or_default();
        act.result = match response.status() {
            status if status.is_success() => "done".to_owned(),
            status => clean(&redact(&format!("{} {said}", status.as_u16())), RESULT_MAX),
        };
    }

    /// Writes it down.
    pub async fn write(self, app: &App) {
        let Some(act) = self.0 else { return };
        let now = app.now();
        if let Err(error) = app.db.call("writing the audit", move |db| audit::add(db, &act, now)).await {
            tracing::error!(error = %crate::text::chain(&error), "an act is not in the audit");
        }
    }
}

/// The parts of a path that the route leaves open.
fn named(route: &str, path: &str) -> String {
    let parts = route.split('/').zip(path.split('/')).filter(|(part, _)| part.starts_with('{'));
    clean(&parts.map(|(_, found)| found).collect::<Vec<_>>().join(" "), OBJECT_MAX)
}

/// `do=restore image=web to=a,b`
fn told(bytes: &Bytes) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(bytes) else { return String::new() };
    let fields = fields.iter().filter(|(name, _)| TOLD.contains(&name.as_str()));
    fields.filter_map(|(name, value)| Some(format!("{name}={}", word(value)?))).collect::<Vec<_>>().join(" ")
}

/// What is set and short enough for a line; objects by the names of their fields.
fn word(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) | Value::Number(_) => Some(value.to_string()),
        Value::Array(all) if all.is_empty() => None,
        Value::Array(all) => Some(all.iter().filter_map(word).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let set: Vec<&str> =
                fields.iter().filter(|(_, value)| word(value).is_some()).map(|(name, _)| name.as_str()).collect();
            (!set.is_empty()).then(|| set.join(","))
        }
    }
}

/// Which acts.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    most: Option<u32>,
    before: Option<u64>,
}

/// `GET /v1/audit`.
pub async fn list(
    State(app): State<Arc<App>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<AuditEvent>>, Refusal> {
    let Query(Which { most, before }) = which.map_err(|_| Refusal::bad("the query takes most=N and before=ID"))?;
    let most = most.unwrap_or(LIST).min(LIST_MAX);
    Ok(Json(app.db.read("listing the audit", move |db| audit::list(db, before, most)).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_names_is_told_and_a_password_is_not() {
        let body = r#"{"kind":"ipmi","address":"10.0.0.9","user":"admin","secret":"hunter2","password":"x","pin":"1"}"#;
        assert_eq!(told(&Bytes::from(body)), "address=10.0.0.9 kind=ipmi user=admin");
        let body =
            r#"{"do":"restore","image":"web@1","to":["a","b"],"tag":null,"options":{"agreed":"ff","force_off":false}}"#;
        assert_eq!(told(&Bytes::from(body)), "do=restore image=web@1 options=agreed to=a,b");
        let body = r#"{"machines":["a"],"set":{"note":"long","protected":true},"all":false}"#;
        assert_eq!(told(&Bytes::from(body)), "machines=a set=note,protected");
        for odd in ["", "[]", "no", "{\"to\":"] {
            assert_eq!(told(&Bytes::from(odd.to_owned())), "");
        }
    }

    #[test]
    fn the_open_parts_of_a_path_are_the_object() {
        assert_eq!(named("/v1/machines/{machine}/accept", "/v1/machines/web01/accept"), "web01");
        assert_eq!(named("/v1/backup", "/v1/backup"), "");
    }
}
