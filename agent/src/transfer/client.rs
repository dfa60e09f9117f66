//! An HTTPS client for one pinned server, with retries.
//!
//! In: requests with small bodies or whole packs. Out: the answer's bytes, or an error that says what to do.
//! Promise: the session's secret goes only to the pinned server; a request is retried only while that can help.

use super::TransferError;
use super::pin::{self, Identity};
use crate::progress;
use ramet_wire::api::{ApiError, ErrorKind};
use ramet_wire::{Fingerprint, sign::PublicKey};
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

/// Where a run's end without a result is told, halted or not.
pub const RUN_END: &str = "/v1/runs/current/end";

/// How long to wait and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tries per request, at least.
    pub tries: u32,
    /// How long after its first failure a request is tried again, however often that is: nobody sits beside a booted
    /// agent to start it anew.
    pub patience: Duration,
    /// Pause before the second try; doubles each time, up to 8 s.
    pub pause: Duration,
    /// Longest silence on a connection.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tries: 6, patience: Duration::ZERO, pause: Duration::from_millis(250), stall: Duration::from_secs(60) }
    }
}

/// What ties a run to the job that it is for: the job can end the run, and the run's session can speak for the job.
#[derive(Clone, Default)]
pub struct Leash {
    ended: Arc<OnceLock<String>>,
    session: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Leash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leash").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Leash {
    /// From now on every request of the run is refused with these words.
    pub fn end(&self, words: &str) {
        let _ = self.ended.set(words.to_owned());
    }

    /// The run has a session: the token that opened it is used up, and expires.
    pub fn opened(&self, session: String) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// The session's secret, once there is one.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&self, what: &str) -> Result<(), TransferError> {
        let Some(message) = self.ended.get().cloned() else { return Ok(()) };
        Err(TransferError::Answer { what: what.to_owned(), kind: ErrorKind::Refused, message })
    }
}

/// A connection to one server, whose identity was compared with the pinned one.
#[derive(Debug)]
pub struct Client {
    https: Agent,
    plain: Agent,
    base: String,
    identity: Identity,
    secret: Option<String>,
    limits: Limits,
    leash: Leash,
}

/// An answer with its whole body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// For errors: a gerund with its object.
    pub what: &'a str,
    /// HTTP method.
    pub method: &'a Method,
    /// Path below the server, with a leading slash.
    pub path: &'a str,
    /// Body.
    pub body: &'a [u8],
    /// Its type.
    pub content_type: &'a str,
    /// Statuses beside 2xx that are answers and not errors.
    pub also: &'a [u16],
    /// Longest body of an answer, in bytes.
    pub limit: u64,
    /// Worth trying again: false for news that is stale by then.
    pub retry: bool,
}

