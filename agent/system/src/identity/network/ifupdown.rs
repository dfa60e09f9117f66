//! Cards for ifupdown.
//!
//! In: interfaces. Out: interfaces(5), one file and one below it; names come from `.link` files.
//! Promise: loopback stays; where nobody else keeps `resolv.conf`, it gets the declared name servers.

use super::super::{IdentityError, Work};
use super::Planned;
use super::link::{Link, Method};
use crate::root::{How, Kind, Root, RootError};
use std::fmt::Write as _;

pub(super) const MAIN: &str = "/etc/network/interfaces";
pub(super) const PARTS: &str = "/etc/network/interfaces.d";
pub(super) const PART: &str = "/etc/network/interfaces.d/ramet";

/// Interfaces but loopback are set up.
pub(super) fn has_cards(root: &Root) -> Result<bool, RootError> {
    let mut paths = vec![MAIN.to_owned()];
    if root.is_dir(PARTS)? {
        paths.extend(root.list(PARTS)?.into_iter().map(|name| format!("{PARTS}/{name}")));
    }
    for path in paths {
        if root.is_file(&path)? && sets_up(&root.text(&path)?.unwrap_or_default()) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn sets_up(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("iface") && words.next().is_some_and(|name| name != "lo")
    })
}

pub(super) fn files(links: &[Link]) -> Vec<Planned> {
    let main = format!("# Made by Ramet for this machine.\nsource {PARTS}/*\n\nauto lo\niface lo inet loopback\n");
    let part: String = links.iter().map(stanzas).collect::<Vec<_>>().join("\n");
    vec![Planned::new(MAIN, 0o644, main), Planned::new(PART, 0o644, part)]
}

fn stanzas(link: &Link) -> String {
    let name = &link.name;
    let mut text = format!("auto {name}\n");
    let mut first = true;
    // What belongs to the interface stands in its first stanza, whatever that is.
    let mut open = |text: &mut String, how: &str| {
        let _ = writeln!(text, "iface {name} {how}");
        if std::mem::take(&mut first) {
            if link.vlan.is_some() {
                let _ = writeln!(text, "    vlan-raw-device {}", link.card);
                if let Some(mtu) = link.mtu {
                    let _ = writeln!(text, "    post-up ip link set dev $IFACE mtu {mtu}");
                }
            }
            for (key, values) in [("dns-nameservers", &link.dns), ("dns-search", &link.search)] {
                if !values.is_empty() {
                    let _ = writeln!(text, "    {key} {}", values.join(" "));
                }
            }
        }
    };
    if link.v4 == Method::Auto {
        open(&mut text, "inet dhcp");
    }
    if link.v6 == Method::Auto {
        open(&mut text, "inet6 auto");
    }
    for (v6, family) in [(false, "inet"), (true, "inet6")] {
        for (index, address) in link.addresses_of(v6).iter().enumerate() {
            open(&mut text, &format!("{family} static"));
            let _ = writeln!(text, "    address {address}");
            if let (0, Some(gateway)) = (index, link.gateway(v6)) {
                let _ = writeln!(text, "    gateway {gateway}");
            }
        }
    }
    text
}

/// With resolvconf or systemd-resolved it is a link, and they read what is declared.
pub(super) fn resolver(work: &mut Work<'_>, links: &[Link]) -> Result<(), IdentityError> {
    let path = "/etc/resolv.conf";
    let dns: Vec<&String> = links.iter().flat_map(|link| &link.dns).collect();
    let own = work.root.lstat(path)?.is_none_or(|stat| stat.kind == Kind::File);
    let kept = work.root.lstat("/sbin/resolvconf")?.is_some() || work.root.lstat("/usr/sbin/resolvconf")?.is_some();
    if dns.is_empty() || !own || kept {
        return Ok(());
    }
    let search: Vec<&str> = links.iter().flat_map(|link| &link.search).map(String::as_str).collect();
    let mut text = String::new();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    work.root.write(path, text.as_bytes(), &How::say("name servers of this machine"))?;
    Ok(())
}
