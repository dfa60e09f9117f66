//! One card's life: on, link, address, server, and again from where it broke.
//!
//! In: a card. Out: its state in the network's book, sentence by sentence.
//! Promise: it ends only when the card is gone or not wanted; nothing that a wire or a server does stops it.

use super::book::Setup;
use super::card::{self, Card};
use super::netlink::Netlink;
use super::{Network, reach};
use crate::init::dhcp::{Client, Kept, Lease};
use ramet_wire::settings::FixedAddress;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a link is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Pause before what the kernel refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Pause between tries of a server that does not answer.
const RETRY: Duration = Duration::from_secs(2);

/// Lives a card's life until it is gone.
pub fn live(network: &Arc<Network>, card: &Card) {
    if let Some(nic) = network.wish.settings.nic
        && nic != card.mac
        && card::in_use(&card.name) != Some(nic)
    {
        network.state(&card.name, false, &format!("not used: clone.nic names {nic}"));
        return;
    }
    let interface = loop {
        match on(network, card) {
            Ok(interface) => break interface,
            Err(error) if card::index(&card.name).is_none() => return drop(error),
            Err(error) => {
                let state = format!("switching it on: {error}; its firmware may be missing, see Troubleshooting");
                network.state(&card.name, false, &state);
                std::thread::sleep(AGAIN);
            }
        }
    };
    let gone = Arc::new(AtomicBool::new(false));
    let prober = (Arc::clone(network), card.name.clone(), Arc::clone(&gone));
    std::thread::spawn(move || probe(&prober.0, &prober.1, &prober.2));
    let mut life = Life { network, card, interface, lease: None };
    while card::index(&card.name).is_some() {
        life.wait_for_link();
        match &network.wish.settings.ip {
            Some(ip) => life.fixed(ip),
            None => life.dynamic(),
        }
    }
    gone.store(true, Ordering::Relaxed);
}

/// Switches the card on, and its VLAN; returns the interface that shall have the address.
fn on(network: &Network, card: &Card) -> std::io::Result<String> {
    let mut netlink = Netlink::open()?;
    netlink.up(card.index)?;
    let Some(id) = network.wish.settings.vlan else { return Ok(card.name.clone()) };
    // Names are at most 15 bytes long.
    let name = format!("{}.{id}", &card.name[..card.name.len().min(10)]);
    netlink.vlan(card.index, id, &name)?;
    let index = card::index(&name).ok_or(nix::errno::Errno::ENODEV)?;
    netlink.up(index)?;
    if let Some(entry) = network.lock().cards.get_mut(&card.name) {
        entry.interface.clone_from(&name);
        entry.index = index;
    }
    Ok(name)
}

struct Life<'a> {
    network: &'a Network,
    card: &'a Card,
    interface: String,
    /// With its beginning.
    lease: Option<(Lease, Instant)>,
}

