//! Which disks the kernel has, by sysfs and procfs.
//!
//! In: `/sys` and `/proc`, or a folder that holds both for a test. Out: disks with size, sectors, names, and partitions.
//! Promise: a file that is missing or odd is an unknown, never an error: devices come and go while we look.

use super::DiskId;
use ramet_wire::ByteRange;
use std::io;
use std::path::{Path, PathBuf};

/// sysfs counts in these whatever the device's sector size.
const SYSFS_SECTOR: u64 = 512;

/// What the kernel knows, behind one of two doors.
#[derive(Clone, Debug)]
pub struct Disks {
    root: PathBuf,
}

/// A disk as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Kernel name, such as `sda`.
    pub name: String,
    /// Device numbers.
    pub id: DiskId,
    /// Bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub sector_size: u32,
    /// Physical sector size in bytes.
    pub physical_sector_size: u32,
    /// Model, as the disk says it.
    pub model: Option<String>,
    /// Serial number, as the disk says it.
    pub serial: Option<String>,
    /// World-wide name, as the disk says it.
    pub wwn: Option<String>,
    /// How it is attached: `nvme`, `sata`, `sas`, `usb`, `fc`, `iscsi`, `nvme-of`, `virtio`, `mmc`.
    pub transport: Option<String>,
    /// Modaliases of the devices between processor and disk, the outermost first.
    pub controllers: Vec<String>,
    /// The kernel calls it removable.
    pub removable: bool,
    /// The kernel lets nobody write to it.
    pub read_only: bool,
    /// Device-mapper and md devices on top of the whole disk.
    pub holders: Vec<String>,
    /// The partitions that the kernel knows, which need not be those on the disk. Ascending by number.
    pub partitions: Vec<PartitionDevice>,
}

/// A partition as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDevice {
    /// Kernel name, such as `sda2`.
    pub name: String,
    /// Device numbers.
    pub id: DiskId,
    /// Number.
    pub number: u32,
    /// Where it lies on the disk, in bytes.
    pub range: ByteRange,
    /// Device-mapper and md devices on top of it.
    pub holders: Vec<String>,
}

impl Disks {
    /// The running kernel's disks.
    #[must_use]
    pub fn from_sysfs() -> Self {
        Self::in_directory("/")
    }

