//! DHCPv4 messages (RFC 2131, options of RFC 2132, 3396 and 3442).
//!
//! In: what the client wants to say. Out: bytes. And the other way round for what servers answer.
//! Promise: nothing that comes from the wire is believed to have the length it claims.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Bytes before the options: the fixed part and the magic cookie.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Shortest message that all relays and servers take (RFC 1542, 2.1).
const SHORTEST: usize = 300;

/// Kinds of messages, option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who is there?
    Discover = 1,
    /// A server's offer.
    Offer = 2,
    /// I take it, or want to keep it.
    Request = 3,
    /// It is yours.
    Ack = 5,
    /// It is not.
    Nak = 6,
}

/// What the client says.
#[derive(Clone, Debug)]
pub struct Say<'a> {
    /// What kind.
    pub kind: Kind,
    /// Number of this conversation.
    pub xid: u32,
    /// Since it began, in seconds.
    pub seconds: u16,
    /// Who.
    pub mac: [u8; 6],
    /// The address in use, when one is renewed; else 0.0.0.0.
    pub current: Ipv4Addr,
    /// The address wanted (option 50).
    pub wanted: Option<Ipv4Addr>,
    /// The server whose offer is taken (option 54).
    pub server: Option<Ipv4Addr>,
    /// SMBIOS's UUID (option 97), as firmware sends it.
    pub uuid: Option<&'a [u8; 16]>,
}

impl Say<'_> {
    /// The message's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        // A request, Ethernet, 6 bytes.
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.current.octets());
        bytes[28..34].copy_from_slice(&self.mac);
        bytes[236..].copy_from_slice(&COOKIE);
        let mut option = |code: u8, value: &[u8]| {
            bytes.push(code);
            bytes.push(u8::try_from(value.len()).unwrap_or(0));
            bytes.extend(value);
        };
        option(53, &[self.kind as u8]);
        // What iPXE sends: the type Ethernet and the address. So the agent gets the lease that its firmware got.
        option(61, &[[1].as_slice(), &self.mac].concat());
        if let Some(wanted) = self.wanted {
            option(50, &wanted.octets());
        }
        if let Some(server) = self.server {
            option(54, &server.octets());
        }
        // Not `PXEClient`: that would ask for a boot program, and bring answers without an address.
        option(60, b"ramet");
        option(57, &1472_u16.to_be_bytes());
        // Mask, routes, router, name servers, domain, MTU, lease, server, T1, T2.
        option(55, &[1, 121, 3, 6, 15, 26, 51, 54, 58, 59]);
        if let Some(uuid) = self.uuid {
            option(97, &[[0].as_slice(), uuid].concat());
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What kind.
    pub kind: Kind,
    /// The address it is about.
    pub address: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Heard {
    /// Reads an answer to conversation `xid` of `mac`; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8], xid: u32, mac: [u8; 6]) -> Option<Self> {
        let ours = bytes.len() >= FIXED
            && bytes[..3] == [2, 1, 6]
            && bytes[4..8] == xid.to_be_bytes()
            && bytes[28..34] == mac
            && bytes[236..240] == COOKIE;
        if !ours {
            return None;
        }
        let mut options = BTreeMap::new();
        collect(&bytes[FIXED..], &mut options);
        // Option 52: the fields for file (1) and server name (2) hold options, too.
        let overload = options.get(&52).and_then(|value: &Vec<u8>| value.first()).copied().unwrap_or(0);
        if overload & 1 != 0 {
            collect(&bytes[108..236], &mut options);
        }
        if overload & 2 != 0 {
            collect(&bytes[44..108], &mut options);
        }
        let kind = match options.get(&53)?.as_slice() {
            [2] => Kind::Offer,
            [5] => Kind::Ack,
            [6] => Kind::Nak,
            _ => return None,
        };
        let address = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        Some(Self { kind, address, options })
    }

    /// An address in an option.
    #[must_use]
    pub fn address_in(&self, code: u8) -> Option<Ipv4Addr> {
        self.addresses_in(code).first().copied()
    }

    /// All addresses in an option.
    #[must_use]
    pub fn addresses_in(&self, code: u8) -> Vec<Ipv4Addr> {
        let value = self.options.get(&code).map(Vec::as_slice).unwrap_or_default();
        value.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets)).collect()
    }

    /// Seconds in an option.
    #[must_use]
    pub fn seconds_in(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.options.get(&code)?.as_slice().try_into().ok()?))
    }

    /// A number of two bytes in an option.
    #[must_use]
    pub fn short_in(&self, code: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.options.get(&code)?.as_slice().try_into().ok()?))
    }

    /// Text in an option, if it is fit for a file of lines.
    #[must_use]
    pub fn text_in(&self, code: u8) -> Option<String> {
        let text = std::str::from_utf8(self.options.get(&code)?).ok()?.trim_end_matches('\0');
        let clean = !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-'));
        clean.then(|| text.to_owned())
    }

    /// Classless routes (RFC 3442): network, bits, router.
    #[must_use]
    pub fn routes(&self) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
        let mut rest = self.options.get(&121).map(Vec::as_slice).unwrap_or_default();
        let mut routes = Vec::new();
        while let Some((&bits, after)) = rest.split_first() {
            let significant = usize::from(bits).div_ceil(8);
            let Some((network, after)) = after.split_at_checked(significant).filter(|_| bits <= 32) else { break };
            let Some((router, after)) = after.split_first_chunk::<4>() else { break };
            let mut octets = [0; 4];
            octets[..significant].copy_from_slice(network);
            routes.push((Ipv4Addr::from(octets), bits, Ipv4Addr::from(*router)));
            rest = after;
        }
        routes
    }
}

