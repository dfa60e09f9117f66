//! Where a BMC is.
//!
//! In: `HOST[:PORT]` as an operator wrote it. Out: host and port.
//! Promise: a host is a name or an address and nothing else: it can be an argument of a program or part of a URL.

use ramet_wire::power::TEXT_MAX;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A host, and a port where one was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

impl Address {
    /// A name or an address; IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one was said.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// As a URL names it.
    #[must_use]
    pub fn in_url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_url())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("address {text:?} is not HOST or HOST:PORT");
        if text.len() > TEXT_MAX {
            return Err(format!("address has {} bytes, {TEXT_MAX} are allowed", text.len()));
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0 && !text.starts_with('+'));
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { host: address.to_string(), port: None });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                let host: Ipv6Addr = host.parse().map_err(|_| wrong())?;
                let port = match rest.strip_prefix(':') {
                    Some(text) => Some(port(text).ok_or_else(wrong)?),
                    None if rest.is_empty() => None,
                    None => return Err(wrong()),
                };
                (host.to_string(), port)
            }
            None => match text.split_once(':') {
                Some((host, text)) => (host.to_owned(), Some(port(text).ok_or_else(wrong)?)),
                None => (text.to_owned(), None),
            },
        };
        // A leading '-' would be an option of the program that gets it.
        let name = host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
        let plain = name && host.starts_with(|c: char| c.is_ascii_alphanumeric());
        if plain || host.parse::<IpAddr>().is_ok() { Ok(Self { host, port }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_an_address_with_or_without_a_port() {
        for (text, host, port, url) in [
            ("bmc1.example.org", "bmc1.example.org", None, "bmc1.example.org"),
            ("10.0.0.7:8443", "10.0.0.7", Some(8443), "10.0.0.7:8443"),
            ("fd00::7", "fd00::7", None, "[fd00::7]"),
            ("[fd00::7]:443", "fd00::7", Some(443), "[fd00::7]:443"),
            ("[::1]", "::1", None, "[::1]"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.in_url().as_str()), (host, port, url));
        }
    }

    #[test]
    fn what_could_be_an_option_a_path_or_a_second_host_is_refused() {
        for text in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a/b",
            "a@b",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            "[::1",
            "[::1]x",
            "[a]:1",
            "a;b",
            "a\nb",
            "http://a",
            ".a",
            "a:1:2",
            "fe80::1%eth0",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        assert!("a".repeat(300).parse::<Address>().unwrap_err().contains("300 bytes, 255"));
    }
}
