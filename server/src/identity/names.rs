//! The names by which a server may be reached, and the URL that it gives to others.
//!
//! In: `--url`, the listening address, the machine's own names. Out: the leaf's names; the base of URLs in answers.
//! Promise: a `Host` header never gets into an answer unless it is one of the server's own names.

use std::net::{IpAddr, SocketAddr};

/// Names and addresses of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    all: Vec<String>,
    url: Option<String>,
    listen: SocketAddr,
}

/// A `--url` that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("url {url:?} {reason}")]
pub struct BadUrl {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Names {
    /// The names of a server that listens on `listen` (with the port that it got).
    ///
    /// # Errors
    /// [`BadUrl`] for a `url` that is not `https://HOST[:PORT]`.
    pub fn new(url: Option<&str>, listen: SocketAddr) -> Result<Self, BadUrl> {
        let url = url.map(|url| url.trim_end_matches('/').to_owned());
        let mut all = Vec::new();
        if let Some(url) = &url {
            all.push(host_of_url(url)?);
        }
        if listen.ip().is_unspecified() {
            all.extend(own_addresses(listen.is_ipv6()).iter().map(IpAddr::to_string));
        } else {
            all.push(listen.ip().to_string());
        }
        all.extend(hostname());
        all.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|name| seen.insert(name.to_ascii_lowercase()));
        Ok(Self { all, url, listen })
    }

    /// Every name, for the leaf.
    #[must_use]
    pub fn all(&self) -> &[String] {
        &self.all
    }

    /// Where the server listens, as a URL that works on this machine.
    #[must_use]
    pub fn local_url(&self) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(ip, self.listen.port()))
    }

    /// The base of URLs in an answer: `--url`; else what the asker called us, if that is one of our names.
    #[must_use]
    pub fn base(&self, host: Option<&str>) -> String {
        if let Some(url) = &self.url {
            return url.clone();
        }
        match host.filter(|host| split_host(host).is_some_and(|name| self.has(name))) {
            Some(host) => format!("https://{host}"),
            None => self.local_url(),
        }
    }

    /// It listens on all addresses, so that none of them is its name.
    #[must_use]
    pub const fn listens_on_all(&self) -> bool {
        self.listen.ip().is_unspecified()
    }

    fn has(&self, name: &str) -> bool {
        self.all.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.all.join(", "))
    }
}

fn host_of_url(url: &str) -> Result<String, BadUrl> {
    let bad = |reason| BadUrl { url: crate::text::clean(url, 200), reason };
    let host = url.strip_prefix("https://").ok_or_else(|| bad("does not start with https://"))?;
    if host.contains(['/', '?', '#', '@']) {
        return Err(bad("has more than a host and a port"));
    }
    let name = split_host(host).ok_or_else(|| bad("has no host, or a port that is no number"))?;
    Ok(name.to_owned())
}

/// The host of `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
pub(crate) fn split_host(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_'));
    (port && plain).then_some(name)
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    (split_host(&name) == Some(name.as_str())).then_some(name)
}

/// Addresses of this machine's cards; link-local ones cannot stand in a URL.
fn own_addresses(v6: bool) -> Vec<IpAddr> {
    let Ok(list) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ips = list.filter_map(|card| {
        let address = card.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => v6 && !ip.is_unicast_link_local(),
    };
    ips.filter(usable).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_answers_come_from_the_url_option_or_from_own_names_only() {
        let listen = "127.0.0.1:4433".parse().unwrap();
        let plain = Names::new(None, listen).unwrap();
        assert_eq!(plain.base(Some("localhost:4433")), "https://localhost:4433");
        assert_eq!(plain.base(Some("[::1]:7")), "https://[::1]:7");
        for evil in ["evil.example:4433", "127.0.0.1:x", "localhost@evil", "localhost/..", "[::1", ""] {
            assert_eq!(plain.base(Some(evil)), "https://127.0.0.1:4433", "{evil}");
        }
        let named = Names::new(Some("https://clone.example/"), listen).unwrap();
        assert_eq!(named.base(Some("localhost:4433")), "https://clone.example");
        assert_eq!(named.all()[0], "clone.example");
    }

    #[test]
    fn refuses_a_url_that_is_more_than_a_server() {
        let listen = "0.0.0.0:4433".parse().unwrap();
        for bad in ["http://a", "https://", "https://a/b", "https://u@a", "https://a:99999", "a", "https://a b"] {
            assert!(Names::new(Some(bad), listen).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_named_by_each_of_them() {
        let names = Names::new(None, "0.0.0.0:4433".parse().unwrap()).unwrap();
        assert!(names.all().contains(&"127.0.0.1".to_owned()));
        assert_eq!(names.local_url(), "https://127.0.0.1:4433");
        assert_eq!(names.all().iter().filter(|name| *name == "127.0.0.1").count(), 1);
    }
}
