//! Removing what no image needs, beside captures and restores.
//!
//! In: an open store, held alone. Out: fewer packs; new ones with the frames of old ones that are still needed.
//! Promise: what an image reaches is never deleted; what is to go is missing to captures first and deleted much later.
//!
//! 1. Walk all images; write the needed frames of packs that are mostly dead into new packs, and sync them.
//! 2. Condemn the old packs in one step: from here on they are missing to captures and still serve restores.
//! 3. Delete packs whose condemnation is older than the grace and than every session that lives.

use crate::error::{Doing, StoreError};
use crate::image::ImageKey;
use crate::map::file::{Cursor, MapFile};
use crate::map::{Location, Marks, Standing};
use crate::store::Store;
use crate::walk::{Seen, Visited};
use ramet_wire::frame::{CHUNK_MAX, Opener};
use ramet_wire::pack::PackEntry;
use ramet_wire::{ChunkId, PackName};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long things stay.
#[derive(Clone, Copy, Debug)]
pub struct CollectOptions {
    /// From condemning a pack to deleting it, at least.
    pub grace: Duration,
    /// Packs that no image reaches stay for so long after their session.
    pub keep_unreached: Duration,
    /// A pack is written anew when more than this share of it is dead, in percent.
    pub dead_percent: u64,
}

impl Default for CollectOptions {
    fn default() -> Self {
        let hour = 3600;
        Self {
            grace: Duration::from_secs(24 * hour),
            keep_unreached: Duration::from_secs(7 * 24 * hour),
            dead_percent: 25,
        }
    }
}

/// What a collect did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Segments and chunks that images need.
    pub live_chunks: u64,
    /// Packs whose needed frames were written anew.
    pub rewritten_packs: u64,
    /// Bytes of frames written anew.
    pub rewritten_bytes: u64,
    /// Packs condemned by this run.
    pub condemned_packs: u64,
    /// Bytes of these.
    pub condemned_bytes: u64,
    /// Packs deleted.
    pub deleted_packs: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Packs that are to be deleted by a later run.
    pub waiting_packs: u64,
    /// Packs that images do not need, or hardly, and that are too young to go.
    pub young_packs: u64,
}

/// Which records of a fixed set of map files are needed: one bit each.
struct Live {
    files: Vec<Arc<MapFile>>,
    marks: Arc<Marks>,
    bits: Vec<Vec<u64>>,
    /// Bytes of needed frames, by file and pack.
    bytes: Vec<Vec<u64>>,
    chunks: u64,
}

/// The record that serves a chunk.
#[derive(Clone, Copy)]
struct Serving {
    condemned: bool,
    file: usize,
    slot: u64,
    pack: PackName,
    stored: u32,
}

impl Live {
    fn new(files: Vec<Arc<MapFile>>, marks: Arc<Marks>) -> Self {
        let words = |file: &Arc<MapFile>| vec![0; usize::try_from(file.records().div_ceil(64)).unwrap_or(0)];
        let bits = files.iter().map(words).collect();
        let bytes = files.iter().map(|file| vec![0; file.packs().len()]).collect();
        Self { files, marks, bits, bytes, chunks: 0 }
    }

    /// The record that serves `id`, by the rule of [`crate::map::Map::locate`].
    fn serving(&self, id: &ChunkId, cursors: &mut [Cursor]) -> Result<Option<Serving>, StoreError> {
        let mut best: Option<Serving> = None;
        for (at, file) in self.files.iter().enumerate() {
            file.find(id, &mut cursors[at], &mut |slot, record, pack| {
                let condemned = match self.marks.standing(id, &pack.name) {
                    Standing::Good => false,
                    Standing::Condemned => true,
                    Standing::Struck | Standing::Dead => return,
                };
                if best.is_none_or(|old| (condemned, pack.name) < (old.condemned, old.pack)) {
                    best = Some(Serving { condemned, file: at, slot, pack: pack.name, stored: record.stored });
                }
            })?;
        }
        Ok(best)
    }

    fn cursors(&self) -> Vec<Cursor> {
        self.files.iter().map(|_| Cursor::new()).collect()
    }

    fn mark(&mut self, ids: &[ChunkId]) -> Result<(), StoreError> {
        let mut cursors = self.cursors();
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        for id in ids {
            let Some(serving) = self.serving(&id, &mut cursors)? else { continue };
            let (word, bit) = place_of(serving.slot);
            if self.bits[serving.file][word] & bit == 0 {
                self.bits[serving.file][word] |= bit;
                self.chunks += 1;
                let index = self.files[serving.file].pack_index(&serving.pack).map_or(0, |index| index as usize);
                self.bytes[serving.file][index] += u64::from(serving.stored);
            }
        }
        Ok(())
    }

