//! What a machine consists of, for the server's inventory.
//!
//! In: sysfs, procfs, SMBIOS, efivars, LLDP. Out: one report.
//! Promise: looking changes nothing; every text is cut and clean, every list has its most, unknown stays unknown.

pub mod cards;
pub mod devices;
pub mod lldp;
pub mod machine;
mod smbios;
#[cfg(test)]
mod testing;
pub mod tree;

use lldp::Listener;
use ramet_wire::hardware::{CARDS_MAX, Hardware, PCI_MAX, USB_MAX};
use tree::Tree;

/// What the kernel behind `tree` has, and who the neighbours are.
#[must_use]
pub fn report(tree: &Tree, neighbours: Option<&Listener>) -> Hardware {
    Hardware {
        cpu: machine::processors(tree),
        memory: machine::memory(tree),
        cards: cards::cards(tree, neighbours, CARDS_MAX),
        secure_boot: machine::secure_boot(tree),
        pci: devices::modaliases(tree, "pci", PCI_MAX),
        usb: devices::modaliases(tree, "usb", USB_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_memory_and_no_more_than_the_wire_takes() {
        let report = report(&Tree::of_this_machine(), None);
        let nproc = std::process::Command::new("nproc").arg("--all").output().unwrap();
        let threads: u32 = String::from_utf8(nproc.stdout).unwrap().trim().parse().unwrap();
        assert_eq!(report.cpu.threads, threads);
        assert!(report.cpu.cores >= 1 && report.cpu.cores <= threads && report.memory > 64 << 20, "{report:?}");
        assert!(serde_json::to_vec(&report).unwrap().len() < 64 << 10);
    }

    #[test]
    fn a_machine_of_which_nothing_is_known_says_nothing() {
        assert_eq!(report(&testing::Made::new().tree(), None), Hardware::default());
    }
}
