//! Bytes that shall become others, tried out in memory first.
//!
//! In: a volume and the bytes to be changed. Out: the volume as it will be, to read; then the changes on the device.
//! Promise: what is written is what was rehearsed; each group is on the device before the next one begins.

use super::UuidError;
use crate::disk::source::ReadAt;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A disk or volume that can be written, too.
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// Whatever the device answers.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns when everything written is on the device, and lets later reads come from there where it can.
    ///
    /// # Errors
    /// Whatever the device answers.
    fn flush(&self) -> io::Result<()>;
}

/// A medium of a restore as something to write, through the page cache.
pub struct MediumBytes<'a>(pub &'a dyn crate::write::Medium);

impl std::fmt::Debug for MediumBytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MediumBytes").field(&self.0.name()).finish()
    }
}

impl ReadAt for MediumBytes<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        crate::write::MediumView(self.0).read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

impl WriteAt for MediumBytes<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.0.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.write(bytes, offset, crate::write::Via::Cached)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()?;
        self.0.forget(ramet_wire::ByteRange::between(0, self.0.size()));
        Ok(())
    }
}

/// A device or file of known size: a logical volume, an attached loop device.
#[derive(Debug)]
pub struct FileBytes {
    file: std::fs::File,
    size: u64,
}

impl FileBytes {
    /// Wraps a device or file of `size` bytes, open for reading and writing.
    #[must_use]
    pub const fn new(file: std::fs::File, size: u64) -> Self {
        Self { file, size }
    }
}

impl ReadAt for FileBytes {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

impl WriteAt for FileBytes {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// New bytes at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Patch {
    pub fn new(offset: u64, bytes: impl Into<Vec<u8>>) -> Self {
        Self { offset, bytes: bytes.into() }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

/// Groups of patches: each group, then a flush.
pub(super) type Groups = Vec<Vec<Patch>>;

/// A volume as it will be.
pub(super) struct Rehearsed {
    pub inner: Arc<dyn ReadAt>,
    pub patches: Groups,
}

impl ReadAt for Rehearsed {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for patch in self.patches.iter().flatten() {
            let (from, to) = (patch.offset.max(offset), patch.end().min(end));
            if from < to {
                let index = |at: u64| usize::try_from(at).map_err(io::Error::other);
                let (into, out, len) = (index(from - offset)?, index(from - patch.offset)?, index(to - from)?);
                buf[into..into + len].copy_from_slice(&patch.bytes[out..out + len]);
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }
}

/// Writes `groups` to `device`, `base` bytes behind its start, and reads them back.
pub(super) fn apply(device: &dyn WriteAt, base: u64, groups: &Groups, name: &str) -> Result<(), UuidError> {
    let place = |patch: &Patch| base.saturating_add(patch.offset);
    for group in groups {
        for patch in group {
            let failed = |source| UuidError::Write { name: name.to_owned(), offset: place(patch), source };
            device.write_all_at(&patch.bytes, place(patch)).map_err(failed)?;
        }
        device.flush().map_err(|source| UuidError::Write { name: name.to_owned(), offset: base, source })?;
    }
    for patch in groups.iter().flatten() {
        let mut found = vec![0; patch.bytes.len()];
        device.read_exact_at(&mut found, place(patch)).map_err(|source| UuidError::Read {
            name: name.to_owned(),
            what: "what was written",
            offset: place(patch),
            source,
        })?;
        if let Some(at) = (0..found.len()).find(|&at| found[at] != patch.bytes[at]) {
            return Err(UuidError::Differs {
                name: name.to_owned(),
                offset: place(patch) + at as u64,
                found: found[at],
                written: patch.bytes[at],
            });
        }
    }
    Ok(())
}
