//! Packs in and out: streamed, never held whole.
//!
//! In: `PUT` of a pack under its SHA-256; `GET` of one range. Out: a stored pack; blocks of 1 MiB.
//! Promise: a pack is stored only after every chunk in it was checked; a retry is the same as the first time.

use super::auth::Principal;
use super::body::{Blocks, ReadBlock, Reader, drain, pump};
use super::error::Refusal;
use super::{App, runs};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ramet_wire::PackName;
use ramet_wire::api::ErrorKind;
use ramet_wire::pack::PACK_MAX;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces of a body that may wait for the store.
const QUEUE: usize = 4;

fn name(text: &str) -> Result<PackName, Refusal> {
    text.parse().map_err(|error| Refusal::bad(format!("pack name: {error}")))
}

/// `PUT /v1/packs/{pack}`.
pub async fn upload(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
    Path(pack): Path<String>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let (parts, body) = request.into_parts();
    let session = principal.session()?;
    let checked = async {
        runs::still_open(session).await?;
        Ok((name(&pack)?, length(&parts.headers)?))
    };
    let (name, len) = match checked.await {
        Ok(checked) => checked,
        Err(refusal) => {
            drain(body, PACK_MAX, app.limits.stall).await;
            return Err(refusal);
        }
    };
    let store = session.store.ok_or_else(|| Refusal::bug("a capture without a session in the store"))?;
    // Others wait here, with their bodies still in the network.
    let _permit = app.uploads.acquire().await.map_err(|_| Refusal::later("the server is stopping"))?;
    let (to, from) = mpsc::channel(QUEUE);
    let work = app.blocking(move |app| app.store.add_upload(store, name, len, &mut Reader::new(from)));
    let ((), stored) = tokio::join!(pump(body, app.limits.stall, to), work);
    session.touch(app.clock.unix());
    stored?;
    app.metrics.received(len);
    Ok(StatusCode::NO_CONTENT)
}

fn length(headers: &HeaderMap) -> Result<u64, Refusal> {
    let missing = || Refusal::new(StatusCode::LENGTH_REQUIRED, ErrorKind::Refused, "a pack needs a content-length");
    let text = headers.get(header::CONTENT_LENGTH).ok_or_else(missing)?;
    let len: u64 = text.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    if len > PACK_MAX {
        let message = format!("pack has {len} bytes, {PACK_MAX} are allowed");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Refused, message));
    }
    Ok(len)
}

/// `GET` and `HEAD /v1/packs/{pack}`.
pub async fn download(
    State(app): State<Arc<App>>,
    method: Method,
    Path(pack): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = name(&pack)?;
    let found = app.blocking(move |app| app.store.pack_len(&name)).await?;
    let gone = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            ErrorKind::Retry,
            format!("pack {name} is not here; ask again where its chunks are"),
        )
    };
    let len = found.ok_or_else(gone)?;
    let (status, first, count) = match headers.get(header::RANGE).map(|range| one_range(range, len)) {
        None => (StatusCode::OK, 0, len),
        Some(Some((first, count))) => (StatusCode::PARTIAL_CONTENT, first, count),
        Some(None) => return Ok(unsatisfiable(len)),
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let permit =
            Arc::clone(&app.downloads).acquire_owned().await.map_err(|_| Refusal::later("the server is stopping"))?;
        Body::new(Blocks::new(reader(&app, name), first, count, Some(permit)))
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A pack never changes under its name.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=31536000, immutable"));
    let quoted = |text: String| HeaderValue::from_str(&text).map_err(|_| Refusal::bug("building a header"));
    headers.insert(header::ETAG, quoted(format!("\"{name}\""))?);
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, quoted(format!("bytes {first}-{}/{len}", first + count - 1))?);
    }
    Ok(response)
}

fn reader(app: &Arc<App>, name: PackName) -> ReadBlock {
    let app = Arc::clone(app);
    Arc::new(move |offset, len| {
        let mut block = vec![0; len];
        let read = app.store.read_at(&name, offset, &mut block);
        read.map_err(|error| std::io::Error::other(crate::text::chain(&error)))?;
        app.metrics.sent(block.len() as u64);
        Ok(Bytes::from(block))
    })
}

/// First byte and count of a `Range` header that asks for one range inside `len` bytes (RFC 9110, 14.1.2).
pub(crate) fn one_range(value: &HeaderValue, len: u64) -> Option<(u64, u64)> {
    let text = value.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = match (first, last) {
        ("", suffix) => (len.saturating_sub(number(suffix).filter(|count| *count > 0)?), len.checked_sub(1)?),
        (first, "") => (number(first)?, len.checked_sub(1)?),
        (first, last) => (number(first)?, number(last)?.min(len.checked_sub(1)?)),
    };
    (first <= last && first < len).then(|| (first, last - first + 1))
}

/// 416, with the length that there is. Several ranges in one request are refused the same way.
fn unsatisfiable(len: u64) -> Response {
    let message = format!("wanted is one range inside {len} bytes");
    let mut response = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorKind::Refused, message).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{len}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_inside_the_pack_is_served_and_nothing_else() {
        let range = |text: &str| one_range(&HeaderValue::from_str(text).unwrap(), 100);
        assert_eq!(range("bytes=0-0"), Some((0, 1)));
        assert_eq!(range("bytes=10-19"), Some((10, 10)));
        assert_eq!(range("bytes=90-1000"), Some((90, 10)));
        assert_eq!(range("bytes=90-"), Some((90, 10)));
        assert_eq!(range("bytes=-10"), Some((90, 10)));
        assert_eq!(range("bytes=-1000"), Some((0, 100)));
        for bad in
            ["bytes=100-", "bytes=5-4", "bytes=0-1,3-4", "bytes=-0", "bytes=-", "bytes=+1-2", "items=0-1", "bytes=1"]
        {
            assert_eq!(range(bad), None, "{bad}");
        }
        let huge = "bytes=99999999999999999999-";
        assert_eq!(range(huge), None);
    }
}
