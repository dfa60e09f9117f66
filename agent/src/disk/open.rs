//! Opening disks: as a source to read, as a target to overwrite.
//!
//! In: a path to a block device or a disk-image file. Out: an open disk that knows its size, sectors and identity.
//! Promise: opening writes nothing and creates nothing; a target is held exclusively until it is dropped.

use super::Disks;
use super::ioctl::{self, DirectAlignment};
use super::source::{FileSource, ReadAt};
use crate::partition::sector_size_of_file;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a disk's lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Which disk, whatever its name: two paths to one disk have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiskId {
    /// A block device, by its numbers.
    Block {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A regular file, by file system and inode.
    File {
        /// Device number of the file system.
        device: u64,
        /// Inode number.
        inode: u64,
    },
}

impl DiskId {
    /// The id of what `metadata` describes, if it can be a disk.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_block_device() {
            let (major, minor) = (libc_major(metadata.rdev()), libc_minor(metadata.rdev()));
            return Some(Self::Block { major, minor });
        }
        kind.is_file().then(|| Self::File { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl std::fmt::Display for DiskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Block { major, minor } => write!(f, "device {major}:{minor}"),
            Self::File { device, inode } => write!(f, "inode {inode} on device {device}"),
        }
    }
}

pub(super) fn libc_major(device: u64) -> u64 {
    nix::sys::stat::major(device)
}

pub(super) fn libc_minor(device: u64) -> u64 {
    nix::sys::stat::minor(device)
}

/// What is known about an open disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// As it was named.
    pub path: PathBuf,
    /// Which disk that is.
    pub id: DiskId,
    /// Bytes. A regular file's length is the disk's size.
    pub size: u64,
    /// Logical sector size in bytes. For a regular file: where `EFI PART` is found (512, then 4096), else 512; as a
    /// target it takes the image's.
    pub sector_size: u32,
    /// Physical sector size in bytes; the logical one for a regular file.
    pub physical_sector_size: u32,
    /// Model, as the disk says it.
    pub model: Option<String>,
    /// Serial number, as the disk says it.
    pub serial: Option<String>,
    /// World-wide name, as the disk says it.
    pub wwn: Option<String>,
    /// How it is attached (`sata`, `nvme`, `usb`, `iscsi`, …), where the kernel shows it.
    pub transport: Option<String>,
    /// Modaliases of the devices between processor and disk, the outermost first, where the kernel shows them.
    pub controllers: Vec<String>,
    /// The kernel calls it removable.
    pub removable: bool,
}

/// A disk that can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's answer.
    #[error("opening {}", path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Neither a block device nor a regular file.
    #[error("{} is {kind}; a disk is a block device or a regular file", path.display())]
    NoDisk {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A disk without a single byte: an empty file, or a drive without a medium.
    #[error("{} has 0 bytes", path.display())]
    Empty {
        /// The disk.
        path: PathBuf,
    },
    /// The kernel or another process has it.
    #[error("{} is in use: {by}", path.display())]
    Busy {
        /// The disk.
        path: PathBuf,
        /// By whom.
        by: &'static str,
    },
    /// The kernel lets nobody write to it.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The disk.
        path: PathBuf,
    },
    /// A partition where a whole disk is needed.
    #[error("{} is partition {number} of a disk; name the disk", path.display())]
    Partition {
        /// The partition's path.
        path: PathBuf,
        /// Its number.
        number: u32,
    },
}

/// A disk open for reading, through the page cache.
#[derive(Debug)]
pub struct Source {
    /// What is known about it.
    pub info: DiskInfo,
    bytes: FileSource,
}

impl ReadAt for Source {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.bytes.size()
    }
}

impl DiskInfo {
    /// Opens the disk at `path` for reading. Whether it is in use is the guard's question.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_source(path: &Path) -> Result<Source, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        check_kind(path)?;
        let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
        let info = Self::of(path, &file)?;
        let bytes = FileSource::new(file, info.size);
        Ok(Source { info, bytes })
    }

    /// What can be known about an open disk.
    fn of(path: &Path, file: &File) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        let id = DiskId::of(&metadata).ok_or_else(|| no_disk(path, &metadata))?;
        let mut info = Self {
            path: path.to_owned(),
            id,
            size: metadata.len(),
            sector_size: 512,
            physical_sector_size: 512,
            model: None,
            serial: None,
            wwn: None,
            transport: None,
            controllers: Vec::new(),
            removable: false,
        };
        match id {
            DiskId::Block { .. } => {
                info.size = ioctl::device_size(file).map_err(failed)?;
                info.sector_size = ioctl::logical_sector_size(file).map_err(failed)?;
                info.physical_sector_size = ioctl::physical_sector_size(file).map_err(failed)?;
                // Names are a help for people; a machine without sysfs still has its disks.
                if let Some(listed) = Disks::from_sysfs().find(id) {
                    info.model = listed.model;
                    info.serial = listed.serial;
                    info.wwn = listed.wwn;
                    info.transport = listed.transport;
                    info.controllers = listed.controllers;
                    info.removable = listed.removable;
                }
            }
            DiskId::File { .. } => {
                let bytes = FileSource::new(file.try_clone().map_err(failed)?, info.size);
                info.sector_size = sector_size_of_file(&bytes).map_err(failed)?.unwrap_or(512);
                info.physical_sector_size = info.sector_size;
            }
        }
        if info.size == 0 {
            return Err(OpenError::Empty { path: path.to_owned() });
        }
        Ok(info)
    }

    /// A regular file, not a device.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.id, DiskId::File { .. })
    }
}

