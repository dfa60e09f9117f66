//! From exact byte ranges to whole blocks.
//!
//! In: a reader's pieces, ascending, in bytes. Out: extents of whole blocks, as long as possible, ascending, disjoint.
//! Promise: data grows outward and zeros shrink inward, so no byte that matters is left out or overwritten.

use super::ExtentError;
use super::error::believe;
use super::map::{Extent, ExtentKind};

/// Rounds and joins what `inner` yields; `size` is the partition's length in bytes.
pub(super) struct Rounded<I> {
    inner: I,
    size: u64,
    /// Read ahead: the first piece that does not go on where the one before ended.
    ahead: Option<Result<Extent, ExtentError>>,
    held: Option<Extent>,
    ended: bool,
}

impl<I> Rounded<I> {
    pub const fn new(inner: I, size: u64) -> Self {
        Self { inner, size, ahead: None, held: None, ended: false }
    }

    /// Joins `piece` to the held extent, or gives the held one out and holds `piece`.
    fn take(&mut self, piece: Extent) -> Result<Option<Extent>, ExtentError> {
        let range = match piece.kind {
            ExtentKind::Data => piece.range.round_out(self.size),
            ExtentKind::Zero => piece.range.round_in(self.size),
        };
        if range.is_empty() {
            return Ok(None);
        }
        let piece = Extent { range, kind: piece.kind };
        let Some(held) = self.held else {
            self.held = Some(piece);
            return Ok(None);
        };
        believe!(range.start() >= held.range.start(), "extent {range} comes after {}", held.range);
        if held.kind == piece.kind && range.start() <= held.range.end() {
            let end = held.range.end().max(range.end());
            self.held =
                Some(Extent { range: ramet_wire::ByteRange::between(held.range.start(), end), kind: held.kind });
            return Ok(None);
        }
        believe!(range.start() >= held.range.end(), "extent {range} overlaps {}", held.range);
        self.held = Some(piece);
        Ok(Some(held))
    }
}

impl<I: Iterator<Item = Result<Extent, ExtentError>>> Rounded<I> {
    /// The next piece with all that follow it without a gap: a block of zeros may lie in two pieces.
    fn joined(&mut self) -> Option<Result<Extent, ExtentError>> {
        let mut piece = match self.ahead.take().or_else(|| self.inner.next())? {
            Ok(piece) => piece,
            error => return Some(error),
        };
        for next in self.inner.by_ref() {
            match next {
                Ok(next) if next.kind == piece.kind && next.range.start() == piece.range.end() => {
                    piece.range = ramet_wire::ByteRange::between(piece.range.start(), next.range.end());
                }
                other => {
                    self.ahead = Some(other);
                    break;
                }
            }
        }
        Some(Ok(piece))
    }
}

impl<I: Iterator<Item = Result<Extent, ExtentError>>> Iterator for Rounded<I> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let step = match self.joined() {
                Some(piece) => piece.and_then(|piece| self.take(piece)),
                None => {
                    self.ended = true;
                    return self.held.take().map(Ok);
                }
            };
            match step {
                Ok(None) => {}
                Ok(Some(extent)) => return Some(Ok(extent)),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExtentKind::{Data, Zero};
    use ramet_wire::ByteRange;

    fn rounded(pieces: &[(u64, u64, ExtentKind)], size: u64) -> Result<Vec<(u64, u64, ExtentKind)>, ExtentError> {
        let pieces =
            pieces.iter().map(|&(start, end, kind)| Ok(Extent { range: ByteRange::between(start, end), kind }));
        let all: Result<Vec<Extent>, _> = Rounded::new(pieces, size).collect();
        Ok(all?.iter().map(|e| (e.range.start(), e.range.end(), e.kind)).collect())
    }

    #[test]
    fn extents_are_rounded_outward_to_4_kib_and_clamped_to_the_end_of_the_partition() {
        assert_eq!(
            rounded(&[(1024, 2048, Data), (9000, 9001, Data)], 9500).unwrap(),
            [(0, 4096, Data), (8192, 9500, Data)]
        );
    }

    #[test]
    fn zeros_are_rounded_inward_and_never_touch_data() {
        let pieces = [(0, 5000, Data), (5000, 20000, Zero), (20000, 20001, Data)];
        assert_eq!(rounded(&pieces, 1 << 20).unwrap(), [(0, 8192, Data), (8192, 16384, Zero), (16384, 20480, Data)]);
    }

    #[test]
    fn a_block_of_zeros_in_two_pieces_is_zeros() {
        let pieces = [(0, 4096, Data), (4096, 9216, Zero), (9216, 16384, Zero)];
        assert_eq!(rounded(&pieces, 1 << 20).unwrap(), [(0, 4096, Data), (4096, 16384, Zero)]);
    }

    #[test]
    fn neighbours_of_one_kind_become_one_extent() {
        assert_eq!(
            rounded(&[(0, 1024, Data), (3072, 4096, Data), (4096, 8192, Data)], 1 << 20).unwrap(),
            [(0, 8192, Data)]
        );
    }

    #[test]
    fn refuses_pieces_out_of_order() {
        assert!(rounded(&[(8192, 9000, Data), (0, 10, Data)], 1 << 20).is_err());
        assert!(rounded(&[(0, 12288, Data), (4096, 8192, Zero)], 1 << 20).is_err());
    }
}
