//! Whether the server can be reached over one card.
//!
//! In: a card with an address, the server's URL, the pinned key. Out: yes, or a sentence that says why not.
//! Promise: the question leaves over that card and no other; nothing but a TLS handshake is sent.

use super::report::OTHER_KEY;
use crate::transfer::TransferError;
use crate::transfer::client::split_url;
use crate::transfer::pin;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, setsockopt, socket, sockopt,
};
use ramet_wire::Fingerprint;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

/// Until a server that says nothing counts as unreachable, for this try.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries once.
///
/// # Errors
/// A sentence with what to do next.
pub fn server(url: &str, key: Option<Fingerprint>, card: &str) -> Result<(), String> {
    let (host, port) = split_url(url).map_err(|error| format!("{error}; correct clone.server"))?;
    let away = |why: &dyn std::fmt::Display| {
        format!("{url} does not answer ({why}); check that it runs and that this network leads to it")
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (name, port).to_socket_addrs().map_err(|error| {
        format!("no address for the name {name} ({error}); check DNS, or name the server by address")
    })?;
    let mut last: io::Error = Errno::EADDRNOTAVAIL.into();
    for address in addresses {
        match over(card, address) {
            Ok(tcp) => return identity(&host, port, key, tcp, url),
            Err(error) => last = error,
        }
    }
    Err(away(&last))
}

fn identity(host: &str, port: u16, key: Option<Fingerprint>, tcp: TcpStream, url: &str) -> Result<(), String> {
    let found = pin::identity_over(tcp, host, port).map_err(|error| match error {
        TransferError::Away { .. } => format!("{url} breaks off TLS; check that this is a Ramet server"),
        error => format!("{error}; check that {url} is a Ramet server"),
    })?;
    let found = found.key.fingerprint();
    match key {
        Some(key) if key != found => Err(format!(
            "{url} has the key {found}{OTHER_KEY}{key}; if the server is the right one, correct clone.key or build \
             the boot image anew"
        )),
        _ => Ok(()),
    }
}

fn over(card: &str, address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(card))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => {}
        Err(Errno::EINPROGRESS) => {
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            let wait = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
            if poll(&mut fds, wait)? == 0 {
                return Err(Errno::ETIMEDOUT.into());
            }
            let code = getsockopt(&socket, sockopt::SocketError)?;
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code));
            }
        }
        Err(error) => return Err(error.into()),
    }
    let tcp = TcpStream::from(socket);
    tcp.set_nonblocking(false)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}
