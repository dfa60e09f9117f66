//! The volumes of held disks, for whoever assembles a system from them.
//!
//! In: disks with their tables. Out: every partition and logical volume, with a device behind those that can be mounted.
//! Promise: a fixed order: disk by disk, partitions by number, then logical volumes; no device outlives this value.

use super::{AttachError, Attached, LoopDevice, logical_volumes};
use crate::disk::source::{FileSource, Window};
use crate::extent;
use crate::partition::EFI_SYSTEM;
use ramet_system::assemble::mount::{MountError, Options, detached};
use ramet_system::assemble::{Volume, Volumes};
use ramet_wire::manifest::Content;
use ramet_wire::{ByteRange, Entry, Table, TableKind};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const PHYSICAL_VOLUME: &str = "LVM2_member";
/// Nothing else gets a device: what cannot be mounted is only named.
const MOUNTABLE: [&str; 8] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat"];

/// A held disk with its table.
#[derive(Clone, Copy, Debug)]
pub struct DiskAt<'a> {
    /// Which disk of an image, or of a machine.
    pub ordinal: u32,
    /// Open for what shall be done to it; the page cache is gone through.
    pub file: &'a File,
    /// Bytes.
    pub size: u64,
    /// Bytes per logical sector.
    pub sector: u32,
    /// How it is divided.
    pub table: &'a Table,
}

/// The volumes of some disks.
#[derive(Debug)]
pub struct DiskVolumes {
    list: Vec<Volume>,
    /// By place in the list; none for what is not mounted here.
    devices: Vec<Option<PathBuf>>,
    // Dropped in this order: logical volumes before what they lie on.
    _logical: Vec<Attached>,
    loops: Vec<LoopDevice>,
}

impl DiskVolumes {
    /// Attaches everything on `disks` that can be mounted.
    ///
    /// # Errors
    /// [`AttachError`]; then nothing stays attached.
    pub fn open(disks: &[DiskAt<'_>], read_only: bool) -> Result<Self, AttachError> {
        let (mut list, mut devices, mut loops) = (Vec::new(), Vec::new(), Vec::new());
        let mut physical: Vec<(PathBuf, u64)> = Vec::new();
        for disk in disks {
            for (entry, range) in partitions(disk) {
                let number = entry.map_or(0, |entry| entry.number);
                let name = format!("disk {} partition {number}", disk.ordinal);
                let content = probe(disk, range, &name)?;
                let member = content.kind == PHYSICAL_VOLUME;
                let device = if member || MOUNTABLE.contains(&content.kind.as_str()) {
                    let device = LoopDevice::over(disk.file, range, disk.sector, read_only)?;
                    let path = device.path().to_owned();
                    if member {
                        physical.push((path.clone(), device.size()));
                    }
                    loops.push(device);
                    Some(path).filter(|_| !member)
                } else {
                    None
                };
                list.push(Volume { disk: Some(disk.ordinal), ..volume(name, content, entry, disk.table) });
                devices.push(device);
            }
        }
        let mut logical = Vec::new();
        if !physical.is_empty() {
            let on: Vec<(&Path, u64)> = physical.iter().map(|(path, size)| (path.as_path(), *size)).collect();
            logical = logical_volumes(&on, read_only)?;
        }
        for attached in &logical {
            let (group, name) = (&attached.volume.group, &attached.volume.name);
            let path = attached.device.path();
            let content = probe_device(path, attached.volume.size)?;
            let mapper = Some(format!("{}-{}", group.replace('-', "--"), name.replace('-', "--")));
            devices.push(Some(path.to_owned()).filter(|_| MOUNTABLE.contains(&content.kind.as_str())));
            list.push(Volume { mapper, ..of_content(format!("{group}/{name}"), content) });
        }
        Ok(Self { list, devices, _logical: logical, loops })
    }

    /// The device of a volume, by its place in the list.
    #[must_use]
    pub fn device(&self, index: usize) -> Option<&Path> {
        self.devices.get(index)?.as_deref()
    }

    /// Writes everything back that was written through the devices; the disks themselves are flushed by their owner.
    /// Everything must be unmounted.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn finish(self) -> Result<(), AttachError> {
        let Self { _logical: logical, loops, .. } = self;
        for attached in &logical {
            let path = attached.device.path();
            File::open(path)
                .and_then(|device| device.sync_all())
                .map_err(|source| AttachError::io(format!("flushing {}", path.display()), source))?;
        }
        drop(logical);
        loops.iter().try_for_each(LoopDevice::flush)
    }
}

impl Volumes for DiskVolumes {
    fn list(&self) -> &[Volume] {
        &self.list
    }

    fn mount(&self, index: usize, options: &Options<'_>) -> Result<OwnedFd, MountError> {
        let volume = self.list.get(index).cloned().unwrap_or_default();
        let named = |error: MountError| MountError { name: volume.name.clone(), ..error };
        match self.device(index) {
            Some(device) => detached(device, &volume.kind, options).map_err(named),
            None => {
                let source = io::Error::new(io::ErrorKind::Unsupported, "this format is not mounted here");
                Err(MountError { name: volume.name, kind: volume.kind, source })
            }
        }
    }
}

/// Partitions with content by number; a disk without a table is one.
fn partitions<'a>(disk: &DiskAt<'a>) -> Vec<(Option<&'a Entry>, ByteRange)> {
    if disk.table.kind == TableKind::None {
        return vec![(None, ByteRange::between(0, disk.size / u64::from(disk.sector) * u64::from(disk.sector)))];
    }
    let own = disk.table.entries.iter().filter(|entry| !entry.extended && entry.range.end() <= disk.size);
    own.map(|entry| (Some(entry), entry.range)).collect()
}

fn probe(disk: &DiskAt<'_>, range: ByteRange, name: &str) -> Result<Content, AttachError> {
    let io = |source| AttachError::io(format!("looking at {name}"), source);
    let source = FileSource::new(disk.file.try_clone().map_err(io)?, disk.size);
    extent::probe(&Window::new(source, range).map_err(io)?).map_err(AttachError::Group)
}

fn probe_device(path: &Path, size: u64) -> Result<Content, AttachError> {
    let file = File::open(path).map_err(|source| AttachError::io(format!("opening {}", path.display()), source))?;
    extent::probe(&FileSource::new(file, size)).map_err(AttachError::Group)
}

fn volume(name: String, content: Content, entry: Option<&Entry>, table: &Table) -> Volume {
    let number = entry.map_or(0, |entry| entry.number);
    let signature = table.id.as_deref().and_then(|id| id.strip_prefix("0x"));
    let partuuid = match table.kind {
        TableKind::Gpt => entry.and_then(|entry| entry.guid.clone()),
        TableKind::Mbr => signature.map(|signature| format!("{signature}-{number:02x}")),
        TableKind::None => None,
    };
    Volume {
        partuuid,
        partlabel: entry.and_then(|entry| entry.name.clone()),
        number: Some(number),
        esp: entry.is_some_and(|entry| EFI_SYSTEM.contains(&entry.r#type.as_str())),
        ..of_content(name, content)
    }
}

/// What of a content concerns whoever mounts it.
fn of_content(name: String, content: Content) -> Volume {
    let kind = match content.kind.as_str() {
        "crypto_LUKS" => "luks".to_owned(),
        "BitLocker" => "bitlocker".to_owned(),
        "unknown" => String::new(),
        _ => content.kind,
    };
    Volume { name, kind, uuid: content.uuid, label: content.label, ..Volume::default() }
}
