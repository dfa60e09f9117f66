//! Cards for netplan.
//!
//! In: interfaces. Out: one YAML file, netplan(5); cards are matched by MAC.
//! Promise: every value is quoted.

use super::Planned;
use super::link::{Link, Method, is_v6};
use crate::root::{Root, RootError};
use std::fmt::Write as _;

pub(super) const PATH: &str = "/etc/netplan/90-ramet.yaml";

/// The renderer that the present files name.
pub(super) fn renderer(root: &Root) -> Result<Option<&'static str>, RootError> {
    let mut found = None;
    for name in root.list("/etc/netplan")?.iter().filter(|name| name.ends_with(".yaml")) {
        let path = format!("/etc/netplan/{name}");
        if !root.is_file(&path)? {
            continue;
        }
        for line in root.text(&path)?.unwrap_or_default().lines() {
            if let Some(value) = line.trim().strip_prefix("renderer:") {
                match value.trim().trim_matches('"') {
                    "NetworkManager" => found = Some("NetworkManager"),
                    "networkd" => found = Some("networkd"),
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn files(links: &[Link], renderer: Option<&str>) -> Vec<Planned> {
    let mut text = String::from("# Made by Ramet for this machine.\nnetwork:\n  version: 2\n");
    if let Some(renderer) = renderer {
        let _ = writeln!(text, "  renderer: {renderer}");
    }
    for (section, vlans) in [("ethernets", false), ("vlans", true)] {
        let mut some = links.iter().filter(|link| link.vlan.is_some() == vlans).peekable();
        if some.peek().is_some() {
            let _ = writeln!(text, "  {section}:");
        }
        some.for_each(|link| text.push_str(&entry(link)));
    }
    vec![Planned::new(PATH, 0o600, text)]
}

fn entry(link: &Link) -> String {
    let list = |values: &[String]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("    {:?}:", link.name)];
    match link.vlan {
        Some(id) => lines.extend([format!("      id: {id}"), format!("      link: {:?}", link.card)]),
        None => lines.extend(["      match:".to_owned(), format!("        macaddress: {:?}", link.mac)]),
    }
    lines.push(format!("      dhcp4: {}", link.v4 == Method::Auto));
    lines.push(format!("      dhcp6: {}", link.v6 == Method::Auto));
    lines.push(format!("      accept-ra: {}", link.v6 == Method::Auto));
    if !link.addresses.is_empty() {
        lines.push(format!("      addresses: [{}]", list(&link.addresses)));
    }
    if !link.gateways.is_empty() {
        lines.push("      routes:".to_owned());
    }
    for gateway in &link.gateways {
        // Not `default`: netplan before 0.103 does not know it.
        let to = if is_v6(gateway) { "::/0" } else { "0.0.0.0/0" };
        lines.push(format!("        - to: {to:?}"));
        lines.push(format!("          via: {gateway:?}"));
    }
    if !link.dns.is_empty() || !link.search.is_empty() {
        lines.push("      nameservers:".to_owned());
    }
    for (key, values) in [("addresses", &link.dns), ("search", &link.search)] {
        if !values.is_empty() {
            lines.push(format!("        {key}: [{}]", list(values)));
        }
    }
    lines.extend(link.mtu.map(|mtu| format!("      mtu: {mtu}")));
    lines.join("\n") + "\n"
}
