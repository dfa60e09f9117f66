//! Wake-on-LAN: the magic packet.
//!
//! In: addresses of a machine's cards. Out: UDP broadcasts: six bytes of ff, then the address sixteen times.
//! Promise: nothing is proven: a sleeping card does not answer, so the state is always unknown.

use super::{Attempts, NextBoot, Power, PowerError, PowerState, Trouble, What, tried};
use ramet_wire::settings::Mac;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// The discard port: the card reads the frame, no program the datagram.
const PORT: u16 = 9;
/// Packets per card: UDP loses some.
const TIMES: usize = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(100);

/// Cards that wake on a magic packet.
#[derive(Clone, Debug)]
pub struct Wake {
    to: SocketAddr,
    macs: Vec<Mac>,
}

impl Wake {
    /// `to`: where the packets go, as `HOST[:PORT]` in an address; none: to all on this machine's networks.
    #[must_use]
    pub fn new(to: Option<(Ipv4Addr, Option<u16>)>, macs: Vec<Mac>) -> Self {
        let (host, port) = to.unwrap_or((Ipv4Addr::BROADCAST, None));
        Self { to: (host, port.unwrap_or(PORT)).into(), macs }
    }

    fn send(&self) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_broadcast(true)?;
        for time in 0..TIMES {
            if time > 0 {
                std::thread::sleep(PAUSE);
            }
            for mac in &self.macs {
                socket.send_to(&packet(*mac), self.to)?;
            }
        }
        Ok(())
    }

    fn cannot<T>(&self, what: What, log: &mut dyn Attempts, words: &str) -> Result<T, PowerError> {
        tried(log, what, &self.how(), || Err(PowerError::new(Trouble::Manual, what, self.how(), words)))
    }
}

/// The magic packet of a card.
#[must_use]
pub fn packet(mac: Mac) -> Vec<u8> {
    [[0xff; 6].as_slice(), &mac.0.repeat(16)].concat()
}

impl Power for Wake {
    fn how(&self) -> String {
        "wol".to_owned()
    }

    fn reads_state(&self) -> bool {
        false
    }

    fn status(&self, _log: &mut dyn Attempts) -> Result<PowerState, PowerError> {
        Ok(PowerState::Unknown)
    }

    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        tried(log, What::On, &self.how(), || {
            let failed = |trouble, said: String| PowerError::new(trouble, What::On, self.how(), said);
            if self.macs.is_empty() {
                return Err(failed(Trouble::Settings, "the machine has no card whose address is known".to_owned()));
            }
            self.send().map_err(|error| failed(Trouble::Unreachable, format!("sending to {}: {error}", self.to)))?;
            Ok(((), format!("{TIMES} packets for each of {} cards to {}", self.macs.len(), self.to)))
        })
    }

    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.cannot(What::SoftOff, log, "Wake-on-LAN cannot switch off; do it by hand")
    }

    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError> {
        self.cannot(What::HardOff, log, "Wake-on-LAN cannot switch off; do it by hand")
    }

    fn next_boot_network(&self, _uefi: bool, _log: &mut dyn Attempts) -> Result<NextBoot, PowerError> {
        Ok(NextBoot::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_gets_its_packet_three_times() {
        let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
        ear.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let macs: Vec<Mac> = ["52:54:00:12:34:56", "52:54:00:12:34:57"].map(|mac| mac.parse().unwrap()).to_vec();
        let port = ear.local_addr().unwrap().port();
        let wake = Wake::new(Some((Ipv4Addr::LOCALHOST, Some(port))), macs);
        wake.on(&mut Vec::new()).unwrap();
        for last in [0x56, 0x57, 0x56, 0x57, 0x56, 0x57] {
            let mut got = [0; 200];
            let len = ear.recv(&mut got).unwrap();
            assert_eq!(len, 102);
            assert_eq!(got[..6], [0xff; 6]);
            assert!(got[6..102].chunks(6).all(|mac| mac == [0x52, 0x54, 0, 0x12, 0x34, last]), "{got:?}");
        }
    }

    #[test]
    fn what_it_cannot_do_is_said_and_not_pretended() {
        let (wake, mut log) = (Wake::new(None, vec![]), Vec::new());
        assert_eq!(wake.on(&mut log).unwrap_err().trouble, Trouble::Settings);
        assert_eq!(wake.soft_off(&mut log).unwrap_err().trouble, Trouble::Manual);
        assert_eq!(wake.hard_off(&mut log).unwrap_err().trouble, Trouble::Manual);
        assert_eq!(wake.status(&mut log).unwrap(), PowerState::Unknown);
        assert!(!wake.reads_state());
        assert_eq!(wake.next_boot_network(true, &mut log).unwrap(), NextBoot::Unsupported);
    }
}
