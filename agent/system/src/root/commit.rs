//! What is staged becomes true.
//!
//! In: staged changes. Out: the same on the disk, flushed.
//! Promise: what can be known before (read-only, immutable, full) is known before; all new contents lie flushed beside
//! their places before the first of them is renamed; removals come last. Until the first rename an error undoes all.

use super::{Kind, Node, Root, RootError, Staged, walk};
use ramet_wire::adapt::Change;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Largest attribute and largest list of names, in bytes: the kernel's `XATTR_SIZE_MAX`.
const XATTR_MAX: usize = 65_536;
/// Signatures and capabilities belong to the old contents.
const XATTR_NOT: &[&str] = &["security.capability", "security.ima", "security.evm"];
/// `linux/magic.h`.
const MSDOS_SUPER_MAGIC: rustix::fs::FsWord = 0x4d44;
const LABEL: &str = "security.selinux";
/// Blocks and inodes that a change may take beside its bytes: a folder that grows, a journal's share.
const SPARE: u64 = 16;

/// What was made before the first rename, to undo it.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    /// Path, and the name beside it that holds what it shall be.
    beside: Vec<(PathBuf, String)>,
}

impl Root {
    /// Writes what is staged, and says what that was. Afterwards nothing is staged.
    ///
    /// # Errors
    /// [`RootError`]. Nothing was changed, unless it says *putting in place* or *removing*.
    pub fn commit(&mut self) -> Result<Vec<Change>, RootError> {
        let changes = self.changes();
        if self.staged.is_empty() {
            return Ok(changes);
        }
        self.check_writable()?;
        self.check_space()?;
        let mut made = Made::default();
        if let Err(error) = self.prepare(&mut made) {
            self.undo(&made);
            return Err(error);
        }
        let mut touched = BTreeSet::new();
        for (path, name) in &made.beside {
            let folder = self.folder(path)?;
            rustix::fs::renameat(&folder, name.as_str(), &folder, file_name(path))
                .map_err(|error| RootError::io("putting in place", path, error))?;
            touched.insert(path.parent().map(Path::to_owned).unwrap_or_default());
        }
        self.remove_gone(&mut touched)?;
        touched.extend(made.folders);
        for folder in touched.iter().filter(|folder| !matches!(self.on_disk(folder), Ok(None))) {
            let fd = self.open_folder(folder)?;
            rustix::fs::fsync(&fd).map_err(|error| RootError::io("flushing", folder, error))?;
        }
        self.staged.clear();
        self.order.clear();
        Ok(changes)
    }

    /// Forgets what is staged.
    pub fn discard(&mut self) {
        self.staged.clear();
        self.order.clear();
    }

    fn prepare(&self, made: &mut Made) -> Result<(), RootError> {
        // Ascending: a folder comes before what lies in it.
        for (path, staged) in &self.staged {
            if let Node::Dir { mode, owner } = &staged.node {
                self.make_folder(path, *mode, *owner, made)?;
            }
        }
        for (index, path) in self.order.iter().enumerate() {
            let Some(Staged { node, .. }) = self.staged.get(path) else { continue };
            let name = format!(".ramet-{index}.new");
            match node {
                Node::File { bytes, mode, owner } => {
                    made.beside.push((path.clone(), name.clone()));
                    self.make_file(path, &name, bytes, (*mode, *owner))?;
                }
                Node::Link { target } => {
                    made.beside.push((path.clone(), name.clone()));
                    self.make_link(path, &name, target)?;
                }
                Node::Dir { .. } | Node::Gone => {}
            }
        }
        Ok(())
    }

    fn make_folder(&self, path: &Path, mode: u32, owner: (u32, u32), made: &mut Made) -> Result<(), RootError> {
        let failed = |error| RootError::io("making the folder", path, error);
        let folder = self.folder(path)?;
        match self.on_disk(path)? {
            Some(stat) if stat.kind == Kind::Dir => {}
            _ => {
                rustix::fs::mkdirat(&folder, file_name(path), Mode::from_raw_mode(0o700)).map_err(failed)?;
                made.folders.push(path.to_owned());
                let fd = self.open_folder(path)?;
                if let Some(label) = attribute(&folder, LABEL) {
                    rustix::fs::fsetxattr(&fd, LABEL, &label, XattrFlags::empty()).map_err(failed)?;
                }
            }
        }
        let fd = self.open_folder(path)?;
        own(&fd, mode, owner).map_err(failed)
    }

