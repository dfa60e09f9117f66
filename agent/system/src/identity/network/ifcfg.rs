//! Cards for ifcfg files of Red Hat systems.
//!
//! In: interfaces. Out: `ifcfg-NAME`, as NetworkManager's ifcfg-rh plugin and the older network scripts read them.
//! Promise: `HWADDR` and the name from a `.link` file agree.

use super::Planned;
use super::link::{Link, Method};

pub(super) const FOLDER: &str = "/etc/sysconfig/network-scripts";

pub(super) fn files(links: &[Link]) -> Vec<Planned> {
    links.iter().map(|link| Planned::new(format!("{FOLDER}/ifcfg-{}", link.name), 0o644, text(link))).collect()
}

fn text(link: &Link) -> String {
    let mut lines = vec![
        "# Made by Ramet for this machine.".to_owned(),
        format!("NAME=\"ramet-{}\"", link.name),
        format!("UUID={}", link.uuid()),
        format!("DEVICE={}", link.name),
        "ONBOOT=yes".to_owned(),
    ];
    match link.vlan {
        Some(id) => lines.extend([
            "TYPE=Vlan".to_owned(),
            "VLAN=yes".to_owned(),
            format!("PHYSDEV={}", link.card),
            format!("VLAN_ID={id}"),
        ]),
        None => lines.extend(["TYPE=Ethernet".to_owned(), format!("HWADDR={}", link.mac.to_ascii_uppercase())]),
    }
    lines.push(format!("BOOTPROTO={}", if link.v4 == Method::Auto { "dhcp" } else { "none" }));
    for (index, address) in link.addresses_of(false).iter().enumerate() {
        let (address, length) = address.split_once('/').unwrap_or((address, "32"));
        lines.extend([format!("IPADDR{index}={address}"), format!("PREFIX{index}={length}")]);
    }
    lines.extend(link.gateway(false).map(|gateway| format!("GATEWAY={gateway}")));
    let yes = |on: bool| if on { "yes" } else { "no" };
    lines.push(format!("IPV6INIT={}", yes(link.v6 != Method::Off)));
    lines.push(format!("IPV6_AUTOCONF={}", yes(link.v6 == Method::Auto)));
    let v6 = link.addresses_of(true);
    if let Some((first, others)) = v6.split_first() {
        lines.push(format!("IPV6ADDR={first}"));
        if !others.is_empty() {
            lines.push(format!("IPV6ADDR_SECONDARIES=\"{}\"", others.join(" ")));
        }
    }
    lines.extend(link.gateway(true).map(|gateway| format!("IPV6_DEFAULTGW={gateway}")));
    lines.extend(link.dns.iter().enumerate().map(|(index, server)| format!("DNS{}={server}", index + 1)));
    if !link.search.is_empty() {
        lines.push(format!("DOMAIN=\"{}\"", link.search.join(" ")));
    }
    lines.extend(link.mtu.map(|mtu| format!("MTU={mtu}")));
    lines.join("\n") + "\n"
}
