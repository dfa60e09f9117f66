//! The server's API: one table of routes, one gate, one handler each.
//!
//! In: HTTPS requests. Out: answers in the wire's types.
//! Promise: nothing is served that is not in the table, and nobody is served whom its row does not name.

pub mod admin;
pub mod agents;
pub mod audit;
pub mod auth;
pub mod body;
pub mod boot;
pub mod chunks;
pub mod error;
pub mod first_boot;
pub mod fleet;
pub mod images;
pub mod jobs;
pub mod machines;
pub mod metrics;
pub mod netboot;
pub mod packs;
pub mod pins;
pub mod power;
pub mod receipts;
pub mod routes;
pub mod rules;
pub mod runs;
pub mod tags;
pub mod tokens;

use crate::boot::Boot;
use crate::config::Limits;
use crate::db::Db;
use crate::identity::Identity;
use crate::identity::names::Names;
use crate::jobs::engine::Engine;
use crate::jobs::hands::Hands;
use crate::metrics::Metrics;
use crate::power::desk::Desk;
use crate::rate::Rate;
use crate::secret::{PinKey, UrlKey};
use crate::session::Sessions;
use crate::state::State as StateFolder;
use crate::waiting::Waiting;
use auth::Principal;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use error::Refusal;
use ramet_store::Clock;
use ramet_store::Store;
use ramet_wire::api::ErrorKind;
use routes::{ROUTES, Route, Takes};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The server's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest time a refused sender may take to finish.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// What all handlers share.
#[derive(Debug)]
pub struct App {
    /// Who this server is.
    pub identity: Identity,
    /// Tokens and runs.
    pub db: Arc<Db>,
    /// Packs and images.
    pub store: Store,
    /// Runs under way.
    pub sessions: Sessions,
    /// Agents without a token.
    pub waiting: tokio::sync::Mutex<Waiting>,
    /// How often strangers may ask.
    pub rate: Rate,
    /// What was counted.
    pub metrics: Metrics,
    /// Hashes PINs.
    pub pin_key: PinKey,
    /// Names and URLs.
    pub names: Names,
    /// Boot files, and what machines are told at their start.
    pub boot: Boot,
    /// Settings, secrets and turns of the machines' power.
    pub power: Arc<Desk>,
    /// Bounds.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
    /// The same at the start, and never set since.
    pub steady: Clock,
    /// What is due.
    pub engine: Engine,
    /// Switches machines.
    pub hands: Arc<dyn Hands>,
    /// The state folder, held.
    pub state: StateFolder,
    /// SHA-256 of the local operator's token.
    pub local_token: [u8; 32],
    /// Signs addresses of packs.
    pub url_key: UrlKey,
    /// Uploads at once.
    pub uploads: Semaphore,
    /// Downloads at once.
    pub downloads: Arc<Semaphore>,
    /// Large bodies in memory at once.
    pub large: Semaphore,
}

impl App {
    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        i64::try_from(self.clock.unix()).unwrap_or(i64::MAX)
    }

    /// Both clocks, for jobs.
    #[must_use]
    pub fn both(&self) -> crate::db::jobs::Now {
        let steady = i64::try_from(self.steady.unix()).unwrap_or(i64::MAX);
        crate::db::jobs::Now { wall: self.now(), steady }
    }

    /// Runs blocking work of the store.
    ///
    /// # Errors
    /// What `work` answers, and a bug when it panics.
    pub async fn blocking<T, E, F>(self: &Arc<Self>, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        E: Into<Refusal> + Send + 'static,
        F: FnOnce(&Self) -> Result<T, E> + Send + 'static,
    {
        let app = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || work(&app)).await;
        result.map_err(|_| Refusal::bug("a worker of the server stopped; its log says why"))?.map_err(Into::into)
    }
}

/// The router: the table's rows, each behind its own gate.
pub fn router(app: &Arc<App>) -> Router {
    let mut router: Router<Arc<App>> = Router::new();
    for route in ROUTES {
        let gate = Gate { app: Arc::clone(app), route };
        router = router.route(route.path, (route.handler)().layer(from_fn_with_state(gate, guard)));
    }
    router
        .fallback(|| async { Refusal::missing("there is no such route") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Refused, "not with this method")
        })
        // The gate bounds every body by its route's row; the framework's own limit of 2 MB would cut manifests.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app))
}

