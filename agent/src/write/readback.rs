//! What was written, read again.
//!
//! In: jobs that were written and flushed. Out: nothing, or an error with the place and both values.
//! Promise: reads past the page cache where the target lets us; a difference ends the restore.

use super::compare::{Look, Run, Seen};
use super::error::WriteError;
use super::held::Held;
use super::map::Job;
use super::medium::{Medium, read_past_cache};
use ramet_wire::ByteRange;

/// Reads one run and compares; `proven` hears of each look that was right.
///
/// # Errors
/// [`WriteError::Differs`] and [`WriteError::NotZero`], or the device's.
pub fn read_back(
    medium: &dyn Medium,
    run: &Run,
    jobs: &[Job],
    buf: &mut [u8],
    proven: &dyn Fn(&Job, u64),
) -> Result<(), WriteError> {
    run.look(medium, buf, &mut |look: &Look, seen| {
        let (disk, range) = (medium.name().to_owned(), look.range);
        match (seen, look.expect) {
            (Seen::Equal, _) => {
                if let Some(job) = jobs.get(look.job) {
                    proven(job, look.range.len());
                }
                Ok(())
            }
            (Seen::Hash(found), Some(wanted)) => Err(WriteError::Differs { disk, range, found, wanted }),
            (Seen::Hash(found), None) => Err(WriteError::Differs { disk, range, found, wanted: found }),
            (Seen::Byte { at, value }, _) => Err(WriteError::NotZero { disk, range, at, found: value }),
        }
    })
}

/// The first byte of the held ranges `parts` that is not as it shall be: where, what is there, what shall be.
///
/// # Errors
/// The device's.
pub fn first_difference(
    medium: &dyn Medium,
    held: &Held,
    parts: &[ByteRange],
    buf: &mut [u8],
) -> Result<Option<(u64, u8, u8)>, WriteError> {
    let room = (buf.len() as u64 - 2 * 4096) / 4096 * 4096;
    for part in parts {
        let mut at = part.start();
        while at < part.end() {
            let range = ByteRange::between(at, part.end().min(at + room));
            let io = |source| WriteError::Io { disk: medium.name().to_owned(), doing: "reading", range, source };
            let found: &[u8] = read_past_cache(medium, range, buf).map_err(io)?;
            let wanted = held.bytes(range);
            if found != wanted {
                let differs = found.iter().zip(wanted).enumerate().find(|(_, (found, wanted))| found != wanted);
                let (index, (found, wanted)) = differs.unwrap_or((0, (&0, &0)));
                return Ok(Some((at + index as u64, *found, *wanted)));
            }
            at = range.end();
        }
    }
    Ok(None)
}
