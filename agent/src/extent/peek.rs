//! The few bytes by which a content is recognised.
//!
//! In: a partition. Out: bytes at an offset, or nothing where the partition is too small for them.
//! Promise: looking at all signatures reads the start of the partition once.

use super::ExtentError;
use super::bytes::in_memory;
use crate::disk::source::ReadAt;

/// Read ahead: the furthest signature near the start is the btrfs superblock, 64 KiB + 4 KiB.
const HEAD: u64 = 72 << 10;
/// More than any single look needs.
const LOOK_LIMIT: usize = 1 << 20;

pub(super) struct Peek<'a> {
    part: &'a dyn ReadAt,
    head: Vec<u8>,
}

impl<'a> Peek<'a> {
    pub fn new(part: &'a dyn ReadAt) -> Result<Self, ExtentError> {
        let mut head = vec![0; in_memory(part.size().min(HEAD))?];
        read(part, &mut head, 0, "start of the partition")?;
        Ok(Self { part, head })
    }

    pub fn size(&self) -> u64 {
        self.part.size()
    }

    pub fn part(&self) -> &'a dyn ReadAt {
        self.part
    }

    /// `len` bytes at `offset`; `None` when the partition ends before.
    pub fn bytes(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>, ExtentError> {
        if len > LOOK_LIMIT || offset.checked_add(len as u64).is_none_or(|end| end > self.size()) {
            return Ok(None);
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(known) = start.checked_add(len).and_then(|end| self.head.get(start..end)) {
            return Ok(Some(known.to_vec()));
        }
        let mut buf = vec![0; len];
        read(self.part, &mut buf, offset, "signature")?;
        Ok(Some(buf))
    }

    /// `magic` lies at `offset`.
    pub fn has(&self, offset: u64, magic: &[u8]) -> Result<bool, ExtentError> {
        Ok(self.bytes(offset, magic.len())?.is_some_and(|found| found == magic))
    }
}

/// Fills `buf`; an error names the structure `what`.
pub(super) fn read(part: &dyn ReadAt, buf: &mut [u8], offset: u64, what: &'static str) -> Result<(), ExtentError> {
    part.read_exact_at(buf, offset).map_err(|source| ExtentError::Read { what, offset, source })
}