impl Client {
    /// Connects to `url` (`https://HOST[:PORT]`) and compares its identity with `key`. Without a key, `accept` decides.
    ///
    /// # Errors
    /// [`TransferError::Identity`] for another identity; [`TransferError::Away`] when nobody answers.
    pub fn connect(
        url: &str,
        key: Option<Fingerprint>,
        accept: &dyn Fn(Fingerprint) -> bool,
        limits: Limits,
    ) -> Result<Self, TransferError> {
        let (host, port) = split_url(url)?;
        let identity = retry(limits, || pin::identity(&host, port, limits.stall.min(Duration::from_secs(10))))?;
        let found = identity.key.fingerprint();
        let trusted = key.map_or_else(|| accept(found), |key| key == found);
        if !trusted {
            let wanted = key.map_or_else(|| "none, and nobody accepted it".to_owned(), |key| key.to_string());
            let what = format!("connecting to {url}");
            return Err(TransferError::Identity { what, found: found.to_string(), wanted });
        }
        let roots = [Certificate::from_der(&identity.ca).to_owned()];
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(pin::provider())
            .build();
        let https = agent(limits, Some(tls));
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { https, plain: agent(limits, None), base, identity, secret: None, limits, leash: Leash::default() })
    }

    /// From now on every request carries `secret`: a token, then the session it was exchanged for.
    pub fn authorize(&mut self, secret: String) {
        self.secret = Some(secret);
    }

    /// From now on `leash` ends every request but the one to [`RUN_END`].
    pub fn obey(&mut self, leash: Leash) {
        self.leash = leash;
    }

    /// The server's identity key, which also signs manifests and receipts.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.identity.key
    }

    /// Asks, with retries, and reads the whole answer.
    ///
    /// # Errors
    /// [`TransferError::Answer`] for any status that is neither 2xx nor in `also`.
    pub fn ask(&self, ask: Ask<'_>) -> Result<Answer, TransferError> {
        let last_word = ask.path == RUN_END;
        let limits = if ask.retry { self.limits } else { Limits { tries: 1, patience: Duration::ZERO, ..self.limits } };
        retry(limits, || {
            if !last_word {
                self.leash.check(ask.what)?;
            }
            let request = Request::builder()
                .method(ask.method.clone())
                .uri(format!("{}{}", self.base, ask.path))
                .header("content-type", ask.content_type)
                .header("content-length", ask.body.len());
            let response = self.send(ask.what, &self.https, self.signed(request), ask.body)?;
            let answer = read_all(ask.what, response, ask.limit)?;
            if (200..300).contains(&answer.status) || ask.also.contains(&answer.status) {
                return Ok(answer);
            }
            Err(refusal(ask.what, &answer))
        })
    }

    /// Reads exactly `buf.len()` bytes of `url` from `offset`. The secret goes along only to the pinned server.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn range(&self, what: &str, url: &str, offset: u64, buf: &mut [u8]) -> Result<(), TransferError> {
        let own = url.strip_prefix(&self.base).is_some_and(|path| path.starts_with('/'));
        let last = offset.saturating_add(buf.len() as u64).saturating_sub(1);
        let refused = retry(self.limits, || {
            self.leash.check(what)?;
            let request =
                Request::builder().method(Method::GET).uri(url).header("range", format!("bytes={offset}-{last}"));
            let request = if own { self.signed(request) } else { request };
            let agent = if url.starts_with("https:") { &self.https } else { &self.plain };
            let mut response = self.send(what, agent, request, &[])?;
            if response.status().as_u16() != 206 {
                // Gone, or its address has expired: asking where it is now helps, asking again here does not.
                let gone = matches!(response.status().as_u16(), 403 | 404);
                let refusal = refusal(what, &read_all(what, response, 64 << 10)?);
                return if gone { Ok(Some(refusal)) } else { Err(refusal) };
            }
            let wanted = format!("bytes {offset}-{last}/");
            let range =
                response.headers().get("content-range").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !range.starts_with(&wanted) {
                let message = format!("content-range is {range:?}, wanted {wanted:?}");
                return Err(TransferError::Damaged { what: what.to_owned(), message });
            }
            let read = response.body_mut().as_reader().read_exact(buf);
            read.map_err(|error| TransferError::Away { what: what.to_owned(), tries: 1, source: Box::new(error) })?;
            Ok(None)
        })?;
        refused.map_or(Ok(()), Err)
    }

    fn signed(&self, request: ureq::http::request::Builder) -> ureq::http::request::Builder {
        match &self.secret {
            Some(secret) => request.header("authorization", format!("Bearer {secret}")),
            None => request,
        }
    }

    fn send(
        &self,
        what: &str,
        agent: &Agent,
        request: ureq::http::request::Builder,
        body: &[u8],
    ) -> Result<Response<Body>, TransferError> {
        let request = request
            .body(body)
            .map_err(|error| TransferError::Damaged { what: what.to_owned(), message: error.to_string() })?;
        let away =
            |error: ureq::Error| TransferError::Away { what: what.to_owned(), tries: 1, source: Box::new(error) };
        agent.run(request).map_err(away)
    }
}

fn agent(limits: Limits, tls: Option<TlsConfig>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(16)
        .max_idle_connections_per_host(16)
        .input_buffer_size(256 << 10)
        .output_buffer_size(256 << 10)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_per_read(Some(limits.stall))
        .timeout_per_write(Some(limits.stall))
        .user_agent(concat!("ramet-agent/", env!("CARGO_PKG_VERSION")));
    let config = match tls {
        Some(tls) => config.tls_config(tls),
        None => config,
    };
    config.build().into()
}