impl Life<'_> {
    fn state(&self, link: bool, state: &str) {
        self.network.state(&self.card.name, link, state);
    }

    fn wait_for_link(&self) {
        let start = Instant::now();
        let patience = self.network.wish.settings.timeouts.link;
        while !card::has_link(&self.interface) && card::index(&self.card.name).is_some() {
            if start.elapsed() >= patience {
                let cable = "check the cable and the switch port, or name another card with clone.nic";
                self.state(false, &format!("no link after {} s; {cable}", patience.as_secs()));
            } else {
                self.state(false, "waiting for a link");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The address stays while the link is away: it is nobody else's.
    fn fixed(&self, ip: &FixedAddress) {
        let state = match self.network.claim_fixed(self.card) {
            Err(other) => other,
            Ok(()) => match self.network.set_up(&self.card.name, Some(Setup::fixed(ip))) {
                Ok(()) => format!("{}/{} by clone.ip", ip.address, ip.length),
                Err(error) => format!("setting {}/{}: {error}; correct clone.ip", ip.address, ip.length),
            },
        };
        self.state(true, &state);
        while card::has_link(&self.interface) {
            std::thread::sleep(LOOK);
        }
    }

    /// Gets a lease and keeps it until the link goes.
    fn dynamic(&mut self) {
        let index = card::index(&self.interface).unwrap_or(self.card.index);
        let mac = card::in_use(&self.interface).unwrap_or(self.card.mac);
        let Ok(mut client) = Client::open(&self.interface, index, mac.0) else {
            std::thread::sleep(AGAIN);
            return;
        };
        let go_on = || card::has_link(&self.interface);
        if let Some((lease, start)) = self.lease.take() {
            // The cable was out; perhaps it now leads elsewhere.
            let over = lease.seconds != u32::MAX && start.elapsed() >= Duration::from_secs(lease.seconds.into());
            self.lease = if over { None } else { client.confirm(&lease, &go_on).map(|lease| (lease, Instant::now())) };
            if self.lease.is_none() && go_on() {
                self.lost("the link was away, and the address is no longer ours");
            }
        }
        while go_on() {
            let Some((lease, start)) = self.lease.take().or_else(|| self.acquire(&mut client)) else { return };
            self.use_lease(&lease, index);
            match client.keep(&lease, start, &go_on) {
                Kept::Renewed(new) => self.lease = Some((new, Instant::now())),
                Kept::Stopped => self.lease = Some((lease, start)),
                Kept::Refused => self.lost("the DHCP server took the address back"),
                Kept::Expired => self.lost("the lease ran out and no DHCP server answered"),
            }
        }
    }

    fn acquire(&self, client: &mut Client) -> Option<(Lease, Instant)> {
        let start = Instant::now();
        let patience = self.network.wish.settings.timeouts.lease;
        self.state(true, "asking for an address by DHCP");
        let go_on = || {
            if start.elapsed() >= patience {
                let seconds = patience.as_secs();
                self.state(
                    true,
                    &format!(
                        "no lease after {seconds} s; check that a DHCP server answers on this network, or give an \
                         address with clone.ip"
                    ),
                );
            }
            card::has_link(&self.interface)
        };
        client.acquire(&go_on).map(|lease| (lease, Instant::now()))
    }

    fn use_lease(&self, lease: &Lease, index: u32) {
        if let Some(mtu) = lease.mtu
            && let Ok(mut netlink) = Netlink::open()
        {
            // A card that can not has its own; the lease is good all the same.
            let _ = netlink.mtu(index, mtu.into());
        }
        let Lease { address, length, server, .. } = lease;
        let no_route = lease.routes.iter().all(|(_, bits, _)| *bits > 0);
        let route = if no_route { ", without a route to other networks" } else { "" };
        let state = match self.network.set_up(&self.card.name, Some(Setup::by_lease(lease))) {
            Ok(()) => format!("{address}/{length} by DHCP from {server}{route}"),
            Err(error) => format!("setting {address}/{length} from {server}: {error}; check the DHCP server's options"),
        };
        self.state(true, &state);
    }

    fn lost(&self, why: &str) {
        let _ = self.network.set_up(&self.card.name, None);
        self.state(true, &format!("{why}; asking again"));
    }
}

/// Tries the server over this card whenever it has a new address, until it answers.
fn probe(network: &Network, name: &str, gone: &AtomicBool) {
    let mut done = None;
    while !gone.load(Ordering::Relaxed) {
        let Some((interface, generation, setup, v6)) = ready(network, name) else {
            std::thread::sleep(LOOK);
            continue;
        };
        if done == Some((generation, v6)) {
            std::thread::sleep(LOOK);
            continue;
        }
        let result = match &network.wish.settings.server {
            // Nobody to reach: the first card with an address has won.
            None => Ok(()),
            Some(url) => reach::server(url, network.wish.settings.key, &interface)
                .map_err(|error| explain(setup.as_ref(), error)),
        };
        if result.is_ok() {
            done = Some((generation, v6));
        }
        let pause = if result.is_ok() { LOOK } else { RETRY };
        network.tried(name, generation, result);
        std::thread::sleep(pause);
    }
}

type Ready = (String, u64, Option<Setup>, bool);

/// The interface, if it has an address of either family.
fn ready(network: &Network, name: &str) -> Option<Ready> {
    let (interface, generation, setup) = {
        let inner = network.lock();
        let entry = inner.cards.get(name)?;
        (entry.interface.clone(), entry.generation, entry.setup.clone())
    };
    let v6 = card::global_v6(&interface);
    if setup.is_none() && v6.is_none() {
        return None;
    }
    if let (None, Some((address, length))) = (&setup, v6) {
        let mut inner = network.lock();
        if let Some(entry) = inner.cards.get_mut(name) {
            entry.seen.address = Some(format!("{address}/{length}"));
        }
    }
    Some((interface, generation, setup, v6.is_some()))
}

/// A lease without a route is the likeliest reason, where there is one.
fn explain(setup: Option<&Setup>, error: String) -> String {
    let no_route = setup.is_some_and(|setup| setup.routes.iter().all(|(_, bits, _)| *bits > 0));
    if no_route && error.contains("does not answer") {
        return format!("{error}; the DHCP server names no router: add one, or give it with clone.ip");
    }
    error
}
