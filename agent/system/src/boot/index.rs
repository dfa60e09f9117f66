//! The tables of a kernel's modules, and which of them matter for booting.
//!
//! In: `modules.dep`, `modules.alias`, `modules.builtin`, `modules.builtin.modinfo` as kmod's depmod and the kernel's build
//! write them. Out: modules with their paths, and the patterns of those that drive disks, networks, file systems.
//! Promise: bounded in lines; what has another form is skipped.

use ramet_wire::boot::{Driver, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Most lines of a table; Debian's longest has 30,000.
const LINES_MAX: usize = 1 << 20;

/// Folders below `kernel/` whose modules drive what a disk may hang from. A built-in one among them that does not say
/// what it drives is named.
const STORAGE: [&str; 9] = [
    "drivers/ata/",
    "drivers/block/",
    "drivers/scsi/",
    "drivers/nvme/",
    "drivers/message/",
    "drivers/ufs/",
    "drivers/mmc/",
    "drivers/nvdimm/",
    "drivers/pci/controller/",
];
/// Buses on the way to a disk, and layers above it.
const BESIDE: [&str; 6] =
    ["drivers/usb/host/", "drivers/usb/storage/", "drivers/virtio/", "drivers/hv/", "drivers/xen/", "drivers/md/"];
const NETWORKS: &str = "drivers/net/";
const FILE_SYSTEMS: [&str; 7] =
    ["fs/ext4/", "fs/xfs/", "fs/btrfs/", "fs/f2fs/", "fs/jfs/", "fs/erofs/", "fs/squashfs/"];
/// Buses whose patterns are kept (kernel: scripts/mod/file2alias.c).
const BUSES: [&str; 6] = ["pci:", "virtio:", "usb:", "scsi:", "vmbus:", "xen:"];

/// Built-in drivers whose patterns never change, because they name a class or a whole bus. Kernels before 6.18 do not say
/// which devices a built-in driver takes (kernel: scripts/mod/file2alias.c made such lines for modules only).
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("ahci", &["pci:v*d*sv*sd*bc01sc06i01*"]),
    ("ehci_pci", &["pci:v*d*sv*sd*bc0Csc03i20*"]),
    ("hv_netvsc", &["vmbus:635161f83edfc546913ff2d2f965ed0e"]),
    ("hv_storvsc", &["vmbus:32264132cb86a2449b5c50d1417354f5", "vmbus:d96361baa104294db60572e2ffb1dc7f"]),
    ("nvme", &["pci:v*d*sv*sd*bc01sc08i02*"]),
    ("ohci_pci", &["pci:v*d*sv*sd*bc0Csc03i10*"]),
    ("sd_mod", &["scsi:t-0x00*"]),
    ("uas", &["usb:v*p*d*dc*dsc*dp*ic08isc06ip62in*"]),
    ("uhci_hcd", &["pci:v*d*sv*sd*bc0Csc03i00*"]),
    ("usb_storage", &["usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*"]),
    ("virtio_blk", &["virtio:d00000002v*"]),
    ("virtio_net", &["virtio:d00000001v*"]),
    ("virtio_pci", &["pci:v00001AF4d*sv*sd*bc*sc*i*"]),
    ("virtio_scsi", &["virtio:d00000008v*"]),
    ("vmw_pvscsi", &["pci:v000015ADd000007C0sv*sd*bc*sc*i*"]),
    ("xen_blkfront", &["xen:vbd"]),
    ("xen_netfront", &["xen:vif"]),
    ("xhci_pci", &["pci:v*d*sv*sd*bc0Csc03i30*"]),
];

/// Built-in parts of the storage folders that take no device themselves.
const LIBRARIES: &[&str] = &[
    "brd",
    "cxl_core",
    "libahci",
    "libahci_platform",
    "libata",
    "libfc",
    "libiscsi",
    "libnvdimm",
    "libsas",
    "loop",
    "mmc_block",
    "mmc_core",
    "nbd",
    "null_blk",
    "nvme_auth",
    "nvme_common",
    "nvme_core",
    "nvme_fabrics",
    "nvme_keyring",
    "rbd",
    "scsi_common",
    "scsi_debug",
    "scsi_mod",
    "scsi_transport_fc",
    "scsi_transport_iscsi",
    "scsi_transport_sas",
    "scsi_transport_spi",
    "scsi_transport_srp",
    "sdhci",
    "sdhci_acpi",
    "ses",
    "sg",
    "sr_mod",
    "st",
    "ufshcd_core",
    "zram",
];

