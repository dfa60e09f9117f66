//! What starts from an image, and whether a machine can start it: part of the manifest under the feature flag `boot`.
//!
//! In: what a capture saw in the image's file systems. Out: checked facts; with a machine's inventory, a [`Verdict`].
//! Promise: what was not read is said to be unknown; a *no* stands only on what both sides are known to be.

mod drivers;
mod glob;
mod judge;
mod storage;

pub use drivers::{Driver, DriverError, Drivers, Place};
pub use glob::fits;
pub use judge::{Answer, Target, Verdict, judge};

use crate::firmware::Loader;
use crate::manifest::{DiskImage, ManifestError};
use serde::{Deserialize, Serialize};

/// The feature flag of manifests that have it.
pub const FEATURE: &str = "boot";
/// Most operating systems.
pub const SYSTEMS_MAX: usize = 16;
/// Most kernels of a system.
pub const KERNELS_MAX: usize = 16;
/// Most entries of every other list.
pub const LIST_MAX: usize = 64;
/// Most built-in drivers that do not say what they drive.
pub const OPAQUE_MAX: usize = 512;
/// Longest text, in characters.
pub const TEXT_MAX: usize = 512;
/// Most bytes that all [`Drivers`] of an image have together, as they stand in the manifest.
pub const DRIVERS_SUM_MAX: usize = 4 << 20;

/// What starts from the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Operating systems that were found.
    pub systems: Vec<System>,
    /// Of the EFI programs in [`Firmware::loaders`](crate::firmware::Firmware::loaders), those that could be read.
    pub programs: Vec<Program>,
    /// What a BIOS would run, disk by disk; a disk that could not be read is absent.
    pub bios: Vec<BiosCode>,
    /// What was not looked into, and why.
    pub unread: Vec<String>,
}

/// An operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// The image's disk on which its root file system lies; of several, the first.
    pub disk: u32,
    /// The partition.
    pub partition: u32,
    /// `ID` of its `os-release`: `debian`.
    pub id: String,
    /// `ID_LIKE` of it, `rhel fedora`; may be empty.
    pub like: String,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// For which processors its programs are, as `uname -m` says it: `x86_64`; empty where that is not known.
    pub architecture: String,
    /// Its root file system.
    pub root: Root,
    /// Its kernels, the newest first: boot loaders start that one.
    pub kernels: Vec<Kernel>,
}

/// Where a root file system lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// `ext4`, `xfs`, `btrfs`, …
    pub filesystem: String,
    /// What lies between it and its partition, the outermost first; empty: nothing.
    pub stack: Vec<Layer>,
    /// What its `fstab` names it by: `UUID=…`, `/dev/sda2`; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
}

/// A device made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// A logical volume of LVM.
    Lvm,
    /// An array of Linux MD.
    Md,
    /// An encrypted volume.
    Luks,
}

/// A kernel and what it starts with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// As `uname -r` says it: `6.1.0-56-amd64`.
    pub release: String,
    /// From the root of its system, or of its EFI system partition: `/boot/vmlinuz-6.1.0-56-amd64`.
    pub path: String,
    /// Its initramfs; none: there is none of its name, and it starts by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<Initramfs>,
    /// Drivers of storage, networks and file systems, and where they lie; none where neither could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drivers: Option<Drivers>,
    /// What is built into it is known.
    pub builtin: bool,
    /// Built-in drivers of storage controllers that do not say which devices they drive.
    pub opaque: Vec<String>,
}

/// The archive that a kernel starts with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    /// From the root of its system, or of its EFI system partition.
    pub path: String,
    /// Why it could not be read; none: it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// An EFI program that could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Which.
    pub loader: Loader,
    /// It carries a signature (Microsoft's "PE Format", attribute certificate table). By whom is not looked at.
    pub signed: bool,
    /// It is shim: it starts a second program, and only a signed one under Secure Boot.
    pub shim: bool,
}

/// What a BIOS finds at the start of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BiosCode {
    /// The image's disk.
    pub disk: u32,
    /// Whose code is in its first sector.
    pub code: Code,
    /// GRUB's: something lies in the sector that it loads next. Others': not looked at, `true`.
    pub next: bool,
}

