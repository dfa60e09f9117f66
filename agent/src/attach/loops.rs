//! Loop devices over a part of a disk or of an image file.
//!
//! In: an open disk, a part of it, its sector size. Out: a block device that shows this part.
//! Promise: the device is gone when this is dropped and nobody else uses it, also when this process is killed.

use super::AttachError;
use crate::disk::ioctl;
use ramet_wire::ByteRange;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONTROL: &str = "/dev/loop-control";
/// Somebody else may take the free device first, or the node may not be there yet.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A loop device in use.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    path: PathBuf,
    size: u64,
}

impl LoopDevice {
    /// Shows `part` (bytes) of `backing` with sectors of `sector` bytes. `part` starts and ends at sectors. Reads and
    /// writes go through the page cache of `backing`, so that its other users see them.
    ///
    /// # Errors
    /// [`AttachError`]: no loop driver, no free device, or a part that does not do.
    pub fn over(backing: &File, part: ByteRange, sector: u32, read_only: bool) -> Result<Self, AttachError> {
        let doing = || format!("attaching a loop device to {} bytes at {}", part.len(), part.start());
        if part.is_empty() || !part.start().is_multiple_of(512) || !part.len().is_multiple_of(u64::from(sector)) {
            let text = format!("{part} is no multiple of sectors of {sector} bytes");
            return Err(AttachError::io(doing(), io::Error::new(io::ErrorKind::InvalidInput, text)));
        }
        let backing = reopened(backing, read_only).map_err(|source| AttachError::io(doing(), source))?;
        let control =
            OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => AttachError::Lacks { doing: doing(), lacks: "loop devices" },
                _ => AttachError::io(doing(), source),
            })?;
        let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
        for _ in 0..ATTEMPTS {
            let number = ioctl::loop_free(&control).map_err(|source| AttachError::io(doing(), source))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let attached = OpenOptions::new().read(true).write(!read_only).open(&path).and_then(|file| {
                ioctl::loop_configure(&file, &backing, part, sector, read_only)?;
                Ok(file)
            });
            match attached {
                Ok(file) => {
                    let size = ioctl::device_size(&file).map_err(|source| AttachError::io(doing(), source))?;
                    return Ok(Self { file, path, size });
                }
                Err(error) => last = error,
            }
            std::thread::sleep(PAUSE);
        }
        Err(AttachError::io(doing(), last))
    }

    /// Its node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The open device.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Returns when everything written through it has reached what it shows; the page cache of that is not flushed.
    ///
    /// # Errors
    /// The device's.
    pub fn flush(&self) -> Result<(), AttachError> {
        self.file.sync_all().map_err(|source| AttachError::io(format!("flushing {}", self.path.display()), source))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Dirty pages of the loop device itself go first. It also clears itself with its last user.
        let _ = self.file.sync_all();
        let _ = ioctl::loop_clear(&self.file);
    }
}

/// The kernel refuses to show a file that was opened with `O_DIRECT` or for reading only as one to write to: a description
/// of its own, without a claim.
fn reopened(file: &File, read_only: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(!read_only).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
