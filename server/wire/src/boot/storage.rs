//! Which drivers a target's disks need, and whether a kernel has them before its root file system is there.
//!
//! In: modaliases of a target, drivers of a kernel. Out: what is held, what lies ashore, what nobody has.
//! Promise: a built-in driver that does not say what it drives leaves the question open; so does an unread initramfs.

use super::judge::{Reasons, Target, judge_cover};
use super::{Driver, Kernel, Place, fits};

/// Drivers whose pattern is wider than what they take: `ata_generic` leaves a controller alone unless a parameter says
/// otherwise, `pata_acpi` without the firmware's methods (kernel: drivers/ata/ata_generic.c, pata_acpi.c).
const WIDE: [&str; 2] = ["ata_generic", "pata_acpi"];
/// Buses on whose devices a disk may depend. Bridges between them have drivers in every kernel.
const BUSES: [&str; 6] = ["pci:", "virtio:", "usb:", "scsi:", "vmbus:", "xen:"];
/// Every SCSI disk (kernel: drivers/scsi/sd.c).
const SCSI_DISK: &str = "scsi:t-0x00";

/// Whether a driver is there in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    /// It is: in the kernel or its initramfs.
    Held(String),
    /// It lies on the root file system only.
    Ashore(String),
    /// There is none.
    Nobody(String),
    /// It is not known.
    Open(String),
}

/// A kernel with its drivers unpacked.
pub(super) struct Book<'a> {
    pub kernel: &'a Kernel,
    pub drivers: &'a [Driver],
}

impl Book<'_> {
    /// Whether a device has a driver; `later`: once the root file system is there.
    pub fn cover(&self, alias: &str, later: bool) -> Cover {
        let fitting = self.drivers.iter().filter(|driver| driver.aliases.iter().any(|pattern| fits(pattern, alias)));
        let (wide, exact): (Vec<&Driver>, Vec<&Driver>) =
            fitting.partition(|driver| WIDE.contains(&driver.name.as_str()));
        match (exact.iter().min_by_key(|driver| driver.place), wide.first()) {
            (Some(driver), _) => self.placed(driver, alias, later),
            (None, Some(driver)) => Cover::Open(format!("{} may or may not take {alias}", driver.name)),
            (None, None) => self.nobody(alias),
        }
    }

    /// Whether a module is there before the root file system is.
    pub fn module(&self, name: &str) -> Cover {
        match self.drivers.iter().filter(|driver| driver.name == name).min_by_key(|driver| driver.place) {
            Some(driver) => self.placed(driver, name, false),
            None if self.kernel.builtin && self.is_read() => {
                Cover::Nobody(format!("kernel {} has no module {name}", self.kernel.release))
            }
            None => self.nobody(name),
        }
    }

    fn is_read(&self) -> bool {
        self.kernel.initramfs.as_ref().is_none_or(|initramfs| initramfs.unread.is_none())
    }

    fn placed(&self, driver: &Driver, what: &str, later: bool) -> Cover {
        let (name, release) = (&driver.name, &self.kernel.release);
        let of = if name == what { String::new() } else { format!(" for {what}") };
        match driver.place {
            Place::BuiltIn => Cover::Held(format!("{name}{of} is built into kernel {release}")),
            Place::Initramfs => Cover::Held(format!("{name}{of} is in the initramfs of kernel {release}")),
            Place::Root if later => Cover::Held(format!("{name}{of} is on the root file system")),
            Place::Root => match &self.kernel.initramfs {
                None => Cover::Open(format!(
                    "module {name}{of} is on the root file system, and no initramfs of kernel {release} was found"
                )),
                Some(initramfs) => match &initramfs.unread {
                    Some(why) => {
                        Cover::Open(format!("whether module {name}{of} is in {} is not known: {why}", initramfs.path))
                    }
                    None => Cover::Ashore(format!(
                        "module {name}{of} is on the root file system and not in {}",
                        initramfs.path
                    )),
                },
            },
        }
    }

    fn nobody(&self, what: &str) -> Cover {
        let Kernel { release, opaque, builtin, initramfs, .. } = self.kernel;
        if let Some((initramfs, why)) = initramfs.as_ref().and_then(|one| Some((&one.path, one.unread.as_ref()?))) {
            return Cover::Open(format!("whether {initramfs} has a driver for {what} is not known: {why}"));
        }
        if !builtin {
            return Cover::Open(format!("whether kernel {release} has a driver for {what} built in is not known"));
        }
        match opaque.first() {
            Some(one) => {
                let others = opaque.len() - 1;
                let more = if others == 0 { String::new() } else { format!(" and {others} more") };
                Cover::Open(format!("no module takes {what}; {one}{more}, built into kernel {release}, may"))
            }
            None => Cover::Nobody(format!("kernel {release} has no driver for {what}")),
        }
    }
}

