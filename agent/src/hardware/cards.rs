//! Network cards: address, driver, link, and what is at the other end.
//!
//! In: `/sys/class/net`, the cards' own addresses, LLDP. Out: Ethernet cards, ascending by name.
//! Promise: only cards; VLANs, bridges, bonds and other made-up ones are left out.

use super::lldp::Listener;
use super::tree::Tree;
use crate::init::sys;
use ramet_wire::hardware::Card;
use ramet_wire::settings::Mac;
use std::net::UdpSocket;

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ETHERNET: &str = "1";

/// All cards (kernel: Documentation/ABI/testing/sysfs-class-net), at most `most`.
#[must_use]
pub fn cards(tree: &Tree, neighbours: Option<&Listener>, most: usize) -> Vec<Card> {
    let names = tree.names("sys/class/net");
    let mut cards: Vec<Card> = names.into_iter().filter_map(|name| card(tree, neighbours, name)).collect();
    cards.truncate(most);
    cards
}

fn card(tree: &Tree, neighbours: Option<&Listener>, name: String) -> Option<Card> {
    let folder = format!("sys/class/net/{name}");
    let text = |file: &str| tree.text(&format!("{folder}/{file}"));
    // A card whose address somebody changed (3) still has its device; a VLAN has the address of its card (2).
    let own = text("addr_assign_type").as_deref() == Some("0") || tree.has(&format!("{folder}/device"));
    if text("type").as_deref() != Some(ETHERNET) || !own {
        return None;
    }
    let burnt_in = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok().filter(|_| tree.is_live())?;
        sys::permanent_mac(&socket, &name).ok().map(Mac)
    };
    // An address of a group, or none, is no card's.
    let usable = |mac: &Mac| mac.0 != [0; 6] && mac.0[0] & 1 == 0;
    let mac = burnt_in().filter(usable).or_else(|| text("address")?.parse().ok()).filter(usable)?;
    let link = text("carrier").as_deref() == Some("1");
    // -1 and the whole range of u32 both mean unknown.
    let speed = text("speed").and_then(|speed| speed.parse::<i64>().ok()).filter(|_| link);
    let speed = speed.and_then(|speed| u32::try_from(speed).ok()).filter(|speed| (1..u32::MAX).contains(speed));
    let driver = tree.link(&format!("{folder}/device/driver"));
    let neighbour = neighbours.and_then(|neighbours| neighbours.neighbour(&name));
    Some(Card { name, mac, driver, link, speed, neighbour })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Made;
    use super::*;

    fn card(made: &Made, name: &str, files: &[(&str, &str)]) {
        for (file, text) in files {
            made.file(&format!("sys/class/net/{name}/{file}"), format!("{text}\n").as_bytes());
        }
    }

    #[test]
    fn a_card_has_address_driver_link_and_speed_and_what_is_made_up_is_no_card() {
        let made = Made::new();
        let at = |mac: &'static str| [("type", "1"), ("addr_assign_type", "0"), ("address", mac)];
        card(&made, "eth0", &at("52:54:00:00:00:01"));
        card(&made, "eth0", &[("carrier", "1"), ("speed", "10000")]);
        made.link("sys/class/net/eth0/device/driver", "sys/bus/pci/drivers/ixgbe");
        card(&made, "eth1", &at("52:54:00:00:00:02"));
        card(&made, "eth1", &[("carrier", "0"), ("speed", "1000")]);
        card(&made, "eth2", &at("52:54:00:00:00:03"));
        card(&made, "eth2", &[("carrier", "1"), ("speed", "-1")]);
        card(&made, "eth0.7", &[("type", "1"), ("addr_assign_type", "2"), ("address", "52:54:00:00:00:01")]);
        card(&made, "br0", &[("type", "1"), ("addr_assign_type", "1"), ("address", "52:54:00:00:00:09")]);
        card(&made, "lo", &[("type", "772"), ("addr_assign_type", "0"), ("address", "00:00:00:00:00:00")]);
        card(&made, "group", &at("01:80:c2:00:00:0e"));
        card(&made, "odd", &[("type", "1")]);
        let all = cards(&made.tree(), None, 32);
        let names: Vec<_> = all.iter().map(|card| (card.name.as_str(), card.link, card.speed)).collect();
        assert_eq!(names, [("eth0", true, Some(10_000)), ("eth1", false, None), ("eth2", true, None)]);
        assert_eq!((all[0].mac.to_string().as_str(), all[0].driver.as_deref()), ("52:54:00:00:00:01", Some("ixgbe")));
        assert_eq!(all[1].driver, None);
        assert_eq!(cards(&made.tree(), None, 2).len(), 2);
    }

    #[test]
    fn a_card_whose_address_was_changed_is_still_a_card() {
        let made = Made::new();
        card(&made, "eth0", &[("type", "1"), ("addr_assign_type", "3"), ("address", "52:54:00:00:00:01")]);
        made.link("sys/class/net/eth0/device", "sys/devices/pci0000:00/0000:00:03.0");
        assert_eq!(cards(&made.tree(), None, 32).len(), 1);
    }
}
