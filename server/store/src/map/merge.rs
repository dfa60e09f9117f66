//! Several map files become one.
//!
//! In: map files, and what is said of their packs. Out: one file with their records, without those of packs that are gone.
//! Promise: look-ups go on meanwhile; a crash leaves the old files, or both, which say the same.

use super::file::{MapFile, PackRow, Record, Scan, Writer};
use super::{Map, Marks};
use crate::error::{Doing, StoreError};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, PoisonError};

impl Map {
    /// Merges the smaller files, so that each record is copied a logarithmic number of times. Upkeep is held.
    pub(super) fn merge(&self) -> Result<(), StoreError> {
        let mut files = self.files();
        files.sort_unstable_by_key(|file| file.records());
        let must = files.len().saturating_sub(self.options.map_files_max / 2).max(2);
        let mut sum = 0_u64;
        let mut take = 0;
        for file in &files {
            if take >= must && file.records() > sum.saturating_mul(2) {
                break;
            }
            sum += file.records();
            take += 1;
        }
        files.truncate(take);
        self.merge_these(&files)
    }

    /// Merges all files into one.
    pub(super) fn merge_all(&self) -> Result<(), StoreError> {
        let _upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        self.merge_these(&self.files())
    }

    /// Writes all files anew without the records of packs that are gone.
    pub(crate) fn drop_dead_records(&self) -> Result<(), StoreError> {
        let _upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = self.marks();
        let stale = |file: &Arc<MapFile>| file.packs().iter().any(|row| marks.dead.contains(&row.name));
        let files: Vec<Arc<MapFile>> = self.files().into_iter().filter(stale).collect();
        if files.is_empty() { Ok(()) } else { self.merge_these(&files) }
    }

    fn merge_these(&self, files: &[Arc<MapFile>]) -> Result<(), StoreError> {
        let merged = match self.write_merged(files, &self.marks()) {
            Ok(merged) => merged,
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "not merging map files; a look-up or a check mends them");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut layers = self.write();
        layers.files.retain(|file| !files.iter().any(|merged| Arc::ptr_eq(file, merged)));
        layers.files.extend(merged.map(Arc::new));
        let known: Vec<_> = layers.marks.dead.iter().filter(|name| layers.knows(name)).copied().collect();
        if known.len() < layers.marks.dead.len() {
            let marks = Arc::make_mut(&mut layers.marks);
            marks.dead = known.into_iter().collect();
            marks.lost = marks.lost.intersection(&marks.dead).copied().collect();
        }
        drop(layers);
        for file in files.iter().filter(|file| file.path().starts_with(&self.out)) {
            self.desk.remove(file.path()).doing(|| format!("removing {}", file.path().display()))?;
        }
        Ok(())
    }

    fn write_merged(&self, files: &[Arc<MapFile>], marks: &Marks) -> Result<Option<MapFile>, StoreError> {
        let packs = union(files, marks);
        let mut sources: Vec<Source<'_>> = files.iter().map(|file| Source::new(file, &packs)).collect();
        let mut heap = BinaryHeap::new();
        for (at, source) in sources.iter_mut().enumerate() {
            let next = source.next()?;
            heap.extend(next.map(|record| Reverse((record, at))));
        }
        if heap.is_empty() {
            return Ok(None);
        }
        let doing = || "writing a merged map file".to_owned();
        let mut writer = Writer::new(&self.desk).doing(doing)?;
        let mut last = None;
        while let Some(Reverse((record, at))) = heap.pop() {
            if last != Some(record) {
                writer.push(&record).doing(doing)?;
                last = Some(record);
            }
            let next = sources[at].next()?;
            heap.extend(next.map(|record| Reverse((record, at))));
        }
        self.publish(writer, &packs).map(Some)
    }
}

/// All packs that are not gone, ascending, once.
fn union(files: &[Arc<MapFile>], marks: &Marks) -> Vec<PackRow> {
    let mut packs: Vec<PackRow> =
        files.iter().flat_map(|file| file.packs()).filter(|row| !marks.dead.contains(&row.name)).copied().collect();
    packs.sort_unstable();
    packs.dedup_by_key(|row| row.name);
    packs
}

/// One file's records, renumbered for the merged file.
struct Source<'a> {
    scan: Scan<'a>,
    /// New index of each of the file's packs; none for those that are gone.
    index: Vec<Option<u32>>,
}

impl<'a> Source<'a> {
    fn new(file: &'a MapFile, packs: &[PackRow]) -> Self {
        let place = |row: &PackRow| packs.binary_search_by(|other| other.name.cmp(&row.name)).ok();
        let index = file.packs().iter().map(|row| place(row).and_then(|at| u32::try_from(at).ok())).collect();
        Self { scan: file.iter(), index }
    }

    fn next(&mut self) -> Result<Option<Record>, StoreError> {
        while let Some((_, record, _)) = self.scan.next_record()? {
            if let Some(pack) = self.index.get(record.pack as usize).copied().flatten() {
                return Ok(Some(Record { pack, ..record }));
            }
        }
        Ok(None)
    }
}
