//! Bodies in and out: bounded in length and in patience.
//!
//! In: HTTP bodies of agents. Out: bytes within a limit, a blocking reader for the store, bodies made of blocks.
//! Promise: a sender that stalls is cut off; nothing is buffered beyond a few blocks.

use super::error::Refusal;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use http_body::{Frame, SizeHint};
use ramet_wire::api::ErrorKind;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// The next piece of a body; `None` at its end.
pub async fn next(body: &mut Body, patience: Duration) -> io::Result<Option<Bytes>> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = tokio::time::timeout(patience, frame).await;
        let frame = frame.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the sender stalled"))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
            // Trailers are nobody's.
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// The whole body, if it has at most `max` bytes and comes within `wait`.
pub async fn whole(body: &mut Body, max: usize, stall: Duration, wait: Duration) -> Result<Bytes, Refusal> {
    let cut = |error: io::Error| {
        Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Retry, format!("reading the request's body: {error}"))
    };
    let collect = async {
        let Some(first) = next(body, stall).await.map_err(cut)? else { return Ok(Bytes::new()) };
        let mut all = Vec::new();
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            if all.len() + bytes.len() > max {
                return Err(too_large(None, max));
            }
            all.extend_from_slice(&bytes);
            piece = next(body, stall).await.map_err(cut)?;
        }
        Ok(Bytes::from(all))
    };
    let late = |_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Retry,
            format!("the body took longer than {} s", wait.as_secs()),
        )
    };
    tokio::time::timeout(wait, collect).await.map_err(late)?
}

/// 413 with both numbers.
pub fn too_large(found: Option<u64>, max: usize) -> Refusal {
    let found = found.map_or_else(|| "more".to_owned(), |found| format!("{found} bytes"));
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Refused, format!("body has {found}, {max} are allowed"))
}

/// Reads the rest of a body and throws it away, so that a sender that does not listen while it sends gets to hear
/// the refusal. Bounded in bytes and time.
pub async fn drain(mut body: Body, most: u64, wait: Duration) {
    let mut left = most;
    let read = async {
        while let Ok(Some(bytes)) = next(&mut body, wait).await {
            left = left.saturating_sub(bytes.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(wait, read).await;
}

/// Feeds a body to blocking code: the store reads, this sends.
pub async fn pump(mut body: Body, stall: Duration, to: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = next(&mut body, stall).await;
        let last = !matches!(piece, Ok(Some(_)));
        if let Some(piece) = piece.transpose()
            && to.send(piece).await.is_err()
        {
            // The store has refused: let the sender finish, then it will hear why.
            return drain(body, ramet_wire::pack::PACK_MAX, stall).await;
        }
        if last {
            return;
        }
    }
}

/// The blocking end of [`pump`].
#[derive(Debug)]
pub struct Reader {
    from: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Reader {
    /// Reads what comes out of `from`; it ends when the sender is gone.
    #[must_use]
    pub fn new(from: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { from, rest: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let len = buf.len().min(self.rest.len());
        buf[..len].copy_from_slice(&self.rest.split_to(len));
        Ok(len)
    }
}

/// A body whose pieces come out of a channel, for answers that take their time.
#[derive(Debug)]
pub struct Lines(pub mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Reads one block at an offset, on a thread that may block.
pub type ReadBlock = std::sync::Arc<dyn Fn(u64, usize) -> io::Result<Bytes> + Send + Sync>;

/// A range of a file as a body: blocks of 1 MiB, one being sent while the next is read.
pub struct Blocks {
    read: ReadBlock,
    at: u64,
    left: u64,
    sent: u64,
    under_way: Option<tokio::task::JoinHandle<io::Result<Bytes>>>,
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

/// Bytes per read.
const BLOCK: u64 = 1 << 20;

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("at", &self.at).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Blocks {
    /// `len` bytes from `offset`; the permit is given back when the body is gone.
    #[must_use]
    pub fn new(read: ReadBlock, offset: u64, len: u64, permit: Option<tokio::sync::OwnedSemaphorePermit>) -> Self {
        let mut blocks = Self { read, at: offset, left: len, sent: len, under_way: None, _permit: permit };
        blocks.start();
        blocks
    }

    fn start(&mut self) {
        let len = self.left.min(BLOCK);
        if len == 0 {
            return;
        }
        let (read, at) = (std::sync::Arc::clone(&self.read), self.at);
        self.at += len;
        self.left -= len;
        self.under_way = Some(tokio::task::spawn_blocking(move || read(at, usize::try_from(len).unwrap_or(0))));
    }
}

impl HttpBody for Blocks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(task) = self.under_way.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(block) = Pin::new(task).poll(cx) else { return Poll::Pending };
        self.under_way = None;
        match block.map_err(io::Error::other).and_then(|block| block) {
            Ok(block) => {
                self.start();
                self.sent -= block.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(block))))
            }
            Err(error) => {
                self.left = 0;
                tracing::error!(%error, "reading a pack that is being sent");
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.sent)
    }
}
