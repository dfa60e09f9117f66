//! The root directory of an exFAT volume: where the allocation bitmap and the up-case table are.
//!
//! In: a partition and its checked boot sector. Out: the root's clusters, and the entries that only a root has.
//! Promise: reads at most 256 MiB in pieces of 64 KiB; a critical entry that is not known is a doubt.
//!
//! Specification, 6.2 and 7: entries of 32 bytes, told by their first byte. 0 ends a directory; below 0x80 is unused.
//!
//! | type | entry | fields |
//! |---|---|---|
//! | 0x81 | allocation bitmap | 1: flags, bit 0 of the second one; 20: first cluster; 24: bytes |
//! | 0x82 | up-case table | 4: checksum; 20: first cluster; 24: bytes |
//! | 0x83 | volume label | 1: UTF-16 units, at most 11; 2: units |
//! | 0x85 | file | (of its directory) |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::boot::Boot;
use super::table::Table;
use crate::disk::source::ReadAt;
use std::ops::Range;

/// No directory may be longer.
pub(super) const DIRECTORY_MAX: u64 = 256 << 20;
const PIECE: usize = 64 << 10;
const ENTRY: usize = 32;

const BITMAP: u8 = 0x81;
const UPCASE: u8 = 0x82;
const LABEL: u8 = 0x83;
const FILE: u8 = 0x85;
/// In use, neither benign nor part of the entry before: whoever does not know it may not go on.
const CRITICAL_PRIMARY: u8 = 0x80;
const CRITICAL_PRIMARY_MASK: u8 = 0xe0;

/// Where something lies: its first cluster, and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub first: u64,
    pub len: u64,
}

/// What the root directory says of the volume.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// Clusters of the directory itself.
    pub runs: Vec<Range<u64>>,
    pub bitmap: Option<Place>,
    /// With its checksum.
    pub upcase: Option<(Place, u32)>,
    pub label: Option<String>,
}

impl Root {
    /// Looks at the first `scan` bytes; [`DIRECTORY_MAX`] are all.
    pub fn read(part: &dyn ReadAt, boot: &Boot, scan: u64) -> Result<Self, ExtentError> {
        let mut left = scan;
        let limit = (DIRECTORY_MAX / boot.cluster_len).min(boot.clusters);
        let runs = Table::new(part, boot).chain("root directory", boot.root_cluster, limit)?;
        let mut root = Self::default();
        'runs: for run in &runs {
            let start = boot.heap_start + (run.start - 2) * boot.cluster_len;
            let len = ((run.end - run.start) * boot.cluster_len).min(left);
            left -= len;
            for at in (0..len).step_by(PIECE) {
                let mut raw = vec![0; in_memory(len - at)?.min(PIECE)];
                read(part, &mut raw, start + at, "exFAT root directory")?;
                for entry in raw.as_chunks::<ENTRY>().0 {
                    if entry[0] == 0 {
                        break 'runs;
                    }
                    root.take(entry)?;
                }
            }
        }
        root.runs = runs;
        Ok(root)
    }

    fn take(&mut self, entry: &[u8; ENTRY]) -> Result<(), ExtentError> {
        let fields = Fields(entry);
        let place = Place { first: u64::from(fields.le32(20)), len: fields.le64(24) };
        match entry[0] {
            BITMAP => {
                believe!(entry[1] == 0, "allocation bitmap has flags {:#x} (1 is TexFAT), 0 is known", entry[1]);
                believe!(self.bitmap.is_none(), "root directory has 2 allocation bitmaps, 1 expected");
                self.bitmap = Some(place);
            }
            UPCASE => {
                believe!(self.upcase.is_none(), "root directory has 2 up-case tables, 1 expected");
                self.upcase = Some((place, fields.le32(4)));
            }
            LABEL => self.label = fields.utf16(2, usize::from(entry[1]).min(11)),
            FILE => {}
            kind => believe!(
                kind & CRITICAL_PRIMARY_MASK != CRITICAL_PRIMARY,
                "root directory has a critical entry of type {kind:#x}, {BITMAP:#x} to {LABEL:#x}, {FILE:#x} are known"
            ),
        }
        Ok(())
    }
}