    fn make_file(&self, path: &Path, name: &str, bytes: &[u8], like: (u32, (u32, u32))) -> Result<(), RootError> {
        let doing = "writing beside";
        let failed = |error| RootError::io(doing, path, error);
        let folder = self.folder(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600));
        let fd = match create() {
            // Left by a run that was cut short.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(failed)?;
                create().map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        match self.staged.get(path).and_then(|staged| staged.label_of.as_deref()) {
            Some(like) => self.label_as(like, &fd).map_err(failed)?,
            None => self.attributes(path, &folder, &fd).map_err(failed)?,
        }
        let mut file = File::from(fd);
        let wrote = file.write_all(bytes).and_then(|()| file.sync_all());
        wrote.map_err(|source| RootError::Io { what: format!("{doing} {}", path.display()), source })?;
        // Last, for the kernel takes set-id bits away when a file is written.
        own(&file, like.0, like.1).and_then(|()| rustix::fs::fsync(&file)).map_err(failed)
    }

    fn make_link(&self, path: &Path, name: &str, target: &Path) -> Result<(), RootError> {
        let failed = |error| RootError::io("making the link", path, error);
        let folder = self.folder(path)?;
        match rustix::fs::symlinkat(target, &folder, name) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&folder, name, AtFlags::empty()).map_err(failed)?;
                rustix::fs::symlinkat(target, &folder, name).map_err(failed)?;
            }
            other => other.map_err(failed)?,
        }
        let Some(label) = self.label(path, &folder) else { return Ok(()) };
        // A link cannot be opened for its attributes; our own descriptor's name leads to its folder.
        let itself = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        rustix::fs::lsetxattr(itself, LABEL, &label, XattrFlags::empty()).map_err(failed)
    }

    /// Those of the file that is replaced, or the label of a neighbour.
    fn attributes(&self, path: &Path, folder: &OwnedFd, fd: &OwnedFd) -> Result<(), Errno> {
        let old = match self.on_disk(path) {
            Ok(Some(stat)) if stat.kind == Kind::File => {
                self.openat(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW).ok()
            }
            _ => None,
        };
        let Some(old) = old else {
            let Some(label) = self.label(path, folder) else { return Ok(()) };
            return rustix::fs::fsetxattr(fd, LABEL, &label, XattrFlags::empty());
        };
        for name in attribute_names(&old) {
            if XATTR_NOT.contains(&name.as_str()) {
                continue;
            }
            if let Some(value) = attribute(&old, &name) {
                rustix::fs::fsetxattr(fd, name.as_str(), &value, XattrFlags::empty())?;
            }
        }
        Ok(())
    }

    fn label_as(&self, like: &Path, fd: &OwnedFd) -> Result<(), Errno> {
        let like = self.openat(like, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW).ok();
        match like.and_then(|like| attribute(&like, LABEL)) {
            Some(label) => rustix::fs::fsetxattr(fd, LABEL, &label, XattrFlags::empty()),
            None => Ok(()),
        }
    }

    /// What a new file here is called by SELinux: as its neighbours, else as its folder.
    fn label(&self, path: &Path, folder: &OwnedFd) -> Option<Vec<u8>> {
        let own = attribute(folder, LABEL)?;
        let parent = path.parent()?;
        let neighbour = self.names_on_disk(parent).ok()?.into_iter().find_map(|name| {
            let path = parent.join(name);
            let stat = self.on_disk(&path).ok()??;
            let fd = (stat.kind == Kind::File)
                .then(|| self.openat(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW))?;
            attribute(&fd.ok()?, LABEL)
        });
        Some(neighbour.unwrap_or(own))
    }

    fn remove_gone(&self, touched: &mut BTreeSet<PathBuf>) -> Result<(), RootError> {
        // Descending: what lies in a folder goes before it.
        for (path, staged) in self.staged.iter().rev() {
            if staged.node != Node::Gone {
                continue;
            }
            let Some(stat) = self.on_disk(path)? else { continue };
            let flags = if stat.kind == Kind::Dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(self.folder(path)?, file_name(path), flags)
                .map_err(|error| RootError::io("removing", path, error))?;
            touched.insert(path.parent().map(Path::to_owned).unwrap_or_default());
        }
        Ok(())
    }

    /// Whoever calls has an error to tell already: what cannot be undone stays, under names that say whose it is.
    fn undo(&self, made: &Made) {
        for (path, name) in &made.beside {
            if let Ok(folder) = self.folder(path) {
                let _ = rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty());
            }
        }
        for path in made.folders.iter().rev() {
            if let Ok(folder) = self.folder(path) {
                let _ = rustix::fs::unlinkat(&folder, file_name(path), AtFlags::REMOVEDIR);
            }
        }
    }

    fn check_writable(&self) -> Result<(), RootError> {
        for path in &self.order {
            let there = self.existing(path)?;
            let failed = |error| RootError::io("looking at", &there, error);
            let fd = self.open_folder(&there)?;
            if rustix::fs::fstatvfs(&fd).map_err(failed)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
                return Err(RootError::Locked { path: path.clone(), reason: "its file system is read-only" });
            }
            let locked = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
            if has(&fd, locked).map_err(failed)? {
                return Err(RootError::Locked { path: there, reason: "the folder is immutable or append-only" });
            }
            if self.on_disk(path)?.is_some() {
                let fd = self.openat(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
                if has(&fd, locked).map_err(failed)? {
                    return Err(RootError::Locked { path: path.clone(), reason: "it is immutable or append-only" });
                }
            }
        }
        Ok(())
    }

    fn check_space(&self) -> Result<(), RootError> {
        let mut needs: BTreeMap<u64, (PathBuf, u64, u64)> = BTreeMap::new();
        for (path, staged) in &self.staged {
            let bytes = match &staged.node {
                Node::File { bytes, .. } => bytes.len() as u64,
                Node::Gone => continue,
                _ => 0,
            };
            let there = self.existing(path)?;
            let fd = self.open_folder(&there)?;
            let failed = |error| RootError::io("looking at", &there, error);
            let device = rustix::fs::fstat(&fd).map_err(failed)?.st_dev;
            let block = rustix::fs::fstatvfs(&fd).map_err(failed)?.f_frsize.max(512);
            let need = needs.entry(device).or_insert_with(|| (there.clone(), 0, 0));
            need.1 = need.1.saturating_add(bytes.div_ceil(block).saturating_add(1).saturating_mul(block));
            need.2 = need.2.saturating_add(1);
        }
        for (path, bytes, inodes) in needs.into_values() {
            let fd = self.open_folder(&path)?;
            let room = rustix::fs::fstatvfs(&fd).map_err(|error| RootError::io("looking at", &path, error))?;
            let (free, block) = (room.f_bfree.saturating_mul(room.f_frsize), room.f_frsize);
            let needed = bytes.saturating_add(SPARE.saturating_mul(block));
            if free < needed {
                return Err(RootError::Space { path, free, needed, unit: "bytes" });
            }
            // A file system that makes inodes as it goes says zero.
            if room.f_files > 0 && room.f_ffree < inodes {
                return Err(RootError::Space { path, free: room.f_ffree, needed: inodes, unit: "inodes" });
            }
        }
        Ok(())
    }

    /// The nearest folder above `path` that is on the disk.
    fn existing(&self, path: &Path) -> Result<PathBuf, RootError> {
        let mut at = path;
        while let Some(parent) = at.parent() {
            if self.on_disk(parent)?.is_some() {
                return Ok(parent.to_owned());
            }
            at = parent;
        }
        Ok(PathBuf::from("/"))
    }

    fn folder(&self, path: &Path) -> Result<OwnedFd, RootError> {
        self.open_folder(path.parent().unwrap_or(Path::new("/")))
    }

    fn open_folder(&self, real: &Path) -> Result<OwnedFd, RootError> {
        self.openat(real, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|error| RootError::io("opening the folder", real, error))
    }

    pub(super) fn is_mount_point(&self, real: &Path) -> Result<bool, RootError> {
        let failed = |error| RootError::io("looking at", real, error);
        match self.openat(real, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => has(&fd, StatxAttributes::MOUNT_ROOT).map_err(failed),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn bytes_on_disk(&self, real: &Path, limit: u64) -> Result<Option<Vec<u8>>, RootError> {
        let Some(file) = self.open_real(real)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| RootError::Io { what: format!("reading {}", real.display()), source })?;
        Ok(Some(bytes))
    }
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(OsStr::new("."))
}

fn has(fd: &OwnedFd, attributes: StatxAttributes) -> Result<bool, Errno> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(found.stx_attributes.intersects(attributes))
}

/// Only what differs is set: FAT has neither owners nor modes, and refuses to be told some.
fn own(fd: impl AsFd, mode: u32, owner: (u32, u32)) -> Result<(), Errno> {
    if rustix::fs::fstatfs(&fd)?.f_type == MSDOS_SUPER_MAGIC {
        return Ok(());
    }
    let stat = walk::stat_of(&fd)?;
    if stat.owner != owner {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
    }
    if walk::stat_of(&fd)?.mode != mode {
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

fn attribute_names(fd: &OwnedFd) -> Vec<String> {
    let mut list = vec![0; XATTR_MAX];
    // No attributes is what a file system without them has.
    let used = rustix::fs::flistxattr(fd, list.as_mut_slice()).unwrap_or(0);
    list.truncate(used);
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| String::from_utf8(name.to_vec()).ok())
        .collect()
}

fn attribute(fd: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; XATTR_MAX];
    let used = rustix::fs::fgetxattr(fd, name, value.as_mut_slice()).ok()?;
    value.truncate(used);
    Some(value)
}
