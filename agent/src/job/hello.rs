//! Who this machine is.
//!
//! In: SMBIOS, sysfs, the disks. Out: a [`Hello`] within the wire's limits.
//! Promise: every text is cut and clean, every list has its most.

use super::here::Here;
use super::stock::{Found, cut, seen};
use crate::capture::source::this_machine;
use ramet_wire::agents::{Hello, MACS_MAX};
use ramet_wire::manifest::Source;
use ramet_wire::settings::{Mac, Mode};
use std::io;
use std::path::Path;

/// What an agent says of itself.
///
/// # Errors
/// When the kernel gives no random bytes for the nonce.
pub fn hello(here: &Here, mode: Mode, found: &[Found]) -> io::Result<Hello> {
    Ok(Hello {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: here.nonce()?,
        mode,
        machine: machine(),
        macs: macs(Path::new("/sys/class/net")),
        disks: seen(found),
        hardware: None,
    })
}

fn machine() -> Source {
    let machine = this_machine();
    let cut = |text: Option<String>| text.as_deref().map(cut);
    Source {
        host: cut(machine.host),
        uuid: cut(machine.uuid),
        serial: cut(machine.serial),
        vendor: cut(machine.vendor),
        product: cut(machine.product),
        firmware: cut(machine.firmware),
    }
}

/// Addresses of Ethernet cards that are their own (kernel: Documentation/ABI/testing/sysfs-class-net): not those of VLANs,
/// bridges and the like.
#[must_use]
pub fn macs(class: &Path) -> Vec<Mac> {
    let Ok(cards) = std::fs::read_dir(class) else { return Vec::new() };
    let mac = |card: &Path| {
        let text = |file: &str| std::fs::read_to_string(card.join(file)).ok().map(|text| text.trim().to_owned());
        let ethernet = text("type")? == "1";
        let own = text("addr_assign_type").as_deref() == Some("0") || card.join("device").exists();
        let mac: Mac = text("address")?.parse().ok()?;
        (ethernet && own && mac.0 != [0; 6]).then_some(mac)
    };
    let mut macs: Vec<Mac> = cards.flatten().filter_map(|card| mac(&card.path())).collect();
    macs.sort_unstable();
    macs.dedup();
    macs.truncate(MACS_MAX);
    macs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_cards_are_told() {
        let class = tempfile::tempdir().unwrap();
        let card = |name: &str, files: &[(&str, &str)]| {
            let folder = class.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(file, text)| std::fs::write(folder.join(file), text).unwrap());
        };
        card("eth1", &[("type", "1\n"), ("addr_assign_type", "0\n"), ("address", "52:54:00:00:00:02\n")]);
        card("eth0", &[("type", "1\n"), ("addr_assign_type", "0\n"), ("address", "52:54:00:00:00:01\n")]);
        card("eth0.7", &[("type", "1\n"), ("addr_assign_type", "2\n"), ("address", "52:54:00:00:00:01\n")]);
        card("br0", &[("type", "1\n"), ("addr_assign_type", "1\n"), ("address", "52:54:00:00:00:09\n")]);
        card("lo", &[("type", "772\n"), ("addr_assign_type", "0\n"), ("address", "00:00:00:00:00:00\n")]);
        card("odd", &[("type", "1\n")]);
        let told: Vec<String> = macs(class.path()).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["52:54:00:00:00:01", "52:54:00:00:00:02"]);
        assert!(macs(Path::new("/nowhere")).is_empty());
    }
}
