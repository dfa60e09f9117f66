//! Which disks there are to choose from, and which of them nobody takes by accident.
//!
//! In: sysfs, or paths that a person named. Out: disks with their identities, and what stands against each.
//! Promise: looking opens for reading only; removable, USB, FC, iSCSI and NVMe-oF disks, the boot medium, what is in use
//! and members of sets that reach over other disks are taken only when named.

use crate::disk::source::{ReadAt, Window};
use crate::disk::{DiskInfo, Disks, Reason, Source, uses};
use crate::extent::probe;
use crate::partition;
use crate::write::end_metadata;
use ramet_wire::TableKind;
use ramet_wire::agents::{CONTROLLERS_MAX, DISKS_MAX, DiskSeen, TEXT_MAX};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Partitions of one disk that are looked at.
const PARTITIONS_MAX: usize = 128;
/// How a disk is attached that another machine may share, or that a person carries around.
const FOREIGN: [&str; 4] = ["usb", "fc", "iscsi", "nvme-of"];

/// The disks that may be chosen.
#[derive(Clone, Debug)]
pub enum Stock {
    /// Those that the kernel has.
    Kernel(Disks),
    /// Those that a person named: block devices, or disk-image files, whose serial number is their name without its end.
    Named(Vec<PathBuf>),
}

/// A disk to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How to open it.
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes per logical sector.
    pub sector: u32,
    /// Model, as the device says.
    pub model: Option<String>,
    /// Serial number, as the device says.
    pub serial: Option<String>,
    /// World-wide name, as the device says.
    pub wwn: Option<String>,
    /// How it is attached, where the kernel shows it.
    pub transport: Option<String>,
    /// Modaliases of what it hangs from, the outermost first, where the kernel shows them.
    pub controllers: Vec<String>,
    /// The table or file system that is on it; empty for none, none where it can not be read.
    pub holds: Option<String>,
    /// Why it is taken only when named.
    pub against: Option<String>,
}

impl Found {
    /// Name, size, model and serial number, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let known = crate::write::identity(self.model.as_deref(), self.serial.as_deref());
        format!("{} ({}, {known})", self.name, crate::cli::show::bytes(self.size))
    }

    /// As a [`ramet_wire::agents::Hello`] names it.
    #[must_use]
    pub fn seen(&self) -> DiskSeen {
        let cut = |text: &Option<String>| text.as_deref().map(cut);
        DiskSeen {
            name: self::cut(&self.name),
            size: self.size,
            sector: self.sector,
            model: cut(&self.model),
            serial: cut(&self.serial),
            wwn: cut(&self.wwn),
            holds: cut(&self.holds),
            controllers: self.controllers.iter().take(CONTROLLERS_MAX).map(|alias| self::cut(alias)).collect(),
            named_only: self.against.is_some(),
        }
    }
}

/// At most [`TEXT_MAX`] bytes, without control characters.
pub(super) fn cut(text: &str) -> String {
    let mut clean: String = text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    while clean.len() > TEXT_MAX {
        clean.pop();
    }
    clean
}

impl Stock {
    /// The running machine's disks.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::Kernel(Disks::from_sysfs())
    }

    /// Looks at all disks. `medium` is where the boot medium is mounted.
    #[must_use]
    pub fn look(&self, medium: Option<&Path>) -> Vec<Found> {
        let kernel = Disks::from_sysfs();
        let (mut found, kernel) = match self {
            Self::Kernel(disks) => (listed(disks), disks),
            Self::Named(paths) => (paths.iter().filter_map(|path| named(path)).collect(), &kernel),
        };
        let mut members: Vec<Vec<String>> = Vec::new();
        for disk in &mut found {
            let opened = DiskInfo::open_source(&disk.path);
            members.push(opened.as_ref().map(memberships).unwrap_or_default());
            disk.holds = opened.as_ref().ok().and_then(holds);
            if disk.against.is_none() {
                disk.against = match &opened {
                    Ok(opened) => in_use(kernel, &opened.info, medium),
                    Err(error) => Some(format!("can not be read: {}", crate::cli::show::chain(error))),
                };
            }
        }
        mark_sets(&mut found, &members);
        found
    }
}

