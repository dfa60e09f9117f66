//! An address from a DHCP server, and keeping it.
//!
//! In: a card that has a link. Out: a lease; later its renewal, or word that it is lost.
//! Promise: an address is never used past its lease, and a refusal (NAK) ends its use at once (RFC 2131, 4.4).

mod frame;
mod packet;

use super::clock;
use super::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use packet::{Heard, Kind, Say};
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// Longest pause between two questions.
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// How often an offer is asked for before the search begins anew.
const REQUESTS: u32 = 3;
/// A lease without a time; servers must name one.
const DEFAULT_LEASE: u32 = 3600;
/// A whole Ethernet frame.
const FRAME_MAX: usize = 2048;

/// An address for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub length: u8,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Networks and the routers to them; the whole world is 0.0.0.0/0.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain to look names up in.
    pub domain: Option<String>,
    /// Longest packet, in bytes.
    pub mtu: Option<u16>,
    /// Seconds; `u32::MAX` is for ever.
    pub seconds: u32,
    /// Seconds until its own server is asked again (T1).
    pub renew: u32,
    /// Seconds until any server is asked (T2).
    pub rebind: u32,
}

/// What became of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A new time, perhaps new routes; always the same address.
    Renewed(Lease),
    /// The server took it back.
    Refused,
    /// No server answered until its end.
    Expired,
    /// The caller does not want to go on.
    Stopped,
}

/// A client on one card.
#[derive(Debug)]
pub struct Client {
    name: String,
    mac: [u8; 6],
    uuid: Option<[u8; 16]>,
    socket: OwnedFd,
    xid: u32,
    began: Instant,
}

impl Client {
    /// Opens a socket on card `name` with this index.
    ///
    /// # Errors
    /// `EPERM` without privilege, `ENODEV` when the card went away.
    pub fn open(name: &str, index: u32, mac: [u8; 6]) -> io::Result<Self> {
        let socket = sys::packet_socket(index, sys::ETH_P_IP)?;
        Ok(Self { name: name.to_owned(), mac, uuid: machine_uuid(), socket, xid: 0, began: Instant::now() })
    }

