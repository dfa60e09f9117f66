//! One tree of all file systems of a system, as it would mount them itself.
//!
//! In: volumes, each mountable. Out: the tree, and what of it could not be had, with reasons.
//! Promise: a mount point is a folder of this very tree; what could not be mounted cannot be written to by mistake: a
//! change below it is an error.

pub mod fstab;
pub mod mount;
#[cfg(test)]
mod tests;

use crate::root::{Root, RootError};
use mount::{MountError, Options};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Most file systems of one tree.
const MOUNTS_MAX: usize = 64;
/// Kinds that can hold the root file system.
const ROOT_KINDS: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"];
/// Where distributions put it when it is not btrfs' default: Ubuntu and SUSE, Fedora, Debian.
const SUBVOLUMES: &[&str] = &["subvol=@", "subvol=root", "subvol=@rootfs"];

/// A partition or logical volume with something on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// For people: `disk 0 partition 2`, `vg0/root`.
    pub name: String,
    /// What is on it, as the kernel names its driver; `luks`, `ntfs`, `swap`, … for what this step does not mount.
    pub kind: String,
    /// Of the file system; FAT: `1A2B-3C4D`.
    pub uuid: Option<String>,
    /// Of the file system.
    pub label: Option<String>,
    /// Of the partition: GUID, or `disksig-nn` on MBR.
    pub partuuid: Option<String>,
    /// Of the partition, GPT only.
    pub partlabel: Option<String>,
    /// Its name in `/dev/mapper`: `vg-lv` with dashes of names doubled.
    pub mapper: Option<String>,
    /// Ordinal of its disk; none for logical volumes.
    pub disk: Option<u32>,
    /// Number of the partition.
    pub number: Option<u32>,
    /// The partition's type is EFI system.
    pub esp: bool,
}

/// Volumes that somebody else has made devices of.
pub trait Volumes {
    /// All of them, in a fixed order.
    fn list(&self) -> &[Volume];

    /// Mounts one, by its place in the list; see [`mount::detached`].
    ///
    /// # Errors
    /// [`MountError`] with the kernel's reason.
    fn mount(&self, index: usize, options: &Options<'_>) -> Result<OwnedFd, MountError>;
}

/// What the system mounts and we could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where it would be.
    pub path: PathBuf,
    /// What it is, as fstab says.
    pub spec: String,
    /// Why not.
    pub reason: String,
}

/// A tree, mounted. [`Self::finish`] unmounts it; forgotten, that happens lazily and unproven.
#[derive(Debug)]
#[must_use]
pub struct Assembled {
    /// The tree.
    pub root: Root,
    /// What of it is missing.
    pub left: Vec<Left>,
    at: Mounts,
}

