//! A file system as it is after its journal was replayed.
//!
//! In: the partition, and where the last copy of each replayed block lies. Out: the same partition with those blocks.
//! Promise: nothing is written; a read costs what it costs on the partition, and a look-up for each block.

use super::log::{Copy, Log};
use super::superblock::MAGIC;
use crate::disk::source::ReadAt;
use std::io;
use std::sync::Arc;

/// A partition behind its journal.
pub(in super::super) struct Replayed {
    part: Arc<dyn ReadAt>,
    /// Bytes.
    block: u64,
    log: Log,
}

impl Replayed {
    pub(super) const fn new(part: Arc<dyn ReadAt>, block: u64, log: Log) -> Self {
        Self { part, block, log }
    }

    /// What an operator should know.
    pub(in super::super) fn notice(&self) -> String {
        if self.log.transactions == 0 {
            return "it was not unmounted; its journal holds nothing to replay".to_owned();
        }
        format!(
            "its journal was replayed in memory to know what is used ({} transactions, {} blocks); the copy keeps it, and \
             its first mount replays it",
            self.log.transactions,
            self.log.copies.len()
        )
    }

    /// Puts the part of a block's copy that begins at byte `within` into `buf`.
    fn lay_over(&self, copy: Copy, within: u64, buf: &mut [u8]) -> io::Result<()> {
        self.part.read_exact_at(buf, copy.place * self.block + within)?;
        if copy.escaped {
            let magic = MAGIC.to_be_bytes();
            let from = usize::try_from(within).unwrap_or(usize::MAX);
            for (byte, original) in buf.iter_mut().zip(magic.iter().skip(from)) {
                *byte = *original;
            }
        }
        Ok(())
    }
}

impl ReadAt for Replayed {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.part.read_exact_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (number, copy) in self.log.copies.range(offset / self.block..end.div_ceil(self.block)) {
            let (from, to) = (offset.max(number * self.block), end.min((number + 1) * self.block));
            let at = |place: u64| usize::try_from(place - offset).map_err(io::Error::other);
            if let Some(piece) = buf.get_mut(at(from)?..at(to)?) {
                self.lay_over(*copy, from - number * self.block, piece)?;
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.part.size()
    }
}
