//! Connections: how many, how patient.
//!
//! In: TCP connections. Out: the same with a place among the allowed ones; a surplus one is closed at once.
//! Promise: a peer that stops reading is cut off; it cannot hold a place for ever.

use axum_server::accept::Accept;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Gives out the places.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    stall: Duration,
}

impl Places {
    /// So many connections at once; each may stop reading for `stall`.
    #[must_use]
    pub fn new(most: usize, stall: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), stall }
    }
}

impl<S> Accept<TcpStream, S> for Places {
    type Stream = Placed;
    type Service = S;
    type Future = Ready<io::Result<(Placed, S)>>;

    fn accept(&self, tcp: TcpStream, service: S) -> Self::Future {
        let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else {
            tracing::warn!("closing a connection: as many as allowed are open");
            return ready(Err(io::Error::other("as many connections as allowed are open")));
        };
        let placed = tcp.set_nodelay(true).map(|()| Placed { tcp, stall: self.stall, waits: None, _place: place });
        ready(placed.map(|placed| (placed, service)))
    }
}

/// A connection that has a place.
#[derive(Debug)]
pub struct Placed {
    tcp: TcpStream,
    stall: Duration,
    /// Since the peer stopped taking bytes.
    waits: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Placed {
    fn patience<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.waits = None;
            return write;
        }
        let stall = self.stall;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        waits.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading")))
    }
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.patience(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.patience(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
