//! The allocation tables of a FAT volume.
//!
//! In: a checked boot sector. Out: whether the volume is dirty, and its used clusters in ascending order.
//! Promise: a cluster that either table calls used is used; at most 2 x 96 KiB of tables are in memory.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::map::{Extent, Layout, Pieces};
use super::super::peek::read;
use super::super::steps::Steps;
use super::boot::{Boot, Width};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// Entries read at once: even, so that no 12-bit pair is cut.
const ENTRIES: u64 = 24 << 10;

/// One entry of a raw table that starts at an even entry.
fn entry(width: Width, raw: &[u8], index: usize) -> u32 {
    let fields = Fields(raw);
    match width {
        Width::Twelve => {
            let pair = u32::from(fields.u8(index * 3 / 2)) | u32::from(fields.u8(index * 3 / 2 + 1)) << 8;
            if index.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }
        }
        Width::Sixteen => u32::from(fields.le16(index * 2)),
        Width::ThirtyTwo => fields.le32(index * 4),
    }
}

/// Bytes of `entries` entries.
const fn table_bytes(width: Width, entries: u64) -> u64 {
    match width {
        Width::Twelve => (entries * 3).div_ceil(2),
        Width::Sixteen => entries * 2,
        Width::ThirtyTwo => entries * 4,
    }
}

fn read_entries(part: &dyn ReadAt, boot: &Boot, table: u64, first: u64, count: u64) -> Result<Vec<u8>, ExtentError> {
    let mut raw = vec![0; in_memory(table_bytes(boot.width, count))?];
    let offset = boot.table_start + table * boot.table_len + table_bytes(boot.width, first);
    read(part, &mut raw, offset, "FAT allocation table")?;
    Ok(raw)
}

/// Why the volume is not clean, if it is not: a driver marks the boot sector, the second table entry, or both.
pub(super) fn dirt(part: &dyn ReadAt, boot: &Boot) -> Result<Option<String>, ExtentError> {
    if boot.state & 3 != 0 {
        return Ok(Some(format!("the volume is dirty (state {:#x} in the boot sector)", boot.state)));
    }
    let clean = match boot.width {
        Width::Twelve => return Ok(None),
        Width::Sixteen => 0xc000,
        Width::ThirtyTwo => 0x0c00_0000,
    };
    for table in 0..boot.tables {
        let second = entry(boot.width, &read_entries(part, boot, table, 0, 2)?, 1);
        if second & clean != clean {
            return Ok(Some(format!("the volume is dirty (entry 1 of allocation table {table} is {second:#x})")));
        }
    }
    Ok(None)
}

/// The first entry repeats the media byte, and the root directory of FAT32 is allocated.
pub(super) fn check_ends(part: &dyn ReadAt, boot: &Boot) -> Result<(), ExtentError> {
    for table in 0..boot.tables {
        let first = entry(boot.width, &read_entries(part, boot, table, 0, 2)?, 0);
        let media = u32::from(boot.media);
        believe!(
            first & 0xff == media,
            "allocation table {table} starts with media {:#x}, the boot sector has {media:#x}",
            first & 0xff
        );
        if boot.width == Width::ThirtyTwo {
            let even = boot.root_cluster & !1;
            let raw = read_entries(part, boot, table, even, 2)?;
            let root = entry(boot.width, &raw, usize::from(boot.root_cluster != even)) & 0x0fff_ffff;
            believe!(
                root >= 2,
                "allocation table {table} has entry {root} for the root directory's cluster {}",
                boot.root_cluster
            );
        }
    }
    Ok(())
}

/// A clean FAT volume.
pub(super) struct Clusters {
    pub part: Arc<dyn ReadAt>,
    pub boot: Boot,
}

impl Layout for Clusters {
    fn pieces(&self) -> Pieces<'_> {
        let before = Extent::data(0, self.boot.data_start);
        let mut used = Used { part: &*self.part, boot: &self.boot, next: 2, end: self.boot.clusters + 2 };
        let used = Steps::new(move || used.step());
        Box::new(std::iter::once(Ok(before)).chain(used))
    }

    fn end(&self) -> u64 {
        self.boot.data_start + self.boot.clusters * self.boot.cluster_len
    }
}

/// Runs of used clusters, one piece of the tables at a time.
struct Used<'a> {
    part: &'a dyn ReadAt,
    boot: &'a Boot,
    next: u64,
    end: u64,
}

impl Used<'_> {
    fn step(&mut self) -> Result<Option<Vec<Extent>>, ExtentError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let count = ENTRIES.min(self.end - self.next);
        let mut used = vec![false; in_memory(count)?];
        for table in 0..self.boot.tables {
            let raw = read_entries(self.part, self.boot, table, self.next, count)?;
            for (index, used) in used.iter_mut().enumerate() {
                *used |= entry(self.boot.width, &raw, index) != 0;
            }
        }
        let mut runs = Vec::new();
        let mut at = self.boot.data_start + (self.next - 2) * self.boot.cluster_len;
        for run in used.chunk_by(|a, b| a == b) {
            let end = at + run.len() as u64 * self.boot.cluster_len;
            if run[0] {
                runs.push(Extent::data(at, end));
            }
            at = end;
        }
        self.next += count;
        Ok(Some(runs))
    }
}
