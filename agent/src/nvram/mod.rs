//! How UEFI firmware starts a machine: its `Boot####` variables, through efivarfs.
//!
//! In: the variables' folder, and a manifest. Out: for a capture what points into the image; after a restore one entry.
//! Promise: removes and changes nothing; adds at most one entry, only where firmware would find no loader by itself.

pub mod option;

use option::{LoadOption, Starts, Target, build, parse};
use ramet_wire::firmware::{BootEntry, Firmware, LIST_MAX, Loader, TEXT_MAX};
use ramet_wire::manifest::{DiskImage, Manifest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the kernel shows the variables (kernel: Documentation/filesystems/efivarfs.rst).
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";
/// EFI_GLOBAL_VARIABLE (UEFI specification 2.10, section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Kept over power cycles, seen by boot services and by a running system.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// Longest variable that is read, in bytes.
const VALUE_MAX: u64 = 64 << 10;
/// Programs that start a system, best first: shim finds GRUB by itself and also passes Secure Boot.
const LOADERS: [&str; 5] = ["shimx64.efi", "grubx64.efi", "systemd-bootx64.efi", "bootmgfw.efi", "elilo.efi"];

/// The firmware's variables.
#[derive(Clone, Debug)]
pub struct Nvram {
    folder: PathBuf,
}

/// What became of the wish for an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Nothing is needed: the reason.
    Needless(&'static str),
    /// An entry of this name starts it already.
    There(String),
    /// This one was added.
    New {
        /// `Boot0007`.
        name: String,
        /// What the firmware's menu shows.
        label: String,
        /// What it starts.
        path: String,
    },
}

/// Why no entry was added. The disks hold the image all the same.
#[derive(Debug, thiserror::Error)]
pub enum NvramError {
    /// A variable cannot be read.
    #[error("reading the firmware's {name}")]
    Read {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A variable cannot be written.
    #[error("writing the firmware's {name}")]
    Write {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is no free number.
    #[error("adding a firmware entry: all 65536 numbers are taken")]
    Full,
}

impl Nvram {
    /// The variables of this machine; none where it was not started by UEFI firmware.
    #[must_use]
    pub fn here() -> Option<Self> {
        let folder = PathBuf::from(EFIVARS);
        folder.join(format!("BootOrder-{GLOBAL}")).exists().then_some(Self { folder })
    }

    /// Variables in another folder: for tests.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The entries that point into one of `disks`, in the order in which they are tried.
    ///
    /// # Errors
    /// [`NvramError::Read`].
    pub fn entries_of(&self, disks: &[DiskImage]) -> Result<Vec<BootEntry>, NvramError> {
        let (order, options) = (self.order()?, self.options()?);
        let listed = order.iter().filter_map(|number| options.get(number));
        let rest = options.iter().filter(|(number, _)| !order.contains(number)).map(|(_, option)| option);
        let entry = |option: &LoadOption| {
            let Starts::File { guid, path } = &option.starts else { return None };
            let (disk, partition) = with_guid(disks, guid)?;
            let fits = |text: &str| (1..=TEXT_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
            let loader = Loader { disk, partition, path: path.clone() };
            (fits(&option.label) && fits(path)).then(|| BootEntry { label: option.label.clone(), loader })
        };
        Ok(listed.chain(rest).filter_map(entry).take(LIST_MAX).collect())
    }

    /// Adds the entry that a restored image needs, right after the network's entries.
    ///
    /// # Errors
    /// [`NvramError`]; then nothing points to a half-written entry: the order is written last.
    pub fn add(&self, manifest: &Manifest) -> Result<Added, NvramError> {
        let firmware = manifest.firmware.clone().unwrap_or_default();
        let Some((label, target)) = wanted(manifest, &firmware) else {
            let reason = if firmware.loaders.iter().any(Loader::is_fallback) {
                "firmware finds the image's loader by itself"
            } else {
                "the image has no loader for UEFI firmware"
            };
            return Ok(Added::Needless(reason));
        };
        let options = self.options()?;
        let starts = Starts::File { guid: target.guid, path: target.path.clone() };
        if let Some((number, _)) = options.iter().find(|(_, option)| same(&option.starts, &starts)) {
            return Ok(Added::There(name_of(*number)));
        }
        let number = (0..=u16::MAX).find(|number| !options.contains_key(number)).ok_or(NvramError::Full)?;
        let name = name_of(number);
        self.write(&name, &build(&label, &target))?;
        let mut order = self.order()?;
        let network = |number: &u16| options.get(number).is_some_and(|option| option.starts == Starts::Network);
        let at = order.iter().rposition(network).map_or(0, |last| last + 1);
        order.insert(at, number);
        self.write("BootOrder", &order.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
        Ok(Added::New { name, label, path: target.path })
    }

    fn order(&self) -> Result<Vec<u16>, NvramError> {
        match self.read("BootOrder") {
            Ok(value) => Ok(value.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()),
            Err(NvramError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// All entries by number; those that no code here understands start [`Starts::Other`].
    fn options(&self) -> Result<BTreeMap<u16, LoadOption>, NvramError> {
        let read = |source| NvramError::Read { name: "variables".to_owned(), source };
        let mut options = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(GLOBAL).and_then(|name| name.strip_suffix('-')?.strip_prefix("Boot"));
            let Some(number) = number.filter(|digits| digits.len() == 4) else { continue };
            let Ok(number) = u16::from_str_radix(number, 16) else { continue };
            let unknown = || LoadOption { label: String::new(), starts: Starts::Other };
            options.insert(number, parse(&self.read(&name_of(number))?).unwrap_or_else(unknown));
        }
        Ok(options)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, NvramError> {
        let failed = |source| NvramError::Read { name: name.to_owned(), source };
        let path = self.folder.join(format!("{name}-{GLOBAL}"));
        let len = fs::metadata(&path).map_err(failed)?.len();
        if len > VALUE_MAX {
            return Err(failed(io::Error::other(format!("{len} bytes, {VALUE_MAX} are allowed"))));
        }
        Ok(fs::read(&path).map_err(failed)?.get(ATTRIBUTES.len()..).unwrap_or_default().to_vec())
    }

    /// One write of attributes and value, as efivarfs wants it.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), NvramError> {
        let path = self.folder.join(format!("{name}-{GLOBAL}"));
        let whole = [&ATTRIBUTES[..], value].concat();
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let written = file.and_then(|mut file| io::Write::write_all(&mut file, &whole));
        written.map_err(|source| NvramError::Write { name: name.to_owned(), source })
    }
}

fn name_of(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// FAT knows no upper and lower case.
fn same(one: &Starts, other: &Starts) -> bool {
    match (one, other) {
        (Starts::File { guid, path }, Starts::File { guid: other, path: another }) => {
            guid == other && path.eq_ignore_ascii_case(another)
        }
        _ => false,
    }
}

/// What firmware must be told, if anything: the source's own first entry, else the best loader that was found.
fn wanted(manifest: &Manifest, firmware: &Firmware) -> Option<(String, Target)> {
    if firmware.loaders.iter().any(Loader::is_fallback) {
        return None;
    }
    let by_name = |name: &&str| {
        let ends =
            |loader: &&Loader| loader.path.rsplit('\\').next().is_some_and(|file| file.eq_ignore_ascii_case(name));
        firmware.loaders.iter().find(ends)
    };
    let found = LOADERS.iter().find_map(by_name).or_else(|| firmware.loaders.first());
    let (label, loader) = match (firmware.entries.first(), found) {
        (Some(entry), _) => (entry.label.clone(), &entry.loader),
        (None, Some(loader)) => (manifest.name.to_string(), loader),
        (None, None) => return None,
    };
    let disk = manifest.disks.iter().find(|disk| disk.ordinal == loader.disk)?;
    let entry = disk.table.entries.iter().find(|entry| entry.number == loader.partition)?;
    let guid = guid_bytes(entry.guid.as_deref()?)?;
    let (number, range, sector) = (entry.number, entry.range, disk.logical_sector);
    Some((label, Target { number, range, sector, guid, path: loader.path.clone() }))
}

/// The partition with this GUID: disk and number.
fn with_guid(disks: &[DiskImage], guid: &[u8; 16]) -> Option<(u32, u32)> {
    disks.iter().find_map(|disk| {
        let of = |entry: &&ramet_wire::Entry| entry.guid.as_deref().and_then(guid_bytes).as_ref() == Some(guid);
        let entry = disk.table.entries.iter().find(of)?;
        let there = disk.partitions.iter().any(|partition| partition.number == entry.number);
        there.then_some((disk.ordinal, entry.number))
    })
}

/// As on disk: the first three fields little endian.
fn guid_bytes(text: &str) -> Option<[u8; 16]> {
    uuid::Uuid::parse_str(text).ok().map(|guid| guid.to_bytes_le())
}

#[cfg(test)]
mod tests;
