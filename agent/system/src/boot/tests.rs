//! Archives of the real tools, and hostile ones.
//!
//! In: what cpio, gzip, xz, lz4, zstd, mkinitramfs and dracut make. Out: agreement with `cpio -t`, lsinitramfs and depmod.
//! Promise: the oracle is never our own code.

mod archives;
mod debian;
mod systems;

use super::cpio::{Limits, Visit, walk};
use std::collections::BTreeMap;

/// Every file with its size, and the bytes of those whose name ends in `.txt`.
#[derive(Default)]
struct All {
    files: BTreeMap<String, u64>,
    texts: BTreeMap<String, Vec<u8>>,
}

impl Visit for All {
    fn file(&mut self, name: &str, size: u64) -> Option<u64> {
        self.files.insert(name.to_owned(), size);
        name.ends_with(".txt").then_some(1 << 20)
    }

    fn bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.texts.insert(name.to_owned(), bytes);
    }
}

/// A thousandth of what holds elsewhere, so that bombs are small.
const SMALL: Limits = Limits { packed: 16 << 20, raw: 32 << 20, files: 1 << 10 };

fn all(archive: &[u8]) -> Result<All, String> {
    let mut all = All::default();
    walk(archive, SMALL, &mut all).map(|()| all).map_err(|error| error.to_string())
}
