//! How often strangers may ask.
//!
//! In: requests of peers that show no credentials. Out: whether each is answered now.
//! Promise: one address cannot use up what all may ask; memory is bounded however many addresses there are.

use crate::config::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const PEERS: usize = 4096;

/// A request each `pace`, after a burst: the generic cell rate algorithm, which needs one instant to remember.
#[derive(Clone, Copy, Debug)]
struct Pace {
    pace: Duration,
    slack: Duration,
}

impl Pace {
    fn new(pace: Duration, burst: u32) -> Self {
        Self { pace, slack: pace * burst.saturating_sub(1) }
    }

    /// When the next one would be on time, if this one may pass.
    fn pass(&self, due: Option<Instant>, now: Instant) -> Option<Instant> {
        let due = due.map_or(now, |due| due.max(now));
        (due - now <= self.slack).then(|| due + self.pace)
    }
}

/// The paces of all and of each.
#[derive(Debug)]
pub struct Rate {
    all: Pace,
    each: Pace,
    due: Mutex<(Option<Instant>, HashMap<IpAddr, Instant>)>,
}

impl Rate {
    /// As the limits say.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let (all, each) = (Pace::new(limits.pace, limits.burst.0), Pace::new(limits.pace_of_peer, limits.burst.1));
        Self { all, each, due: Mutex::default() }
    }

    /// Whether a request of `peer` is answered at `now`.
    #[must_use]
    pub fn admits(&self, peer: IpAddr, now: Instant) -> bool {
        let peer = network(peer);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, peers) = &mut *due;
        if peers.len() >= PEERS && !peers.contains_key(&peer) {
            peers.retain(|_, due| *due > now);
            if peers.len() >= PEERS {
                return false;
            }
        }
        let Some(own) = self.each.pass(peers.get(&peer).copied(), now) else { return false };
        let Some(next) = self.all.pass(*all, now) else { return false };
        *all = Some(next);
        peers.insert(peer, own);
        true
    }
}

/// One host of IPv6 has a whole network of addresses.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(all: u32, each: u32) -> Rate {
        let second = Duration::from_secs(1);
        Rate::new(&Limits { pace: second, pace_of_peer: second, burst: (all, each), ..Limits::default() })
    }

    #[test]
    fn a_peer_gets_its_burst_and_then_its_pace_and_others_are_not_touched() {
        let (rate, begin) = (rate(100, 3), Instant::now());
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!((0..9).filter(|_| rate.admits(one, begin)).count(), 3);
        assert!(rate.admits(other, begin));
        assert!(!rate.admits(one, begin + Duration::from_millis(900)));
        assert!(rate.admits(one, begin + Duration::from_secs(1)));
        assert!(!rate.admits(one, begin + Duration::from_secs(1)));
    }

    #[test]
    fn all_together_have_a_pace_too() {
        let (rate, now) = (rate(5, 5), Instant::now());
        let admitted = (0..50_u8).filter(|n| rate.admits(IpAddr::from([10, 0, 0, *n]), now)).count();
        assert_eq!(admitted, 5);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_memory_is_bounded() {
        let (rate, now) = (rate(1_000_000, 2), Instant::now());
        let of = |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        assert_eq!((0..9).filter(|host| rate.admits(of(1, *host), now)).count(), 2);
        let admitted = (0..10_000).filter(|network| rate.admits(of(*network, 1), now)).count();
        assert!(admitted <= PEERS, "{admitted}");
        assert!(rate.due.lock().unwrap().1.len() <= PEERS);
    }
}
