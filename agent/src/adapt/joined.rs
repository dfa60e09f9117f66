//! A disk that is larger than it is: the target, and memory for what has no room on it yet.
//!
//! In: a target, an overflow, and which part of which partition lies where. Out: a medium on which an image has room.
//! Promise: addresses of the target are its own; behind its end lie the partitions that will shrink, whole and in a row, the
//! first part of each on the target, the rest in the overflow. Reads and writes are split where the parts meet.

use crate::write::{Medium, Via};
use ramet_wire::ByteRange;
use ramet_wire::receipt::Proof;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A partition that will shrink, at the addresses at which it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretched {
    /// Where all of it lies, behind the end of every disk in play.
    pub whole: ByteRange,
    /// Where its first part lies on the target: its place when it has shrunk.
    pub kept: ByteRange,
    /// Where the rest starts in the overflow.
    pub rest: u64,
}

impl Stretched {
    /// Bytes that lie in the overflow.
    #[must_use]
    pub const fn over(&self) -> u64 {
        self.whole.len().saturating_sub(self.kept.len())
    }
}

/// The target and its overflow.
pub struct Joined<'a> {
    target: &'a dyn Medium,
    overflow: &'a File,
    stretched: &'a [Stretched],
}

impl std::fmt::Debug for Joined<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("target", &self.target.name()).field("stretched", &self.stretched).finish()
    }
}

/// A part of a range, and who has it.
enum Piece {
    Target(ByteRange),
    Overflow(ByteRange),
}

impl<'a> Joined<'a> {
    /// `stretched` ascending and disjoint; `overflow` has room for all their rests.
    #[must_use]
    pub const fn new(target: &'a dyn Medium, overflow: &'a File, stretched: &'a [Stretched]) -> Self {
        Self { target, overflow, stretched }
    }

    /// The pieces of `len` bytes from `offset`, in order.
    fn pieces(&self, offset: u64, len: u64) -> io::Result<Vec<Piece>> {
        let range = ByteRange::new(offset, len).map_err(io::Error::other)?;
        if range.end() <= self.target.size() {
            return Ok(vec![Piece::Target(range)]);
        }
        let holder = self.stretched.iter().find(|stretched| stretched.whole.contains(range));
        let holder =
            holder.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("nobody has {range}")))?;
        let (from, to) = (range.start() - holder.whole.start(), range.end() - holder.whole.start());
        let meet = holder.kept.len().clamp(from, to);
        let mut pieces = Vec::new();
        if from < meet {
            pieces.push(Piece::Target(ByteRange::between(holder.kept.start() + from, holder.kept.start() + meet)));
        }
        if meet < to {
            let start = holder.rest + (meet - holder.kept.len());
            pieces.push(Piece::Overflow(ByteRange::between(start, start + (to - meet))));
        }
        Ok(pieces)
    }
}