    /// Bytes of needed frames of each pack.
    fn by_pack(&self) -> BTreeMap<PackName, (u64, u64)> {
        let mut packs: BTreeMap<PackName, (u64, u64)> = BTreeMap::new();
        for (file, bytes) in self.files.iter().zip(&self.bytes) {
            for (row, bytes) in file.packs().iter().zip(bytes) {
                let pack = packs.entry(row.name).or_insert((row.len, 0));
                pack.1 += bytes;
            }
        }
        packs
    }

    /// This pack's copy of the chunk is the one that serves, and an image needs it.
    fn needs(&self, id: &ChunkId, pack: &PackName, cursors: &mut [Cursor]) -> Result<bool, StoreError> {
        let Some(serving) = self.serving(id, cursors)? else { return Ok(false) };
        let (word, bit) = place_of(serving.slot);
        Ok(serving.pack == *pack && self.bits[serving.file][word] & bit != 0)
    }
}

fn place_of(slot: u64) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX), 1 << (slot % 64))
}

/// A pack that is to go, and the bytes of it that were needed when that was decided.
struct Doomed {
    name: PackName,
    len: u64,
    live: u64,
}

impl Store {
    /// Removes what no image needs. Captures and restores go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Access`] unless the store is held alone; [`StoreError::Damaged`] when a manifest cannot be read,
    /// because nobody knows what that image needs; those of the file system. Whatever was done until then is safe.
    pub fn collect(&self, options: &CollectOptions) -> Result<CollectReport, StoreError> {
        if !self.0.access.alone() {
            return Err(StoreError::Access { doing: "collecting" });
        }
        let _upkeep = self.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.0.options.clock.unix();
        let mut report = CollectReport::default();
        self.0.map.spill()?;
        let mut live = Live::new(self.0.map.files(), self.0.map.marks());
        let mut walked = HashSet::new();
        let mut visited = Visited::default();
        self.mark_images(&mut live, &mut walked, &mut visited)?;
        let doomed = self.choose(&live, options, now, &mut report)?;
        self.rewrite(&live, &doomed, &mut report)?;
        // Images that were committed meanwhile: most of them now, the last ones while nobody can commit.
        self.mark_images(&mut live, &mut walked, &mut visited)?;
        self.condemn(&mut live, &mut walked, &mut visited, &doomed, now, &mut report)?;
        self.delete(&live, options, now, &mut report)?;
        report.live_chunks = live.chunks;
        self.0.sessions.forget(now, options.keep_unreached)?;
        if report.deleted_packs > 0 {
            self.0.map.drop_dead_records()?;
        }
        Ok(report)
    }

    /// Marks what images need that were not walked yet.
    fn mark_images(
        &self,
        live: &mut Live,
        walked: &mut HashSet<ImageKey>,
        visited: &mut Visited,
    ) -> Result<(), StoreError> {
        for (key, _) in self.0.images.list()? {
            if walked.contains(&key) {
                continue;
            }
            let manifest = match self.0.images.manifest(&key) {
                Ok(manifest) => manifest,
                // Removed between listing and reading.
                Err(_) if !self.0.images.path(&key).exists() => continue,
                Err(error) => return Err(error),
            };
            self.walk(&manifest, visited, &mut |seen| {
                if let Seen::Chunks(ids) = seen {
                    live.mark(ids)?;
                }
                Ok(true)
            })?;
            walked.insert(key);
        }
        Ok(())
    }

    /// Packs that are to go: mostly dead or struck, and old enough.
    fn choose(
        &self,
        live: &Live,
        options: &CollectOptions,
        now: u64,
        report: &mut CollectReport,
    ) -> Result<Vec<Doomed>, StoreError> {
        let mut doomed = Vec::new();
        for (name, (len, bytes)) in live.by_pack() {
            if live.marks.condemned.contains_key(&name) || live.marks.dead.contains(&name) {
                continue;
            }
            let dead = len.saturating_sub(bytes).saturating_mul(100) > len.saturating_mul(options.dead_percent);
            // Header, table and footer count as dead: for a pack of tiny chunks that may be most of it.
            let all_needed = || self.entries_of(&name).map(|entries| needed_whole(&entries, bytes));
            if !live.marks.strikes.contains_key(&name) && (!dead || all_needed()?) {
                continue;
            }
            let stat = self.0.bulk.stat(&name).doing(|| format!("looking for pack {name}"))?;
            let Some(listed) = stat else { continue };
            if self.0.sessions.keeps(listed.written, now, options.keep_unreached) {
                report.young_packs += 1;
                continue;
            }
            doomed.push(Doomed { name, len, live: bytes });
        }
        Ok(doomed)
    }