/// Whose boot code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// There is none.
    None,
    /// GRUB's `boot.img`.
    Grub,
    /// Another's.
    Other,
}

impl Facts {
    /// Checks every rule of FORMAT.md, "Manifest".
    ///
    /// # Errors
    /// [`ManifestError::Boot`].
    pub fn check(&self, disks: &[DiskImage]) -> Result<(), ManifestError> {
        self.rules(disks).map_err(ManifestError::Boot)
    }

    fn rules(&self, disks: &[DiskImage]) -> Result<(), String> {
        most("systems", self.systems.len(), SYSTEMS_MAX)?;
        most("programs", self.programs.len(), LIST_MAX)?;
        most("first sectors", self.bios.len(), crate::manifest::DISKS_MAX)?;
        most("things that were not looked into", self.unread.len(), LIST_MAX)?;
        self.unread.iter().try_for_each(|reason| text("a reason", reason, 1))?;
        for Program { loader: Loader { disk, partition, path }, .. } in &self.programs {
            text("the path of a program", path, 1)?;
            lies_in(disks, *disk, Some(*partition))?;
        }
        self.bios.iter().try_for_each(|code| lies_in(disks, code.disk, None))?;
        let mut sum = 0_usize;
        for system in &self.systems {
            lies_in(disks, system.disk, Some(system.partition))?;
            sum = sum.saturating_add(system.rules()?);
        }
        if sum > DRIVERS_SUM_MAX {
            return Err(format!("all lists of drivers have {sum} bytes, {DRIVERS_SUM_MAX} are allowed"));
        }
        Ok(())
    }
}

impl System {
    /// Checks it; returns the bytes of its lists of drivers.
    fn rules(&self) -> Result<usize, String> {
        let texts = [("id", &self.id), ("like", &self.like), ("architecture", &self.architecture)];
        texts.into_iter().try_for_each(|(what, value)| text(what, value, 0))?;
        text("the name of a system", &self.name, 1)?;
        text("a file system", &self.root.filesystem, 1)?;
        self.root.named.iter().try_for_each(|named| text("what a root is named by", named, 1))?;
        most("layers", self.root.stack.len(), LIST_MAX)?;
        most("kernels", self.kernels.len(), KERNELS_MAX)?;
        self.kernels.iter().try_fold(0_usize, |sum, kernel| Ok(sum.saturating_add(kernel.rules()?)))
    }
}

impl Kernel {
    fn rules(&self) -> Result<usize, String> {
        text("the release of a kernel", &self.release, 1)?;
        text("the path of a kernel", &self.path, 1)?;
        if let Some(initramfs) = &self.initramfs {
            text("the path of an initramfs", &initramfs.path, 1)?;
            initramfs.unread.iter().try_for_each(|reason| text("a reason", reason, 1))?;
        }
        most("built-in drivers", self.opaque.len(), OPAQUE_MAX)?;
        self.opaque.iter().try_for_each(|name| text("a driver", name, 1))?;
        let Some(drivers) = &self.drivers else { return Ok(0) };
        drivers.read().map_err(|error| format!("drivers of kernel {}: {error}", self.release))?;
        Ok(drivers.len())
    }
}

fn most(what: &str, found: usize, allowed: usize) -> Result<(), String> {
    if found > allowed { Err(format!("{found} {what}, {allowed} are allowed")) } else { Ok(()) }
}

fn text(what: &str, text: &str, least: usize) -> Result<(), String> {
    let fits = (least..=TEXT_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let shown: String = text.chars().take(40).collect();
    fits.then_some(()).ok_or_else(|| format!("{what} {shown:?} is empty, too long or holds control characters"))
}

fn lies_in(disks: &[DiskImage], disk: u32, partition: Option<u32>) -> Result<(), String> {
    let found = disks.iter().find(|found| found.ordinal == disk);
    let there = match partition {
        None => found.is_some(),
        Some(number) => found.is_some_and(|disk| disk.partitions.iter().any(|part| part.number == number)),
    };
    let where_to = partition.map_or(String::new(), |number| format!("partition {number} of "));
    there.then_some(()).ok_or_else(|| format!("{where_to}disk {disk} is not in the image"))
}
