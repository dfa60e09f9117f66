//! Old ids in a stream of bytes that is too large for memory.
//!
//! In: a reader. Out: whose old ids stand in it.
//! Promise: an id that lies across two reads is found; memory is bounded; what cannot be read to its end is an error.

use super::map::Renamed;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// Bytes looked at at once, and kept for the next time: more than the longest spelling, and what stands around it.
const AT_ONCE: usize = 1 << 20;
const OVERLAP: usize = 128;
/// More is not looked through: an initramfs of a gigabyte, unpacked.
const LIMIT: u64 = 4 << 30;

/// Indices of the ids.
///
/// # Errors
/// The reader's, and a stream of more than 4 GiB.
pub(super) fn named_in(reader: &mut dyn Read, map: &Renamed) -> io::Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let mut buffer = Vec::with_capacity(AT_ONCE + OVERLAP);
    let mut all: u64 = 0;
    loop {
        let got = Read::take(&mut *reader, AT_ONCE as u64).read_to_end(&mut buffer)? as u64;
        found.extend(map.named_in(&buffer));
        all += got;
        if got == 0 {
            return Ok(found);
        }
        if all > LIMIT {
            return Err(io::Error::other(format!("it has more than {LIMIT} bytes")));
        }
        buffer.drain(..buffer.len().saturating_sub(OVERLAP));
    }
}
