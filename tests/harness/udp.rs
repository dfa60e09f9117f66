//! The bad network between a server and a BMC.
//!
//! In: a UDP port on loopback. Out: another one that leads there, with packets dropped, delayed or repeated.
//! Promise: packets are counted, both ways together; nothing else is looked at.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Each so-many-th packet of a direction is dropped; 1 drops all, 0 none.
    pub drop_each: u64,
    /// Each packet comes so much later.
    pub delay: Duration,
    /// Each packet comes so many more times.
    pub repeat: u32,
}

/// A proxy that lives until it is dropped.
#[derive(Debug)]
pub struct Udp {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    faults: Mutex<Faults>,
    /// Towards the port, and back.
    seen: [AtomicU64; 2],
    dropped: AtomicU64,
    stop: AtomicBool,
}

impl State {
    /// Sends `packet` by `socket`, as the faults say.
    fn pass(&self, way: usize, packet: Vec<u8>, send: impl Fn(&[u8]) + Send + 'static) {
        let faults = *self.faults.lock().unwrap();
        // For each way by itself: else every request would pass and every answer be lost.
        let number = self.seen[way].fetch_add(1, SeqCst) + 1;
        if faults.drop_each > 0 && number.is_multiple_of(faults.drop_each) {
            self.dropped.fetch_add(1, SeqCst);
            return;
        }
        std::thread::spawn(move || {
            std::thread::sleep(faults.delay);
            for _ in 0..=faults.repeat {
                send(&packet);
            }
        });
    }
}

impl Udp {
    /// In front of a port of this machine.
    #[must_use]
    pub fn start(to: u16, faults: Faults) -> Self {
        let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
        ear.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = ear.local_addr().unwrap();
        let state = State {
            faults: Mutex::new(faults),
            seen: [AtomicU64::new(0), AtomicU64::new(0)],
            dropped: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || forward(&ear, to, &shared));
        Self { address, state }
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Other faults from now on.
    pub fn set(&self, faults: Faults) {
        *self.state.faults.lock().unwrap() = faults;
    }

    /// Packets that came, and those of them that were dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.state.seen.iter().map(|count| count.load(SeqCst)).sum(), self.state.dropped.load(SeqCst))
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
    }
}

/// From clients to the port; each client has a socket of its own, whose answers go back to it.
fn forward(ear: &UdpSocket, to: u16, state: &Arc<State>) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buf = [0; 2048];
    while !state.stop.load(SeqCst) {
        let Ok((len, from)) = ear.recv_from(&mut buf) else { continue };
        let own = clients.entry(from).or_insert_with(|| {
            let own = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            own.connect(("127.0.0.1", to)).unwrap();
            own.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let (back, answers, state) = (ear.try_clone().unwrap(), Arc::clone(&own), Arc::clone(state));
            std::thread::spawn(move || answer(&answers, &back, from, &state));
            own
        });
        let own = Arc::clone(own);
        state.pass(0, buf[..len].to_vec(), move |packet| drop(own.send(packet)));
    }
}

fn answer(answers: &UdpSocket, back: &UdpSocket, client: SocketAddr, state: &Arc<State>) {
    let mut buf = [0; 2048];
    while !state.stop.load(SeqCst) {
        let Ok(len) = answers.recv(&mut buf) else { continue };
        let back = back.try_clone().unwrap();
        state.pass(1, buf[..len].to_vec(), move |packet| drop(back.send_to(packet, client)));
    }
}
