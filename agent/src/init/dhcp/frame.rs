//! DHCP's way through the wire while a card has no address: UDP in IPv4 in Ethernet.
//!
//! In: a payload. Out: a frame; and the other way round.
//! Promise: only whole, unfragmented datagrams to port 68 come out; every length is compared with what there is.

use std::net::Ipv4Addr;

/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;
const UDP: u8 = 17;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// A broadcast to all DHCP servers, from a card with this address and, when one is rebound, `source`.
#[must_use]
pub fn broadcast(mac: [u8; 6], source: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    // A payload is some 300 bytes long.
    let length = |extra: usize| u16::try_from(payload.len() + extra).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = Vec::with_capacity(HEADERS + payload.len());
    frame.extend([0xff; 6]);
    frame.extend(mac);
    frame.extend([0x08, 0x00]);
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(28));
    ip[8] = 64;
    ip[9] = UDP;
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..].copy_from_slice(&[0xff; 4]);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    frame.extend(ip);
    let mut udp = [0; 8];
    udp[..2].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&length(8));
    let pseudo = [&ip[12..20], &[0, UDP], &length(8)].concat();
    let sum = checksum(&[&pseudo, &udp, payload]);
    // Zero would mean that there is none.
    udp[6..].copy_from_slice(&if sum == [0, 0] { [0xff, 0xff] } else { sum });
    frame.extend(udp);
    frame.extend(payload);
    frame
}

/// The payload of a datagram from a server to a client.
///
/// UDP's checksum is not looked at: a server on the same host leaves it to a card that does not exist, and Ethernet has
/// one of its own.
#[must_use]
pub fn payload(frame: &[u8]) -> Option<&[u8]> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let whole = ethernet[12..] == [0x08, 0x00] && ip[0] >> 4 == 4 && header >= 20;
    if !whole || total < header + 8 || ip.len() < total {
        return None;
    }
    // More fragments, or not the first one.
    let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    if ip[9] != UDP || fragment != 0 || checksum(&[&ip[..header]]) != [0, 0] {
        return None;
    }
    let udp = &ip[header..total];
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let ours = udp[..2] == SERVER_PORT.to_be_bytes() && udp[2..4] == CLIENT_PORT.to_be_bytes();
    (ours && length >= 8).then(|| udp.get(8..length))?
}

/// The Internet checksum (RFC 1071) over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(payload: &[u8]) -> Vec<u8> {
        let mut frame = broadcast([1; 6], Ipv4Addr::new(10, 0, 0, 1), payload);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        assert_eq!(payload(&answer(b"odd")), Some(b"odd".as_slice()));
        let mut padded = answer(b"even");
        padded.extend([0; 20]);
        assert_eq!(payload(&padded), Some(b"even".as_slice()));
    }

    #[test]
    fn what_is_no_answer_is_nothing() {
        let good = answer(b"payload");
        // Ethernet type, version, length, fragment, protocol, address (checksum), port.
        for (at, value) in [(12, 0x86), (14, 0x65), (14, 0x41), (16, 1), (20, 0x20), (23, 6), (26, 11), (37, 67)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(payload(&bad), None, "byte {at}");
        }
        for length in 0..good.len() {
            assert_eq!(payload(&good[..length]), None, "{length} bytes");
        }
        assert_eq!(payload(&broadcast([1; 6], Ipv4Addr::UNSPECIFIED, b"question")), None);
    }

    proptest! {
        #[test]
        fn no_bytes_from_the_wire_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..100)) {
            if frame.len() > 24 {
                frame[12..15].copy_from_slice(&[8, 0, 0x45]);
            }
            let _ = payload(&frame);
        }
    }
}
