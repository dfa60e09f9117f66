//! Who this machine is.
//!
//! In: SMBIOS, sysfs, the disks. Out: a [`Hello`] within the wire's limits.
//! Promise: every text is cut and clean, every list has its most.

use super::here::Here;
use super::stock::{Found, cut, seen};
use crate::capture::source::this_machine;
use crate::hardware::{self, tree::Tree};
use ramet_wire::agents::{Hello, MACS_MAX};
use ramet_wire::hardware::Hardware;
use ramet_wire::manifest::Source;
use ramet_wire::settings::{Mac, Mode};
use std::io;

/// What an agent says of itself.
///
/// # Errors
/// When the kernel gives no random bytes for the nonce.
pub fn hello(here: &Here, mode: Mode, found: &[Found]) -> io::Result<Hello> {
    let hardware = hardware::report(&Tree::of_this_machine(), here.neighbours());
    Ok(Hello {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: here.nonce()?,
        mode,
        machine: machine(),
        macs: macs(&hardware),
        disks: seen(found),
        hardware: Some(Box::new(hardware)),
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

/// Before the next Hello of the same boot: the hardware goes along only where it is not what `told` was, for example
/// because a switch has said who it is.
pub fn renew(hello: &mut Hello, told: &mut Option<Box<Hardware>>, here: &Here) {
    if let Some(last) = hello.hardware.take() {
        *told = Some(last);
    }
    let now = Some(Box::new(hardware::report(&Tree::of_this_machine(), here.neighbours())));
    if now != *told {
        hello.hardware = now;
    }
}

/// Addresses of all cards, ascending.
fn macs(hardware: &Hardware) -> Vec<Mac> {
    let mut macs: Vec<Mac> = hardware.cards.iter().map(|card| card.mac).collect();
    macs.sort_unstable();
    macs.dedup();
    macs.truncate(MACS_MAX);
    macs
}

#[cfg(test)]
mod tests {
    use super::super::stock::Stock;
    use super::*;
    use crate::menu::screen::Nobody;

    #[test]
    fn hardware_is_told_once_and_again_when_it_is_not_what_it_was() {
        let mut here = Here::new(None, Stock::Named(Vec::new()), Box::new(Nobody));
        here.guest = true;
        let mut told = None;
        let mut hello = hello(&here, Mode::Job, &[]).unwrap();
        let first = hello.hardware.clone().unwrap();
        renew(&mut hello, &mut told, &here);
        assert_eq!(hello.hardware, None);
        renew(&mut hello, &mut told, &here);
        assert_eq!(hello.hardware, None);
        if let Some(told) = &mut told {
            told.memory += 1;
        }
        renew(&mut hello, &mut told, &here);
        assert_eq!(hello.hardware, Some(first));
    }
}