/// What must have a driver before the root file system is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// All of these.
    All(Vec<String>),
    /// All of one of these rows; which, is not known.
    OneOf(Vec<Vec<String>>),
    /// It is not known.
    Open(String),
}

/// What `target`'s disks need.
pub(super) fn needs(target: &Target<'_>) -> Needs {
    let relevant = |alias: &&String| BUSES.iter().any(|bus| alias.starts_with(bus)) && class(alias) != Some("06");
    let ways: Vec<Vec<String>> =
        target.disks.iter().map(|disk| disk.controllers.iter().filter(relevant).cloned().collect()).collect();
    if !ways.is_empty() && ways.iter().all(|way: &Vec<String>| !way.is_empty()) {
        let mut all: Vec<String> = Vec::new();
        for alias in ways.into_iter().flatten() {
            if !all.contains(&alias) {
                all.push(alias);
            }
        }
        return Needs::All(all);
    }
    let pci = target.hardware.map_or(&[][..], |hardware| &hardware.pci);
    let mut rows: Vec<Vec<String>> =
        pci.iter().filter(|alias| class(alias) == Some("01")).map(|alias| row(alias)).collect();
    match rows.len() {
        0 => Needs::Open("which controller carries the target's disk is not known".to_owned()),
        1 => Needs::All(rows.remove(0)),
        _ => Needs::OneOf(rows),
    }
}

/// Network cards among the target's PCI functions.
pub(super) fn cards<'a>(target: &Target<'a>) -> impl Iterator<Item = &'a str> {
    let pci = target.hardware.map_or(&[][..], |hardware| &hardware.pci);
    pci.iter().filter(|alias| class(alias) == Some("02")).map(String::as_str)
}

/// A PCI function's base class, two hex digits (kernel: scripts/mod/file2alias.c, `do_pci_entry`).
fn class(alias: &str) -> Option<&str> {
    let rest = alias.strip_prefix("pci:")?;
    let at = rest.find("bc")?;
    rest.get(at + 2..at + 4)
}

/// What a disk behind this controller needs.
fn row(alias: &str) -> Vec<String> {
    let mut row = vec![alias.to_owned()];
    let device = alias.strip_prefix("pci:v00001AF4d").and_then(|rest| u32::from_str_radix(rest.get(..8)?, 16).ok());
    // Virtio 1.2, 4.1.2: 0x1040 + the device's type; before 1.0 block was 0x1001 and SCSI 0x1004.
    let kind = match device {
        Some(0x1001) => Some(2),
        Some(0x1004) => Some(8),
        Some(modern @ 0x1040..=0x107f) => Some(modern - 0x1040),
        _ => None,
    };
    if let Some(kind) = kind {
        row.push(format!("virtio:d{kind:08X}v00001AF4"));
    }
    let nvme = alias.contains("bc01sc08");
    if kind != Some(2) && !nvme {
        row.push(SCSI_DISK.to_owned());
    }
    row
}

impl Needs {
    /// Adds what follows from `book` to `reasons`.
    pub fn judge(&self, book: &Book<'_>, reasons: &mut Reasons) {
        let rows = match self {
            Self::Open(why) => return reasons.left_open(why.clone()),
            Self::All(aliases) => {
                let covers = aliases.iter().map(|alias| book.cover(alias, false));
                return covers.for_each(|cover| judge_cover(&cover, "the target's disk", reasons));
            }
            Self::OneOf(rows) => rows,
        };
        let covers: Vec<Vec<Cover>> =
            rows.iter().map(|row| row.iter().map(|alias| book.cover(alias, false)).collect()).collect();
        let held = |row: &Vec<Cover>| row.iter().all(|cover| matches!(cover, Cover::Held(_)));
        let lacking = |row: &Vec<Cover>| row.iter().any(|cover| matches!(cover, Cover::Ashore(_) | Cover::Nobody(_)));
        if covers.iter().all(held) {
            return;
        }
        let none = covers.iter().all(lacking);
        for cover in covers.iter().flatten() {
            match cover {
                Cover::Held(_) => {}
                Cover::Ashore(why) | Cover::Nobody(why) if none => reasons.against(format!("the target's disk: {why}")),
                Cover::Ashore(why) | Cover::Nobody(why) | Cover::Open(why) => {
                    let count = covers.len();
                    reasons.left_open(format!("which of {count} controllers carries the disk is not known, and {why}"));
                }
            }
        }
    }
}
