//! Old ids in an initramfs.
//!
//! In: a reader at its first byte. Out: whose old ids stand in it, in names of files or in the files.
//! Promise: as bounded as the walk through it; what cannot be read to its end is an error, not an absence.

use super::map::Renamed;
use crate::boot::{CpioError, Visit, walk};
use std::collections::BTreeSet;
use std::io::Read;

/// Files up to this size are looked into, in bytes: settings, scripts and units are far smaller, libraries name nothing.
const FILE_MAX: u64 = 1 << 20;

struct Looking<'a> {
    map: &'a Renamed,
    found: BTreeSet<usize>,
}

impl Visit for Looking<'_> {
    fn file(&mut self, name: &str, size: u64) -> Option<u64> {
        // Modules and firmware are the most of it.
        let code = name.contains("lib/modules/") || name.contains("lib/firmware/");
        self.found.extend(self.map.named_in(name.as_bytes()));
        (size <= FILE_MAX && !code).then_some(FILE_MAX)
    }

    fn bytes(&mut self, _: &str, bytes: Vec<u8>) {
        self.found.extend(self.map.named_in(&bytes));
    }
}

/// Indices of the ids.
///
/// # Errors
/// [`CpioError`]: it is no initramfs, is packed in a way that is not known, or has too much in it.
pub(super) fn named_in(from: impl Read, map: &Renamed) -> Result<BTreeSet<usize>, CpioError> {
    let mut looking = Looking { map, found: BTreeSet::new() };
    walk(from, &mut looking)?;
    Ok(looking.found)
}
