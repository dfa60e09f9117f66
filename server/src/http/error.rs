//! Every answer that is not 2xx.
//!
//! In: errors of store, database and requests. Out: a status and the wire's `ApiError`.
//! Promise: no path and nothing of the database in a message; the whole chain goes to the log.

use crate::db::DbError;
use crate::text::{chain, clean};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ramet_store::{StoreError, WhatNow};
use ramet_wire::api::{ApiError, ErrorKind};

/// Longest message, in characters.
const MESSAGE_MAX: usize = 600;

/// The message of an answer, for the audit.
#[derive(Clone, Debug)]
pub struct Said(pub String);

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the asker can do.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
}

impl Refusal {
    /// Any status and kind.
    #[must_use]
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// 400: the request is not what it should be; asking again will not help.
    #[must_use]
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Refused, message)
    }

    /// 401: nobody we know.
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::Refused, message)
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Refused, message)
    }

    /// 404.
    #[must_use]
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::Refused, message)
    }

    /// 409: at odds with what has happened.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorKind::Refused, message)
    }

    /// 503: later.
    #[must_use]
    pub fn later(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Retry, message)
    }

    /// 500: our mistake.
    #[must_use]
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Bug, message)
    }

    /// The body.
    #[must_use]
    pub fn to_wire(&self) -> ApiError {
        ApiError { kind: self.kind, message: clean(&self.message, MESSAGE_MAX) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.to_wire();
        let mut response = (self.status, Json(&error)).into_response();
        response.extensions_mut().insert(Said(error.message));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        tracing::error!(error = %chain(&error), "database");
        if error.is_full() {
            return full();
        }
        Self::later("the server cannot reach its database; try again")
    }
}

impl From<crate::secret::NoRandom> for Refusal {
    fn from(error: crate::secret::NoRandom) -> Self {
        Self::later(error.to_string())
    }
}

/// 507: an operator must make room.
fn full() -> Refusal {
    let message = "the server's disk is full; make room there and repeat the run: it goes on where it stopped";
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, ErrorKind::Refused, message)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (status, message) = match &error {
            StoreError::Full { .. } => {
                tracing::error!(error = %chain(&error), "store");
                return full();
            }
            StoreError::BadPack { .. } | StoreError::BadManifest { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            StoreError::Receiving { .. } => (StatusCode::BAD_REQUEST, chain(&error)),
            StoreError::NoImage(_) | StoreError::NoChunk(_) => (StatusCode::NOT_FOUND, error.to_string()),
            StoreError::NoSession(_) => {
                (StatusCode::CONFLICT, "the run's session in the store has lapsed; start another run".to_owned())
            }
            StoreError::Damaged { .. } => (StatusCode::CONFLICT, error.to_string()),
            StoreError::Held { .. } => (StatusCode::CONFLICT, "the store is held by another process".to_owned()),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the server cannot work on its store; its log says why".to_owned()),
        };
        let kind = match error.what_now() {
            // A lapsed session cannot be renewed by asking again.
            _ if matches!(error, StoreError::NoSession(_)) => ErrorKind::Refused,
            WhatNow::Retry => ErrorKind::Retry,
            WhatNow::Refused => ErrorKind::Refused,
            WhatNow::Damaged => ErrorKind::Damaged,
            WhatNow::Bug => ErrorKind::Bug,
        };
        if status.is_server_error() {
            tracing::error!(error = %chain(&error), "store");
        } else {
            tracing::warn!(error = %chain(&error), "store");
        }
        Self::new(status, kind, message)
    }
}
