//! The log of an XFS: where it ends.
//!
//! In: a checked geometry. Out: the head of a log that was closed by an unmount; all else is a doubt.
//! Promise: the head is where the kernel's `xlog_find_head` sees it, and around it no block is of another cycle.
//!
//! The log is a ring of blocks of 512 bytes. Each block starts with the cycle of the ring in which it was written, each
//! record with a magic and then the cycle. Up to the head the first block's cycle holds, behind it the one before; a
//! log that was not yet filled once is zero there.
//!
//! Source: the kernel's fs/xfs/xfs_log_recover.c and libxfs/xfs_log_format.h.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::geometry::Geometry;
use super::record;
use crate::disk::source::ReadAt;
use std::fmt;

/// Bytes of a block of the log.
pub(super) const BLOCK: usize = 512;
/// Records that may be on their way to the disk at one time.
const IN_FLIGHT: u64 = 8;

/// A place in the log, and with it a time: cycle, then block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lsn {
    pub cycle: u32,
    pub block: u32,
}

/// What some metadata has that was never logged, as an AGFL that `xfs_repair` made.
pub(super) const NEVER: u64 = u64::MAX;

impl From<u64> for Lsn {
    fn from(raw: u64) -> Self {
        let [a, b, c, d, rest @ ..] = raw.to_be_bytes();
        Self { cycle: u32::from_be_bytes([a, b, c, d]), block: u32::from_be_bytes(rest) }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cycle {} block {}", self.cycle, self.block)
    }
}

/// The ring.
pub(super) struct Ring<'a> {
    part: &'a dyn ReadAt,
    pub geometry: &'a Geometry,
    start: u64,
    /// Blocks of the ring; at least 512, less than 2^22.
    pub len: u64,
    /// Cycles of its first and its last block.
    first: u32,
    last: u32,
}

/// The cycle in which a block was written.
fn cycle(block: &[u8]) -> u32 {
    let fields = Fields(block);
    if fields.be32(0) == record::MAGIC { fields.be32(4) } else { fields.be32(0) }
}

/// Where the next record would go.
///
/// # Errors
/// A doubt where something waits to be replayed, or the log contradicts itself.
pub(super) fn clean_head(part: &dyn ReadAt, geometry: &Geometry) -> Result<Lsn, ExtentError> {
    Ok(closed(part, geometry)?.head)
}

/// The headers of unmount records by which the kernel finds the end of the log, as those of a file system with another
/// `uuid`, and where they lie, in bytes from the start of the partition. All other records are behind it and never read.
///
/// # Errors
/// As [`clean_head`].
pub(super) fn renamed(
    part: &dyn ReadAt,
    geometry: &Geometry,
    uuid: [u8; 16],
) -> Result<Vec<(u64, Vec<u8>)>, ExtentError> {
    let closed = closed(part, geometry)?;
    let header = |&end: &u64| {
        let (at, header) = record::renamed(&closed.ring, end, uuid)?;
        Ok((closed.ring.start + at * BLOCK as u64, header))
    };
    closed.ends.iter().map(header).collect()
}

/// A log with nothing to replay.
struct Closed<'a> {
    ring: Ring<'a>,
    head: Lsn,
    /// Ends of the unmount records that say so.
    ends: Vec<u64>,
}

fn closed<'a>(part: &'a dyn ReadAt, geometry: &'a Geometry) -> Result<Closed<'a>, ExtentError> {
    let start = geometry.at(geometry.log_ag, geometry.log.start);
    let len = (geometry.log.end - geometry.log.start) * geometry.block / BLOCK as u64;
    let mut ring = Ring { part, geometry, start, len, first: 0, last: 0 };
    ring.first = cycle(&ring.read(0, 1)?);
    ring.last = cycle(&ring.read(len - 1, 1)?);
    let (first, last) = (ring.first, ring.last);
    believe!(first != 0, "log starts with cycle 0: it is empty, not closed by an unmount");
    believe!(
        last == first || last == 0 || last == first - 1,
        "log starts with cycle {first} and ends with {last}, {} expected",
        first - 1
    );
    if let Some(end) = ring.formatted()? {
        return Ok(Closed { ring, head: Lsn { cycle: first, block: 0 }, ends: vec![end, 0] });
    }
    let head = if first == last { len } else { ring.boundary()? };
    ring.check_around(head)?;
    record::check_last(&ring, head)?;
    let block = u32::try_from(head % len).unwrap_or(u32::MAX);
    let lsn = Lsn { cycle: if head == len { first.wrapping_add(1) } else { first }, block };
    Ok(Closed { ring, head: lsn, ends: vec![head] })
}