    /// Asks until there is a lease, or `go_on` says no.
    pub fn acquire(&mut self, go_on: &dyn Fn() -> bool) -> Option<Lease> {
        let mut pause = Duration::from_secs(1);
        while go_on() {
            self.begin();
            self.broadcast(&self.say(Kind::Discover));
            let usable = |heard: &Heard| heard.kind == Kind::Offer && lease_of(heard).is_some();
            if let Some(offer) = self.wait(pause, go_on, usable)
                && let Some(lease) = self.request(&offer, go_on)
            {
                return Some(lease);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        None
    }

    /// Asks whether `lease` still holds after the link was away. `None` when nobody says so.
    pub fn confirm(&mut self, lease: &Lease, go_on: &dyn Fn() -> bool) -> Option<Lease> {
        self.begin();
        for pause in [1, 2] {
            self.broadcast(&Say { wanted: Some(lease.address), ..self.say(Kind::Request) });
            let heard = self.wait(Duration::from_secs(pause), go_on, |heard| heard.kind != Kind::Offer);
            if let Some(heard) = heard {
                return lease_of(&heard).filter(|new| heard.kind == Kind::Ack && new.address == lease.address);
            }
        }
        None
    }

    /// Keeps `lease`, which began at `start`: sleeps until it is due, then asks its server, then any.
    pub fn keep(&mut self, lease: &Lease, start: Instant, go_on: &dyn Fn() -> bool) -> Kept {
        let at = |seconds: u32| start + Duration::from_secs(seconds.into());
        let end = at(lease.seconds);
        let forever = lease.seconds == u32::MAX;
        while forever || Instant::now() < at(lease.renew) {
            if !go_on() {
                return Kept::Stopped;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.begin();
        loop {
            let now = Instant::now();
            if now >= end {
                return Kept::Expired;
            }
            let rebinding = now >= at(lease.rebind);
            let until = if rebinding { end } else { at(lease.rebind) };
            // Half of what is left, but not more often than each minute, unless the lease is that short (4.4.5).
            let left = until.saturating_duration_since(now);
            let pause = (left / 2).max(Duration::from_secs(60)).min(left).max(Duration::from_millis(100));
            let say = Say { current: lease.address, ..self.say(Kind::Request) };
            let heard = if rebinding {
                self.broadcast(&say);
                self.wait(pause, go_on, |heard| heard.kind != Kind::Offer)
            } else {
                self.ask_server(lease, &say.bytes(), pause, go_on)
            };
            match heard {
                Some(heard) if heard.kind == Kind::Nak => return Kept::Refused,
                Some(heard) => match lease_of(&heard).filter(|new| new.address == lease.address) {
                    Some(new) => return Kept::Renewed(new),
                    None => return Kept::Refused,
                },
                None if !go_on() => return Kept::Stopped,
                None => {}
            }
        }
    }

    fn request(&mut self, offer: &Heard, go_on: &dyn Fn() -> bool) -> Option<Lease> {
        let mut pause = Duration::from_secs(1);
        for _ in 0..REQUESTS {
            let server = offer.address_in(54);
            self.broadcast(&Say { wanted: Some(offer.address), server, ..self.say(Kind::Request) });
            match self.wait(pause, go_on, |heard| heard.kind != Kind::Offer) {
                Some(heard) if heard.kind == Kind::Ack => return lease_of(&heard),
                Some(_) => {
                    // Refused at once; a server that keeps doing so must not be flooded.
                    std::thread::sleep(Duration::from_secs(1));
                    return None;
                }
                None => pause *= 2,
            }
        }
        None
    }

    fn begin(&mut self) {
        // No secret: it only tells conversations apart, and the card's address is looked at, too.
        let now = clock::since_start();
        let [_, _, a, b, c, d] = self.mac;
        self.xid = now.subsec_nanos().rotate_left(7) ^ u32::from_be_bytes([a, b, c, d]) ^ self.xid.wrapping_add(1);
        self.began = Instant::now();
    }

    fn say(&self, kind: Kind) -> Say<'_> {
        Say {
            kind,
            xid: self.xid,
            seconds: u16::try_from(self.began.elapsed().as_secs()).unwrap_or(u16::MAX),
            mac: self.mac,
            current: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
            uuid: self.uuid.as_ref(),
        }
    }

    /// A frame that gets lost is sent again, so an error is the same as silence.
    fn broadcast(&self, say: &Say<'_>) {
        let frame = frame::broadcast(self.mac, say.current, &say.bytes());
        let _ = nix::unistd::write(&self.socket, &frame);
    }

    fn wait(&self, limit: Duration, go_on: &dyn Fn() -> bool, fits: impl Fn(&Heard) -> bool) -> Option<Heard> {
        let until = Instant::now() + limit;
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            while let Ok(length) = nix::unistd::read(&self.socket, &mut buffer) {
                let payload = frame::payload(&buffer[..length]);
                let heard = payload.and_then(|payload| Heard::parse(payload, self.xid, self.mac));
                if let Some(heard) = heard.filter(&fits) {
                    return Some(heard);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !go_on() {
                return None;
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let step = u16::try_from(left.as_millis().clamp(1, 200)).unwrap_or(200);
            if poll(&mut fds, PollTimeout::from(step)).is_err() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Straight to the server that gave the lease, with the address that it gave.
    fn ask_server(&self, lease: &Lease, bytes: &[u8], limit: Duration, go_on: &dyn Fn() -> bool) -> Option<Heard> {
        let until = Instant::now() + limit;
        let heard = self.unicast(lease, bytes, until, go_on).ok().flatten();
        // A way that is closed must not be tried again at once.
        while heard.is_none() && Instant::now() < until && go_on() {
            std::thread::sleep(Duration::from_millis(100));
        }
        heard
    }

    fn unicast(
        &self,
        lease: &Lease,
        bytes: &[u8],
        until: Instant,
        go_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<Heard>> {
        let socket = UdpSocket::bind((lease.address, 68))?;
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(&self.name))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send_to(bytes, (lease.server, 67))?;
        let mut buffer = vec![0; FRAME_MAX];
        while Instant::now() < until && go_on() {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let heard = Heard::parse(&buffer[..length], self.xid, self.mac);
                    if let Some(heard) = heard.filter(|heard| heard.kind != Kind::Offer) {
                        return Ok(Some(heard));
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// The lease that an offer or an acknowledgement speaks of, if it can be used.
fn lease_of(heard: &Heard) -> Option<Lease> {
    let address = heard.address;
    if address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback() {
        return None;
    }
    let mask = heard.address_in(1).unwrap_or(Ipv4Addr::new(255, 255, 255, 0)).to_bits();
    let length = u8::try_from(mask.leading_ones()).ok()?;
    // A mask with holes is nothing that the kernel could use.
    if mask.count_ones() != mask.leading_ones() || length == 0 {
        return None;
    }
    let mut routes = heard.routes();
    if routes.is_empty() {
        // With option 121 the router of option 3 must be ignored (RFC 3442).
        routes.extend(heard.address_in(3).map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)));
    }
    routes.retain(|(_, _, router)| !router.is_multicast() && !router.is_broadcast() && *router != address);
    let seconds = heard.seconds_in(51).unwrap_or(DEFAULT_LEASE).max(1);
    let rebind = heard.seconds_in(59).unwrap_or(seconds / 8 * 7).min(seconds);
    let renew = heard.seconds_in(58).unwrap_or(seconds / 2).min(rebind);
    Some(Lease {
        address,
        length,
        server: heard.address_in(54)?,
        routes,
        dns: heard.addresses_in(6),
        domain: heard.text_in(15),
        // Below 576 no host need work (RFC 791), and some servers send nonsense.
        mtu: heard.short_in(26).filter(|mtu| *mtu >= 576),
        seconds,
        renew,
        rebind,
    })
}

/// SMBIOS's UUID in the order of its bytes in memory, as PXE firmware sends it.
fn machine_uuid() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/sys/class/dmi/id/product_uuid").ok()?;
    uuid::Uuid::parse_str(text.trim()).ok().filter(|uuid| !uuid.is_nil()).map(|uuid| uuid.to_bytes_le())
}
