//! The inventory: which machines there are, who each is, and what happens to new ones by itself.
//!
//! In: reports of agents, words of operators, rules. Out: machines in the database.
//! Promise: a machine gets no work until an operator or a rule has accepted it; a report never makes one machine another.
//!
//! ```text
//! Hello ─→ clean ─→ identify ─┬─→ ours: work, if a job of it waits for its boot
//!                             ├─→ new: enrolled, bounded in number ─→ rules
//!                             └─→ conflict: enrolled, with what speaks against it
//! ```

pub mod disks;
pub mod health;
pub mod identity;
pub mod rule;
pub mod welcome;

use crate::db::machines::Report;
use crate::text::clean;
use ramet_wire::agents::{DiskSeen, Hello, TEXT_MAX};
use ramet_wire::hardware::{CARDS_MAX, Card, Cpu, Hardware, Neighbour, PCI_MAX, USB_MAX};
use std::net::IpAddr;

/// Longest modalias, in characters.
const ALIAS_MAX: usize = 80;

/// UUIDs that makers leave in their firmware and that identify nobody.
const NOBODYS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// A UUID as the inventory writes it: 36 characters, lower case; none where it is none or identifies nobody.
#[must_use]
pub fn uuid(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let fits = text.len() == 36
        && text.bytes().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == b'-',
            _ => c.is_ascii_hexdigit(),
        });
    (fits && !NOBODYS.contains(&text.as_str())).then_some(text)
}

/// The disks onto which restores go without naming them.
pub fn candidates(disks: &[DiskSeen]) -> impl Iterator<Item = &DiskSeen> {
    disks.iter().filter(|disk| !disk.named_only)
}

/// What a Hello, cleaned, says of its machine.
#[must_use]
pub fn report(hello: &Hello, peer: IpAddr) -> Report {
    Report {
        macs: hello.macs.clone(),
        uuid: hello.machine.uuid.as_deref().and_then(uuid),
        source: hello.machine.clone(),
        disks: hello.disks.clone(),
        hardware: hello.hardware.as_deref().cloned(),
        peer: peer.to_string(),
    }
}

/// Hardware within its bounds, with clean texts: what is too many is cut.
#[must_use]
pub fn cleaned(hardware: Hardware) -> Hardware {
    let short = |text: &str| clean(text, TEXT_MAX);
    let aliases = |list: Vec<String>, most: usize| -> Vec<String> {
        let mut list: Vec<String> = list.iter().take(most).map(|alias| clean(alias, ALIAS_MAX)).collect();
        list.sort();
        list.dedup();
        list
    };
    let card = |card: Card| Card {
        name: short(&card.name),
        driver: card.driver.as_deref().map(short),
        neighbour: card.neighbour.map(|there| Neighbour { system: short(&there.system), port: short(&there.port) }),
        ..card
    };
    Hardware {
        cpu: Cpu { model: short(&hardware.cpu.model), ..hardware.cpu },
        memory: hardware.memory.min(1 << 60),
        cards: hardware.cards.into_iter().take(CARDS_MAX).map(card).collect(),
        secure_boot: hardware.secure_boot,
        pci: aliases(hardware.pci, PCI_MAX),
        usb: aliases(hardware.usb, USB_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_that_makers_leave_behind_identifies_nobody() {
        assert_eq!(
            uuid(" 4C4C4544-0042-3510-8052-B4C04F4E3132 ").as_deref(),
            Some("4c4c4544-0042-3510-8052-b4c04f4e3132")
        );
        for nobody in ["", "Not Settable", "03000200-0400-0500-0006-000700080009", "4c4c4544004235108052b4c04f4e3132"] {
            assert_eq!(uuid(nobody), None, "{nobody}");
        }
        assert!(NOBODYS.iter().all(|known| uuid(known).is_none()));
    }

    #[test]
    fn hardware_is_cut_to_its_bounds_and_cleaned() {
        let pci = (0..1000).map(|n| format!("pci:v{n}\u{1b}[31m{}", "x".repeat(200))).collect();
        let cpu = Cpu { model: "a\nb".repeat(100), ..Cpu::default() };
        let clean = cleaned(Hardware { pci, cpu, memory: u64::MAX, ..Hardware::default() });
        assert_eq!(clean.pci.len(), PCI_MAX);
        assert!(clean.pci.iter().all(|alias| alias.len() <= ALIAS_MAX && !alias.contains('\u{1b}')));
        assert!(clean.cpu.model.len() <= TEXT_MAX && !clean.cpu.model.contains('\n'));
        assert!(i64::try_from(clean.memory).is_ok());
    }
}