/// Host and port of `https://HOST[:PORT]`.
pub(crate) fn split_url(url: &str) -> Result<(String, u16), TransferError> {
    let bad =
        |message: &str| TransferError::Damaged { what: format!("reading URL {url:?}"), message: message.to_owned() };
    let uri: ureq::http::Uri = url.parse().map_err(|_| bad("not a URL; wanted https://HOST:PORT"))?;
    if uri.scheme_str() != Some("https") {
        return Err(bad("the scheme is not https"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad("a path or query follows the port; wanted https://HOST:PORT"));
    }
    let host = uri.host().ok_or_else(|| bad("no host"))?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

fn read_all(what: &str, mut response: Response<Body>, limit: u64) -> Result<Answer, TransferError> {
    let status = response.status().as_u16();
    let away = |error: ureq::Error| TransferError::Away { what: what.to_owned(), tries: 1, source: Box::new(error) };
    let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(away)?;
    Ok(Answer { status, body })
}

/// The error an answer stands for; statuses of proxies and busy servers are worth another try.
fn refusal(what: &str, answer: &Answer) -> TransferError {
    let status = answer.status;
    let (kind, message) = match serde_json::from_slice::<ApiError>(&answer.body) {
        Ok(error) => (error.kind, clean(&error.message)),
        Err(_) if matches!(status, 404 | 408 | 429 | 500 | 502 | 503 | 504) => {
            (ErrorKind::Retry, format!("the server answered {status}"))
        }
        Err(_) => (ErrorKind::Refused, format!("the server answered {status}")),
    };
    TransferError::Answer { what: what.to_owned(), kind, message }
}

/// A server's words without control characters, cut to a readable length.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(1000).collect()
}

/// Tries again while the other side is away or says so; the pause doubles. Each try is a sign of life.
fn retry<T>(limits: Limits, mut once: impl FnMut() -> Result<T, TransferError>) -> Result<T, TransferError> {
    let mut pause = limits.pause;
    let mut failing: Option<Instant> = None;
    for attempt in 1.. {
        progress::alive();
        let error = match once() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let again = match &error {
            TransferError::Away { .. } => true,
            TransferError::Answer { kind, .. } => *kind == ErrorKind::Retry,
            _ => false,
        };
        let left = limits.patience.saturating_sub(failing.get_or_insert_with(Instant::now).elapsed());
        let counted = attempt >= limits.tries.max(1);
        if !again || (counted && left.is_zero()) {
            return Err(match error {
                TransferError::Away { what, source, .. } => TransferError::Away { what, tries: attempt, source },
                other => other,
            });
        }
        std::thread::sleep(if counted { pause.min(left) } else { pause });
        pause = (pause * 2).min(Duration::from_secs(8));
    }
    unreachable!("the loop above returns")
}

/// A client that many threads share.
pub type Shared = Arc<Client>;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(tries: u32, patience_ms: u64) -> Limits {
        let (pause, stall) = (Duration::from_millis(1), Duration::from_secs(1));
        Limits { tries, patience: Duration::from_millis(patience_ms), pause, stall }
    }

    #[test]
    fn takes_only_https_urls_without_a_path() {
        assert_eq!(split_url("https://boot.example:8443").unwrap(), ("boot.example".to_owned(), 8443));
        assert_eq!(split_url("https://10.0.0.1/").unwrap().1, 443);
        for bad in ["http://a", "a", "https://a/b", "https://a/?q", "ftp://a", ""] {
            assert!(split_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tries_again_only_while_that_can_help() {
        let limits = limits(3, 0);
        let mut count = 0;
        let answer = |kind| TransferError::Answer { what: "asking".to_owned(), kind, message: "no".to_owned() };
        let _ = retry::<()>(limits, || {
            count += 1;
            Err(answer(ErrorKind::Retry))
        });
        assert_eq!(count, 3);
        count = 0;
        let _ = retry::<()>(limits, || {
            count += 1;
            Err(answer(ErrorKind::Refused))
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn the_end_of_a_job_is_a_refusal_with_its_first_words() {
        let leash = Leash::default();
        assert!(leash.check("asking").is_ok());
        leash.clone().end("an operator cancelled the job");
        leash.end("something else");
        let error = leash.check("sending pack 1").unwrap_err();
        assert!(
            matches!(&error, TransferError::Answer { kind: ErrorKind::Refused, message, .. } if message == "an operator cancelled the job")
        );
    }

    #[test]
    fn patience_tries_on_until_it_ends_and_counts_from_the_first_failure() {
        let away = || TransferError::Away { what: "asking".to_owned(), tries: 1, source: "no route".into() };
        let (start, mut count) = (Instant::now(), 0);
        let ended = retry::<()>(limits(1, 300), || {
            count += 1;
            Err(away())
        });
        assert!(matches!(ended, Err(TransferError::Away { tries, .. }) if tries == count && tries > 3), "{ended:?}");
        assert!((300..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        let mut count = 0;
        let answered = retry(limits(1, 60_000), || {
            count += 1;
            if count < 5 { Err(away()) } else { Ok(count) }
        });
        assert_eq!(answered.unwrap(), 5);
    }

    #[test]
    fn nobody_listening_is_said_with_the_number_of_tries() {
        let limits = limits(2, 0);
        let error = Client::connect("https://127.0.0.1:1", None, &|_| true, limits).unwrap_err();
        assert_eq!(error.to_string(), "connecting to 127.0.0.1 port 1: no answer after 2 tries");
    }
}
