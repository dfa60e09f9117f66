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
