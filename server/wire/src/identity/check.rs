//! What a rendered declaration may say.
//!
//! In: a declaration without variables. Out: the first thing that is wrong, with its key.
//! Promise: what passes holds no line break and no control character where a line of a system's file is made of it.

use super::{Card, Dhcp, ENTRIES_MAX, FileEntry, HOST_NAME_MAX, Identity, IdentityError};
use crate::settings::Mac;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Longest line of `authorized_keys`, in bytes: what sshd reads.
const KEY_MAX: usize = 8192;
/// Longest path, in bytes, and longest name in it.
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
/// What `authorized_keys` knows, sshd(8).
const KEY_KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
];

type Checked = Result<(), IdentityError>;

fn wrong(key: &str, found: impl Into<String>, wanted: &str) -> IdentityError {
    let found: String = found.into().chars().take(200).collect();
    IdentityError::Value { key: key.to_owned(), found, wanted: wanted.to_owned() }
}

fn expect(holds: bool, key: &str, found: &str, wanted: &str) -> Checked {
    if holds { Ok(()) } else { Err(wrong(key, found, wanted)) }
}

/// A host name: labels of letters, digits and inner dashes (RFC 1123), at most [`HOST_NAME_MAX`] bytes.
#[must_use]
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= HOST_NAME_MAX && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// A user's name as useradd(8) takes it.
#[must_use]
pub fn is_login(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.len() <= 32
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().all(inner)
}

impl Identity {
    /// The first thing that is wrong.
    ///
    /// # Errors
    /// [`IdentityError::Value`].
    pub fn check(&self) -> Checked {
        if let Some(name) = &self.hostname {
            let wanted = "a host name of letters, digits and inner dashes, at most 64 bytes";
            expect(is_host_name(name) && !name.eq_ignore_ascii_case("localhost"), "hostname", name, wanted)?;
        }
        for (key, count) in [
            ("hosts", self.hosts.len()),
            ("users", self.users.len()),
            ("network", self.network.len()),
            ("files", self.files.len()),
        ] {
            expect(count <= ENTRIES_MAX, key, &count.to_string(), "at most 256 entries")?;
        }
        for (address, names) in &self.hosts {
            let key = format!("hosts.{address:?}");
            expect(address.parse::<IpAddr>().is_ok(), &key, address, "an IP address")?;
            let fits = (1..=ENTRIES_MAX).contains(&names.len());
            expect(fits, &key, &names.len().to_string(), "one to 256 names")?;
            for name in names {
                expect(is_host_name(name), &key, name, "a host name")?;
            }
        }
        self.check_users()?;
        check_cards(&self.network)?;
        self.files.iter().try_for_each(|(path, file)| check_file(path, file))
    }

    fn check_users(&self) -> Checked {
        for (name, user) in &self.users {
            let key = format!("users.{name}");
            expect(is_login(name), &key, name, "a login name")?;
            let keys = user.authorized_keys.as_deref().unwrap_or_default();
            let key = format!("{key}.authorized-keys");
            expect(keys.len() <= ENTRIES_MAX, &key, &keys.len().to_string(), "at most 256 keys")?;
            for line in keys {
                expect(is_key(line), &key, line, "a public key on one line, as ssh-keygen prints it")?;
            }
        }
        Ok(())
    }
}

/// Options may stand before its kind; what follows the kind is base64 of at least that kind's name.
fn is_key(line: &str) -> bool {
    let clean = line.len() <= KEY_MAX && !line.chars().any(char::is_control) && !line.starts_with('#');
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let kind = words.by_ref().find(|word| KEY_KINDS.contains(word));
    let body = words.next().unwrap_or_default();
    clean
        && kind.is_some_and(|kind| {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
            bytes.get(4..).is_some_and(|rest| rest.starts_with(kind.as_bytes()))
        })
}

fn check_cards(cards: &BTreeMap<String, Card>) -> Checked {
    let mut macs = BTreeMap::new();
    let mut ways: [Option<String>; 2] = [None, None];
    for (name, card) in cards {
        let key = format!("network.{name}");
        // Ten, so that `name.4094` is at most 15 bytes: the kernel's IFNAMSIZ. The kernel's own names collide.
        let fits = (1..=10).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !["eth", "wlan", "lo", "en", "usb"].iter().any(|own| name.starts_with(own));
        expect(
            fits,
            &key,
            name,
            "at most ten lower-case letters and digits, not beginning with eth, en, wlan, usb or lo",
        )?;
        let mac = card.mac.as_deref().unwrap_or_default();
        let parsed: Mac = mac.parse().map_err(|_| wrong(&format!("{key}.mac"), mac, "the card's MAC address"))?;
        let fits = parsed.0[0] & 1 == 0 && parsed.0 != [0; 6];
        expect(fits, &format!("{key}.mac"), mac, "the address of one card, no group's")?;
        if let Some(other) = macs.insert(parsed.0, name.clone()) {
            return Err(wrong(&format!("{key}.mac"), mac, &format!("another than that of network.{other}")));
        }
        check_card(&key, card, &mut ways)?;
        for (id, vlan) in &card.vlans {
            let key = format!("{key}.vlans.{id}");
            let number: u16 = id.parse().unwrap_or(0);
            let plain = (1..=4094).contains(&number) && number.to_string() == *id;
            expect(plain, &key, id, "a number from 1 to 4094")?;
            expect(vlan.mac.is_none() && vlan.vlans.is_empty(), &key, "mac or vlans", "neither: it has its card's")?;
            check_card(&key, vlan, &mut ways)?;
        }
    }
    Ok(())
}

