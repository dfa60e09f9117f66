//! Memory as a block device, for what has no room on a smaller disk until its file system has shrunk.
//!
//! In: bytes wanted. Out: a loop device over a compressed RAM disk (zram), or over a file in memory where there is no zram.
//! Promise: it takes memory only for what is written to it; it is gone when this is dropped.
//!
//! Whatever lies below, a loop device of the target's sector size is on top: zram has sectors of 4096 bytes, which would
//! neither take the parts of a disk of 512 nor let a file system of such sectors be looked at.

use super::programs::load_module;
use crate::attach::{AttachError, LoopDevice};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ramet_wire::ByteRange;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

const CONTROL: &str = "/sys/class/zram-control";

/// The memory. The loop device goes first.
#[derive(Debug)]
pub struct Overflow {
    device: LoopDevice,
    _below: Below,
}

#[derive(Debug)]
enum Below {
    Zram { _device: Zram },
    Memory { _file: File },
}

impl Overflow {
    /// Room for `bytes`, with sectors of `sector` bytes.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn new(bytes: u64, sector: u32) -> Result<Self, AttachError> {
        let bytes = bytes.next_multiple_of(4096);
        let doing =
            |source: io::Error| AttachError::Io { doing: format!("making room for {bytes} bytes in memory"), source };
        let (file, below) = match Zram::new(bytes) {
            Ok((zram, file)) => (file, Below::Zram { _device: zram }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file =
                    memfd_create("ramet-overflow", MFdFlags::MFD_CLOEXEC).map_err(|errno| doing(errno.into()))?;
                let file = File::from(file);
                file.set_len(bytes).map_err(doing)?;
                (file.try_clone().map_err(doing)?, Below::Memory { _file: file })
            }
            Err(error) => return Err(doing(error)),
        };
        let device = LoopDevice::over(&file, ByteRange::between(0, bytes), sector, false)?;
        Ok(Self { device, _below: below })
    }

    /// Its block device.
    #[must_use]
    pub const fn device(&self) -> &LoopDevice {
        &self.device
    }

    /// `zram` or `memory`, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self._below {
            Below::Zram { .. } => "zram",
            Below::Memory { .. } => "memory",
        }
    }
}

/// A zram device of our own (kernel: Documentation/admin-guide/blockdev/zram.rst).
#[derive(Debug)]
struct Zram {
    number: u32,
}

impl Zram {
    fn new(bytes: u64) -> io::Result<(Self, File)> {
        if !Path::new(CONTROL).exists() {
            load_module("zram");
        }
        let text = fs::read_to_string(format!("{CONTROL}/hot_add"))?;
        let number = text.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let zram = Self { number };
        fs::write(format!("/sys/block/zram{number}/disksize"), bytes.to_string())?;
        let path = format!("/dev/zram{number}");
        let mut opened = Err(io::ErrorKind::NotFound.into());
        for _ in 0..50 {
            opened = OpenOptions::new().read(true).write(true).open(&path);
            if opened.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Not found would mean that there is no zram at all.
        let file = opened.map_err(|error| io::Error::other(format!("opening {path}: {error}")))?;
        Ok((zram, file))
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        let number = self.number;
        for _ in 0..50 {
            // Busy until the loop device has let go.
            let reset = fs::write(format!("/sys/block/zram{number}/reset"), "1");
            if reset.is_ok() && fs::write(format!("{CONTROL}/hot_remove"), number.to_string()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
