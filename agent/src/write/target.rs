//! An open disk as a medium to restore to.
//!
//! In: a target that the guard let through. Out: reads and writes past or through the page cache, zeros, flushes.
//! Promise: what the device or file can not do is said, never done halfway; the lock is held until this is dropped.

use super::medium::{Medium, Via};
use crate::disk::{DiskId, Target, ioctl};
use ramet_wire::ByteRange;
use ramet_wire::receipt::Proof;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Major number of loop devices (kernel: Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u64 = 7;

/// A disk held for a restore.
#[derive(Debug)]
pub struct TargetDisk {
    target: Target,
    name: String,
}

impl TargetDisk {
    /// Takes an open target.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let name = target.info.path.display().to_string();
        Self { target, name }
    }

    /// What is known about it.
    #[must_use]
    pub const fn info(&self) -> &crate::disk::DiskInfo {
        &self.target.info
    }

    fn file(&self, via: Via) -> io::Result<&File> {
        match (via, &self.target.direct) {
            (Via::Cached, _) => Ok(&self.target.buffered),
            (Via::Direct, Some(direct)) => Ok(&direct.file),
            (Via::Direct, None) => Err(io::Error::new(io::ErrorKind::Unsupported, "this disk refuses O_DIRECT")),
        }
    }
}

impl Medium for TargetDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.target.info.size
    }

    fn sector(&self) -> u32 {
        self.target.info.sector_size
    }

    fn direct(&self) -> Option<u32> {
        // Buffers are aligned to pages; a device that wants more is used through the page cache.
        let direct = self.target.direct.as_ref().filter(|direct| direct.memory_align <= 4096)?;
        Some(direct.offset_align)
    }

    fn proof(&self) -> Proof {
        match self.target.info.id {
            // Both end in a file system of this machine, whose caches no read here goes past.
            DiskId::File { .. } | DiskId::Block { major: LOOP_MAJOR, .. } => Proof::File,
            DiskId::Block { .. } => Proof::Device,
        }
    }

    fn read(&self, buf: &mut [u8], offset: u64, via: Via) -> io::Result<()> {
        self.file(via)?.read_exact_at(buf, offset)
    }

    fn write(&self, buf: &[u8], offset: u64, via: Via) -> io::Result<()> {
        self.file(via)?.write_all_at(buf, offset)
    }

    fn zero(&self, range: ByteRange) -> io::Result<bool> {
        let done = match self.target.info.id {
            DiskId::File { .. } => ioctl::punch_hole(&self.target.buffered, range),
            DiskId::Block { .. } => ioctl::zero_out(&self.target.buffered, range),
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                // Not off the sector grid, not by this driver, not by this disk's firmware: zeros are written then.
                Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS | libc::ENOTTY | libc::EREMOTEIO) => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.target.buffered.sync_data()
    }

    fn forget(&self, range: ByteRange) {
        // Advice only: where the kernel keeps a page all the same, the receipt says `file`.
        let _ = ioctl::drop_cache(&self.target.buffered, range);
    }

    fn backing(&self) -> Option<&File> {
        Some(&self.target.buffered)
    }

    fn announce(&self) {
        // Devices without partitions, such as most loop devices, refuse; their table is on the disk all the same.
        let _ = ioctl::reread_partitions(&self.target.buffered);
    }
}
