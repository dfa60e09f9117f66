//! System calls of birth and death that neither Rust's standard library nor nix has.
//!
//! In: names, numbers, open files. Out: what the kernel answers.
//! Promise: unsafe code of the agent stands here and in `disk/ioctl.rs` only; no pointer outlives its call.

#![allow(unsafe_code)]

use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// The ioctls of `linux/watchdog.h`.
mod ffi {
    use nix::libc::c_int;
    nix::ioctl_readwrite!(wdioc_settimeout, b'W', 6, c_int);
}

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GPERMADDR` of `linux/ethtool.h`.
const ETHTOOL_GPERMADDR: u32 = 0x20;

/// `linux/if_ether.h`, and `linux/socket.h`.
pub const ETH_P_IP: u16 = 0x0800;
/// The same: LLDP (IEEE 802.1AB).
pub const ETH_P_LLDP: u16 = 0x88cc;
const AF_PACKET: u16 = 17;

/// `struct ethtool_perm_addr` with room for one address.
#[repr(C)]
struct PermanentAddress {
    cmd: u32,
    size: u32,
    data: [u8; 32],
}

/// `struct ifreq` as `SIOCETHTOOL` reads it: a name, and a pointer; the union is 24 bytes long on 64-bit Linux.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut PermanentAddress,
    rest: [u8; 16],
}

/// The address that is burnt into a card (`ETHTOOL_GPERMADDR`). `socket` may be any socket.
///
/// # Errors
/// `EOPNOTSUPP` and others from the driver; `InvalidData` when it has no address of 6 bytes, or only zeros.
pub fn permanent_mac(socket: &impl std::os::fd::AsFd, card: &str) -> io::Result<[u8; 6]> {
    let mut name = [0; libc::IFNAMSIZ];
    if card.is_empty() || card.len() >= name.len() {
        return Err(Errno::ENODEV.into());
    }
    name[..card.len()].copy_from_slice(card.as_bytes());
    let mut answer = PermanentAddress { cmd: ETHTOOL_GPERMADDR, size: 32, data: [0; 32] };
    let mut request = Request { name, data: &raw mut answer, rest: [0; 16] };
    // SAFETY: `request` is a whole struct ifreq with a name that ends in NUL; its pointer leads to a struct
    // ethtool_perm_addr with the room that `size` tells; both live until the call is over. The descriptor is open.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    Errno::result(result)?;
    let mac: [u8; 6] = std::array::from_fn(|i| answer.data[i]);
    if answer.size != 6 || mac == [0; 6] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the card tells no address of its own"));
    }
    Ok(mac)
}

/// A socket for whole Ethernet frames of one protocol on one card (`packet(7)`), by the card's index.
///
/// # Errors
/// `EPERM` without privilege, `ENODEV` when the card went away.
pub fn packet_socket(index: u32, protocol: u16) -> io::Result<OwnedFd> {
    // Bound to one and not to everything: frames of VLANs on this card then arrive on the VLAN's own card only.
    let protocol = protocol.to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointer is passed.
    let raw = Errno::result(unsafe { libc::socket(i32::from(AF_PACKET), kind, i32::from(protocol)) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let index = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
    let address = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the pointer leads to a whole struct sockaddr_ll of the length that is passed, and is read only.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(result)?;
    Ok(socket)
}

/// Lets a card take frames for a group address while the packet socket is open (`PACKET_ADD_MEMBERSHIP`, `packet(7)`).
///
/// # Errors
/// The driver's.
pub fn join_group(socket: &impl std::os::fd::AsFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group);
    let index = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
    let request = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: 0, // PACKET_MR_MULTICAST
        mr_alen: 6,
        mr_address: address,
    };
    let length = libc::socklen_t::try_from(size_of_val(&request)).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the pointer leads to a whole struct packet_mreq of the length that is passed, and is read only.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    Errno::result(result).map(drop)?;
    Ok(())
}

/// Sets a watchdog's patience in seconds (`WDIOC_SETTIMEOUT`) and returns what the device made of it.
///
/// # Errors
/// `EOPNOTSUPP` where it is fixed, `EINVAL` where it is out of the device's range.
pub fn watchdog_timeout(device: &File, seconds: i32) -> io::Result<i32> {
    let mut seconds = seconds;
    // SAFETY: the kernel reads and writes one int through the pointer, which is valid for the call.
    unsafe { ffi::wdioc_settimeout(device.as_raw_fd(), &raw mut seconds) }?;
    Ok(seconds)
}
