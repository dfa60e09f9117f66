//! Cards for systemd-networkd, and names for backends that know cards by name.
//!
//! In: interfaces. Out: `.network` and `.netdev` files; `.link` files, which udev reads whoever sets up the network.
//! Promise: virtual networks, which have their card's MAC, are not taken for it.

use super::Planned;
use super::link::{Link, Method};
use std::fmt::Write as _;

pub(super) const FOLDER: &str = "/etc/systemd/network";

pub(super) fn files(links: &[Link]) -> Vec<Planned> {
    let mut files = Vec::new();
    for link in links {
        let base = format!("{FOLDER}/10-ramet-{}", link.name);
        if let Some(id) = link.vlan {
            let text = format!("[NetDev]\nName={}\nKind=vlan\n\n[VLAN]\nId={id}\n", link.name);
            files.push(Planned::new(format!("{base}.netdev"), 0o644, text));
        }
        files.push(Planned::new(format!("{base}.network"), 0o644, network(link)));
    }
    files
}

fn network(link: &Link) -> String {
    let mut text = match link.vlan {
        Some(_) => format!("[Match]\nName={}\n", link.name),
        None => format!("[Match]\nMACAddress={}\nType=ether\n", link.mac),
    };
    if let Some(mtu) = link.mtu {
        let _ = write!(text, "\n[Link]\nMTUBytes={mtu}\n");
    }
    let dhcp = match (link.v4, link.v6) {
        (Method::Auto, Method::Auto) => "yes",
        (Method::Auto, _) => "ipv4",
        (_, Method::Auto) => "ipv6",
        _ => "no",
    };
    let advertised = if link.v6 == Method::Auto { "yes" } else { "no" };
    let _ = write!(text, "\n[Network]\nDHCP={dhcp}\nIPv6AcceptRA={advertised}\n");
    for (key, values) in [("Address", &link.addresses), ("Gateway", &link.gateways), ("DNS", &link.dns)] {
        for value in values {
            let _ = writeln!(text, "{key}={value}");
        }
    }
    if !link.search.is_empty() {
        let _ = writeln!(text, "Domains={}", link.search.join(" "));
    }
    for child in &link.children {
        let _ = writeln!(text, "VLAN={child}");
    }
    text
}

/// systemd.link(5): the card with this MAC gets this name, and its MTU.
pub(super) fn names(links: &[Link]) -> Vec<Planned> {
    links
        .iter()
        .filter(|link| link.vlan.is_none())
        .map(|link| {
            let mut text = format!("[Match]\nMACAddress={}\nType=ether\n\n[Link]\nName={}\n", link.mac, link.name);
            if let Some(mtu) = link.mtu {
                let _ = writeln!(text, "MTUBytes={mtu}");
            }
            Planned::new(format!("{FOLDER}/10-ramet-{}.link", link.name), 0o644, text)
        })
        .collect()
}
