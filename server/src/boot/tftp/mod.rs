//! Boot files over TFTP: read-only, for firmware and for Debian's signed GRUB, which speaks nothing else.
//!
//! In: datagrams of anyone. Out: the same names as over HTTP, in blocks.
//! Promise: bounded in transfers, in all and per address, and in patience; no request is answered to more than one
//! asker, and none is answered twice.

mod packet;

use super::{Content, find, read_at};
use crate::http::App;
use axum::body::Bytes;
use packet::{Code, Reply, Request};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Transfers at once; requests beyond are not answered, and come again.
const TRANSFERS: usize = 256;
/// Of these, for one address: firmware opens one, and another before the first is over.
const TRANSFERS_OF_PEER: usize = 4;
/// How long an acknowledgement is waited for, without the option.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a window is sent again.
const TRIES: u32 = 6;
/// Bytes read from a file at once.
const AHEAD: u64 = 256 << 10;

type Askers = Arc<Mutex<HashSet<SocketAddr>>>;

/// Serves until it is dropped.
pub async fn serve(socket: UdpSocket, app: Arc<App>) {
    let (places, askers) = (Arc::new(Semaphore::new(TRANSFERS)), Askers::default());
    let mut buf = [0; packet::REQUEST_MAX + 1];
    loop {
        let (len, peer) = match socket.recv_from(&mut buf).await {
            Ok(received) => received,
            Err(error) => {
                // The kernel passes on what routers say of our answers; nothing of that is a reason to stop.
                tracing::debug!(%error, "receiving over TFTP");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let request = match packet::request(&buf[..len.min(packet::REQUEST_MAX)]) {
            Ok(request) => request,
            Err(Some((code, message))) => {
                let _ = socket.try_send_to(&packet::error(code, message), peer);
                continue;
            }
            Err(None) => continue,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let Some(asker) = Asker::enter(&askers, peer) else { continue };
        let local = socket.local_addr().map_or(peer, |local| SocketAddr::new(local.ip(), 0));
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let name = crate::text::clean(&request.name, 100);
            match transfer(&app, local, peer, request).await {
                Ok(bytes) => tracing::info!(name, %peer, bytes, "boot file over TFTP"),
                Err(error) => tracing::info!(name, %peer, %error, "boot file over TFTP not sent"),
            }
            drop((asker, place));
        });
    }
}

/// An asker that is being answered: a request that comes again meanwhile is the same one.
struct Asker(Askers, SocketAddr);

impl Asker {
    fn enter(askers: &Askers, peer: SocketAddr) -> Option<Self> {
        let mut all = askers.lock().unwrap_or_else(PoisonError::into_inner);
        let ip: IpAddr = peer.ip();
        let room = all.iter().filter(|asker| asker.ip() == ip).count() < TRANSFERS_OF_PEER;
        (room && all.insert(peer)).then(|| Self(Arc::clone(askers), peer))
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// One file to one asker; the bytes that it acknowledged.
async fn transfer(app: &Arc<App>, local: SocketAddr, peer: SocketAddr, request: Request) -> io::Result<u64> {
    // A port of its own: the asker takes it for the name of this transfer.
    let socket = UdpSocket::bind(local).await?;
    socket.connect(peer).await?;
    let content = match find(app, &request.name).await {
        Ok(Some(content)) => content,
        Ok(None) => {
            socket.send(&packet::error(Code::NotFound, "no such boot file")).await?;
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Err(error) => {
            socket.send(&packet::error(Code::Undefined, "try again later")).await?;
            return Err(io::Error::other(error));
        }
    };
    let mut sender = Sender { socket, source: Source::new(content), request };
    match sender.run().await {
        Err(error) => {
            let _ = sender.socket.send(&packet::error(Code::Undefined, "given up")).await;
            Err(error)
        }
        sent => sent,
    }
}

struct Sender {
    socket: UdpSocket,
    source: Source,
    request: Request,
}

impl Sender {
    async fn run(&mut self) -> io::Result<u64> {
        let size = self.source.len;
        let block = u64::from(self.request.blksize);
        // A last block that is not full ends the file, so there is always one.
        let blocks = size / block + 1;
        if let Some(oack) = self.request.oack(size)
            && !self.offer(&oack).await?
        {
            return Ok(0);
        }
        let mut acked = 0;
        while acked < blocks {
            let end = blocks.min(acked + u64::from(self.request.window));
            match self.window(acked, end).await? {
                Some(now) => acked = now,
                // Firmware that only wanted to know the size, or that gave up.
                None => return Ok(acked * block),
            }
        }
        Ok(size)
    }

    /// Sends the answer to the options until it is acknowledged; false when the asker does not want the file.
    async fn offer(&self, oack: &[u8]) -> io::Result<bool> {
        for _ in 0..TRIES {
            self.socket.send(oack).await?;
            let until = Instant::now() + self.patience();
            while let Some(reply) = self.reply(until).await? {
                match reply {
                    Reply::Ack(0) => return Ok(true),
                    Reply::Error => return Ok(false),
                    _ => {}
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Sends blocks `acked + 1 ..= end` until some of them are acknowledged; how many are then; none when the asker ended
    /// it.
    async fn window(&mut self, acked: u64, end: u64) -> io::Result<Option<u64>> {
        for _ in 0..TRIES {
            for number in acked + 1..=end {
                let payload = self.source.block(number - 1, self.request.blksize).await?;
                self.socket.send(&packet::data(wrapped(number), &payload)).await?;
            }
            let until = Instant::now() + self.patience();
            while let Some(reply) = self.reply(until).await? {
                match reply {
                    // One that is outside of the window is old: answering it would send everything twice from here on.
                    Reply::Ack(number) => {
                        if let Some(now) = (acked + 1..=end).find(|block| wrapped(*block) == number) {
                            return Ok(Some(now));
                        }
                    }
                    Reply::Error => return Ok(None),
                    Reply::Other => {}
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn patience(&self) -> Duration {
        self.request.timeout.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()))
    }

    /// What the asker says until then.
    async fn reply(&self, until: Instant) -> io::Result<Option<Reply>> {
        let mut buf = [0; packet::REQUEST_MAX];
        match timeout_at(until, self.socket.recv(&mut buf)).await {
            Err(_) => Ok(None),
            Ok(Ok(len)) => Ok(Some(packet::reply(&buf[..len]))),
            // Its port is closed.
            Ok(Err(error)) => Err(error),
        }
    }
}

/// Block numbers as they travel.
fn wrapped(number: u64) -> u16 {
    (number & 0xffff) as u16
}

/// A file or a script, block by block.
struct Source {
    content: Content,
    len: u64,
    ahead: Bytes,
    at: u64,
}

impl Source {
    fn new(content: Content) -> Self {
        match content {
            Content::Text(text) => {
                let (len, ahead) = (text.len() as u64, Bytes::from(text));
                Self { content: Content::Text(String::new()), len, ahead, at: 0 }
            }
            Content::File(_, _, len) => Self { content, len, ahead: Bytes::new(), at: 0 },
        }
    }

    /// Block `index`, which is short or empty at the end.
    async fn block(&mut self, index: u64, size: u16) -> io::Result<Bytes> {
        let start = (index * u64::from(size)).min(self.len);
        let end = (start + u64::from(size)).min(self.len);
        let held = self.at..self.at + self.ahead.len() as u64;
        if start < end && !(held.contains(&start) && end <= held.end) {
            let Content::File(_, file, len) = &self.content else { return Ok(Bytes::new()) };
            let (file, len) = (Arc::clone(file), AHEAD.min(len - start));
            let read = move || read_at(&file, start, usize::try_from(len).unwrap_or(0));
            (self.ahead, self.at) = (tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??, start);
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        Ok(if start < end { self.ahead.slice(place(start)..place(end)) } else { Bytes::new() })
    }
}