impl Medium for Joined<'_> {
    fn name(&self) -> &str {
        self.target.name()
    }

    fn size(&self) -> u64 {
        self.stretched.last().map_or(self.target.size(), |last| last.whole.end())
    }

    fn sector(&self) -> u32 {
        self.target.sector()
    }

    fn direct(&self) -> Option<u32> {
        self.target.direct()
    }

    fn proof(&self) -> Proof {
        self.target.proof()
    }

    fn read(&self, mut buf: &mut [u8], offset: u64, via: Via) -> io::Result<()> {
        for piece in self.pieces(offset, buf.len() as u64)? {
            let (Piece::Target(range) | Piece::Overflow(range)) = &piece;
            let (now, rest) = buf.split_at_mut(usize::try_from(range.len()).map_err(io::Error::other)?);
            match piece {
                Piece::Target(range) => self.target.read(now, range.start(), via)?,
                Piece::Overflow(range) => self.overflow.read_exact_at(now, range.start())?,
            }
            buf = rest;
        }
        Ok(())
    }

    fn write(&self, mut buf: &[u8], offset: u64, via: Via) -> io::Result<()> {
        for piece in self.pieces(offset, buf.len() as u64)? {
            let (Piece::Target(range) | Piece::Overflow(range)) = &piece;
            let (now, rest) = buf.split_at(usize::try_from(range.len()).map_err(io::Error::other)?);
            match piece {
                Piece::Target(range) => self.target.write(now, range.start(), via)?,
                Piece::Overflow(range) => self.overflow.write_all_at(now, range.start())?,
            }
            buf = rest;
        }
        Ok(())
    }

    fn zero(&self, range: ByteRange) -> io::Result<bool> {
        match self.pieces(range.start(), range.len())?.as_slice() {
            [Piece::Target(range)] => self.target.zero(*range),
            // Zeros take no memory there, however they come.
            _ => Ok(false),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.overflow.sync_data()?;
        self.target.flush()
    }

    fn forget(&self, range: ByteRange) {
        for piece in self.pieces(range.start(), range.len()).unwrap_or_default() {
            if let Piece::Target(range) = piece {
                self.target.forget(range);
            }
        }
    }

    fn backing(&self) -> Option<&File> {
        self.target.backing()
    }

    fn announce(&self) {
        self.target.announce();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::{Ram, noise};
    use std::sync::Arc;

    const K: u64 = 4096;

    fn rig() -> (Arc<Ram>, File, [Stretched; 2]) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(20 * K).unwrap();
        let stretched = [
            Stretched { whole: ByteRange::between(32 * K, 48 * K), kept: ByteRange::between(4 * K, 12 * K), rest: 0 },
            Stretched {
                whole: ByteRange::between(64 * K, 70 * K),
                kept: ByteRange::between(13 * K, 14 * K),
                rest: 12 * K,
            },
        ];
        (Ram::new(vec![0; usize::try_from(16 * K).unwrap()]), file, stretched)
    }

    #[test]
    fn each_byte_lies_where_its_part_does_and_is_read_back_from_there() {
        let (ram, file, stretched) = rig();
        let joined = Joined::new(&ram, &file, &stretched);
        assert_eq!(joined.size(), 70 * K);
        let bytes = noise(usize::try_from(16 * K).unwrap(), 5);
        joined.write(&bytes, 32 * K, Via::Direct).unwrap();
        let mut seen = vec![0; bytes.len()];
        joined.read(&mut seen, 32 * K, Via::Direct).unwrap();
        assert!(seen == bytes);
        let at = |k: u64| usize::try_from(k * K).unwrap();
        assert!(ram.content()[at(4)..at(12)] == bytes[..at(8)]);
        let mut over = vec![0; at(8)];
        file.read_exact_at(&mut over, 0).unwrap();
        assert!(over == bytes[at(8)..]);
        joined.write(&bytes[..at(2)], 64 * K, Via::Cached).unwrap();
        assert!(ram.content()[at(13)..at(14)] == bytes[..at(1)]);
        file.read_exact_at(&mut over[..at(1)], 12 * K).unwrap();
        assert!(over[..at(1)] == bytes[at(1)..at(2)]);
        // The disk's own addresses are its own.
        joined.write(&bytes[..at(1)], 0, Via::Direct).unwrap();
        assert!(ram.content()[..at(1)] == bytes[..at(1)]);
        assert_eq!(ram.content()[at(12)..at(13)], vec![0; at(1)]);
    }

    #[test]
    fn zeros_go_to_the_disk_as_it_likes_and_are_written_elsewhere() {
        let (ram, file, stretched) = rig();
        let joined = Joined::new(&ram, &file, &stretched);
        assert!(joined.zero(ByteRange::between(33 * K, 40 * K)).unwrap());
        assert!(!joined.zero(ByteRange::between(33 * K, 41 * K)).unwrap());
        assert!(!joined.zero(ByteRange::between(45 * K, 46 * K)).unwrap());
    }

    #[test]
    fn refuses_addresses_that_nobody_has() {
        let (ram, file, stretched) = rig();
        let joined = Joined::new(&ram, &file, &stretched);
        for at in [15, 16, 31, 47, 50, 63, 69, 70] {
            assert!(joined.write(&[0; 8192], at * K, Via::Cached).is_err(), "{at}");
        }
        assert!(ram.ops().is_empty());
    }
}