#[derive(Clone)]
struct Gate {
    app: Arc<App>,
    route: &'static Route,
}

/// Judges, bounds and logs one request.
async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let (response, who) = answer(&gate, request, next, peer).await;
    let (status, ms) = (response.status().as_u16(), began.elapsed().as_millis());
    // The route's own path: the request's may hold a signature in its query.
    let (verb, path) = (gate.route.verb.text(), gate.route.path);
    gate.app.metrics.answered(verb, path, status);
    if response.status().is_client_error() || response.status().is_server_error() {
        tracing::warn!(verb, path, status, ms, who, peer = peer.map(tracing::field::display), "refused");
    } else {
        tracing::debug!(verb, path, status, ms, who, peer = peer.map(tracing::field::display), "answered");
    }
    response
}

async fn answer(gate: &Gate, request: Request, next: Next, peer: Option<SocketAddr>) -> (Response, String) {
    let (mut parts, body) = request.into_parts();
    let judged = auth::judge(&gate.app, gate.route.who, &parts.headers, &parts.uri).await;
    let principal = match judged {
        Ok(principal) => principal,
        Err(refusal) => {
            body::drain(body, ramet_wire::pack::PACK_MAX, DRAIN_WAIT).await;
            return (refusal.into_response(), "nobody".to_owned());
        }
    };
    let who = principal.label();
    let mut act = audit::Act::new(gate.route, &principal, &parts.uri, peer);
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    parts.extensions.insert::<Principal>(principal);
    match bounded(gate, body, length).await {
        Ok((body, _permit)) => {
            let body = act.read(body).await;
            let response = in_shape(next.run(Request::from_parts(parts, body)).await);
            act.ended(&response);
            act.write(&gate.app).await;
            (response, who)
        }
        Err(refusal) => {
            let response = refusal.into_response();
            act.ended(&response);
            act.write(&gate.app).await;
            (response, who)
        }
    }
}

/// Refusals of the framework, such as a path that is no UTF-8, in the wire's shape.
fn in_shape(response: Response) -> Response {
    let status = response.status();
    let error = status.is_client_error() || status.is_server_error();
    let shaped = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !error || shaped {
        return response;
    }
    let kind = if status.is_client_error() { ErrorKind::Refused } else { ErrorKind::Bug };
    Refusal::new(status, kind, "the request cannot be understood").into_response()
}

/// The body within the bounds of its route; the permit is held while a large one is in memory.
async fn bounded(
    gate: &Gate,
    body: Body,
    length: Option<u64>,
) -> Result<(Body, Option<tokio::sync::SemaphorePermit<'_>>), Refusal> {
    let limits = &gate.app.limits;
    let max = match gate.route.takes {
        Takes::Nothing => return Ok((Body::empty(), None)),
        // The handler checks the length: it answers with the pack's name.
        Takes::Pack | Takes::File => return Ok((body, None)),
        Takes::Bytes(max) => max,
    };
    if length.is_some_and(|length| length > max as u64) {
        body::drain(body, ramet_wire::pack::PACK_MAX, DRAIN_WAIT).await;
        return Err(body::too_large(length, max));
    }
    let large = max > ramet_wire::api::BODY_MAX;
    let permit = if large { gate.app.large.acquire().await.ok() } else { None };
    let mut body = body;
    match body::whole(&mut body, max, limits.stall, limits.body_wait).await {
        Ok(bytes) => Ok((Body::from(bytes), permit)),
        Err(refusal) => {
            if refusal.status == StatusCode::PAYLOAD_TOO_LARGE {
                body::drain(body, ramet_wire::pack::PACK_MAX, DRAIN_WAIT).await;
            }
            Err(refusal)
        }
    }
}

/// Reads a JSON body; unknown fields are refused by the types.
///
/// # Errors
/// 400 with what is wrong and where.
pub fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad(format!("reading the request's JSON: {error}")))
}