    /// Those described by a folder that holds `sys/` and `proc/`, as a test makes it.
    pub fn in_directory(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All disks that can hold a system: no loop, RAM, compressed-RAM, optical or floppy devices, nothing of size 0,
    /// nothing made of other disks. Ascending by name.
    ///
    /// # Errors
    /// When there is no sysfs or no procfs.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let found = blockdev::get_devices_at(&self.root).map_err(io::Error::other)?;
        let mut disks: Vec<Listed> = found
            .devices
            .iter()
            .filter(|device| device.size > 0 && device.device_type == blockdev::DeviceType::Disk)
            .filter(|device| !["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| is_numbered(&device.name, kind)))
            .filter_map(|device| self.describe(device))
            .collect();
        disks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(disks)
    }

    /// The disk with these device numbers, of whatever kind; not a partition.
    #[must_use]
    pub fn find(&self, id: DiskId) -> Option<Listed> {
        let name = self.name_of(id)?;
        let found = blockdev::get_devices_at(&self.root).ok();
        let devices = found.as_ref().map(|found| found.iter_all().filter(|device| device.name == name));
        match devices.and_then(|mut devices| devices.next()) {
            Some(device) => self.describe(device),
            None => self.describe_name(&name, None),
        }
    }

    /// The partition number of a device that is a partition.
    #[must_use]
    pub fn partition_number(&self, id: DiskId) -> Option<u32> {
        self.number(&self.class().join(self.name_of(id)?), "partition")
    }

    /// `sys/class/block`: every block device, partitions included.
    pub(super) fn class(&self) -> PathBuf {
        self.root.join("sys/class/block")
    }

    /// Where this kernel view keeps `path`, such as `proc/swaps`.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Names of all block devices, ascending.
    pub(super) fn names(&self) -> Vec<String> {
        names_in(&self.class())
    }

    /// Kernel name of a block device.
    pub(super) fn name_of(&self, id: DiskId) -> Option<String> {
        self.names().into_iter().find(|name| self.id_of(name) == Some(id))
    }

    /// Device numbers of a kernel name.
    pub(super) fn id_of(&self, name: &str) -> Option<DiskId> {
        parse_id(&self.text(&self.class().join(name), "dev")?)
    }

    /// One line of one file; `None` where it is missing or empty.
    #[expect(clippy::unused_self, reason = "reads belong to the kernel view")]
    pub(super) fn text(&self, folder: &Path, file: &str) -> Option<String> {
        let bytes = std::fs::read(folder.join(file)).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A decimal number in a file.
    pub(super) fn number<N: std::str::FromStr>(&self, folder: &Path, file: &str) -> Option<N> {
        self.text(folder, file)?.parse().ok()
    }

    /// Bytes of a device by its `size` file.
    pub(super) fn size_of(&self, name: &str) -> u64 {
        let sectors: u64 = self.number(&self.class().join(name), "size").unwrap_or(0);
        sectors.saturating_mul(SYSFS_SECTOR)
    }

    /// Partitions of a disk, ascending by number.
    pub(super) fn partitions_of(&self, disk: &str) -> Vec<PartitionDevice> {
        let folder = self.class().join(disk);
        let mut found: Vec<PartitionDevice> = names_in(&folder)
            .into_iter()
            .filter(|name| name.starts_with(disk))
            .filter_map(|name| {
                let folder = folder.join(&name);
                let start: u64 = self.number(&folder, "start")?;
                let sectors: u64 = self.number(&folder, "size")?;
                let range = ByteRange::new(start.checked_mul(SYSFS_SECTOR)?, sectors.checked_mul(SYSFS_SECTOR)?);
                Some(PartitionDevice {
                    id: parse_id(&self.text(&folder, "dev")?)?,
                    number: self.number(&folder, "partition")?,
                    range: range.ok()?,
                    holders: names_in(&folder.join("holders")),
                    name,
                })
            })
            .collect();
        found.sort_by_key(|partition| partition.number);
        found
    }

    /// How a disk is attached. NVMe controllers say it themselves; behind a subsystem (multipath) there may be several.
    fn transport(&self, folder: &Path) -> Option<&'static str> {
        let device = folder.join("device");
        let behind =
            names_in(&device).into_iter().filter(|name| name.starts_with("nvme")).map(|name| device.join(name));
        let said = std::iter::once(device.clone()).chain(behind).find_map(|path| self.text(&path, "transport"));
        match said.as_deref() {
            Some("pcie") => return Some("nvme"),
            Some(_) => return Some("nvme-of"),
            None => {}
        }
        let path = std::fs::canonicalize(folder).ok()?;
        let text = path.to_str()?;
        TRANSPORTS.into_iter().find(|(mark, _)| text.contains(mark)).map(|(_, name)| name)
    }

    /// What the devices that a disk hangs from are called where drivers are looked for; bridges between buses are left out.
    /// A namespace of NVMe that several controllers may carry hangs from none; its first controller is taken.
    fn controllers(&self, folder: &Path) -> Vec<String> {
        let device = folder.join("device");
        let behind =
            names_in(&device).into_iter().filter(|name| name.starts_with("nvme")).map(|name| device.join(name));
        let paths =
            std::iter::once(folder.to_owned()).chain(behind).filter_map(|path| std::fs::canonicalize(path).ok());
        let of = |path: PathBuf| {
            let mut found: Vec<String> = path.ancestors().filter_map(|above| self.text(above, "modalias")).collect();
            found.retain(|alias| !(alias.starts_with("pci:") && alias.contains("bc06")));
            found.reverse();
            found
        };
        paths.map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The serial number of the USB device that a disk sits behind: the kernel asks no USB disk for SCSI's pages.
    fn usb_serial(&self, folder: &Path) -> Option<String> {
        let path = std::fs::canonicalize(folder).ok()?;
        let device = path.ancestors().find(|above| above.join("idVendor").exists())?;
        self.text(device, "serial")
    }

    fn describe(&self, device: &blockdev::BlockDevice) -> Option<Listed> {
        // blockdev shows a device-mapper device by its mapped name; the numbers lead back to the kernel's.
        let id = DiskId::Block { major: device.maj_min.major.into(), minor: device.maj_min.minor.into() };
        self.describe_name(&self.name_of(id)?, Some(device))
    }

    fn describe_name(&self, name: &str, known: Option<&blockdev::BlockDevice>) -> Option<Listed> {
        let folder = self.class().join(name);
        let known_text = |pick: fn(&blockdev::BlockDevice) -> &Option<String>| {
            known.and_then(|device| pick(device).clone()).filter(|text| !text.trim().is_empty())
        };
        let flag = |file| self.text(&folder, file).as_deref() == Some("1");
        Some(Listed {
            id: self.id_of(name)?,
            size: self.size_of(name),
            sector_size: self.number(&folder, "queue/logical_block_size").unwrap_or(512),
            physical_sector_size: self.number(&folder, "queue/physical_block_size").unwrap_or(512),
            model: known_text(|device| &device.model),
            // Without udev the kernel shows no serial number for SCSI and SATA except in this page.
            serial: known_text(|device| &device.serial)
                .or_else(|| unit_serial(&folder.join("device/vpd_pg80")))
                .or_else(|| self.usb_serial(&folder)),
            wwn: known_text(|device| &device.wwn),
            transport: self.transport(&folder).map(str::to_owned),
            controllers: self.controllers(&folder),
            removable: flag("removable"),
            read_only: flag("ro"),
            holders: names_in(&folder.join("holders")),
            partitions: self.partitions_of(name),
            name: name.to_owned(),
        })
    }
}

/// `kind` followed by digits.
fn is_numbered(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Names in a folder, ascending; none where there is no folder.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// `MAJOR:MINOR`.
pub(super) fn parse_id(text: &str) -> Option<DiskId> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(DiskId::Block { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// The unit serial number page of a SCSI device (SPC-4, 7.8.15): four bytes of header, then text.
fn unit_serial(page: &Path) -> Option<String> {
    let bytes = std::fs::read(page).ok()?;
    if bytes.get(1) != Some(&0x80) {
        return None;
    }
    let len = usize::from(*bytes.get(3)?);
    let text = bytes.get(4..)?;
    let text: String =
        String::from_utf8_lossy(&text[..len.min(text.len())]).chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// How a disk is attached, by marks in the path of its device in the kernel's tree. The first match counts: a USB disk is
/// a SCSI disk too.
const TRANSPORTS: [(&str, &str); 8] = [
    ("/usb", "usb"),
    ("/rport-", "fc"),
    ("/session", "iscsi"),
    ("/end_device-", "sas"),
    ("/ata", "sata"),
    ("/mmc_host/", "mmc"),
    ("/virtio", "virtio"),
    ("/nvme", "nvme"),
];

#[cfg(test)]
mod tests;
