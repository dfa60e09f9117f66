//! A walk over one device of a btrfs.
//!
//! In: this device's stripes and the trees. Out: what matters on it, ascending, disjoint, in exact bytes.
//! Promise: one chunk after another, an item of a tree at a time; the sums of each chunk are checked on every walk.

use super::super::ExtentError;
use super::super::map::{Extent, ExtentKind};
use super::Btrfs;
use super::superblock::{COPIES, LEN};
use super::used::Used;
use ramet_wire::ByteRange;
use std::iter::Peekable;

/// The kernel puts no chunk before this byte; boot loaders lie there.
const RESERVED: u64 = 1 << 20;

/// The used bytes of all stripes.
pub(super) struct Stripes<'a> {
    btrfs: &'a Btrfs,
    used: Used<'a>,
    /// The stripe whose chunk is walked, and the one after it.
    now: usize,
    next: usize,
}

impl<'a> Stripes<'a> {
    pub fn new(btrfs: &'a Btrfs) -> Self {
        Self { btrfs, used: Used::new(&btrfs.volume, &btrfs.roots), now: 0, next: 0 }
    }

    fn step(&mut self) -> Result<Option<ByteRange>, ExtentError> {
        let chunks = self.btrfs.volume.chunks.list();
        loop {
            if let Some(run) = self.used.next()? {
                let own = &self.btrfs.own[self.now];
                let part = chunks[own.chunk].on_stripe(own.stripe, run);
                let start = own.range.start();
                return Ok(Some(ByteRange::between(start + part.start(), start + part.end())));
            }
            let Some(own) = self.btrfs.own.get(self.next) else { return Ok(None) };
            self.used.begin(chunks[own.chunk].range, self.btrfs.used[own.chunk])?;
            (self.now, self.next) = (self.next, self.next + 1);
        }
    }
}

impl Iterator for Stripes<'_> {
    type Item = Result<ByteRange, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Stripes' bytes together with what lies at fixed places.
pub(super) struct Walk<I: Iterator<Item = Result<ByteRange, ExtentError>>> {
    stripes: Peekable<I>,
    fixed: Vec<ByteRange>,
    /// Up to where pieces were given out.
    end: u64,
    ended: bool,
}

impl<I: Iterator<Item = Result<ByteRange, ExtentError>>> Walk<I> {
    /// `size`: of the partition in bytes.
    pub fn new(stripes: I, size: u64) -> Self {
        let copies = COPIES.into_iter().rev().map(|at| ByteRange::between(at, at + LEN as u64));
        let fixed = copies.chain([ByteRange::between(0, RESERVED.min(size))]).filter(|range| range.end() <= size);
        Self { stripes: stripes.peekable(), fixed: fixed.collect(), end: 0, ended: false }
    }

    /// Whichever begins first.
    fn first(&mut self) -> Option<Result<ByteRange, ExtentError>> {
        let before = match (self.fixed.last(), self.stripes.peek()) {
            (Some(fixed), Some(Ok(stripe))) => fixed.start() <= stripe.start(),
            (fixed, stripe) => fixed.is_some() && stripe.is_none(),
        };
        if before { self.fixed.pop().map(Ok) } else { self.stripes.next() }
    }
}

impl<I: Iterator<Item = Result<ByteRange, ExtentError>>> Iterator for Walk<I> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.first() {
                Some(Ok(range)) => {
                    let rest = ByteRange::between(range.start().max(self.end), range.end().max(self.end));
                    self.end = rest.end();
                    if !rest.is_empty() {
                        return Some(Ok(Extent { range: rest, kind: ExtentKind::Data }));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => self.ended = true,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_places_are_merged_with_stripes_that_hold_touch_or_miss_them() {
        let stripes: [(u64, u64); 5] =
            [(4096, 8192), (1 << 20, 2 << 20), (32 << 20, 128 << 20), (128 << 20, 129 << 20), (1 << 30, 300 << 30)];
        let ranges = stripes.map(|(start, end)| Ok(ByteRange::between(start, end)));
        let all: Vec<(u64, u64)> =
            Walk::new(ranges.into_iter(), 400 << 30).map(|e| e.unwrap().range).map(|r| (r.start(), r.end())).collect();
        assert_eq!(
            all,
            [(0, 1 << 20), (1 << 20, 2 << 20), (32 << 20, 128 << 20), (128 << 20, 129 << 20), (1 << 30, 300 << 30)]
        );
        let none: [Result<ByteRange, ExtentError>; 0] = [];
        let all: Vec<u64> = Walk::new(none.into_iter(), 256 << 30).map(|e| e.unwrap().range.start()).collect();
        assert_eq!(all, [0, 64 << 20]);
    }
}