/// Options with the same code are one option in pieces (RFC 3396).
fn collect(mut bytes: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    loop {
        match bytes {
            [] | [255, ..] => return,
            [0, rest @ ..] => bytes = rest,
            [code, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                let (value, rest) = rest.split_at(usize::from(*length));
                options.entry(*code).or_default().extend(value);
                bytes = rest;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn answer(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 0, 5]);
        bytes[28..34].copy_from_slice(&MAC);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn an_offer_has_its_options() {
        let options = [
            [53, 1, 2, 0].as_slice(),
            &[1, 4, 255, 255, 255, 0, 6, 4, 10, 0, 0, 1],
            &[6, 4, 10, 0, 0, 2, 51, 4, 0, 0, 14, 16],
            &[15, 4, b'l', b'a', b'n', 0],
            &[121, 13, 24, 192, 168, 7, 10, 0, 0, 9, 0, 10, 0, 0, 1],
            &[255, 3, 4, 9, 9, 9, 9],
        ];
        let heard = Heard::parse(&answer(&options.concat()), 7, MAC).unwrap();
        assert_eq!((heard.kind, heard.address), (Kind::Offer, Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(heard.addresses_in(6), [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(heard.seconds_in(51), Some(3600));
        assert_eq!(heard.text_in(15).as_deref(), Some("lan"));
        assert_eq!(heard.address_in(3), None);
        assert_eq!(
            heard.routes(),
            [
                (Ipv4Addr::new(192, 168, 7, 0), 24, Ipv4Addr::new(10, 0, 0, 9)),
                (Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(10, 0, 0, 1)),
            ]
        );
    }

    #[test]
    fn options_in_other_fields_are_read_when_told_so() {
        let mut bytes = answer(&[52, 1, 3, 255]);
        bytes[108..111].copy_from_slice(&[53, 1, 5]);
        bytes[111] = 255;
        bytes[44..50].copy_from_slice(&[3, 4, 10, 0, 0, 1]);
        bytes[50] = 255;
        let heard = Heard::parse(&bytes, 7, MAC).unwrap();
        assert_eq!((heard.kind, heard.address_in(3)), (Kind::Ack, Some(Ipv4Addr::new(10, 0, 0, 1))));
    }

    #[test]
    fn what_is_not_for_us_is_nothing() {
        let good = answer(&[53, 1, 5, 255]);
        assert!(Heard::parse(&good, 7, MAC).is_some());
        assert!(Heard::parse(&good, 8, MAC).is_none());
        assert!(Heard::parse(&good, 7, [0; 6]).is_none());
        assert!(Heard::parse(&good[..239], 7, MAC).is_none());
        assert!(Heard::parse(&answer(&[53, 1, 9]), 7, MAC).is_none());
        assert!(Heard::parse(&answer(&[53, 9, 5]), 7, MAC).is_none());
        assert!(Heard::parse(&answer(&[]), 7, MAC).is_none());
    }

    #[test]
    fn a_domain_that_would_break_a_file_of_lines_is_no_text() {
        let heard = Heard::parse(&answer(&[53, 1, 5, 15, 3, b'a', b'\n', b'b']), 7, MAC).unwrap();
        assert_eq!(heard.text_in(15), None);
    }

    #[test]
    fn a_question_has_the_identifier_of_firmware() {
        let say = Say {
            kind: Kind::Discover,
            xid: 7,
            seconds: 1,
            mac: MAC,
            current: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
            uuid: Some(&[9; 16]),
        };
        let bytes = say.bytes();
        assert!(bytes.len() >= SHORTEST);
        let mut options = BTreeMap::new();
        collect(&bytes[FIXED..], &mut options);
        assert_eq!(options[&61], [&[1], MAC.as_slice()].concat());
        assert_eq!(options[&97].len(), 17);
        assert_eq!(options[&53], [1]);
        assert!(!options.contains_key(&50));
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(heard) = Heard::parse(&answer(&tail), 7, MAC) {
                let _ = (heard.routes(), heard.addresses_in(6), heard.text_in(15), heard.short_in(26));
            }
        }
    }
}
