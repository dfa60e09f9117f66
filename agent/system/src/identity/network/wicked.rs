//! Cards for wicked.
//!
//! In: interfaces. Out: `ifcfg-NAME` and `ifroute-NAME`, ifcfg(5) of SUSE; names come from `.link` files.
//! Promise: name servers go where netconfig reads them.

use super::super::{IdentityError, Work};
use super::Planned;
use super::link::{Link, Method};
use crate::root::How;

pub(super) const FOLDER: &str = "/etc/sysconfig/network";

pub(super) fn files(links: &[Link]) -> Vec<Planned> {
    let mut files = Vec::new();
    for link in links {
        files.push(Planned::new(format!("{FOLDER}/ifcfg-{}", link.name), 0o600, text(link)));
        let routes: String =
            link.gateways.iter().map(|gateway| format!("default {gateway} - {}\n", link.name)).collect();
        if !routes.is_empty() {
            files.push(Planned::new(format!("{FOLDER}/ifroute-{}", link.name), 0o600, routes));
        }
    }
    files
}

fn text(link: &Link) -> String {
    let proto = match (link.v4, link.v6) {
        (Method::Auto, Method::Auto) => "dhcp",
        (Method::Auto, _) => "dhcp4",
        (_, Method::Auto) => "dhcp6",
        _ => "static",
    };
    // Beside DHCP, fixed addresses need their own word.
    let fixed = if proto != "static" && !link.addresses.is_empty() { "+static" } else { "" };
    let mut lines = vec![
        "# Made by Ramet for this machine.".to_owned(),
        format!("BOOTPROTO='{proto}{fixed}'"),
        "STARTMODE='auto'".to_owned(),
    ];
    if let Some(id) = link.vlan {
        lines.extend([format!("ETHERDEVICE='{}'", link.card), format!("VLAN_ID='{id}'")]);
    }
    for (index, address) in link.addresses.iter().enumerate() {
        let suffix = if index == 0 { String::new() } else { format!("_{index}") };
        lines.push(format!("IPADDR{suffix}='{address}'"));
    }
    lines.extend(link.mtu.map(|mtu| format!("MTU='{mtu}'")));
    lines.join("\n") + "\n"
}

pub(super) fn resolver(work: &mut Work<'_>, links: &[Link]) -> Result<(), IdentityError> {
    let path = format!("{FOLDER}/config");
    let values = [
        ("NETCONFIG_DNS_STATIC_SERVERS", links.iter().flat_map(|link| link.dns.clone()).collect::<Vec<_>>()),
        ("NETCONFIG_DNS_STATIC_SEARCHLIST", links.iter().flat_map(|link| link.search.clone()).collect()),
    ];
    if values.iter().all(|(_, values)| values.is_empty()) {
        return Ok(());
    }
    let mut lines: Vec<String> = work.root.text(&path)?.unwrap_or_default().lines().map(str::to_owned).collect();
    for (key, values) in values {
        let line = format!("{key}=\"{}\"", values.join(" "));
        match lines.iter().position(|old| old.strip_prefix(key).is_some_and(|rest| rest.starts_with('='))) {
            Some(at) => lines[at] = line,
            None => lines.push(line),
        }
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    work.root.write(&path, text.as_bytes(), &How::say("name servers of this machine"))?;
    Ok(())
}
