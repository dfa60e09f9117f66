//! Links, addresses and routes, by rtnetlink.
//!
//! In: what shall be. Out: the kernel's acknowledgement. The layouts are those of `linux/rtnetlink.h` and `if_link.h`.
//! Promise: each request waits for its own answer; what exists already or is gone already is no error.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
/// `RTPROT_DHCP` of `linux/rtnetlink.h`: so that `ip route` tells whose routes these are.
const PROTOCOL: u8 = 16;

/// `RTNH_F_ONLINK` of `linux/rtnetlink.h`.
const ON_LINK: u32 = 4;

/// A route of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to: a network, or everything where its length is 0.
    pub to: (IpAddr, u8),
    /// Over which router; without one the network is on the link.
    pub via: Option<IpAddr>,
    /// The card's index.
    pub card: u32,
    /// Smaller wins.
    pub metric: u32,
}

/// A socket to the kernel's routing part.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Switches a card on.
    ///
    /// # Errors
    /// The driver's; `EINVAL` or `ENOENT` may mean that it lacks its firmware.
    pub fn up(&mut self, card: u32) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        self.ask(NEW_LINK, 0, &Message::link(card, up, up))
    }

    /// Sets the longest packet of a card, in bytes.
    ///
    /// # Errors
    /// `EINVAL` where the card can not.
    pub fn mtu(&mut self, card: u32, bytes: u32) -> io::Result<()> {
        let mut message = Message::link(card, 0, 0);
        message.put(libc::IFLA_MTU, &bytes.to_ne_bytes());
        self.ask(NEW_LINK, 0, &message)
    }

    /// Makes the VLAN `id` on card `parent`; the kernel asks for its module by itself.
    ///
    /// # Errors
    /// `EOPNOTSUPP` without the module `8021q`.
    pub fn vlan(&mut self, parent: u32, id: u16, name: &str) -> io::Result<()> {
        let mut message = Message::link(0, 0, 0);
        message.put(libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        message.put(libc::IFLA_LINK, &parent.to_ne_bytes());
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.put(libc::IFLA_INFO_KIND, b"vlan\0");
            info.nest(libc::IFLA_INFO_DATA, |data| data.put(1, &id.to_ne_bytes()));
        });
        exists_is_fine(self.ask(NEW_LINK, CREATE | EXCLUSIVE, &message))
    }

    /// Gives a card an address, without the route that the kernel would add.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_address(&mut self, card: u32, address: IpAddr, length: u8) -> io::Result<()> {
        let mut message = Message::address(card, address, length);
        let mut flags = libc::IFA_F_NOPREFIXROUTE;
        if address.is_ipv6() {
            // Nobody else has a fixed address, or the operator has a problem that waiting does not solve.
            flags |= libc::IFA_F_NODAD;
        }
        message.put(libc::IFA_FLAGS, &flags.to_ne_bytes());
        if let IpAddr::V4(address) = address
            && length < 31
        {
            let broadcast = Ipv4Addr::from_bits(address.to_bits() | (u32::MAX >> length));
            message.put(libc::IFA_BROADCAST, &broadcast.octets());
        }
        exists_is_fine(self.ask(NEW_ADDRESS, CREATE | REPLACE, &message))
    }

    /// Takes an address away.
    ///
    /// # Errors
    /// The kernel's.
    pub fn del_address(&mut self, card: u32, address: IpAddr, length: u8) -> io::Result<()> {
        gone_is_fine(self.ask(DEL_ADDRESS, 0, &Message::address(card, address, length)))
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        exists_is_fine(self.ask(NEW_ROUTE, CREATE | REPLACE, &Message::route(route)))
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// The kernel's.
    pub fn del_route(&mut self, route: &Route) -> io::Result<()> {
        gone_is_fine(self.ask(DEL_ROUTE, 0, &Message::route(route)))
    }

    fn ask(&mut self, kind: u16, flags: u16, message: &Message) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(16 + message.0.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST | ACK).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&message.0);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut buffer = [0; 8 << 10];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if let Some(code) = answer(&buffer[..length.min(buffer.len())], self.sequence) {
                return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
        }
    }
}

/// The code in the acknowledgement of request `sequence`, if this is it.
fn answer(bytes: &[u8], sequence: u32) -> Option<i32> {
    let four = |at: usize| bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let same = u32::from_ne_bytes(four(8)?) == sequence;
    (same && kind == ERROR).then(|| four(16).map(i32::from_ne_bytes))?
}

fn exists_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    const GONE: [i32; 3] = [libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];
    result.or_else(|error| if error.raw_os_error().is_some_and(|e| GONE.contains(&e)) { Ok(()) } else { Err(error) })
}

/// A request's body: a fixed part, then attributes.
struct Message(Vec<u8>);

impl Message {
    /// `struct ifinfomsg`.
    fn link(card: u32, flags: u32, change: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(card.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(change.to_ne_bytes());
        Self(bytes)
    }

    /// `struct ifaddrmsg`.
    fn address(card: u32, address: IpAddr, length: u8) -> Self {
        let mut message = Self(vec![family(address), length, 0, 0]);
        message.0.extend(card.to_ne_bytes());
        message.put(libc::IFA_LOCAL, &octets(address));
        message.put(libc::IFA_ADDRESS, &octets(address));
        message
    }

    /// `struct rtmsg`.
    fn route(route: &Route) -> Self {
        let (to, length) = route.to;
        let on_link = route.via.is_none();
        let scope = if on_link && to.is_ipv4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
        let table = libc::RT_TABLE_MAIN;
        let mut message = Self(vec![family(to), length, 0, 0, table, PROTOCOL, scope, libc::RTN_UNICAST]);
        // The router counts as on the link: some hand out leases of one address with a router outside.
        message.0.extend(if on_link { 0_u32 } else { ON_LINK }.to_ne_bytes());
        if length > 0 {
            message.put(libc::RTA_DST, &octets(masked(to, length)));
        }
        if let Some(via) = route.via {
            message.put(libc::RTA_GATEWAY, &octets(via));
        }
        message.put(libc::RTA_OIF, &route.card.to_ne_bytes());
        message.put(libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
        message
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        // Attributes here are at most some dozen bytes long.
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        fill(&mut inner);
        self.put(kind, &inner.0);
    }
}

fn family(address: IpAddr) -> u8 {
    // AF_INET is 2 and AF_INET6 is 10.
    if address.is_ipv4() { 2 } else { 10 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The network of `address`; the kernel refuses routes whose host part is not zero.
pub fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4((a.to_bits() & !u32::MAX.checked_shr(length.into()).unwrap_or(0)).into()),
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() & !u128::MAX.checked_shr(length.into()).unwrap_or(0)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_part_is_cut_off() {
        let cut = |address: &str, length| masked(address.parse().unwrap(), length).to_string();
        assert_eq!(cut("10.1.2.3", 24), "10.1.2.0");
        assert_eq!(cut("10.1.2.3", 32), "10.1.2.3");
        assert_eq!(cut("10.1.2.3", 0), "0.0.0.0");
        assert_eq!(cut("fd00::1:2", 64), "fd00::");
        assert_eq!(cut("fd00::1:2", 128), "fd00::1:2");
    }

    #[test]
    fn only_the_own_acknowledgement_counts() {
        let mut bytes = vec![0; 36];
        bytes[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        bytes[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(answer(&bytes, 7), Some(-19));
        assert_eq!(answer(&bytes, 8), None);
        assert_eq!(answer(&bytes[..18], 7), None);
        assert_eq!(answer(&[], 7), None);
    }
}