impl Ring<'_> {
    /// `count` blocks from block `from` on, over the end of the ring; at most a ring.
    pub fn read(&self, from: u64, count: u64) -> Result<Vec<u8>, ExtentError> {
        let mut raw = vec![0; in_memory(count)? * BLOCK];
        let before_end = in_memory((self.len - from).min(count))? * BLOCK;
        let (head, tail) = raw.split_at_mut(before_end);
        read(self.part, head, self.start + from * BLOCK as u64, "log")?;
        read(self.part, tail, self.start, "log")?;
        Ok(raw)
    }

    /// The cycle that block `block` must have if the head is `head`.
    pub const fn cycle_at(&self, block: u64, head: u64) -> u32 {
        if block < head { self.first } else { self.last }
    }

    /// The block that is `back` blocks before `block`.
    pub const fn before(&self, block: u64, back: u64) -> u64 {
        (block + self.len - back) % self.len
    }

    /// The longest record without its headers, in blocks.
    pub const fn record_blocks(&self) -> u64 {
        if self.geometry.log_v2 { 512 } else { 64 }
    }

    /// The head of a log that `xfs_db` or `xfs_repair` wrote anew and no kernel has used since: an unmount record at its
    /// start, zeros behind it, and then unmount records of the cycle before, of which the last one ends at the start:
    /// there the kernel sees both head and tail. Where the record at the start ends.
    fn formatted(&self) -> Result<Option<u64>, ExtentError> {
        let end = record::blocks(self, &self.read(0, 1)?).filter(|end| *end < self.len / 2);
        let Some(end) = end.filter(|_| self.last != 0) else { return Ok(None) };
        if cycle(&self.read(end, 1)?) != 0 {
            return Ok(None);
        }
        record::check_last(self, end)?;
        let mut expected = 0;
        let reach = (self.record_blocks() * IN_FLIGHT).min(self.len - end);
        for (block, raw) in (end..).zip(self.read(end, reach)?.chunks_exact(BLOCK)) {
            let found = cycle(raw);
            if found == self.last {
                expected = found;
            }
            believe!(found == expected, "it needs recovery: log block {block} has cycle {found}, {expected} expected");
        }
        record::check_last(self, 0)?;
        Ok(Some(end))
    }

    /// The first block of the last block's cycle, by halving.
    fn boundary(&self) -> Result<u64, ExtentError> {
        let (mut low, mut high) = (0, self.len - 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            let found = cycle(&self.read(middle, 1)?);
            if found == self.last {
                high = middle;
            } else {
                believe!(
                    found == self.first,
                    "log block {middle} has cycle {found}, {} or {} expected",
                    self.first,
                    self.last
                );
                low = middle;
            }
        }
        Ok(high)
    }

    /// Records get to the disk in any order, so after a crash there are holes near the head; after an unmount none.
    fn check_around(&self, head: u64) -> Result<(), ExtentError> {
        let reach = (self.record_blocks() * IN_FLIGHT).min(self.len / 2);
        for from in [self.before(head, reach), head % self.len] {
            for (block, raw) in (from..).zip(self.read(from, reach)?.chunks_exact(BLOCK)) {
                let block = block % self.len;
                let (found, expected) = (cycle(raw), self.cycle_at(block, head));
                believe!(
                    found == expected,
                    "it needs recovery: log block {block} has cycle {found}, {expected} expected (head {head})"
                );
            }
        }
        Ok(())
    }
}
