//! Who calls, and whether they may: the one gate before every handler.
//!
//! In: a request and the row of the route table it matched. Out: a `Principal` for the handler, or a refusal.
//! Promise: deny by default; what a route's row does not name is refused before its body is read.

use super::App;
use super::error::Refusal;
use crate::db::tokens::{self, TokenRow};
use crate::secret::{self, Presented};
use crate::session::Session;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use ramet_wire::PackName;
use ramet_wire::api::{Action, ErrorKind, Scope};
use std::sync::Arc;

/// One kind of caller that a route admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever reaches the port.
    Anyone,
    /// A token with the scope `capture` or `restore`; the handler looks at which.
    Token,
    /// The session of a run with this action.
    Session(Action),
    /// An operator's token.
    Admin,
    /// A token with the scope `metrics`.
    Metrics,
    /// The token of a clone that has booted, which opens nothing else and is used once.
    FirstBoot,
    /// Whoever has an address that `locate` signed, while it is fresh.
    SignedUrl,
}

/// Who called, as far as the route needs to know.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nobody in particular.
    Anyone,
    /// A token that may open runs.
    Token(Box<TokenRow>),
    /// A run.
    Session(Arc<Session>),
    /// An operator, by the id of the token.
    Admin(String),
    /// Who collects numbers, by the id of the token.
    Metrics(String),
    /// A clone that has booted.
    FirstBoot(Box<TokenRow>),
    /// Somebody with a signed address.
    Signed,
}

impl Principal {
    /// The session; a route that admits only sessions has one.
    ///
    /// # Errors
    /// [`Refusal::bug`] when the route table is wrong.
    pub fn session(&self) -> Result<&Arc<Session>, Refusal> {
        match self {
            Self::Session(session) => Ok(session),
            _ => Err(Refusal::bug("this route has no session")),
        }
    }

    /// For the log: who, without any secret.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Anyone => "anyone".to_owned(),
            Self::Token(token) => format!("token {}", token.id),
            Self::Session(session) => format!("run {}", session.run),
            Self::Admin(id) => format!("operator {id}"),
            Self::Metrics(id) => format!("collector {id}"),
            Self::FirstBoot(token) => format!("clone {}", token.id),
            Self::Signed => "signed address".to_owned(),
        }
    }
}

/// Judges a request by its headers and address.
///
/// # Errors
/// 401 for nobody we know, 403 for somebody who may not.
pub async fn judge(app: &App, callers: &[Caller], headers: &HeaderMap, uri: &Uri) -> Result<Principal, Refusal> {
    if callers.contains(&Caller::Anyone) {
        return Ok(Principal::Anyone);
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let presented = text.and_then(secret::read);
        let presented =
            presented.ok_or_else(|| Refusal::unknown("the credentials are neither a token nor a session"))?;
        return match presented {
            Presented::Token(id, hash) => by_token(app, callers, id, hash).await,
            Presented::Session(hash) => by_session(app, callers, &hash),
        };
    }
    match uri.query() {
        Some(query) if callers.contains(&Caller::SignedUrl) => by_signature(app, uri.path(), query),
        _ => Err(Refusal::unknown("this needs a token or a session")),
    }
}

async fn by_token(app: &App, callers: &[Caller], id: String, hash: [u8; 32]) -> Result<Principal, Refusal> {
    let unknown = || Refusal::unknown("the token is unknown, or was removed");
    if id == secret::LOCAL {
        let right = secret::same(&app.local_token, &hash);
        return match (right, callers.contains(&Caller::Admin)) {
            (false, _) => Err(unknown()),
            (true, true) => Ok(Principal::Admin(id)),
            (true, false) => Err(Refusal::forbidden("an operator's token does not open this")),
        };
    }
    let asked = id.clone();
    let row = app.db.call("looking up a token", move |db| tokens::find(db, &asked)).await?;
    let row = row.filter(|row| secret::same(&row.hash, &hash)).ok_or_else(unknown)?;
    if row.expires.is_some_and(|expires| app.now() >= expires) {
        return Err(Refusal::unknown("the token has expired"));
    }
    if callers.contains(&Caller::Admin) && row.scopes.contains(&Scope::Admin) {
        return Ok(Principal::Admin(id));
    }
    if callers.contains(&Caller::Metrics) && row.scopes.contains(&Scope::Metrics) {
        return Ok(Principal::Metrics(id));
    }
    if callers.contains(&Caller::FirstBoot) && row.scopes == [Scope::FirstBoot] {
        let used = row.used > 0;
        return if used {
            Err(Refusal::unknown("the token was for one call, and had it"))
        } else {
            Ok(Principal::FirstBoot(Box::new(row)))
        };
    }
    let opens_runs = |scope: &Scope| matches!(scope, Scope::Capture | Scope::Restore);
    if callers.contains(&Caller::Token) && row.scopes.iter().any(opens_runs) {
        return Ok(Principal::Token(Box::new(row)));
    }
    let scopes: Vec<String> = row.scopes.iter().map(Scope::to_string).collect();
    Err(Refusal::forbidden(format!("the token's scope is {}, which does not open this", scopes.join(","))))
}

fn by_session(app: &App, callers: &[Caller], hash: &[u8; 32]) -> Result<Principal, Refusal> {
    let session = app.sessions.find(hash);
    let session =
        session.ok_or_else(|| Refusal::unknown("the session is unknown, or has lapsed; start another run"))?;
    let (now, lapse) = (app.steady.unix(), app.limits.session_lapse.as_secs());
    if session.silent(now) >= lapse {
        return Err(Refusal::unknown(format!("the session has lapsed: not heard of for {lapse} s; start another run")));
    }
    if !callers.contains(&Caller::Session(session.action)) {
        return Err(Refusal::forbidden("a session of this action does not open this"));
    }
    session.touch(now);
    Ok(Principal::Session(session))
}

fn by_signature(app: &App, path: &str, query: &str) -> Result<Principal, Refusal> {
    let name = path.rsplit('/').next().and_then(|name| name.parse::<PackName>().ok());
    let opens = name.and_then(|name| app.url_key.opens(query, &name, app.clock.unix()));
    match opens {
        Some(true) => Ok(Principal::Signed),
        Some(false) => {
            let message = "the address has expired; ask again where the chunks are";
            Err(Refusal::new(StatusCode::FORBIDDEN, ErrorKind::Retry, message))
        }
        None => Err(Refusal::forbidden("the address is not one that this server gave")),
    }
}