    /// Writes the needed frames of doomed packs into new ones. Frames are verified, not compressed again.
    fn rewrite(&self, live: &Live, doomed: &[Doomed], report: &mut CollectReport) -> Result<(), StoreError> {
        let doing = || "writing needed chunks anew".to_owned();
        let mut opener = Opener::new().doing(doing)?;
        let mut buf = vec![0; CHUNK_MAX as usize];
        let mut builder = self.pack_builder()?;
        let mut struck = false;
        for pack in doomed.iter().filter(|pack| pack.live > 0) {
            let mut cursors = live.cursors();
            for entry in self.entries_of(&pack.name)? {
                if !live.needs(&entry.id, &pack.name, &mut cursors)? {
                    continue;
                }
                let place = Location { pack: pack.name, offset: entry.offset, stored: entry.stored, raw: entry.raw };
                match self.read_frame(entry.id, &place, &mut opener, &mut buf)? {
                    Ok(frame) => {
                        builder.push(entry.id, entry.raw, &frame).doing(doing)?;
                        report.rewritten_bytes += u64::from(entry.stored);
                    }
                    Err(reason) => {
                        tracing::warn!(chunk = %entry.id, pack = %pack.name, reason, "striking a damaged chunk");
                        self.strike_here(&[(entry.id, pack.name)])?;
                        struck = true;
                    }
                }
                if builder.is_full() {
                    self.finish_pack(std::mem::replace(&mut builder, self.pack_builder()?))?;
                }
            }
            report.rewritten_packs += 1;
        }
        if !builder.is_empty() {
            self.finish_pack(builder)?;
        }
        if struck {
            self.audit_images()?;
        }
        Ok(())
    }

    /// The step from which on doomed packs are missing to captures.
    fn condemn(
        &self,
        live: &mut Live,
        walked: &mut HashSet<ImageKey>,
        visited: &mut Visited,
        doomed: &[Doomed],
        now: u64,
        report: &mut CollectReport,
    ) -> Result<(), StoreError> {
        let _publishing = self.publishing();
        self.mark_images(live, walked, visited)?;
        let packs = live.by_pack();
        // An image committed meanwhile needs more of it than was written anew: it stays until the next run.
        let go: Vec<&Doomed> =
            doomed.iter().filter(|pack| packs.get(&pack.name).is_none_or(|(_, bytes)| *bytes == pack.live)).collect();
        report.condemned_packs = go.len() as u64;
        report.condemned_bytes = go.iter().map(|pack| pack.len).sum();
        let needed = |name: &PackName| packs.get(name).is_some_and(|(_, bytes)| *bytes > 0);
        self.set_condemned(|condemned| {
            // A condemned pack that serves an image after all, because the other copy was found damaged, stays.
            condemned.retain(|name, _| !needed(name));
            for pack in &go {
                condemned.insert(pack.name, now);
            }
        })
    }

    /// Deletes packs that were condemned long enough ago.
    fn delete(
        &self,
        live: &Live,
        options: &CollectOptions,
        now: u64,
        report: &mut CollectReport,
    ) -> Result<(), StoreError> {
        let lens: BTreeMap<PackName, u64> = live.by_pack().into_iter().map(|(name, (len, _))| (name, len)).collect();
        let condemned = self.0.map.marks();
        let mut deleted = Vec::new();
        for (name, since) in &condemned.condemned {
            let _publishing = self.publishing();
            // Asked again: an upload of the same pack may have reprieved it.
            let still = self.0.map.marks().condemned.get(name) == Some(since);
            let waits =
                since.saturating_add(options.grace.as_secs()) > now || self.0.sessions.any_live_since(*since, now);
            if !still || waits {
                report.waiting_packs += u64::from(still);
                continue;
            }
            // Gone from the map before it is gone from the folder.
            self.0.map.mark(|marks| {
                marks.dead.insert(*name);
                marks.strikes.remove(name);
            });
            self.0.bulk.remove(name).doing(|| format!("deleting pack {name}"))?;
            deleted.push(*name);
            report.deleted_packs += 1;
            report.deleted_bytes += lens.get(name).copied().unwrap_or(0);
        }
        if deleted.is_empty() {
            return Ok(());
        }
        let _publishing = self.publishing();
        self.save_strikes()?;
        self.set_condemned(|condemned| {
            for name in &deleted {
                condemned.remove(name);
            }
        })
    }
}

/// Every frame of the pack is needed.
fn needed_whole(entries: &[PackEntry], bytes: u64) -> bool {
    !entries.is_empty() && entries.iter().map(|entry| u64::from(entry.stored)).sum::<u64>() == bytes
}