/// What a [`ramet_wire::agents::Hello`] says of them.
#[must_use]
pub fn seen(found: &[Found]) -> Vec<DiskSeen> {
    found.iter().take(DISKS_MAX).map(Found::seen).collect()
}

fn listed(disks: &Disks) -> Vec<Found> {
    let all = disks.list().unwrap_or_default();
    let found = |disk: crate::disk::Listed| {
        let foreign = disk.transport.as_deref().filter(|transport| FOREIGN.contains(transport));
        let against = if disk.read_only {
            Some("is read-only".to_owned())
        } else if let Some(transport) = foreign {
            Some(format!("is attached by {transport}"))
        } else {
            disk.removable.then(|| "is removable".to_owned())
        };
        Found {
            // cciss!c0d0 in sysfs is cciss/c0d0 in /dev.
            path: Path::new("/dev").join(disk.name.replace('!', "/")),
            name: disk.name,
            size: disk.size,
            sector: disk.sector_size,
            model: disk.model,
            serial: disk.serial,
            wwn: disk.wwn,
            transport: disk.transport,
            controllers: disk.controllers,
            holds: None,
            against,
        }
    };
    all.into_iter().map(found).collect()
}

fn named(path: &Path) -> Option<Found> {
    let info = DiskInfo::open_source(path).ok()?.info;
    let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Some(Found {
        path: path.to_owned(),
        name: path.file_name()?.to_string_lossy().into_owned(),
        size: info.size,
        sector: info.sector_size,
        model: info.model,
        serial: info.serial.or_else(stem),
        wwn: info.wwn,
        transport: info.transport,
        controllers: info.controllers,
        holds: None,
        against: None,
    })
}

fn in_use(kernel: &Disks, info: &DiskInfo, medium: Option<&Path>) -> Option<String> {
    let uses = uses(kernel, info);
    let boot = uses.iter().any(
        |used| matches!(&used.reason, Reason::Mounted { at } if medium.is_some_and(|medium| Path::new(at) == medium)),
    );
    if boot {
        return Some("is the boot medium".to_owned());
    }
    uses.first().map(|used| format!("is in use: {used}"))
}

/// The table that is on a disk, else what the whole disk holds. A table that can not be understood is one.
fn holds(disk: &Source) -> Option<String> {
    match partition::read(disk, disk.info.sector_size) {
        Ok(scan) if scan.table.kind == TableKind::None => {}
        Ok(scan) => return Some(scan.table.kind.to_string()),
        Err(partition::PartitionError::Io { .. }) => return None,
        Err(_) => return Some("damaged table".to_owned()),
    }
    let whole = probe(disk).ok()?.kind;
    if whole != "unknown" {
        return Some(whole);
    }
    Some(end_metadata(disk).ok()?.unwrap_or_default().to_owned())
}

/// The sets that parts of a disk belong to. LVM's volume groups are not told apart.
fn memberships(disk: &Source) -> Vec<String> {
    let mut sets = Vec::new();
    let mut note = |disk: &dyn ReadAt| {
        let Ok(content) = probe(disk) else { return };
        let id = content.uuid.unwrap_or_default();
        match content.kind.as_str() {
            "linux_raid_member" | "btrfs" => sets.push(format!("{} {id}", content.kind).trim().to_owned()),
            kind @ ("LVM2_member" | "zfs_member" | "bcache" | "stratis") => sets.push(kind.to_owned()),
            _ => {}
        }
    };
    note(disk);
    if let Ok(scan) = partition::read(disk, disk.info.sector_size) {
        let entries = scan.table.entries.iter().filter(|entry| !entry.extended).take(PARTITIONS_MAX);
        for window in entries.filter_map(|entry| Window::new(disk, entry.range).ok()) {
            note(&window);
        }
    }
    if let Ok(Some(name)) = end_metadata(disk)
        && name != "linux_raid_member"
    {
        sets.push(name.to_owned());
    }
    sets.sort_unstable();
    sets.dedup();
    sets
}

