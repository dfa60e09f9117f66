//! What is known of all cards, and which of them carries the run.
//!
//! In: what each card's life came to. Out: routes by rank, `resolv.conf`, the worker's report.
//! Promise: at most one card carries the run; when it falls, another one that reaches the server takes its place.

use super::card::Card;
use super::netlink::{Netlink, Route, masked};
use super::report::{CardSeen, REACHED};
use crate::init::dhcp::Lease;
use ramet_wire::settings::FixedAddress;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metric of the card that carries the run; the others come behind, in the order of their indexes.
pub const WINNER: u32 = 10;
pub const OTHERS: u32 = 1000;
/// Name servers that the resolver looks at (`MAXNS`).
const DNS_MAX: usize = 3;

#[derive(Default)]
pub struct Inner {
    pub cards: BTreeMap<String, Entry>,
    pub winner: Option<String>,
    /// The card that has the fixed address.
    pub fixed: Option<String>,
    pub resolv: String,
}

pub struct Entry {
    pub seen: CardSeen,
    /// The interface that has the address: the card, or its VLAN.
    pub interface: String,
    pub index: u32,
    pub setup: Option<Setup>,
    /// Grows with every new address, so that the server is tried again.
    pub generation: u64,
}

/// What a card was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    pub address: Option<(IpAddr, u8)>,
    /// Network, bits, router; without router on the link.
    pub routes: Vec<(IpAddr, u8, Option<IpAddr>)>,
    pub dns: Vec<IpAddr>,
    pub domain: Option<String>,
}

impl Inner {
    /// This card carries the run from now on.
    pub fn crown(&mut self, name: &str) {
        let Some(entry) = self.cards.get(name) else { return };
        if let (Some(setup), Ok(mut netlink)) = (&entry.setup, Netlink::open()) {
            // A route that the kernel refuses was refused with the other metric, too, and that was told.
            let _ = setup.routes(entry.index, WINNER, &mut |route| netlink.add_route(route));
        }
        self.winner = Some(name.to_owned());
    }

    /// This card carries the run no longer; another one that reaches the server does, if there is one.
    pub fn dethrone(&mut self, name: &str) {
        if self.winner.as_deref() != Some(name) {
            return;
        }
        self.winner = None;
        let entry = self.cards.get(name);
        if let (Some((entry, setup)), Ok(mut netlink)) =
            (entry.and_then(|entry| Some((entry, entry.setup.as_ref()?))), Netlink::open())
        {
            let _ = setup.routes(entry.index, WINNER, &mut |route| netlink.del_route(route));
        }
        let reaches = |entry: &&Entry| entry.seen.server.as_deref() == Some(REACHED) && entry.seen.name != name;
        let next = self.cards.values().find(reaches).map(|entry| entry.seen.name.clone());
        if let Some(next) = next {
            self.crown(&next);
        }
    }
}

impl Entry {
    pub fn of(card: &Card) -> Self {
        let seen = CardSeen {
            name: card.name.clone(),
            mac: card.mac,
            driver: card.driver.clone(),
            link: false,
            state: "just found".to_owned(),
            address: None,
            server: None,
        };
        Self { seen, interface: card.name.clone(), index: card.index, setup: None, generation: 0 }
    }
}

impl Setup {
    pub fn by_lease(lease: &Lease) -> Self {
        let routes = lease.routes.iter().map(|(to, length, router)| {
            let router = (!router.is_unspecified()).then_some(IpAddr::V4(*router));
            (IpAddr::V4(*to), *length, router)
        });
        Self {
            address: Some((IpAddr::V4(lease.address), lease.length)),
            routes: routes.collect(),
            dns: lease.dns.iter().copied().map(IpAddr::V4).collect(),
            domain: lease.domain.clone(),
        }
    }

    pub fn fixed(ip: &FixedAddress) -> Self {
        let world = if ip.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let routes = ip.gateway.map(|gateway| (world, 0, Some(gateway))).into_iter().collect();
        Self { address: Some((ip.address, ip.length)), routes, dns: ip.dns.clone(), domain: None }
    }

    /// Its own network first: routers are found through it. Name servers outside get a route of their own, so that one
    /// card's default route does not lead away from another's name servers.
    pub fn routes(
        &self,
        card: u32,
        metric: u32,
        each: &mut dyn FnMut(&Route) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let Some((address, length)) = self.address else { return Ok(()) };
        each(&Route { to: (masked(address, length), length), via: None, card, metric })?;
        for (to, bits, via) in &self.routes {
            each(&Route { to: (*to, *bits), via: *via, card, metric })?;
        }
        let router = self.routes.iter().find(|(_, bits, _)| *bits == 0).and_then(|(_, _, via)| *via);
        for dns in self.dns.iter().filter(|dns| dns.is_ipv4() == address.is_ipv4()) {
            let outside = masked(*dns, length) != masked(address, length);
            if outside && let Some(via) = router {
                each(&Route { to: (*dns, if dns.is_ipv4() { 32 } else { 128 }), via: Some(via), card, metric })?;
            }
        }
        Ok(())
    }
}

/// The winner's name servers first.
pub fn resolv(inner: &Inner) -> String {
    let order = |entry: &&Entry| inner.winner.as_ref() != Some(&entry.seen.name);
    let mut entries: Vec<&Entry> = inner.cards.values().collect();
    entries.sort_by_key(order);
    let setups: Vec<&Setup> = entries.iter().filter_map(|entry| entry.setup.as_ref()).collect();
    let mut text = String::new();
    if let Some(domain) = setups.iter().find_map(|setup| setup.domain.as_ref()) {
        text.push_str(&format!("search {domain}\n"));
    }
    let mut servers: Vec<&IpAddr> = Vec::new();
    for dns in setups.iter().flat_map(|setup| &setup.dns) {
        if !servers.contains(&dns) && servers.len() < DNS_MAX {
            servers.push(dns);
        }
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}
