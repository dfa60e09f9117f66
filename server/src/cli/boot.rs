//! The commands of network boot.
//!
//! In: their options. Out: what the server answers; a configuration for dnsmasq.
//! Promise: a PIN is alone on stdout; words of machines are cleaned before they reach a terminal.

use super::args::boot::{
    AgentAction, BootAction, NetbootAction, NetbootArm, NetbootDnsmasq, PinAction, Uefi, UefiHttp,
};
use super::show::{bytes, json, table};
use super::{Fault, write};
use crate::boot::dnsmasq::Dnsmasq;
use crate::identity::names::split_host;
use crate::text::clean;
use nix::ifaddrs::getifaddrs;
use ramet_wire::agents::{AddPin, AgentSeen, Approve, Arm, Armed, OrderState, PinInfo};
use std::net::Ipv4Addr;

pub(super) fn boot(action: BootAction) -> Result<(), Fault> {
    match action {
        BootAction::BootInstall(args) => {
            let say = &mut |name: &str, size: u64| eprintln!("{name}  {}", bytes(size));
            let installed = args.reach().operator()?.install_boot(&args.dir, say)?;
            if args.json { json(&installed) } else { Ok(()) }
        }
        BootAction::BootLs(args) => {
            let installed = args.reach().operator()?.boot_files()?;
            if args.json {
                return json(&installed);
            }
            if installed.files.is_empty() {
                eprintln!("no boot files are installed");
                return Ok(());
            }
            eprintln!(
                "agent {}, kernel {}, built {}",
                clean(&installed.version, 32),
                clean(&installed.kernel, 64),
                crate::time::rfc3339(i64::try_from(installed.built).unwrap_or(0))
            );
            let rows =
                installed.files.iter().map(|file| vec![file.name.clone(), bytes(file.size), file.sha256.clone()]);
            write(&table(&["NAME", "SIZE", "SHA256"], &rows.collect::<Vec<_>>()))
        }
        BootAction::BootRm(args) => Ok(args.reach().operator()?.remove_boot()?),
    }
}

pub(super) fn netboot(action: NetbootAction) -> Result<(), Fault> {
    match action {
        NetbootAction::NetbootArm(args) => arm(&args),
        NetbootAction::NetbootLs(args) => {
            let armed = args.reach().operator()?.armed()?;
            if args.json { json(&armed) } else { write(&machines(&armed)) }
        }
        NetbootAction::NetbootDisarm(args) => Ok(args.reach().operator()?.disarm(args.mac)?),
        NetbootAction::NetbootDnsmasq(args) => write(&dnsmasq(args)?.text()),
    }
}

fn arm(args: &NetbootArm) -> Result<(), Fault> {
    let arm = Arm {
        mode: args.mode.0,
        image: args.image.clone(),
        once: args.once,
        expires: args.life.map(|life| life.0),
        then: args.then.map(|then| then.0),
        disk: args.disk.clone(),
        name: args.name.clone(),
    };
    let armed = args.reach().operator()?.arm(args.mac, &arm)?;
    if args.json { json(&armed) } else { Ok(()) }
}

