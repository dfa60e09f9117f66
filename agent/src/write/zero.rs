//! Zeros onto the disk, without sending them where the disk can do it itself.
//!
//! In: ranges. Out: `BLKZEROOUT` on devices, holes in files, written zeros where neither works.
//! Promise: never a discard, which guarantees nothing; steps of at most 256 MiB, so that it can be stopped and shown.

use super::error::WriteError;
use super::medium::{Medium, Via};
use ramet_wire::ByteRange;

/// Longest single request, in bytes.
pub const STEP: u64 = 256 << 20;

/// Cuts ranges into steps.
#[must_use]
pub fn steps(ranges: &[ByteRange]) -> Vec<ByteRange> {
    ranges.iter().flat_map(|range| cut(*range)).collect()
}

fn cut(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    (0..range.len().div_ceil(STEP)).map(move |index| {
        let start = range.start() + index * STEP;
        ByteRange::between(start, range.end().min(start + STEP))
    })
}

/// Makes one step zero. `via` and `buf` are for the case that zeros must be written.
///
/// # Errors
/// The device's.
pub fn zero(medium: &dyn Medium, step: ByteRange, via: Via, buf: &mut [u8]) -> Result<(), WriteError> {
    let failed =
        |range| move |source| WriteError::Io { disk: medium.name().to_owned(), doing: "zeroing", range, source };
    if medium.zero(step).map_err(failed(step))? {
        return Ok(());
    }
    let room = buf.len() / 4096 * 4096;
    let first = room.min(usize::try_from(step.len()).unwrap_or(room));
    buf[..first].fill(0);
    let mut at = step.start();
    while at < step.end() {
        let len = usize::try_from(step.end() - at).unwrap_or(room).min(room);
        let range = ByteRange::between(at, at + len as u64);
        medium.write(&buf[..len], at, via).map_err(failed(range))?;
        at = range.end();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ranges_are_zeroed_in_steps_of_at_most_256_mib() {
        let range = ByteRange::between(4096, 4096 + 2 * STEP + 512);
        let found = steps(&[range, ByteRange::between(9, 9)]);
        assert_eq!(found.iter().map(|step| step.len()).collect::<Vec<_>>(), [STEP, STEP, 512]);
        assert_eq!((found[0].start(), found[2].end()), (range.start(), range.end()));
        assert!(found.windows(2).all(|pair| pair[0].end() == pair[1].start()));
    }
}
