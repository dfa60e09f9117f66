//! Cards for NetworkManager.
//!
//! In: interfaces. Out: one keyfile for each, nm-settings-keyfile(5); cards are matched by MAC.
//! Promise: mode 0600, without which NetworkManager ignores them.

use super::Planned;
use super::link::{Link, Method};
use std::fmt::Write as _;

pub(super) const FOLDER: &str = "/etc/NetworkManager/system-connections";

pub(super) fn files(links: &[Link]) -> Vec<Planned> {
    links
        .iter()
        .map(|link| Planned::new(format!("{FOLDER}/ramet-{}.nmconnection", link.name), 0o600, text(link, links)))
        .collect()
}

fn text(link: &Link, links: &[Link]) -> String {
    let kind = if link.vlan.is_some() { "vlan" } else { "ethernet" };
    let mut text = format!("[connection]\nid=ramet-{}\nuuid={}\ntype={kind}\n", link.name, link.uuid());
    // Before connections of the image that fit every card.
    text.push_str("autoconnect-priority=100\n");
    match link.vlan {
        Some(id) => {
            let parent = links.iter().find(|parent| parent.name == link.card).map(Link::uuid).unwrap_or_default();
            let _ = write!(text, "interface-name={}\n\n[ethernet]\n", link.name);
            mtu(&mut text, link);
            let _ = write!(text, "\n[vlan]\nflags=1\nid={id}\nparent={parent}\n");
        }
        None => {
            let _ = write!(text, "\n[ethernet]\nmac-address={}\n", link.mac.to_ascii_uppercase());
            mtu(&mut text, link);
        }
    }
    for v6 in [false, true] {
        text.push_str(&protocol(link, v6));
    }
    text
}

fn mtu(text: &mut String, link: &Link) {
    if let Some(mtu) = link.mtu {
        let _ = writeln!(text, "mtu={mtu}");
    }
}

fn protocol(link: &Link, v6: bool) -> String {
    let (name, method) = if v6 { ("ipv6", link.v6) } else { ("ipv4", link.v4) };
    let word = match (method, v6) {
        (Method::Auto, _) => "auto",
        (Method::Fixed, _) => "manual",
        (Method::Off, true) => "link-local",
        (Method::Off, false) => "disabled",
    };
    let mut text = format!("\n[{name}]\nmethod={word}\n");
    for (index, address) in link.addresses_of(v6).iter().enumerate() {
        let _ = writeln!(text, "address{}={address}", index + 1);
    }
    if let Some(gateway) = link.gateway(v6) {
        let _ = writeln!(text, "gateway={gateway}");
    }
    let list = |values: &[&str]| values.iter().map(|value| format!("{value};")).collect::<String>();
    let dns = link.dns_of(v6);
    if method != Method::Off && !dns.is_empty() {
        let _ = writeln!(text, "dns={}", list(&dns));
    }
    if method != Method::Off && !link.search.is_empty() {
        let search: Vec<&str> = link.search.iter().map(String::as_str).collect();
        let _ = writeln!(text, "dns-search={}", list(&search));
    }
    text
}
