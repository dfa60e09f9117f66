//! What a disk must be able to do to be restored to.
//!
//! In: offsets and bytes. Out: the same calls on a device, a file, or a recorder in a test.
//! Promise: the stages above know no other way to a disk, so that tests see every write.

use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;
use ramet_wire::receipt::Proof;
use std::io;

/// Which way bytes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through the page cache.
    Cached,
    /// `O_DIRECT`: offset, length and memory must be aligned.
    Direct,
}

/// A target.
pub trait Medium: Send + Sync {
    /// Its path, for people.
    fn name(&self) -> &str;

    /// Bytes.
    fn size(&self) -> u64;

    /// Bytes per logical sector.
    fn sector(&self) -> u32;

    /// What offsets and lengths of `O_DIRECT` must be multiples of, in bytes; `None` where it is refused.
    fn direct(&self) -> Option<u32>;

    /// How much a read-back of this target proves at most.
    fn proof(&self) -> Proof;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// The device's.
    fn read(&self, buf: &mut [u8], offset: u64, via: Via) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// The device's.
    fn write(&self, buf: &[u8], offset: u64, via: Via) -> io::Result<()>;

    /// Makes `range` zero without sending zeros; `false` where the target can not.
    ///
    /// # Errors
    /// The device's.
    fn zero(&self, range: ByteRange) -> io::Result<bool>;

    /// Returns when everything written is on the device.
    ///
    /// # Errors
    /// The device's.
    fn flush(&self) -> io::Result<()>;

    /// Asks the kernel to drop `range` from the page cache.
    fn forget(&self, range: ByteRange);

    /// Tells the kernel that the disk has a new table.
    fn announce(&self) {}

    /// What a loop device can show, where there is such a thing: the held device or file, through the page cache.
    fn backing(&self) -> Option<&std::fs::File> {
        None
    }
}

/// A medium as something to read, through the page cache.
pub struct MediumView<'a>(pub &'a dyn Medium);

impl std::fmt::Debug for MediumView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MediumView").field(&self.0.name()).finish()
    }
}

impl ReadAt for MediumView<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.0.size() => self.0.read(buf, offset, Via::Cached),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("reading {} bytes at {offset}: only {} bytes are there", buf.len(), self.0.size()),
            )),
        }
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

/// `range` starts and ends at multiples of `align` bytes.
#[must_use]
pub fn is_aligned(range: ByteRange, align: u32) -> bool {
    let align = u64::from(align.max(1));
    range.start().is_multiple_of(align) && range.len().is_multiple_of(align)
}

/// Reads `range` past the page cache as far as the target lets us, into the start of `buf`; gives back the part of `buf`
/// that holds it. `buf` needs room for two more units of alignment.
///
/// # Errors
/// The device's.
pub fn read_past_cache<'a>(medium: &dyn Medium, range: ByteRange, buf: &'a mut [u8]) -> io::Result<&'a mut [u8]> {
    let len = usize::try_from(range.len()).map_err(io::Error::other)?;
    if let Some(align) = medium.direct() {
        let align = u64::from(align.max(1));
        let start = range.start() / align * align;
        let end = range.end().next_multiple_of(align);
        let skip = usize::try_from(range.start() - start).map_err(io::Error::other)?;
        let whole = usize::try_from(end - start).map_err(io::Error::other)?;
        if end <= medium.size() && whole <= buf.len() {
            medium.read(&mut buf[..whole], start, Via::Direct)?;
            return Ok(&mut buf[skip..skip + len]);
        }
    }
    medium.forget(range);
    medium.read(&mut buf[..len], range.start(), Via::Cached)?;
    Ok(&mut buf[..len])
}
