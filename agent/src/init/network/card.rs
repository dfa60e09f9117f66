//! Network cards as sysfs shows them.
//!
//! In: `/sys/class/net`. Out: names, indexes, addresses, drivers, links.
//! Promise: only real cards; bridges, tunnels and what we made ourselves are left out.

use crate::init::sys;
use ramet_wire::settings::Mac;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

const NET: &str = "/sys/class/net";
/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: &str = "1";

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// As the kernel calls it.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// The address that is burnt in.
    pub mac: Mac,
    /// The kernel's driver for it.
    pub driver: String,
}

/// All cards there are now, by name. `also` are names that count though no device stands behind them (for tests).
pub fn all(also: &[String]) -> Vec<Card> {
    let entries = std::fs::read_dir(NET).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut cards: Vec<Card> = names
        .filter(|name| also.contains(name) || folder(name).join("device").exists())
        .filter(|name| attribute(name, "type").as_deref() == Some(ETHERNET))
        .filter_map(|name| read(&name))
        .collect();
    cards.sort_by(|a, b| a.name.cmp(&b.name));
    cards
}

fn read(name: &str) -> Option<Card> {
    let index = index(name)?;
    let burnt_in = UdpSocket::bind("0.0.0.0:0").and_then(|socket| sys::permanent_mac(&socket, name)).ok().map(Mac);
    // Virtual cards often know the one in use only.
    let mac = burnt_in.or_else(|| in_use(name))?;
    let driver = std::fs::read_link(folder(name).join("device/driver")).unwrap_or_default();
    let driver = driver.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Card { name: name.to_owned(), index, mac, driver })
}

/// The card's number, while it is there.
pub fn index(name: &str) -> Option<u32> {
    attribute(name, "ifindex")?.parse().ok()
}

/// The address that it sends with.
pub fn in_use(name: &str) -> Option<Mac> {
    attribute(name, "address")?.parse().ok()
}

/// Whether the cable leads somewhere; a card that is off says nothing, and that is no.
pub fn has_link(name: &str) -> bool {
    attribute(name, "carrier").as_deref() == Some("1")
}

/// An IPv6 address of the card that reaches further than its link, from `/proc/net/if_inet6`.
pub fn global_v6(name: &str) -> Option<(Ipv6Addr, u8)> {
    parse_v6(&std::fs::read_to_string("/proc/net/if_inet6").ok()?, name)
}

/// Address, index, length, scope, flags (all hexadecimal), name.
fn parse_v6(table: &str, name: &str) -> Option<(Ipv6Addr, u8)> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, length, "00", flags, card] = words.as_slice() else { return None };
        // Tentative (0x40) and failed duplicate detection (0x08) can not be used.
        let ready = u32::from_str_radix(flags, 16).ok()? & 0x48 == 0;
        let address = Ipv6Addr::from_bits(u128::from_str_radix(address, 16).ok()?);
        (*card == name && ready).then_some((address, u8::from_str_radix(length, 16).ok()?))
    })
}

fn folder(name: &str) -> PathBuf {
    Path::new(NET).join(name)
}

fn attribute(name: &str, attribute: &str) -> Option<String> {
    // `carrier` of a card that is off gives EINVAL.
    Some(std::fs::read_to_string(folder(name).join(attribute)).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usable_global_addresses_count() {
        let table = "fe80000000000000505400fffe123456 02 40 20 80     eth0\n\
                     fd770000000000000000000000000005 02 40 00 40     eth0\n\
                     fd770000000000000000000000000006 02 40 00 00     eth0\n\
                     fd770000000000000000000000000007 03 40 00 00     eth1\n";
        assert_eq!(parse_v6(table, "eth0"), Some(("fd77::6".parse().unwrap(), 64)));
        assert_eq!(parse_v6(table, "eth2"), None);
        assert_eq!(parse_v6("garbage\n", "eth0"), None);
    }

    #[test]
    fn loopback_is_no_card() {
        assert!(all(&["lo".to_owned()]).iter().all(|card| card.name != "lo"));
    }
}