fn machines(armed: &[Armed]) -> String {
    let row = |armed: &Armed| {
        let Arm { mode, image, once, then, .. } = &armed.arm;
        vec![
            armed.mac.to_string(),
            clean(&armed.arm.name, 40),
            word(mode),
            image.as_ref().map(ToString::to_string).unwrap_or_default(),
            if *once { "once" } else { "" }.to_owned(),
            then.as_ref().map(word).unwrap_or_default(),
            armed.expires.clone().unwrap_or_else(|| "never".to_owned()),
            armed.fetched.clone().unwrap_or_else(|| "never".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = armed.iter().map(row).collect();
    table(&["MAC", "NAME", "MODE", "IMAGE", "ONCE", "THEN", "EXPIRES", "FETCHED"], &rows)
}

/// The wire's own word.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

pub(super) fn agent(action: AgentAction) -> Result<(), Fault> {
    match action {
        AgentAction::AgentLs(args) => {
            let agents = args.reach().operator()?.agents()?;
            if args.json { json(&agents) } else { write(&agents_table(&agents)) }
        }
        AgentAction::AgentApprove(args) => {
            let approve = Approve {
                capture: args.capture.clone(),
                restore: args.restore.clone(),
                job: None,
                then: args.then.map(|then| then.0),
                disk: args.disk.clone(),
            };
            if approve.capture.is_some() == approve.restore.is_some() {
                return Err(Fault::Usage("give exactly one of --capture NAME and --restore IMAGE".to_owned()));
            }
            let seen = args.reach().operator()?.approve(&args.code, &approve)?;
            if args.json { json(&seen) } else { Ok(()) }
        }
    }
}

fn agents_table(agents: &[AgentSeen]) -> String {
    let row = |agent: &AgentSeen| {
        let hello = &agent.hello;
        let machine = [&hello.machine.vendor, &hello.machine.product, &hello.machine.serial];
        let machine: Vec<&str> = machine.into_iter().flatten().map(String::as_str).collect();
        let macs: Vec<String> = hello.macs.iter().take(4).map(ToString::to_string).collect();
        let work = agent.work.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![
            clean(&agent.code, 16),
            word(&agent.state),
            agent.seen.clone(),
            clean(&agent.peer, 45),
            word(&hello.mode),
            macs.join(","),
            clean(&machine.join(" "), 60),
            if agent.state == OrderState::Go { work } else { clean(&agent.note, 250) },
        ]
    };
    let rows: Vec<Vec<String>> = agents.iter().map(row).collect();
    table(&["CODE", "STATE", "SEEN", "PEER", "MODE", "MACS", "MACHINE", "WORK"], &rows)
}

pub(super) fn pin(action: PinAction) -> Result<(), Fault> {
    match action {
        PinAction::PinAdd(args) => {
            let (scopes, images) = (args.scope.0.clone(), args.images.clone());
            let added = args.reach().operator()?.add_pin(&AddPin { scopes, images, expires: args.expires.0 })?;
            if args.json { json(&added) } else { write(&format!("{}\n", added.pin)) }
        }
        PinAction::PinLs(args) => {
            let pins = args.reach().operator()?.pins()?;
            if args.json {
                return json(&pins);
            }
            let row = |pin: &PinInfo| {
                let scopes: Vec<String> = pin.scopes.iter().map(ToString::to_string).collect();
                let tries = if pin.tries == 0 { "void".to_owned() } else { pin.tries.to_string() };
                vec![pin.id.clone(), scopes.join(","), pin.images.to_string(), pin.expires.clone(), tries]
            };
            let rows: Vec<Vec<String>> = pins.iter().map(row).collect();
            write(&table(&["ID", "SCOPE", "IMAGES", "EXPIRES", "TRIES"], &rows))
        }
        PinAction::PinRm(args) => Ok(args.reach().operator()?.remove_pin(&args.id)?),
    }
}

fn dnsmasq(args: NetbootDnsmasq) -> Result<Dnsmasq, Fault> {
    let usage = |text: String| Fault::Usage(text);
    let boot_url = args.boot_url.trim_end_matches('/').to_owned();
    let host = boot_url.strip_prefix("http://").and_then(split_host);
    let host = host.ok_or_else(|| usage(format!("--boot-url {boot_url:?} is not http://HOST:PORT")))?;
    let tftp = args.tftp.or_else(|| host.parse().ok());
    let tftp = tftp.ok_or_else(|| usage(format!("which TFTP server? {host} is no address; give --tftp ADDRESS")))?;
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@/".contains(c));
    if !plain(&args.interface) || args.interface.len() > 15 {
        return Err(usage(format!("interface {:?} is no name of one", args.interface)));
    }
    if args.tftp_root.as_deref().is_some_and(|root| !root.to_str().is_some_and(plain)) {
        return Err(usage("--tftp-root has a character that does not fit into a configuration".to_owned()));
    }
    let own = network(&args.interface);
    let mask = match (own, args.range) {
        (Some((_, mask)), _) => mask,
        (None, Some(_)) => Ipv4Addr::new(255, 255, 255, 0),
        (None, None) => {
            let interface = &args.interface;
            return Err(usage(format!("{interface} has no IPv4 address on this machine; give --range FIRST,LAST")));
        }
    };
    let range = match (args.range, own) {
        (Some(range), _) if args.proxy => (base(range.0, mask), base(range.0, mask)),
        (Some(range), _) => (range.0, range.1),
        (None, Some((address, _))) if args.proxy => (base(address, mask), base(address, mask)),
        (None, Some((address, _))) => upper_half(address, mask)
            .ok_or_else(|| usage(format!("the network of {address} is too small; give --range FIRST,LAST")))?,
        (None, None) => return Err(usage("give --range FIRST,LAST".to_owned())),
    };
    Ok(Dnsmasq {
        interface: args.interface,
        range,
        mask,
        boot_url,
        tftp,
        tftp_root: args.tftp_root,
        proxy: args.proxy,
        shim: args.uefi.0 == Uefi::Shim,
        uki: args.uefi_http.0 == UefiHttp::Uki,
    })
}

fn base(address: Ipv4Addr, mask: Ipv4Addr) -> Ipv4Addr {
    (u32::from(address) & u32::from(mask)).into()
}

/// First and last address of a network's upper half, without the broadcast address; at most 1,024.
fn upper_half(address: Ipv4Addr, mask: Ipv4Addr) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (base, mask) = (u32::from(base(address, mask)), u32::from(mask));
    let size = (!mask).checked_add(1).filter(|size| *size >= 8)?;
    let own = u32::from(address);
    let (mut first, mut last) = (base + size / 2, base + size - 2);
    // The server's own address is not given away.
    if (first..=last).contains(&own) {
        (first, last) = (base + 1, base + size / 2 - 1);
    }
    Some((first.into(), last.min(first + 1023).into()))
}

/// IPv4 address and mask of an interface of this machine.
fn network(interface: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let mut all = getifaddrs().ok()?.filter(|entry| entry.interface_name == interface);
    all.find_map(|entry| Some((entry.address?.as_sockaddr_in()?.ip(), entry.netmask?.as_sockaddr_in()?.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_a_network_is_given_away_unless_the_server_lives_there() {
        let half = |address: &str, mask: &str| {
            let half = upper_half(address.parse().unwrap(), mask.parse().unwrap());
            half.map(|(first, last)| format!("{first} {last}"))
        };
        assert_eq!(half("10.77.0.1", "255.255.255.0").as_deref(), Some("10.77.0.128 10.77.0.254"));
        assert_eq!(half("10.77.0.200", "255.255.255.0").as_deref(), Some("10.77.0.1 10.77.0.127"));
        assert_eq!(half("10.0.0.1", "255.0.0.0").as_deref(), Some("10.128.0.0 10.128.3.255"));
        assert_eq!(half("10.0.0.1", "255.255.255.252"), None);
        assert_eq!(half("10.0.0.1", "0.0.0.0"), None);
    }
}
