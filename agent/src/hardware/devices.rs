//! Which devices there are, by the names under which the kernel looks for their drivers.
//!
//! In: `modalias` files of the PCI and USB buses. Out: aliases, each once, ascending.
//! Promise: bounded in number and length; an inventory compares them with the modules of an image before it is cloned.

use super::tree::Tree;

/// Aliases of the devices of a bus, `pci` or `usb`, at most `most` (kernel: Documentation/ABI/testing/sysfs-bus-pci,
/// sysfs-bus-usb).
#[must_use]
pub fn modaliases(tree: &Tree, bus: &str, most: usize) -> Vec<String> {
    let folder = format!("sys/bus/{bus}/devices");
    let prefix = format!("{bus}:");
    // Interfaces of USB devices have an alias, hubs and the devices themselves have none.
    let of = |name: String| tree.text(&format!("{folder}/{name}/modalias"));
    let mut found: Vec<String> =
        tree.names(&folder).into_iter().filter_map(of).filter(|alias| alias.starts_with(&prefix)).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(most);
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::Made;
    use super::*;

    #[test]
    fn pci_and_usb_devices_are_named_once_each_and_odd_ones_are_left_out() {
        let made = Made::new();
        let nic = "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00";
        made.file("sys/bus/pci/devices/0000:00:03.0/modalias", format!("{nic}\n").as_bytes());
        made.file("sys/bus/pci/devices/0000:00:04.0/modalias", format!("{nic}\n").as_bytes());
        made.file("sys/bus/pci/devices/0000:00:05.0/modalias", b"acpi:PNP0A08:\n");
        made.file("sys/bus/usb/devices/1-1:1.0/modalias", b"usb:v0627p0001d0000dc00dsc00dp00ic03isc00ip00in00\n");
        made.file("sys/bus/usb/devices/usb1/uevent", b"");
        made.file("sys/bus/pci/devices/0000:00:06.0/modalias", b"pci:v00001AF4\n");
        assert_eq!(modaliases(&made.tree(), "pci", 10), ["pci:v00001AF4", nic]);
        assert_eq!(modaliases(&made.tree(), "usb", 10), ["usb:v0627p0001d0000dc00dsc00dp00ic03isc00ip00in00"]);
        assert_eq!(modaliases(&made.tree(), "pci", 1), ["pci:v00001AF4"]);
        assert!(modaliases(&Made::new().tree(), "pci", 10).is_empty());
    }
}