fn check_card(key: &str, card: &Card, ways: &mut [Option<String>; 2]) -> Checked {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (addresses, gateways) = (list(&card.addresses), list(&card.gateways));
    for (name, count) in [
        ("addresses", addresses.len()),
        ("gateways", gateways.len()),
        ("dns", list(&card.dns).len()),
        ("search", list(&card.search).len()),
        ("vlans", card.vlans.len()),
    ] {
        let most = if name == "vlans" { ENTRIES_MAX } else { 16 };
        expect(count <= most, &format!("{key}.{name}"), &count.to_string(), &format!("at most {most}"))?;
    }
    let mut nets = Vec::new();
    for address in &addresses {
        let wanted = "an address with its network's length: 192.0.2.21/24";
        nets.push(network(address).ok_or_else(|| wrong(&format!("{key}.addresses"), address, wanted))?);
    }
    let asks = card.dhcp.is_some_and(|dhcp| dhcp != Dhcp::No) || card.dhcp.is_none() && addresses.is_empty();
    expect(asks || !nets.is_empty(), key, "dhcp = \"no\"", "dhcp or addresses")?;
    for gateway in &gateways {
        let key = format!("{key}.gateways");
        let address: IpAddr = gateway.parse().map_err(|_| wrong(&key, gateway, "an IP address"))?;
        let local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let near = nets.iter().any(|(own, length)| inside(*own, *length, address));
        expect(local || near, &key, gateway, "an address inside one of this card's networks")?;
        let way = &mut ways[usize::from(address.is_ipv6())];
        if let Some(other) = way.replace(key.clone()) {
            return Err(wrong(&key, gateway, &format!("one way out; {other} has one for the same protocol")));
        }
    }
    for server in list(&card.dns) {
        expect(server.parse::<IpAddr>().is_ok(), &format!("{key}.dns"), &server, "an IP address")?;
    }
    for domain in list(&card.search) {
        expect(is_host_name(&domain), &format!("{key}.search"), &domain, "a domain")?;
    }
    if let Some(mtu) = card.mtu {
        expect((576..=65_535).contains(&mtu), &format!("{key}.mtu"), &mtu.to_string(), "576 to 65535")?;
    }
    Ok(())
}

/// An address and the bits of its network.
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    let most = if address.is_ipv6() { 128 } else { 32 };
    let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
    ((1..=most).contains(&bits) && usable && bits.to_string() == length).then_some((address, bits))
}

fn inside(own: IpAddr, length: u8, other: IpAddr) -> bool {
    let same =
        |own: u128, other: u128, bits: u32| (own ^ other).checked_shr(bits - u32::from(length)).unwrap_or(0) == 0;
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => same(u128::from(own.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
        _ => false,
    }
}

fn check_file(path: &str, file: &FileEntry) -> Checked {
    let key = format!("files.{path:?}");
    let part = |part: &str| (1..=NAME_MAX).contains(&part.len()) && part != "." && part != "..";
    let fits = path.len() <= PATH_MAX
        && path.strip_prefix('/').is_some_and(|path| path.split('/').all(part))
        && !path.chars().any(char::is_control);
    expect(fits, &key, path, "an absolute path without . and ..")?;
    let given = usize::from(file.content.is_some())
        + usize::from(file.template.is_some())
        + usize::from(file.remove == Some(true));
    expect(given == 1, &key, &given.to_string(), "exactly one of content, template and remove")?;
    if file.remove == Some(true) {
        let plain = file.mode.is_none() && file.owner.is_none() && file.secret.is_none();
        expect(plain, &key, "mode, owner or secret", "nothing beside remove")?;
    }
    if let Some(mode) = &file.mode {
        let fits = (3..=4).contains(&mode.len()) && u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777);
        expect(fits, &format!("{key}.mode"), mode, "three or four octal digits")?;
    }
    if let Some(owner) = &file.owner {
        let fits = owner.split_once(':').is_some_and(|(user, group)| is_login(user) && is_login(group));
        expect(fits, &format!("{key}.owner"), owner, "user:group")?;
    }
    Ok(())
}
