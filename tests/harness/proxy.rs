//! The bad network between agent and server.
//!
//! In: an address. Out: another address that leads there, with connections cut, slowed, corrupted or refused.
//! Promise: bytes are counted in both directions; nothing else is looked at.

use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Nothing happens at this count.
const NEVER: u64 = u64::MAX;

/// A proxy that lives until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    stop: AtomicBool,
    refuse: AtomicBool,
    /// Bytes towards the server, and towards the agent.
    counts: [AtomicU64; 2],
    /// When the count of a direction passes this, every connection is cut.
    cuts: [AtomicU64; 2],
    /// The byte with this number gets one bit flipped.
    flips: [AtomicU64; 2],
    /// How often connections were cut.
    cut_count: AtomicU64,
    /// Bytes per second and direction; 0 is no limit.
    rate: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Up = 0,
    /// To the agent.
    Down = 1,
}

impl Proxy {
    /// A proxy to `HOST:PORT`.
    #[must_use]
    pub fn to(address: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let none = || [AtomicU64::new(NEVER), AtomicU64::new(NEVER)];
        let state = Arc::new(State {
            to: address.parse().unwrap(),
            stop: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            counts: [AtomicU64::new(0), AtomicU64::new(0)],
            cuts: none(),
            flips: none(),
            cut_count: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { address, state }
    }

    /// How agents reach it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Bytes that went this way.
    #[must_use]
    pub fn count(&self, way: Way) -> u64 {
        self.state.counts[way as usize].load(SeqCst)
    }

    /// Cuts every connection once, when `bytes` more have gone this way.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.state.cuts[way as usize].store(self.count(way) + bytes, SeqCst);
    }

    /// How often it cut.
    #[must_use]
    pub fn cut_count(&self) -> u64 {
        self.state.cut_count.load(SeqCst)
    }

    /// Flips a bit of the byte that is `bytes` further on this way.
    pub fn flip_after(&self, way: Way, bytes: u64) {
        self.state.flips[way as usize].store(self.count(way) + bytes, SeqCst);
    }

    /// Lets at most so many bytes per second through, by connection and direction; 0 is no limit.
    pub fn slow_to(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, SeqCst);
    }

    /// Cuts all connections, and refuses new ones while `refused`.
    pub fn refuse(&self, refused: bool) {
        self.state.refuse.store(refused, SeqCst);
        if refused {
            self.state.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        self.state.cut();
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            cut(&stream);
        }
        self.cut_count.fetch_add(1, SeqCst);
    }
}

/// Ends a connection so that both sides hear it: a reset. After a FIN from one that has a full receive window, a sender goes
/// on asking for room, gets answers from nobody's socket, and waits for its own time limit.
fn cut(stream: &TcpStream) {
    let _ = setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    let _ = stream.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stop.load(SeqCst) {
            return;
        }
        let Ok(agent) = stream else { continue };
        if state.refuse.load(SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(state.to) else { continue };
        // Before a byte passes: a cut that comes with the first ones must find them.
        state.open.lock().unwrap().extend([agent.try_clone().unwrap(), server.try_clone().unwrap()]);
        for (from, to, way) in [(&agent, &server, Way::Up), (&server, &agent, Way::Down)] {
            let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(state));
            std::thread::spawn(move || copy(from, to, way, &state));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, way: Way, state: &State) {
    let mut buf = vec![0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buf) {
        let before = state.counts[way as usize].fetch_add(len as u64, SeqCst);
        let passed = before..before + len as u64;
        let flip = state.flips[way as usize].load(SeqCst);
        if passed.contains(&flip) {
            state.flips[way as usize].store(NEVER, SeqCst);
            buf[usize::try_from(flip - before).unwrap()] ^= 0x10;
        }
        let cut = &state.cuts[way as usize];
        if passed.end > cut.load(SeqCst) {
            cut.store(NEVER, SeqCst);
            state.cut();
            return;
        }
        let nanos = 1_000_000_000_u64.saturating_mul(len as u64);
        if let Some(pause) = nanos.checked_div(state.rate.load(SeqCst)) {
            std::thread::sleep(Duration::from_nanos(pause));
        }
        if to.write_all(&buf[..len]).is_err() {
            // The sender hears that nobody is there, and what it still sends is taken: one that is not read from fills its
            // buffers and waits for its own time limit.
            let _ = (from.shutdown(Shutdown::Write), to.shutdown(Shutdown::Both));
            while matches!(from.read(&mut buf), Ok(1..)) {}
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
