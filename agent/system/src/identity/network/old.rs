//! Settings that bind the source's cards or addresses.
//!
//! In: what lies in the folders of all backends. Out: the same without those.
//! Promise: settings that fit any card stay, and so do wireless and tunnel connections of `NetworkManager`.

use super::super::{IdentityError, Work};
use super::{Backend, Planned, ifcfg, ifupdown, keyfile, netplan, networkd, wicked};
use crate::root::RootError;

const SAY: &str = "it binds cards or addresses of the source";

/// Connections of NetworkManager that cards have.
const WIRED: &[&str] = &["ethernet", "802-3-ethernet", "vlan", "bond", "bridge", "team"];

/// Removes what binds; what is `planned` is written anew anyway.
pub(super) fn stage(work: &mut Work<'_>, backend: Backend, planned: &[Planned]) -> Result<(), IdentityError> {
    let is_planned = |path: &str| planned.iter().any(|file| file.path == path);
    each(work, "/etc/udev/rules.d", &is_planned, |name, text| {
        name == "70-persistent-net.rules"
            || name.ends_with(".rules")
                && text.contains("ATTR{address}")
                && text.contains("NAME=")
                && text.contains("net")
    })?;
    each(work, networkd::FOLDER, &is_planned, |name, text| {
        let ours = name.starts_with("10-ramet-");
        let binds = has_key(text, &["MACAddress", "PermanentMACAddress"])
            || name.ends_with(".network") && has_key(text, &["Address", "Gateway"]);
        let kind = [".network", ".netdev", ".link"].iter().any(|end| name.ends_with(end));
        kind && (ours || binds)
    })?;
    match backend {
        // Files are merged, so what one leaves out another may still say.
        Backend::Netplan => each(work, "/etc/netplan", &is_planned, |name, _| name.ends_with(".yaml"))?,
        Backend::Keyfile => each(work, keyfile::FOLDER, &is_planned, |_, text| connection_binds(text))?,
        Backend::Ifupdown => each(work, ifupdown::PARTS, &is_planned, |_, text| ifupdown::sets_up(text))?,
        Backend::Ifcfg => {
            each(work, keyfile::FOLDER, &is_planned, |_, text| connection_binds(text))?;
            scripts(work, ifcfg::FOLDER, &is_planned, &["HWADDR", "MACADDR", "IPADDR", "IPV6ADDR"])?;
        }
        Backend::Wicked => scripts(work, wicked::FOLDER, &is_planned, &["LLADDR", "IPADDR"])?,
        Backend::Networkd => {}
    }
    if backend != Backend::Netplan && work.root.lstat(netplan::PATH)?.is_some() {
        work.root.remove(netplan::PATH, SAY)?;
    }
    Ok(())
}

/// Goes over the regular files of a folder. What is too large or no text is none of these settings.
fn each(
    work: &mut Work<'_>,
    folder: &str,
    is_planned: &dyn Fn(&str) -> bool,
    goes: impl Fn(&str, &str) -> bool,
) -> Result<(), IdentityError> {
    if !work.root.is_dir(folder)? {
        return Ok(());
    }
    for name in work.root.list(folder)? {
        let path = format!("{folder}/{name}");
        if is_planned(&path) {
            continue;
        }
        let text = match work.root.is_file(&path)?.then(|| work.root.text(&path)) {
            Some(Ok(Some(text))) => text,
            Some(Err(RootError::Size { .. } | RootError::Text { .. })) | Some(Ok(None)) | None => continue,
            Some(Err(error)) => return Err(error.into()),
        };
        if goes(&name, &text) {
            work.root.remove(&path, SAY)?;
        }
    }
    Ok(())
}

/// Files of shell assignments: `ifcfg-*`, with the routes and rules that belong to those that go.
fn scripts(
    work: &mut Work<'_>,
    folder: &str,
    is_planned: &dyn Fn(&str) -> bool,
    keys: &[&str],
) -> Result<(), IdentityError> {
    let names = if work.root.is_dir(folder)? { work.root.list(folder)? } else { Vec::new() };
    each(work, folder, is_planned, |name, text| {
        name.starts_with("ifcfg-")
            && name != "ifcfg-lo"
            && text.lines().any(|line| {
                let key = line.trim().split('=').next().unwrap_or_default();
                keys.iter().any(|wanted| key.strip_prefix(wanted).is_some_and(is_index))
            })
    })?;
    for name in names.iter().filter_map(|name| name.strip_prefix("ifcfg-")) {
        if work.root.lstat(format!("{folder}/ifcfg-{name}"))?.is_some() {
            continue;
        }
        for kind in ["route", "route6", "rule", "rule6", "ifroute", "keys"] {
            let path = format!("{folder}/{kind}-{name}");
            if !is_planned(&path) {
                work.root.remove(path, SAY)?;
            }
        }
    }
    Ok(())
}

/// `IPADDR`, `IPADDR0`, `IPADDR_1`.
fn is_index(rest: &str) -> bool {
    rest.trim_start_matches('_').bytes().all(|byte| byte.is_ascii_digit())
}

fn has_key(text: &str, keys: &[&str]) -> bool {
    text.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| keys.contains(&key.trim()) && !value.trim().is_empty())
    })
}

/// A wired connection with a MAC, an address or an identifier of its own; or one that was made here before.
fn connection_binds(text: &str) -> bool {
    let wired = text.lines().any(|line| line.strip_prefix("type=").is_some_and(|kind| WIRED.contains(&kind.trim())));
    let keys = ["mac-address", "cloned-mac-address", "address1", "addresses", "address", "dhcp-client-id", "dhcp-duid"];
    let ours = text.lines().any(|line| line.starts_with("id=ramet-"));
    wired && (ours || has_key(text, &keys) || text.lines().any(|line| line.trim() == "method=manual"))
}
