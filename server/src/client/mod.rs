//! The operator's side of the API: every operation once, whichever way it travels.
//!
//! In: what an operator wants. Out: the server's answer as the wire's types.
//! Promise: the same requests go to a running server over pinned TLS and, when none runs, straight into its router.

mod boot;
mod door;
mod fleet;
pub mod pin;
mod power;

pub use door::{Door, Local, Remote, Reply};

use crate::http::admin::Line;
use crate::serve::StartError;
use crate::state::StateError;
use pin::PinError;
use ramet_wire::api::{AddToken, ApiError, ErrorKind, ImageInfo, RunInfo, TokenAdded, TokenInfo};
use ramet_wire::{ImageName, ImageRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};

/// Largest answer that is read into memory.
const ANSWER_MAX: u64 = 64 << 20;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server is not the pinned one, or not there.
    #[error("reaching the server")]
    Pin(#[from] PinError),
    /// The connection broke.
    #[error("{what}")]
    Away {
        /// What was asked.
        what: String,
        /// Why there is no answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server said no.
    #[error("{what}: {message}")]
    Answer {
        /// What was asked.
        what: String,
        /// What can be done.
        kind: ErrorKind,
        /// The server's words.
        message: String,
    },
    /// The answer is none.
    #[error("{what}: the answer cannot be read")]
    Shape {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// No server runs on the folder, and it cannot be opened either.
    #[error("opening the server's state")]
    Start(#[from] StartError),
    /// The archive or another local file.
    #[error("{doing}")]
    File {
        /// What was done, with the object.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl ClientError {
    /// The server refused, or is not the one that was asked for: nothing was changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Answer { kind: ErrorKind::Refused, .. } | Self::Pin(PinError::Other { .. }))
    }
}

/// An operator at a door.
#[derive(Debug)]
pub struct Operator {
    door: Box<dyn Door>,
}

impl Operator {
    /// At this door.
    #[must_use]
    pub fn new(door: impl Door + 'static) -> Self {
        Self { door: Box::new(door) }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`ClientError`], as everywhere here.
    pub fn add_token(&self, token: &AddToken) -> Result<TokenAdded, ClientError> {
        self.post("adding a token", "/v1/tokens", token)
    }

    /// All tokens.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, ClientError> {
        self.get("listing tokens", "/v1/tokens")
    }

    /// Removes a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_token(&self, id: &str) -> Result<(), ClientError> {
        let what = format!("removing token {}", crate::text::clean(id, 16));
        check_id(&what, id)?;
        self.ask(&what, "DELETE", &format!("/v1/tokens/{id}"), Vec::new()).map(drop)
    }

    /// All images.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn images(&self) -> Result<Vec<ImageInfo>, ClientError> {
        self.get("listing images", "/v1/images")
    }

    /// All versions of one image, or the one with the id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn versions(&self, image: &ImageRef) -> Result<Vec<ImageInfo>, ClientError> {
        let latest: ImageInfo = self.get(&format!("looking for image {image}"), &format!("/v1/images/{image}"))?;
        if image.id.is_some() {
            return Ok(vec![latest]);
        }
        let of_name =
            |name: &ImageName, all: Vec<ImageInfo>| all.into_iter().filter(|info| info.name == *name).collect();
        Ok(of_name(&image.name, self.images()?))
    }

    /// An image's manifest, as text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn manifest(&self, image: &ImageRef) -> Result<ramet_wire::api::SignedManifest, ClientError> {
        self.get(&format!("reading image {image}"), &format!("/v1/images/{image}/manifest"))
    }

    /// Removes one version, or with a bare name all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_image(&self, image: &ImageRef) -> Result<Vec<ImageInfo>, ClientError> {
        let what = format!("removing image {image}");
        let reply = self.ask(&what, "DELETE", &format!("/v1/images/{image}"), Vec::new())?;
        read_json(&what, reply)
    }

    /// Reads every chunk of an image.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn check_image(
        &self,
        image: &ImageRef,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<serde_json::Value, ClientError> {
        self.work(&format!("checking image {image}"), &format!("/v1/images/{image}/check"), Vec::new(), progress)
    }

    /// Reads every file of the store.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn check_store(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<serde_json::Value, ClientError> {
        self.work("checking the store", "/v1/store/check", Vec::new(), progress)
    }

    /// Frees what no image needs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn collect(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<serde_json::Value, ClientError> {
        self.work("collecting the store", "/v1/store/collect", Vec::new(), progress)
    }

    /// The newest runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn runs(&self) -> Result<Vec<RunInfo>, ClientError> {
        self.get("listing runs", "/v1/runs")
    }

    /// Writes a backup into `out`; the number of bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn backup(&self, out: &mut dyn Write) -> Result<u64, ClientError> {
        let what = "backing up";
        let reply = self.ask(what, "POST", "/v1/backup", Vec::new())?;
        let (length, mut body) = (reply.length, reply.body);
        let count = io::copy(&mut body, out).map_err(|source| ClientError::Shape { what: what.to_owned(), source })?;
        match length {
            Some(length) if length != count => {
                let source = io::Error::other(format!("{count} bytes came, {length} were announced"));
                Err(ClientError::Shape { what: what.to_owned(), source })
            }
            _ => Ok(count),
        }
    }

    /// One run, with its receipt.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&self, id: &str) -> Result<RunInfo, ClientError> {
        let what = format!("looking for run {}", crate::text::clean(id, 20));
        check_id(&what, id)?;
        self.get(&what, &format!("/v1/runs/{id}"))
    }

    fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, ClientError> {
        read_json(what, self.ask(what, "GET", path, Vec::new())?)
    }

    fn post<T: DeserializeOwned>(&self, what: &str, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| shape(what, error.into()))?;
        read_json(what, self.ask(what, "POST", path, body)?)
    }

    /// A request whose answer is lines; the last one is the result.
    fn work(
        &self,
        what: &str,
        path: &str,
        body: Vec<u8>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<serde_json::Value, ClientError> {
        let reply = self.ask(what, "POST", path, body)?;
        for line in BufReader::new(reply.body.take(ANSWER_MAX)).split(b'\n') {
            let line = line.map_err(|source| shape(what, source))?;
            match serde_json::from_slice(&line).map_err(|error| shape(what, error.into()))? {
                Line::Progress { done, total } => progress(done, total),
                Line::Report(report) => return Ok(report),
                Line::Error(ApiError { kind, message }) => {
                    return Err(ClientError::Answer { what: what.to_owned(), kind, message });
                }
            }
        }
        Err(shape(what, io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before the result")))
    }

    fn ask(&self, what: &str, method: &str, path: &str, body: Vec<u8>) -> Result<Reply, ClientError> {
        judge(what, self.door.send(method, path, body))
    }

    /// A file, streamed.
    fn upload(
        &self,
        what: &str,
        path: &str,
        body: impl Read + Send + 'static,
        size: u64,
    ) -> Result<Reply, ClientError> {
        judge(what, self.door.upload(path, Box::new(body), size))
    }
}

fn judge(what: &str, reply: Result<Reply, door::Broken>) -> Result<Reply, ClientError> {
    let reply = reply.map_err(|source| ClientError::Away { what: what.to_owned(), source })?;
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    let status = reply.status;
    let error: Result<ApiError, _> = read_json(what, reply);
    let ApiError { kind, message } = error
        .unwrap_or_else(|_| ApiError { kind: ErrorKind::Unknown, message: format!("the answer has status {status}") });
    // The words may come from a stranger: they go to a terminal.
    let message = crate::text::clean(&message, 2000);
    Err(ClientError::Answer { what: what.to_owned(), kind, message })
}

fn refused(what: &str, message: &str) -> ClientError {
    ClientError::Answer { what: what.to_owned(), kind: ErrorKind::Refused, message: message.to_owned() }
}

/// The server would not find it; a path must not be made of it.
fn check_id(what: &str, id: &str) -> Result<(), ClientError> {
    if !id.is_empty() && id.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(refused(what, "an id is made of hex digits"))
}

fn shape(what: &str, source: io::Error) -> ClientError {
    ClientError::Shape { what: what.to_owned(), source }
}

fn read_json<T: DeserializeOwned>(what: &str, reply: Reply) -> Result<T, ClientError> {
    let mut bytes = Vec::new();
    reply.body.take(ANSWER_MAX).read_to_end(&mut bytes).map_err(|source| shape(what, source))?;
    serde_json::from_slice(&bytes).map_err(|error| shape(what, error.into()))
}
