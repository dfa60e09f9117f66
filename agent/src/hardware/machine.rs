//! Processors, memory, firmware.
//!
//! In: procfs, SMBIOS, efivars. Out: what an inventory knows of a machine besides its devices.
//! Promise: what is not known is left out, never guessed: Secure Boot that cannot be read is unknown, not off.

use super::smbios;
use super::tree::{Tree, cut};
use ramet_wire::hardware::{Cpu, SecureBoot};
use std::collections::BTreeSet;

/// `SecureBoot` and `SetupMode` (UEFI specification 2.10, section 3.3): one byte behind four of attributes.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Reads `/proc/cpuinfo`, of which each processor is a paragraph.
#[must_use]
pub fn processors(tree: &Tree) -> Cpu {
    let text = tree.lines("proc/cpuinfo").unwrap_or_default();
    let mut found = Cpu::default();
    let (mut sockets, mut cores) = (BTreeSet::new(), BTreeSet::new());
    for paragraph in text.split("\n\n") {
        let value = |name: &str| {
            let fits = |line: &&str| line.split(':').next().is_some_and(|key| key.trim() == name);
            Some(paragraph.lines().find(fits)?.split_once(':')?.1.trim())
        };
        let Some(number) = value("processor") else { continue };
        found.threads += 1;
        // A kernel that does not tell has one core per processor.
        let socket = value("physical id").unwrap_or("0");
        sockets.insert(socket.to_owned());
        cores.insert((socket.to_owned(), value("core id").unwrap_or(number).to_owned()));
        if found.model.is_empty() {
            found.model = value("model name").map(cut).unwrap_or_default();
        }
    }
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    Cpu { sockets: count(sockets.len()), cores: count(cores.len()), ..found }
}

/// Bytes of memory that are plugged in, by SMBIOS; where that is silent, what the kernel has.
#[must_use]
pub fn memory(tree: &Tree) -> u64 {
    let plugged = tree.bytes("sys/firmware/dmi/tables/DMI").and_then(|table| smbios::memory(&table));
    plugged.or_else(|| kernel_memory(&tree.lines("proc/meminfo")?)).unwrap_or(0)
}

fn kernel_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether UEFI firmware started this kernel.
#[must_use]
pub fn is_uefi(tree: &Tree) -> bool {
    tree.has("sys/firmware/efi")
}

/// Whether Secure Boot is enforced; none on BIOS machines and where firmware does not say.
#[must_use]
pub fn secure_boot(tree: &Tree) -> Option<SecureBoot> {
    let variable = |name: &str| match tree.bytes(&format!("sys/firmware/efi/efivars/{name}-{GLOBAL}"))?.as_slice() {
        [_, _, _, _, value @ (0 | 1)] => Some(*value == 1),
        _ => None,
    };
    // In setup mode nothing is checked, whatever the other variable says.
    match (variable("SetupMode"), variable("SecureBoot")?) {
        (Some(true), _) => Some(SecureBoot::Setup),
        (_, true) => Some(SecureBoot::On),
        (_, false) => Some(SecureBoot::Off),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Made;
    use super::*;

    #[test]
    fn processors_are_counted_by_package_and_core() {
        let made = Made::new();
        let mut text = String::new();
        for (number, (socket, core)) in
            [(0, 0), (0, 1), (0, 0), (0, 1), (1, 0), (1, 1), (1, 0), (1, 1)].iter().enumerate()
        {
            text += &format!(
                "processor\t: {number}\nmodel name\t: AMD EPYC 7543\nphysical id\t: {socket}\ncore id\t\t: {core}\n\n"
            );
        }
        made.file("proc/cpuinfo", text.as_bytes());
        let found = processors(&made.tree());
        assert_eq!(found, Cpu { model: "AMD EPYC 7543".to_owned(), sockets: 2, cores: 4, threads: 8 });
        made.file("proc/cpuinfo", b"processor\t: 0\n\nprocessor\t: 1\n");
        assert_eq!(processors(&made.tree()), Cpu { model: String::new(), sockets: 1, cores: 2, threads: 2 });
        assert_eq!(processors(&Made::new().tree()), Cpu::default());
    }

    #[test]
    fn memory_is_what_is_plugged_in_and_else_what_the_kernel_has() {
        let made = Made::new();
        assert_eq!(memory(&made.tree()), 0);
        made.file("proc/meminfo", b"MemTotal:        8000000 kB\nMemFree: 1 kB\n");
        assert_eq!(memory(&made.tree()), 8_192_000_000);
        let mut slot = vec![0; 0x20];
        (slot[0], slot[1]) = (17, 0x20);
        slot[0x0c..0x0e].copy_from_slice(&8192_u16.to_le_bytes());
        slot.extend([0, 0]);
        made.file("sys/firmware/dmi/tables/DMI", &slot);
        assert_eq!(memory(&made.tree()), 8 << 30);
    }

    #[test]
    fn secure_boot_is_on_only_where_firmware_says_so_and_has_left_setup() {
        let made = Made::new();
        let state = |made: &Made| (is_uefi(&made.tree()), secure_boot(&made.tree()));
        assert_eq!(state(&made), (false, None));
        let variable = |name: &str, bytes: &[u8]| {
            made.file(&format!("sys/firmware/efi/efivars/{name}-{GLOBAL}"), bytes);
        };
        variable("SecureBoot", &[6, 0, 0, 0, 1]);
        assert_eq!(state(&made), (true, Some(SecureBoot::On)));
        variable("SetupMode", &[6, 0, 0, 0, 1]);
        assert_eq!(state(&made), (true, Some(SecureBoot::Setup)));
        variable("SetupMode", &[6, 0, 0, 0, 0]);
        assert_eq!(state(&made), (true, Some(SecureBoot::On)));
        variable("SecureBoot", &[6, 0, 0, 0, 0]);
        assert_eq!(state(&made), (true, Some(SecureBoot::Off)));
        for odd in [&[][..], &[6, 0, 0, 0], &[6, 0, 0, 0, 2], &[6, 0, 0, 0, 1, 1]] {
            variable("SecureBoot", odd);
            assert_eq!(state(&made), (true, None), "{odd:?}");
        }
    }
}
