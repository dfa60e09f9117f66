//! Cards and virtual networks on them, as every backend needs them.
//!
//! In: the declaration. Out: one value for each interface, parents first.
//! Promise: what nobody declared is switched off: no address comes from elsewhere.

use ramet_wire::identity::{Card, Dhcp};
use std::collections::BTreeMap;

/// Who gives an interface its addresses of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// DHCP; for IPv6 router advertisements, too.
    Auto,
    /// The declared ones only.
    Fixed,
    /// Nobody.
    Off,
}

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// `lan`, `lan.12`.
    pub name: String,
    /// Of the card, lower case; that of a virtual network is its card's.
    pub mac: String,
    /// Id of a virtual network.
    pub vlan: Option<u16>,
    /// The card that it is on; its own name for a card.
    pub card: String,
    /// Names of virtual networks on it.
    pub children: Vec<String>,
    pub v4: Method,
    pub v6: Method,
    pub addresses: Vec<String>,
    pub gateways: Vec<String>,
    pub dns: Vec<String>,
    pub search: Vec<String>,
    pub mtu: Option<u32>,
}

pub(super) fn is_v6(text: &str) -> bool {
    text.contains(':')
}

impl Link {
    pub fn all(cards: &BTreeMap<String, Card>) -> Vec<Self> {
        let mut links = Vec::new();
        for (name, card) in cards {
            let mac = card.mac.as_deref().unwrap_or_default().to_ascii_lowercase().replace('-', ":");
            let mut own = Self::new(name.clone(), name, &mac, card);
            own.children = card.vlans.keys().map(|id| format!("{name}.{id}")).collect();
            links.push(own);
            for (id, vlan) in &card.vlans {
                let mut link = Self::new(format!("{name}.{id}"), name, &mac, vlan);
                link.vlan = id.parse().ok();
                links.push(link);
            }
        }
        links
    }

    fn new(name: String, card: &str, mac: &str, declared: &Card) -> Self {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let addresses = list(&declared.addresses);
        let dhcp = declared.dhcp.unwrap_or(if addresses.is_empty() { Dhcp::Yes } else { Dhcp::No });
        let method = |asks: bool, v6: bool| {
            if asks {
                Method::Auto
            } else if addresses.iter().any(|address| is_v6(address) == v6) {
                Method::Fixed
            } else {
                Method::Off
            }
        };
        Self {
            v4: method(matches!(dhcp, Dhcp::Yes | Dhcp::Ipv4), false),
            v6: method(matches!(dhcp, Dhcp::Yes | Dhcp::Ipv6), true),
            name,
            mac: mac.to_owned(),
            vlan: None,
            card: card.to_owned(),
            children: Vec::new(),
            gateways: list(&declared.gateways),
            dns: list(&declared.dns),
            search: list(&declared.search),
            mtu: declared.mtu,
            addresses,
        }
    }

    pub fn addresses_of(&self, v6: bool) -> Vec<&str> {
        self.addresses.iter().map(String::as_str).filter(|address| is_v6(address) == v6).collect()
    }

    pub fn gateway(&self, v6: bool) -> Option<&str> {
        self.gateways.iter().map(String::as_str).find(|address| is_v6(address) == v6)
    }

    pub fn dns_of(&self, v6: bool) -> Vec<&str> {
        self.dns.iter().map(String::as_str).filter(|address| is_v6(address) == v6).collect()
    }

    /// The same for the same card on every run: NetworkManager wants one, ifcfg may have one.
    pub fn uuid(&self) -> String {
        let name = format!("ramet {} {}", self.mac, self.vlan.unwrap_or(0));
        uuid::Uuid::new_v3(&uuid::Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
    }
}
