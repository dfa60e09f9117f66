//! The switch port behind a card, where the switch tells: LLDP (IEEE 802.1AB-2016, clause 8).
//!
//! In: frames that switches send every 30 seconds. Out: the last neighbour of each card.
//! Promise: nothing is sent; every length is compared with what there is; without privilege there are no neighbours.

use super::tree::{Tree, cut};
use crate::init::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use ramet_wire::hardware::Neighbour;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The groups to which LLDP is sent: nearest bridge, nearest non-TPMR bridge, nearest customer bridge (7.1).
const GROUPS: [u8; 3] = [0x0e, 0x03, 0x00];
/// Longest frame that is read, in bytes.
const FRAME_MAX: usize = 2048;
/// Most cards that are listened on.
const CARDS_MAX: usize = 64;
/// Between two looks for cards that came.
const LOOK: Duration = Duration::from_secs(1);
/// How often a neighbour sends (9.2.5.7), and some time for it to arrive.
pub const INTERVAL: Duration = Duration::from_secs(32);

type Seen = Mutex<BTreeMap<String, Neighbour>>;

/// Listens until it is dropped.
#[derive(Debug, Default)]
pub struct Listener {
    seen: Arc<Seen>,
}

impl Listener {
    /// Listens on all Ethernet cards from now on, on a thread of its own.
    #[must_use]
    pub fn start() -> Self {
        let listener = Self::default();
        let seen = Arc::downgrade(&listener.seen);
        std::thread::spawn(move || listen(&seen));
        listener
    }

    /// Who is behind a card, by its name.
    #[must_use]
    pub fn neighbour(&self, card: &str) -> Option<Neighbour> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(card).cloned()
    }
}

fn listen(seen: &Weak<Seen>) {
    let tree = Tree::of_this_machine();
    let mut sockets: BTreeMap<String, OwnedFd> = BTreeMap::new();
    let mut looked: Option<Instant> = None;
    while seen.strong_count() > 0 {
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            attend(&tree, &mut sockets);
            looked = Some(Instant::now());
        }
        let names: Vec<&String> = sockets.keys().collect();
        let mut waits: Vec<PollFd<'_>> =
            sockets.values().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let _ = poll(&mut waits, PollTimeout::from(500_u16));
        let ready = |wait: &PollFd<'_>| wait.revents().is_some_and(|events| !events.is_empty());
        let ready: Vec<bool> = waits.iter().map(ready).collect();
        let mut gone = Vec::new();
        for (name, _) in names.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            match receive(&sockets[name]) {
                Ok(Some(neighbour)) => {
                    let Some(seen) = seen.upgrade() else { return };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), neighbour);
                }
                Ok(None) => {}
                // The card is off or gone; it is found again when it comes back.
                Err(_) => gone.push(name.clone()),
            }
        }
        sockets.retain(|name, _| !gone.contains(name));
    }
}

/// Opens what can be opened.
fn attend(tree: &Tree, sockets: &mut BTreeMap<String, OwnedFd>) {
    let cards = tree.names("sys/class/net");
    sockets.retain(|name, _| cards.contains(name));
    for name in cards {
        let file = |file: &str| tree.text(&format!("sys/class/net/{name}/{file}"));
        let linked = file("type").as_deref() == Some("1") && file("carrier").as_deref() == Some("1");
        if !linked || sockets.contains_key(&name) || sockets.len() >= CARDS_MAX {
            continue;
        }
        let Some(index) = file("ifindex").and_then(|index| index.parse().ok()) else { continue };
        let Ok(socket) = sys::packet_socket(index, sys::ETH_P_LLDP) else { continue };
        let joined = GROUPS.map(|last| sys::join_group(&socket, index, [0x01, 0x80, 0xc2, 0, 0, last]).is_ok());
        if joined.contains(&true) {
            sockets.insert(name, socket);
        }
    }
}

