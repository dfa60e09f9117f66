//! Device mapper: several parts of devices as one.
//!
//! In: rows of a table (`linear`, `striped`). Out: a block device `/dev/dm-N`.
//! Promise: the device is removed when this is dropped; a half-made one too.
//!
//! | offset in `struct dm_ioctl` (`linux/dm-ioctl.h`) | field |
//! |---|---|
//! | 0, 12, 16, 20 | version (3 numbers), size of the buffer, offset of the data, number of targets |
//! | 28, 40, 48, 176 | flags, device number, name (128 bytes), UUID (129 bytes) |
//! | a target: 0, 8, 20, 24 | first sector, sectors, length to the next target, type (16 bytes), then its parameters |

use super::AttachError;
use crate::disk::ioctl::{self, DM_HEADER};
use ramet_wire::ByteRange;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CONTROL: &str = "/dev/mapper/control";
const SECTOR: u64 = 512;
const CREATE: u8 = 3;
const REMOVE: u8 = 4;
const SUSPEND: u8 = 6;
const LOAD: u8 = 9;
const READ_ONLY: u32 = 1;
const TARGET: usize = 40;
/// How often removing is tried: whoever looked at the new device may still have it open.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Some bytes of the mapped device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which, in bytes; the rows of a device follow each other without a gap.
    pub range: ByteRange,
    /// Bytes on one area before it is the next one's turn; of no meaning with one area.
    pub stripe: u64,
    /// Device and first byte of each area.
    pub areas: Vec<(PathBuf, u64)>,
}

impl Row {
    /// `range` lies on one device from byte `at`.
    #[must_use]
    pub fn linear(range: ByteRange, device: &Path, at: u64) -> Self {
        Self { range, stripe: 0, areas: vec![(device.to_owned(), at)] }
    }

    fn kind(&self) -> &'static str {
        if self.areas.len() == 1 { "linear" } else { "striped" }
    }

    fn parameters(&self) -> String {
        let mut text = String::new();
        if self.areas.len() > 1 {
            let _ = write!(text, "{} {} ", self.areas.len(), self.stripe / SECTOR);
        }
        let places: Vec<String> =
            self.areas.iter().map(|(device, at)| format!("{} {}", device.display(), at / SECTOR)).collect();
        text + &places.join(" ")
    }
}

/// A mapped device.
#[derive(Debug)]
pub struct Mapped {
    control: File,
    name: String,
    path: PathBuf,
}

impl Mapped {
    /// Makes a device of `rows`. Devices in it are claimed by the device mapper.
    ///
    /// # Errors
    /// [`AttachError`]: no device mapper, or a table that it refuses.
    pub fn new(rows: &[Row], read_only: bool) -> Result<Self, AttachError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("ramet-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let doing = || format!("mapping device {name} of {} rows", rows.len());
        let control =
            OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => AttachError::Lacks { doing: doing(), lacks: "device mapper" },
                _ => AttachError::io(doing(), source),
            })?;
        let at = |source| AttachError::io(doing(), source);
        let flags = if read_only { READ_ONLY } else { 0 };
        let mut order = buffer(&name, 0, 0, &[]).map_err(at)?;
        ioctl::device_mapper(&control, CREATE, &mut order).map_err(at)?;
        let minor = minor(order[5]);
        let made = Self { control, name: name.clone(), path: PathBuf::from(format!("/dev/dm-{minor}")) };
        let count = u32::try_from(rows.len()).map_err(|error| at(io::Error::other(error)))?;
        let mut order = buffer(&name, flags, count, &targets(rows)).map_err(at)?;
        ioctl::device_mapper(&made.control, LOAD, &mut order).map_err(at)?;
        let mut order = buffer(&name, flags, 0, &[]).map_err(at)?;
        ioctl::device_mapper(&made.control, SUSPEND, &mut order).map_err(at)?;
        Ok(made)
    }

    /// Its node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for _ in 0..ATTEMPTS {
            let Ok(mut order) = buffer(&self.name, 0, 0, &[]) else { return };
            match ioctl::device_mapper(&self.control, REMOVE, &mut order) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
                _ => return,
            }
        }
    }
}

/// The minor number in the kernel's 64-bit form of a device number (`huge_encode_dev`).
const fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xff_ff00)
}

/// A whole order: header and data, in words so that it is aligned.
fn buffer(name: &str, flags: u32, targets: u32, data: &[u8]) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; (DM_HEADER + data.len()).next_multiple_of(8)];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    if name.len() >= 128 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has more than 127 bytes"));
    }
    put(0, &4_u32.to_le_bytes());
    put(16, &u32::try_from(DM_HEADER).unwrap_or_default().to_le_bytes());
    put(20, &targets.to_le_bytes());
    put(28, &flags.to_le_bytes());
    put(48, name.as_bytes());
    put(DM_HEADER, data);
    Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

fn targets(rows: &[Row]) -> Vec<u8> {
    let mut data = Vec::new();
    for row in rows {
        let parameters = row.parameters();
        let len = (TARGET + parameters.len() + 1).next_multiple_of(8);
        let mut target = vec![0; len];
        let mut put = |at: usize, value: &[u8]| target[at..at + value.len()].copy_from_slice(value);
        put(0, &(row.range.start() / SECTOR).to_le_bytes());
        put(8, &(row.range.len() / SECTOR).to_le_bytes());
        put(20, &u32::try_from(len).unwrap_or_default().to_le_bytes());
        put(24, row.kind().as_bytes());
        put(TARGET, parameters.as_bytes());
        data.extend(target);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_targets_where_the_kernel_looks_for_them() {
        let rows = [
            Row::linear(ByteRange::between(0, 1 << 20), Path::new("/dev/loop0"), 4096),
            Row {
                range: ByteRange::between(1 << 20, 3 << 20),
                stripe: 65536,
                areas: vec![("/dev/loop1".into(), 0), ("/dev/loop2".into(), 1 << 20)],
            },
        ];
        let data = targets(&rows);
        let number = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap());
        let next = u32::from_le_bytes(data[20..24].try_into().unwrap()) as usize;
        assert_eq!((number(0), number(8), number(next), number(next + 8)), (0, 2048, 2048, 4096));
        assert!(next.is_multiple_of(8) && data[24..31] == *b"linear\0" && data[next + 24..next + 32] == *b"striped\0");
        assert!(data[40..].starts_with(b"/dev/loop0 8\0"));
        assert!(data[next + 40..].starts_with(b"2 128 /dev/loop1 0 /dev/loop2 2048\0"));
    }

    #[test]
    fn minors_of_more_than_8_bits_are_read_as_the_kernel_writes_them() {
        assert_eq!([minor(0xfd00), minor(0xfd07), minor(0x0010_fd01)], [0, 7, 257]);
    }
}
