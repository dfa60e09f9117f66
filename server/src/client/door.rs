//! Two ways to the same API.
//!
//! In: a method, a path, a body. Out: status and body of the answer.
//! Promise: `Remote` sends its token only to the pinned server; `Local` holds the state folder while it works.

use super::ClientError;
use super::pin::pinned_ca;
use crate::config::Config;
use crate::http::body::{Lines, next};
use crate::http::{App, router};
use crate::identity::tls::provider;
use crate::serve::{assemble, runtime};
use crate::state::State;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use ramet_wire::Fingerprint;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tower::Service;

/// Longest silence of a server; checks and collects say something more often.
const SILENCE: Duration = Duration::from_secs(300);

/// An answer.
pub struct Reply {
    /// HTTP's status.
    pub status: u16,
    /// The announced length of the body, if any.
    pub length: Option<u64>,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

/// What a failed exchange ends with.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A way to the API.
pub trait Door: Send + std::fmt::Debug {
    /// One request, with an operator's token.
    ///
    /// # Errors
    /// When there is no answer; an answer of any status is none.
    fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Reply, Broken>;

    /// A `PUT` whose body of `size` bytes is read while it is sent.
    ///
    /// # Errors
    /// As [`Door::send`], and those of reading.
    fn upload(&self, path: &str, body: Box<dyn Read + Send>, size: u64) -> Result<Reply, Broken>;
}

/// A server over HTTPS.
pub struct Remote {
    agent: ureq::Agent,
    base: String,
    token: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Remote {
    /// Looks at the server's identity first; the token is kept until a request.
    ///
    /// # Errors
    /// [`ClientError::Pin`].
    pub fn connect(url: &str, token: &str, key: Fingerprint) -> Result<Self, ClientError> {
        let ca = pinned_ca(url, key)?;
        let roots = ureq::tls::RootCerts::new_with_certs(&[ureq::tls::Certificate::from_der(&ca).to_owned()]);
        let tls = ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider())
            .root_certs(roots)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.into(), base, token: token.to_owned() })
    }
}

impl Door for Remote {
    fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Reply, Broken> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token));
        let response = if matches!(method, "GET" | "DELETE") {
            self.agent.run(request.body(())?)?
        } else {
            self.agent.run(request.body(body)?)?
        };
        Ok(reply(response))
    }

    fn upload(&self, path: &str, body: Box<dyn Read + Send>, size: u64) -> Result<Reply, Broken> {
        let request = ureq::http::Request::builder()
            .method("PUT")
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-length", size);
        Ok(reply(self.agent.run(request.body(ureq::SendBody::from_owned_reader(body.take(size)))?)?))
    }
}

fn reply(response: ureq::http::Response<ureq::Body>) -> Reply {
    let status = response.status().as_u16();
    let body = response.into_body();
    Reply { status, length: body.content_length(), body: Box::new(body.into_reader()) }
}

/// The state folder itself, while no server runs on it.
#[derive(Debug)]
pub struct Local {
    router: Router,
    token: String,
    // Dropped in this order: tasks first, then what they used.
    runtime: Option<Runtime>,
    app: Option<Arc<App>>,
}

impl Local {
    /// Takes the folder's lock and opens everything a server would.
    ///
    /// # Errors
    /// [`ClientError::State`] when a server holds it, [`ClientError::Start`] otherwise.
    pub fn open(dir: &Path) -> Result<Self, ClientError> {
        let state = State::open_existing(dir)?;
        let config = Config::new(dir);
        let runtime = runtime()?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (app, token) = runtime.block_on(assemble(state, &config, nowhere))?;
        Ok(Self { router: router(&app), token, runtime: Some(runtime), app: Some(app) })
    }
}

impl Door for Local {
    fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Reply, Broken> {
        self.ask(Request::builder().method(method).uri(path), Body::from(body))
    }

    fn upload(&self, path: &str, mut body: Box<dyn Read + Send>, size: u64) -> Result<Reply, Broken> {
        let (to, from) = tokio::sync::mpsc::channel(4);
        // Ends when the file does, or when nobody listens any more; what is missing then, the router notices.
        let read = move || loop {
            let mut piece = vec![0; 256 << 10];
            match body.read(&mut piece) {
                Ok(count @ 1..) => {
                    piece.truncate(count);
                    if to.blocking_send(piece.into()).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        };
        std::thread::Builder::new().name("upload".into()).spawn(read)?;
        let request = Request::builder().method("PUT").uri(path).header(header::CONTENT_LENGTH, size);
        self.ask(request, Body::new(Lines(from)))
    }
}

impl Local {
    fn ask(&self, request: axum::http::request::Builder, body: Body) -> Result<Reply, Broken> {
        let runtime = self.runtime.as_ref().ok_or("the folder is closed")?;
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.token)).body(body)?;
        let Ok(response) = runtime.block_on(self.router.clone().call(request));
        let status = response.status().as_u16();
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        let body =
            BodyReader { runtime: runtime.handle().clone(), body: response.into_body(), rest: Vec::new(), at: 0 };
        Ok(Reply { status, length, body: Box::new(body) })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.router = Router::new();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.app = None;
    }
}

/// A body of the router, read by ordinary code.
struct BodyReader {
    runtime: Handle,
    body: Body,
    rest: Vec<u8>,
    at: usize,
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.rest.len() {
            let Some(bytes) = self.runtime.block_on(next(&mut self.body, SILENCE))? else { return Ok(0) };
            (self.rest, self.at) = (bytes.to_vec(), 0);
        }
        let len = buf.len().min(self.rest.len() - self.at);
        buf[..len].copy_from_slice(&self.rest[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