/// A descriptor with `O_DIRECT`, and what it asks of those who use it.
#[derive(Debug)]
pub struct Direct {
    /// Opened with `O_DIRECT` for reading and writing.
    pub file: File,
    /// Offsets and lengths must be multiples of this many bytes.
    pub offset_align: u32,
    /// Buffers must start at multiples of this many bytes.
    pub memory_align: u32,
}

/// A disk open for writing, held exclusively: block devices with `O_EXCL`, all with `flock`, which keeps udev away.
#[derive(Debug)]
pub struct Target {
    /// What is known about it.
    pub info: DiskInfo,
    /// For what does not fit `O_DIRECT`, and for ioctls. Carries the lock.
    pub buffered: File,
    /// Where the disk takes it.
    pub direct: Option<Direct>,
}

impl Target {
    /// Opens the disk at `path` for reading and writing. Nothing is written, nothing is created; a regular file must
    /// exist, and keeps its length.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let busy = |by| OpenError::Busy { path: path.to_owned(), by };
        let block = check_kind(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if block {
            options.custom_flags(libc::O_EXCL);
        }
        let buffered = options.open(path).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY) => busy("the kernel has it (mounted, swap, device-mapper, md, or another O_EXCL)"),
            Some(libc::EROFS) => OpenError::ReadOnly { path: path.to_owned() },
            _ => failed(source),
        })?;
        lock(&buffered).map_err(|error| match error {
            TryLockError::WouldBlock => busy("another process holds its lock"),
            TryLockError::Error(source) => failed(source),
        })?;
        let info = DiskInfo::of(path, &buffered)?;
        if block && ioctl::is_read_only(&buffered).map_err(failed)? {
            return Err(OpenError::ReadOnly { path: path.to_owned() });
        }
        if let Some(number) = Disks::from_sysfs().partition_number(info.id) {
            return Err(OpenError::Partition { path: path.to_owned(), number });
        }
        let direct = open_direct(path, &buffered, &info);
        Ok(Self { info, buffered, direct })
    }

    /// A regular file takes the sector size of the image that is written to it, in bytes. Devices have their own.
    pub fn take_sector_size(&mut self, sector_size: u32) {
        if self.info.is_file() {
            self.info.sector_size = sector_size;
            self.info.physical_sector_size = sector_size;
        }
    }

    /// The disk's bytes through the page cache.
    ///
    /// # Errors
    /// When the descriptor can not be duplicated.
    pub fn source(&self) -> io::Result<FileSource> {
        Ok(FileSource::new(self.buffered.try_clone()?, self.info.size))
    }
}

/// Takes the exclusive lock. udev holds a shared one for the moment in which it looks at a disk.
fn lock(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PATIENCE / 20),
            result => return result,
        }
    }
}

/// A second descriptor with `O_DIRECT`, if the disk takes it. Without `O_EXCL`, which the first one has.
fn open_direct(path: &Path, buffered: &File, info: &DiskInfo) -> Option<Direct> {
    let (memory_align, offset_align) = match ioctl::direct_alignment(buffered) {
        DirectAlignment::Refused => return None,
        DirectAlignment::Needs { memory, offset } => (memory, offset),
        // Older kernels: what every device and file system takes.
        DirectAlignment::Unknown if info.is_file() => (4096, 4096),
        DirectAlignment::Unknown => (info.sector_size.max(512), info.sector_size),
    };
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
    // The path may have been given to another disk since.
    let same = file.metadata().ok().and_then(|metadata| DiskId::of(&metadata)) == Some(info.id);
    (same && offset_align > 0).then_some(Direct { file, offset_align, memory_align })
}

/// `true` for a block device, `false` for a regular file. Looked up before opening: opening a FIFO would wait for ever.
fn check_kind(path: &Path) -> Result<bool, OpenError> {
    let metadata = std::fs::metadata(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    match DiskId::of(&metadata) {
        Some(id) => Ok(matches!(id, DiskId::Block { .. })),
        None => Err(no_disk(path, &metadata)),
    }
}

fn no_disk(path: &Path, metadata: &std::fs::Metadata) -> OpenError {
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        "a folder"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "something else"
    };
    OpenError::NoDisk { path: path.to_owned(), kind }
}

#[cfg(test)]
mod tests;
