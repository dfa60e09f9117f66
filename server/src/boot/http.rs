//! Boot files over plain HTTP: read-only, for anyone.
//!
//! In: GET and HEAD. Out: files with their length, whole or one range; scripts.
//! Promise: nothing of a request but its path and its range gets anywhere; connections are bounded as the API's are.

use super::{Content, find, read_at};
use crate::http::App;
use crate::http::body::Blocks;
use crate::http::packs::one_range;
use crate::listen::Places;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

/// Serves until it is dropped.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, app: Arc<App>) -> io::Result<()> {
    let limits = app.limits.clone();
    let router = Router::new().fallback(answer).with_state(app);
    let mut server = axum_server::from_tcp(listener)?.http1_only();
    server.http_builder().http1().header_read_timeout(limits.header_wait).max_headers(64).max_buf_size(64 << 10);
    let places = Places::new(limits.connections, limits.stall);
    server.first_request_timeout(limits.header_wait).acceptor(places).serve(router.into_make_service()).await
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let head = *method == Method::HEAD;
    let found = find(&app, path).await;
    let shown = crate::text::clean(path, 100);
    match found {
        Ok(Some(Content::Text(text))) => {
            tracing::info!(path = shown, "boot script");
            let len = text.len() as u64;
            let body = if head { Body::empty() } else { Body::from(text) };
            (StatusCode::OK, headers("text/plain; charset=utf-8", len), body).into_response()
        }
        Ok(Some(Content::File(name, file, len))) => {
            let range = request.headers().get(header::RANGE).map(|range| one_range(range, len));
            let (status, first, count) = match range {
                None => (StatusCode::OK, 0, len),
                Some(Some((first, count))) => (StatusCode::PARTIAL_CONTENT, first, count),
                Some(None) => {
                    let range = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
                    return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
                }
            };
            tracing::info!(path = shown, head, "boot file");
            let body = if head {
                Body::empty()
            } else {
                let Ok(permit) = Arc::clone(&app.boot.downloads).acquire_owned().await else {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                };
                let read = Arc::new(move |offset, len| read_at(&file, offset, len));
                Body::new(Blocks::new(read, first, count, Some(permit)))
            };
            let mut response = (status, headers(kind(name), count), body).into_response();
            if status == StatusCode::PARTIAL_CONTENT
                && let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{}/{len}", first + count - 1))
            {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            response
        }
        Ok(None) => {
            tracing::info!(path = shown, "no such boot file");
            StatusCode::NOT_FOUND.into_response()
        }
        Err(error) => {
            tracing::error!(error = %crate::text::chain(&error), "boot files");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn headers(kind: &'static str, len: u64) -> [(HeaderName, HeaderValue); 4] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(len)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        // Scripts differ from one minute to the next, files from one installation to the next.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]
}

/// Firmware decides by it whether it runs the file or makes a disk of it (UEFI 2.10, 24.7).
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        _ => "application/octet-stream",
    }
}