#[derive(Debug, Default)]
struct Mounts {
    /// In the order of mounting.
    paths: Vec<PathBuf>,
    /// Places of volumes, likewise.
    volumes: Vec<usize>,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// No volume holds a root file system.
    #[error("no volume holds the root of a known system: {seen}")]
    None {
        /// What there is, and why it is none.
        seen: String,
    },
    /// More than one does.
    #[error("both {first} and {second} hold the root of a system")]
    Several {
        /// One of them.
        first: String,
        /// Another.
        second: String,
    },
    /// Reading the tree.
    #[error("looking for the system")]
    Tree(#[from] RootError),
    /// The root file system does not let itself be mounted.
    #[error("mounting the root file system")]
    Mount(#[from] MountError),
    /// Attaching or detaching.
    #[error("{what}")]
    Attach {
        /// What was being done.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// A volume that could be the root, with its subvolume.
struct Candidate {
    volume: usize,
    subvolume: Option<&'static str>,
    /// Its fstab says that it is the root.
    says_so: bool,
}

/// Finds the root file system among `volumes` and mounts it with all that its fstab names at the folder `at`, which
/// should lie in a mount namespace of the caller's own.
///
/// # Errors
/// [`AssembleError`]; then nothing stays mounted.
pub fn assemble(volumes: &dyn Volumes, at: &Path, read_only: bool) -> Result<Assembled, AssembleError> {
    let candidate = find(volumes)?;
    let top = volumes.mount(candidate.volume, &Options { read_only, subvolume: candidate.subvolume })?;
    let mut mounts = Mounts::default();
    mounts.attach(&top, &open_folder(at)?, at.to_owned(), candidate.volume)?;
    let mut tree = Assembled { root: Root::open(at)?, left: Vec::new(), at: mounts };
    let disk = volumes.list().get(candidate.volume).and_then(|volume| volume.disk);
    let mut entries = fstab::parse(&tree.root.text("/etc/fstab")?.unwrap_or_default());
    // A folder before what lies in it, whatever the order of lines.
    entries.sort_by_key(|entry| entry.path.components().count());
    for entry in entries.iter().filter(|entry| entry.path != Path::new("/") && entry.kind != "swap") {
        if let Err(reason) = tree.add(volumes, entry, disk.or(only_disk(volumes)), at, read_only)? {
            tree.left.push(Left { path: entry.path.clone(), spec: entry.spec.clone(), reason });
        }
    }
    tree.add_esp(volumes, at, read_only)?;
    let absent = tree.left.iter().map(|left| (left.path.clone(), format!("{}: {}", left.spec, left.reason)));
    tree.root.set_absent(absent.collect())?;
    Ok(tree)
}

/// Where there is one disk only, `/dev/sda1` is on it, whatever holds the root.
fn only_disk(volumes: &dyn Volumes) -> Option<u32> {
    let mut disks = volumes.list().iter().filter_map(|volume| volume.disk);
    let first = disks.next()?;
    disks.all(|disk| disk == first).then_some(first)
}

fn open_folder(at: &Path) -> Result<OwnedFd, AssembleError> {
    rustix::fs::open(at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| AssembleError::Attach { what: format!("opening {}", at.display()), source: error.into() })
}

/// The volume that holds the root file system.
fn find(volumes: &dyn Volumes) -> Result<Candidate, AssembleError> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (index, volume) in volumes.list().iter().enumerate() {
        if !ROOT_KINDS.contains(&volume.kind.as_str()) {
            seen.push(format!("{}: {}", volume.name, not_a_root(&volume.kind)));
            continue;
        }
        match root_on(volumes, index) {
            Ok(Some(candidate)) => found.push(candidate),
            Ok(None) => seen.push(format!("{}: {} without /etc and os-release", volume.name, volume.kind)),
            Err(AssembleError::Mount(error)) => seen.push(format!("{}: {}", volume.name, error.source)),
            Err(error) => return Err(error),
        }
    }
    let name = |candidate: &Candidate| volumes.list()[candidate.volume].name.clone();
    if found.len() > 1 && found.iter().filter(|candidate| candidate.says_so).count() == 1 {
        found.retain(|candidate| candidate.says_so);
    }
    match &found[..] {
        [] => Err(AssembleError::None { seen: if seen.is_empty() { "no volumes".into() } else { seen.join("; ") } }),
        [_] => Ok(found.remove(0)),
        [first, second, ..] => Err(AssembleError::Several { first: name(first), second: name(second) }),
    }
}

fn not_a_root(kind: &str) -> String {
    match kind {
        "luks" => "encrypted (LUKS), and there is no key".to_owned(),
        "ntfs" => "NTFS, and Debian's kernel has no driver that writes it; Windows is not supported".to_owned(),
        "bitlocker" => "encrypted (BitLocker), and there is no key".to_owned(),
        "" => "unknown contents".to_owned(),
        other => other.to_owned(),
    }
}

fn root_on(volumes: &dyn Volumes, index: usize) -> Result<Option<Candidate>, AssembleError> {
    let list = volumes.list();
    let further = if list[index].kind == "btrfs" { SUBVOLUMES } else { &[] };
    for subvolume in std::iter::once(None).chain(further.iter().copied().map(Some)) {
        let top = match volumes.mount(index, &Options { read_only: true, subvolume }) {
            Ok(top) => top,
            // No such subvolume.
            Err(_) if subvolume.is_some() => continue,
            Err(error) => return Err(error.into()),
        };
        let root = Root::at(top);
        let is_root = root.is_dir("/etc")?
            && (root.lstat("/etc/os-release")?.is_some() || root.lstat("/usr/lib/os-release")?.is_some());
        if is_root {
            let fstab = root.text("/etc/fstab").unwrap_or_default().unwrap_or_default();
            let disk = list[index].disk;
            let says_so = fstab::parse(&fstab)
                .iter()
                .any(|entry| entry.path == Path::new("/") && entry.volume(list, disk) == Ok(index));
            return Ok(Some(Candidate { volume: index, subvolume, says_so }));
        }
    }
    Ok(None)
}

impl Assembled {
    /// Places of the mounted volumes in the list, that of the root first.
    #[must_use]
    pub fn volumes(&self) -> &[usize] {
        &self.at.volumes
    }

    /// Unmounts all of it. What is staged in the tree and not committed is gone.
    ///
    /// # Errors
    /// [`AssembleError::Attach`]: somebody holds it, or the last write went wrong.
    pub fn finish(self) -> Result<(), AssembleError> {
        let Self { root, at: mut mounts, .. } = self;
        let flushed = rustix::fs::syncfs(root.dir());
        drop(root);
        flushed
            .map_err(|error| AssembleError::Attach { what: "flushing the tree".to_owned(), source: error.into() })?;
        while let Some(path) = mounts.paths.last() {
            mount::unmount(path, false)
                .map_err(|source| AssembleError::Attach { what: format!("unmounting {}", path.display()), source })?;
            mounts.paths.pop();
        }
        Ok(())
    }

    /// Mounts one entry; a sentence where it cannot be had.
    fn add(
        &mut self,
        volumes: &dyn Volumes,
        entry: &fstab::Entry,
        disk: Option<u32>,
        at: &Path,
        read_only: bool,
    ) -> Result<Result<(), String>, AssembleError> {
        if entry.is_elsewhere() {
            return Ok(Err("it is no volume of these disks".to_owned()));
        }
        if self.at.paths.len() >= MOUNTS_MAX {
            return Ok(Err(format!("only {MOUNTS_MAX} file systems are mounted")));
        }
        let index = match entry.volume(volumes.list(), disk) {
            Ok(index) => index,
            Err(reason) => return Ok(Err(reason)),
        };
        self.add_at(volumes, index, &entry.path, at, &Options { read_only, subvolume: entry.subvolume() })
    }

    fn add_at(
        &mut self,
        volumes: &dyn Volumes,
        index: usize,
        path: &Path,
        at: &Path,
        options: &Options<'_>,
    ) -> Result<Result<(), String>, AssembleError> {
        let real = self.root.real(path)?;
        if !self.root.is_dir(&real)? {
            return Ok(Err("its mount point is no folder".to_owned()));
        }
        let top = match volumes.mount(index, options) {
            Ok(top) => top,
            Err(error) => return Ok(Err(format!("{error}: {}", error.source))),
        };
        let folder = self.root.folder_at(&real)?;
        let shown = at.join(real.strip_prefix("/").unwrap_or(&real));
        self.at.attach(&top, &folder, shown, index)?;
        Ok(Ok(()))
    }

    /// systemd-gpt-auto-generator(8) mounts the EFI system partition without fstab.
    fn add_esp(&mut self, volumes: &dyn Volumes, at: &Path, read_only: bool) -> Result<(), AssembleError> {
        let mut esps = (0..volumes.list().len()).filter(|index| volumes.list()[*index].esp);
        let (Some(esp), None) = (esps.next(), esps.next()) else { return Ok(()) };
        if self.at.volumes.contains(&esp) {
            return Ok(());
        }
        for path in ["/efi", "/boot/efi", "/boot"] {
            let taken = self.left.iter().any(|left| left.path == Path::new(path));
            if taken || !self.root.is_dir(path)? || !self.root.list(path)?.is_empty() {
                continue;
            }
            let options = Options { read_only, subvolume: None };
            if let Err(reason) = self.add_at(volumes, esp, Path::new(path), at, &options)? {
                let spec = volumes.list()[esp].name.clone();
                self.left.push(Left { path: path.into(), spec, reason });
            }
            return Ok(());
        }
        Ok(())
    }
}

impl Mounts {
    fn attach(&mut self, top: &OwnedFd, at: &OwnedFd, shown: PathBuf, volume: usize) -> Result<(), AssembleError> {
        mount::attach(top, at)
            .map_err(|source| AssembleError::Attach { what: format!("mounting over {}", shown.display()), source })?;
        self.paths.push(shown);
        self.volumes.push(volume);
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        while let Some(path) = self.paths.pop() {
            // Whoever comes here has an error to tell already.
            let _ = mount::unmount(&path, true);
        }
    }
}