fn mark_sets(found: &mut [Found], members: &[Vec<String>]) {
    let mut by_set: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, sets) in members.iter().enumerate() {
        sets.iter().for_each(|set| by_set.entry(set.as_str()).or_default().push(index));
    }
    let mut shared: Vec<(&str, Vec<usize>)> = by_set.into_iter().filter(|(_, disks)| disks.len() > 1).collect();
    shared.sort_unstable();
    for (set, disks) in shared {
        let names: Vec<String> = disks.iter().map(|index| found[*index].name.clone()).collect();
        for index in disks {
            let others: Vec<&str> =
                names.iter().map(String::as_str).filter(|name| *name != found[index].name).collect();
            let why = format!("holds a part of a set ({set}), {} another", others.join(", "));
            found[index].against.get_or_insert(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::testing::Image;

    const MIB: u64 = 1 << 20;

    fn look(images: &[&Image]) -> Vec<Found> {
        Stock::Named(images.iter().map(|image| image.path.clone()).collect()).look(None)
    }

    /// An md superblock of version 1.2 with this set's UUID.
    fn raid(image: &Image, uuid: u8) {
        let mut block = vec![0; 4096];
        block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
        block[4..8].copy_from_slice(&1_u32.to_le_bytes());
        block[16..32].fill(uuid);
        block[144..152].copy_from_slice(&(4096_u64 / 512).to_le_bytes());
        image.write(MIB + 4096, &block);
    }

    #[test]
    fn disks_that_share_a_set_are_taken_only_when_named() {
        let disk = || Image::with_sgdisk(8 * MIB, &["-n", "1:2048:+4M"]);
        let (a, b, c) = (disk(), disk(), disk());
        raid(&a, 1);
        raid(&b, 1);
        raid(&c, 2);
        let found = look(&[&a, &b, &c]);
        let against: Vec<bool> = found.iter().map(|disk| disk.against.is_some()).collect();
        assert_eq!(against, [true, true, false], "{found:?}");
        assert!(found[0].against.as_deref().is_some_and(|why| why.contains("linux_raid_member")));
        // A set of its own on the only disk is no reason.
        assert_eq!(look(&[&a])[0].against, None);
    }

    #[test]
    fn what_is_on_a_disk_is_told_and_an_empty_one_is_empty() {
        let (table, empty, whole) =
            (Image::with_sgdisk(8 * MIB, &["-n", "1:2048:+4M"]), Image::new(8 * MIB), Image::new(8 * MIB));
        let mkfs = std::process::Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&whole.path).status().unwrap();
        assert!(mkfs.success());
        let broken = Image::with_sgdisk(8 * MIB, &["-n", "1:2048:+4M"]);
        broken.write(512 + 16, &[0xff; 64]);
        broken.write(8 * MIB - 512 + 16, &[0xff; 64]);
        let seen: Vec<_> = look(&[&table, &empty, &whole, &broken]).iter().map(Found::seen).collect();
        let holds: Vec<_> = seen.iter().map(|disk| disk.holds.as_deref()).collect();
        assert_eq!(holds, [Some("gpt"), Some(""), Some("ext4"), Some("damaged table")]);
        assert!(seen.iter().all(|disk| !disk.named_only));
    }

    #[test]
    fn an_image_file_has_its_name_as_serial_number_and_one_that_is_not_there_is_no_disk() {
        let image = Image::new(4 * MIB);
        let found = Stock::Named(vec![image.path.clone(), "/nowhere/x.img".into()]).look(None);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].serial.as_deref(), found[0].size), (Some("disk"), 4 * MIB));
    }

    #[test]
    fn what_others_may_share_or_a_person_carries_is_taken_only_when_named() {
        let machine = crate::disk::fake::Machine::new();
        machine.device("sda", "8:0", 1000).file("removable", b"1");
        machine.device("nvme0n1", "259:0", 1000).file("device/transport", b"tcp");
        machine.device("nvme1n1", "259:1", 1000).file("device/transport", b"pcie");
        machine.device("sdb", "8:16", 1000).file("ro", b"1");
        let found = listed(&machine.disks());
        let against: Vec<_> = found.iter().map(|disk| (disk.name.as_str(), disk.against.as_deref())).collect();
        let wanted = [
            ("nvme0n1", Some("is attached by nvme-of")),
            ("nvme1n1", None),
            ("sda", Some("is removable")),
            ("sdb", Some("is read-only")),
        ];
        assert_eq!(against, wanted);
    }

    #[test]
    fn texts_of_devices_are_cut_for_the_wire() {
        assert_eq!(cut("a\x1bb"), "ab");
        assert!(cut(&"ü".repeat(200)).len() <= TEXT_MAX);
    }
}