/// The tables of one kernel, as far as they were found.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `modules.dep`: which modules there are.
    pub dep: Option<String>,
    /// `modules.alias`.
    pub alias: Option<String>,
    /// `modules.builtin`.
    pub builtin: Option<String>,
    /// `modules.builtin.modinfo`.
    pub builtin_info: Option<Vec<u8>>,
}

/// What the tables and an initramfs say together.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub drivers: Vec<Driver>,
    pub opaque: Vec<String>,
}

/// A module's name from its path: `kernel/drivers/usb/storage/usb-storage.ko.xz` is `usb_storage`.
pub(super) fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (name, ending) = file.split_once(".ko")?;
    let known = matches!(ending, "" | ".xz" | ".zst" | ".gz");
    (known && !name.is_empty()).then(|| name.replace('-', "_"))
}

/// Whether a module at this path, relative to `/lib/modules/RELEASE`, matters; and whether as storage.
fn matters(path: &str) -> Option<bool> {
    // What is not the kernel's own was put there because this machine needs it.
    let Some(path) = path.strip_prefix("kernel/") else { return Some(false) };
    if STORAGE.iter().any(|folder| path.starts_with(folder)) {
        return Some(true);
    }
    let beside = BESIDE.iter().chain(&FILE_SYSTEMS).chain(&[NETWORKS]).any(|folder| path.starts_with(folder));
    beside.then_some(false)
}

/// A pattern of a network driver on the USB bus leads to no card that an inventory names.
fn kept(path: &str, pattern: &str) -> bool {
    let network = path.strip_prefix("kernel/").is_some_and(|path| path.starts_with(NETWORKS));
    BUSES.iter().any(|bus| pattern.starts_with(bus)) && !(network && pattern.starts_with("usb:"))
}

impl Tables {
    /// Patterns are known.
    pub fn has_aliases(&self) -> bool {
        self.alias.is_some()
    }

    /// What is built in is known.
    pub fn has_builtin(&self) -> bool {
        self.builtin.is_some()
    }

    /// Takes from `other` what is missing here.
    pub fn or(self, other: Self) -> Self {
        Self {
            dep: self.dep.or(other.dep),
            alias: self.alias.or(other.alias),
            builtin: self.builtin.or(other.builtin),
            builtin_info: self.builtin_info.or(other.builtin_info),
        }
    }

    /// All drivers that matter, with `aboard` the paths of modules in the initramfs.
    pub fn drivers(&self, aboard: &BTreeSet<String>) -> Found {
        let mut found: BTreeMap<String, (Place, String, Vec<String>)> = BTreeMap::new();
        let mut add = |path: &str, place: Place| {
            if let (Some(name), Some(_)) = (module_name(path), matters(path)) {
                found.entry(name).or_insert_with(|| (place, path.to_owned(), Vec::new()));
            }
        };
        lines(self.builtin.as_deref()).for_each(|line| add(line.trim(), Place::BuiltIn));
        aboard.iter().for_each(|path| add(path, Place::Initramfs));
        let ashore = lines(self.dep.as_deref()).filter_map(|line| line.split_once(':'));
        ashore.for_each(|(path, _)| add(path, Place::Root));
        let mut alias = |module: &str, pattern: &str| {
            if let Some((_, path, patterns)) = found.get_mut(&module.replace('-', "_"))
                && kept(path, pattern)
            {
                patterns.push(pattern.to_owned());
            }
        };
        for line in lines(self.alias.as_deref()) {
            let mut words = line.split_ascii_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) {
                alias(module, pattern);
            }
        }
        // `MODULE.alias=PATTERN`, each ended by NUL (kernel: scripts/Makefile.vmlinux).
        for entry in self.builtin_info.as_deref().unwrap_or_default().split(|byte| *byte == 0).take(LINES_MAX) {
            let words = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once(".alias="));
            words.into_iter().for_each(|(module, pattern)| alias(module, pattern));
        }
        let mut all = Found::default();
        for (name, (place, path, mut aliases)) in found {
            if place == Place::BuiltIn && aliases.is_empty() {
                let known = KNOWN.iter().find(|(known, _)| *known == name).map(|(_, patterns)| *patterns);
                aliases.extend(known.unwrap_or_default().iter().map(|pattern| (*pattern).to_owned()));
                let library = LIBRARIES.contains(&name.as_str()) || name.starts_with("scsi_dh_");
                if aliases.is_empty() && matters(&path) == Some(true) && !library {
                    all.opaque.push(name.clone());
                }
            }
            all.drivers.push(Driver { place, name, aliases });
        }
        all
    }
}

fn lines(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().lines().take(LINES_MAX)
}
