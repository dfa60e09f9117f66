//! Cuts a contiguous run of blocks into chunks and zero runs.
//!
//! In: the bytes of one extent, window by window. Out: pieces in order, and how many bytes were settled.
//! Promise: however the run is windowed, the pieces are the same; their rule is FORMAT.md, "Cutting".

use ramet_wire::cutting::{CUTTING, ZERO_RUN_MIN, first_cut};

const BLOCK_LEN: usize = CUTTING.block as usize;
const RUN_MIN: usize = 8 * BLOCK_LEN;
const _: () = assert!(RUN_MIN as u64 == ZERO_RUN_MIN);

/// A part of a window: bytes `at .. at + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte in the window.
    pub at: usize,
    /// Bytes.
    pub len: usize,
    /// A run of zeros, to be recorded and not stored.
    pub zero: bool,
}

/// Remembers between two windows of a run whether it stands inside a zero run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Splitter {
    in_zeros: bool,
}

impl Splitter {
    /// Cuts what can be settled of `window`, appends to `pieces`, and returns how many bytes that was.
    /// The rest must stand at the start of the next window. With `last`, nothing follows and all is settled.
    /// A window of 1 MiB or more always settles something.
    pub fn cut(&mut self, window: &[u8], last: bool, pieces: &mut Vec<Piece>) -> usize {
        let mut at = 0;
        while at < window.len() {
            let rest = &window[at..];
            let zeros = zero_run(rest);
            let open = zeros == rest.len() && !last;
            if zeros >= RUN_MIN || (self.in_zeros && zeros > 0) {
                pieces.push(Piece { at, len: zeros, zero: true });
                self.in_zeros = true;
                at += zeros;
                continue;
            }
            if open {
                break;
            }
            self.in_zeros = false;
            let stretch = data_run(rest, last);
            let settled = cut_data(rest, stretch, at, pieces);
            at += settled;
            if settled < stretch.len || !stretch.closed {
                break;
            }
        }
        at
    }
}

/// Data up to a zero run of at least `RUN_MIN`, or to where that cannot be said yet.
#[derive(Clone, Copy)]
struct Stretch {
    len: usize,
    closed: bool,
}

fn data_run(bytes: &[u8], last: bool) -> Stretch {
    let mut at = 0;
    while at < bytes.len() {
        let zeros = zero_run(&bytes[at..]);
        if zeros >= RUN_MIN {
            return Stretch { len: at, closed: true };
        }
        if at + zeros == bytes.len() && !last {
            return Stretch { len: at, closed: false };
        }
        at = (at + zeros + BLOCK_LEN).min(bytes.len());
    }
    Stretch { len: bytes.len(), closed: last }
}

fn cut_data(bytes: &[u8], stretch: Stretch, base: usize, pieces: &mut Vec<Piece>) -> usize {
    let mut at = 0;
    while let Some(len) = first_cut(&bytes[at..stretch.len], stretch.closed) {
        pieces.push(Piece { at: base + at, len, zero: false });
        at += len;
    }
    at
}

/// Bytes of whole zero blocks (or a zero tail) that `bytes` starts with.
fn zero_run(bytes: &[u8]) -> usize {
    let mut len = 0;
    for block in bytes.chunks(BLOCK_LEN) {
        if !is_zero(block) {
            break;
        }
        len += block.len();
    }
    len
}

/// All bytes are zero. Written so that the compiler uses the widest registers.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule, block by block, with the whole run in sight.
    fn naive(run: &[u8]) -> Vec<Piece> {
        let blocks: Vec<&[u8]> = run.chunks(4096).collect();
        let zero: Vec<bool> = blocks.iter().map(|b| b.iter().all(|x| *x == 0)).collect();
        let run_at = |i: usize| zero[i..].iter().take_while(|z| **z).count();
        let bytes = |from: usize, to: usize| blocks[from..to].iter().map(|b| b.len()).sum::<usize>();
        let (mut pieces, mut i) = (Vec::new(), 0);
        let long = |i: usize| bytes(i, i + run_at(i)) >= 32 << 10;
        while i < blocks.len() {
            let start = i;
            if long(i) {
                i += run_at(i);
                pieces.push(Piece { at: start * 4096, len: bytes(start, i), zero: true });
                continue;
            }
            loop {
                i += 1;
                let len = bytes(start, i);
                let hit = blocks[i - 1].len() == 4096 && xxhash_rust::xxh3::xxh3_64(blocks[i - 1]).is_multiple_of(24);
                let long_zeros = i < blocks.len() && !zero[i - 1] && long(i);
                if i == blocks.len() || (len >= 32 << 10 && hit) || len == 512 << 10 || long_zeros {
                    break;
                }
            }
            pieces.push(Piece { at: start * 4096, len: bytes(start, i), zero: false });
        }
        pieces
    }

    fn windowed(run: &[u8], window: usize) -> Vec<Piece> {
        let (mut splitter, mut at, mut all): (_, _, Vec<Piece>) = (Splitter::default(), 0, Vec::new());
        loop {
            let end = (at + window).min(run.len());
            let mut pieces = Vec::new();
            let settled = splitter.cut(&run[at..end], end == run.len(), &mut pieces);
            for piece in pieces {
                let piece = Piece { at: piece.at + at, ..piece };
                match all.last_mut() {
                    Some(before) if before.zero && piece.zero => before.len += piece.len,
                    _ => all.push(piece),
                }
            }
            at += settled;
            if at == run.len() {
                return all;
            }
            assert!(settled > 0, "a window of {window} settles nothing");
        }
    }

    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let stretch = (0_u8..4, 1_usize..200, any::<u64>());
        (prop::collection::vec(stretch, 1..8), 0_usize..4096).prop_map(|(stretches, tail)| {
            let mut run = Vec::new();
            for (kind, blocks, seed) in stretches {
                for i in 0..blocks as u64 {
                    let mut block = [0; 4096];
                    if kind > 0 {
                        block[..8].copy_from_slice(&(seed ^ i.wrapping_mul(0x9e37_79b9)).to_le_bytes());
                        block[9] = 1;
                    }
                    run.extend_from_slice(&block);
                }
            }
            run.truncate(run.len() - tail);
            run
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn windows_do_not_change_the_pieces(run in runs(), extra in 0_usize..64) {
            let whole = naive(&run);
            prop_assert_eq!(&windowed(&run, (1 << 20) + extra * 4096), &whole);
            prop_assert_eq!(&windowed(&run, 4 << 20), &whole);
        }
    }

    #[test]
    fn short_zero_runs_stay_in_their_chunk() {
        let mut run = vec![1; 64 << 10];
        run[16 << 10..40 << 10].fill(0);
        assert!(windowed(&run, 1 << 20).iter().all(|piece| !piece.zero));
        run[16 << 10..48 << 10].fill(0);
        let zeros: Vec<Piece> = windowed(&run, 1 << 20).into_iter().filter(|piece| piece.zero).collect();
        assert_eq!(zeros, [Piece { at: 16 << 10, len: 32 << 10, zero: true }]);
    }
}