fn receive(socket: &OwnedFd) -> nix::Result<Option<Neighbour>> {
    let mut frame = [0; FRAME_MAX];
    match recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
        Ok(length) => Ok(frame.get(..length).and_then(parse)),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a frame: Ethernet header, then type (7 bits), length (9 bits) and value of each element. Chassis, port and time
/// to live come first, in this order (8.2).
fn parse(frame: &[u8]) -> Option<Neighbour> {
    let (ethernet, mut rest) = frame.split_at_checked(14)?;
    if ethernet[12..] != sys::ETH_P_LLDP.to_be_bytes() {
        return None;
    }
    let (mut chassis, mut port, mut description) = (None, None, None);
    let mut found = Neighbour::default();
    for position in 0.. {
        let head = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
        let (kind, length) = (head >> 9, usize::from(head & 0x1ff));
        let (value, after) = rest.get(2..)?.split_at_checked(length)?;
        rest = after;
        match (kind, position) {
            (0, 3..) => break,
            (1, 0) => chassis = id(value, 4),
            (2, 1) => port = id(value, 3),
            // A port that goes away says 0; who was there last stays known.
            (3, 2) if value == [0, 0] || value.len() != 2 => return None,
            (3, 2) => {}
            (_, 0..=2) | (0..=3, _) => return None,
            (4, _) => description = text(value),
            (5, _) => found.system = text(value).unwrap_or_default(),
            _ => {}
        }
    }
    if found.system.is_empty() {
        found.system = chassis?;
    }
    let port: String = port?;
    // Some switches give their ports numbers as ids, and the name that is printed beside the socket as description.
    found.port = match description.filter(|description| *description != port) {
        Some(description) => cut(&format!("{port} ({description})")),
        None => port,
    };
    Some(found)
}

/// A chassis id or a port id: a subtype, of which `mac` says that an Ethernet address follows, and the id (8.5.2, 8.5.3).
fn id(value: &[u8], mac: u8) -> Option<String> {
    let (&subtype, id) = value.split_first()?;
    match (subtype, id) {
        (_, []) => None,
        (subtype, [a, b, c, d, e, f]) if subtype == mac => {
            Some(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
        }
        // Address family numbers of IANA: 1 is IPv4.
        (5 | 4, [1, a, b, c, d]) if subtype == mac + 1 => Some(format!("{a}.{b}.{c}.{d}")),
        _ => text(id),
    }
}

fn text(value: &[u8]) -> Option<String> {
    let text = cut(String::from_utf8_lossy(value).trim());
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn element(kind: u16, value: &[u8]) -> Vec<u8> {
        let head = kind << 9 | u16::try_from(value.len()).unwrap();
        [&head.to_be_bytes(), value].concat()
    }

    fn frame(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
        elements.iter().for_each(|element| frame.extend(element));
        frame
    }

    fn usual() -> Vec<Vec<u8>> {
        vec![
            element(1, &[4, 0x52, 0x54, 0, 0, 0, 1]),
            element(2, b"\x05Gi1/0/12"),
            element(3, &[0, 120]),
            element(4, b"rack 7 \x1b[2J unit 12"),
            element(5, b"leaf-7a"),
            element(127, &[0; 20]),
            element(0, &[]),
        ]
    }

    #[test]
    fn a_neighbour_is_its_name_its_port_and_what_is_written_there() {
        let found = parse(&frame(&usual())).unwrap();
        assert_eq!((found.system.as_str(), found.port.as_str()), ("leaf-7a", "Gi1/0/12 (rack 7 [2J unit 12)"));
        let mut nameless = usual();
        nameless.remove(4);
        assert_eq!(parse(&frame(&nameless)).unwrap().system, "52:54:00:00:00:01");
        nameless[1] = element(2, b"\x04\x01\x0a\x00\x00\x01");
        assert_eq!(parse(&frame(&nameless)).unwrap().port, "10.0.0.1 (rack 7 [2J unit 12)");
    }

    #[test]
    fn what_is_cut_off_or_out_of_order_is_no_neighbour() {
        let whole = frame(&usual());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
        let mut swapped = usual();
        swapped.swap(0, 1);
        let mut leaving = usual();
        leaving[2] = element(3, &[0, 0]);
        let mut twice = usual();
        twice.insert(4, element(1, &[4, 1, 2, 3, 4, 5, 6]));
        for bad in [swapped, leaving, twice] {
            assert_eq!(parse(&frame(&bad)), None);
        }
        let mut other = whole;
        other[12] = 0x86;
        assert_eq!(parse(&other), None);
    }

    #[test]
    fn a_real_neighbour_is_heard() {
        let inside = "RAMET_TEST_NAMESPACE";
        if std::env::var_os(inside).is_none() {
            let mut command = Command::new("unshare");
            command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
            command.arg(std::env::current_exe().unwrap()).env(inside, "1");
            let output =
                command.args(["--exact", "hardware::lldp::tests::a_real_neighbour_is_heard"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            return;
        }
        let setup = "mount -t sysfs sysfs /sys && mount -t tmpfs none /run && mkdir /run/lldpd &&
            ip link add c0 type veth peer name s0 && ip link set c0 up && ip link set s0 up";
        assert!(Command::new("sh").args(["-c", setup]).status().unwrap().success());
        let listener = Listener::start();
        let mut lldpd = Command::new("/usr/sbin/lldpd")
            .args(["-d", "-I", "s0", "-S", "a switch", "-u", "/run/lldpd.socket"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let heard = loop {
            match listener.neighbour("c0") {
                Some(heard) => break heard,
                None if start.elapsed() > INTERVAL => panic!("nobody was heard"),
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let mac = std::fs::read_to_string("/sys/class/net/s0/address").unwrap();
        let _ = lldpd.kill();
        let _ = lldpd.wait();
        assert_eq!(heard.port, format!("{} (s0)", mac.trim()));
        assert!(!heard.system.is_empty());
        assert_eq!(listener.neighbour("s0"), None);
    }

    proptest! {
        #[test]
        fn no_frame_panics(mut frame in proptest::collection::vec(any::<u8>(), 0..120)) {
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(&[0x88, 0xcc]);
            }
            let _ = parse(&frame);
        }
    }
}
