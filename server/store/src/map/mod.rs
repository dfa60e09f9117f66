//! The map: which pack holds which chunk, and where.
//!
//! In: tables of packs that became durable; strikes, condemnations and deletions. Out: places of chunks.
//! Promise: it knows less than the folder or as much, never more; memory does not grow with the store's chunks.
//!
//! Measured (`tests/scale.rs`, 20,054,016 records, page cache warm): 26 MiB peak memory of the whole process, 350,000
//! look-ups per second of CPU, opened in 18 ms, made again from the packs' tables in 39 s of CPU. What grows is 40
//! bytes per pack: 300 million chunks in 500,000 packs take 20 MB more.

pub(crate) mod file;
mod merge;
mod reconcile;

pub(crate) use reconcile::read_table;

use crate::bulk::Bulk;
use crate::error::{Doing, StoreError};
use crate::files::{Desk, names, random_name};
use crate::options::Options;
use file::{Cursor, MapFile, PackRow, Record, Writer};
use ramet_wire::pack::PackEntry;
use ramet_wire::{ChunkId, PackName};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where a chunk's frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: PackName,
    /// First byte of the frame in the pack.
    pub offset: u64,
    /// Bytes of the frame.
    pub stored: u32,
    /// Bytes of the chunk.
    pub raw: u32,
}

/// What a record of the map is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// To be used.
    Good,
    /// Missing to captures, still served to restores.
    Condemned,
    /// Found damaged.
    Struck,
    /// Its pack is gone.
    Dead,
}

/// What was said of packs since their records were written. Small: records are never changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Packs to be deleted, and when that was decided (seconds since 1970).
    pub condemned: HashMap<PackName, u64>,
    /// Chunks found damaged, by pack.
    pub strikes: HashMap<PackName, HashSet<ChunkId>>,
    /// Packs that are gone.
    pub dead: HashSet<PackName>,
    /// Those of them that nobody deleted.
    pub lost: HashSet<PackName>,
}

impl Marks {
    pub(crate) fn standing(&self, id: &ChunkId, pack: &PackName) -> Standing {
        if self.dead.contains(pack) {
            Standing::Dead
        } else if self.strikes.get(pack).is_some_and(|ids| ids.contains(id)) {
            Standing::Struck
        } else if self.condemned.contains_key(pack) {
            Standing::Condemned
        } else {
            Standing::Good
        }
    }
}

/// Records of new packs, in memory until they are written to a map file.
#[derive(Debug, Default)]
struct Fresh {
    packs: Vec<PackRow>,
    index: HashMap<PackName, u32>,
    records: BTreeMap<(ChunkId, u32), (u32, u32, u32)>,
}

impl Fresh {
    fn add(&mut self, row: PackRow, entries: &[PackEntry]) {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let pack = *self.index.entry(row.name).or_insert(next);
        if pack == next {
            self.packs.push(row);
        }
        for entry in entries {
            // A pack has at most 64 MiB.
            let offset = u32::try_from(entry.offset).unwrap_or(u32::MAX);
            self.records.insert((entry.id, pack), (offset, entry.stored, entry.raw));
        }
    }

    fn find(&self, id: &ChunkId, mut each: impl FnMut(Location)) {
        for ((_, pack), (offset, stored, raw)) in self.records.range((*id, 0)..=(*id, u32::MAX)) {
            let pack = self.packs[*pack as usize].name;
            each(Location { pack, offset: u64::from(*offset), stored: *stored, raw: *raw });
        }
    }
}

#[derive(Debug, Default)]
struct Layers {
    files: Vec<Arc<MapFile>>,
    spilling: Option<Arc<Fresh>>,
    fresh: Fresh,
    marks: Arc<Marks>,
    /// Grows whenever something that was there may not be any more.
    removals: u64,
}

impl Layers {
    fn memory(&self) -> impl Iterator<Item = &Fresh> {
        self.spilling.as_deref().into_iter().chain(std::iter::once(&self.fresh))
    }

    fn knows(&self, name: &PackName) -> bool {
        self.memory().any(|fresh| fresh.index.contains_key(name))
            || self.files.iter().any(|file| file.pack_index(name).is_some())
    }
}

/// The map of one open store.
#[derive(Debug)]
pub(crate) struct Map {
    layers: RwLock<Layers>,
    /// Held while map files are written, merged or mended.
    upkeep: Mutex<()>,
    /// Damaged files, and why, until a check tells of them.
    left_out: Mutex<Vec<(PathBuf, String)>>,
    /// Where new map files go.
    out: PathBuf,
    desk: Desk,
    bulk: Arc<dyn Bulk>,
    options: Options,
}

/// A map file that cannot be read, and why.
type Broken = (Arc<MapFile>, StoreError);

impl Map {
    /// Opens the map files in `dir`. Damaged ones are left out: their packs are read in by [`Map::reconcile`].
    pub(crate) fn open(
        dir: PathBuf,
        out: PathBuf,
        desk: Desk,
        bulk: Arc<dyn Bulk>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let mut layers = Layers::default();
        let mut left_out = Vec::new();
        for name in names(&dir)? {
            let path = dir.join(&name);
            match MapFile::open(&path) {
                Ok(file) => layers.files.push(Arc::new(file)),
                Err(StoreError::Damaged { object, reason }) => {
                    tracing::warn!(object, reason, "leaving out a damaged map file; it is made again from the packs");
                    left_out.push((path.clone(), reason));
                    // On a medium that cannot be written it stays, and is left out each time.
                    let _ = desk.remove(&path);
                }
                Err(error) => return Err(error),
            }
        }
        let left_out = Mutex::new(left_out);
        Ok(Self { layers: RwLock::new(layers), upkeep: Mutex::new(()), left_out, out, desk, bulk, options })
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with the position in `ids`, place and standing of every record of every id, in no order.
    fn visit(&self, ids: &[ChunkId], mut each: impl FnMut(usize, Location, Standing)) -> Result<(), Broken> {
        let layers = self.read();
        let (files, marks) = (layers.files.clone(), Arc::clone(&layers.marks));
        for (at, id) in ids.iter().enumerate() {
            for fresh in layers.memory() {
                fresh.find(id, |place| each(at, place, marks.standing(id, &place.pack)));
            }
        }
        drop(layers);
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|at| ids[*at]);
        for file in &files {
            let mut cursor = Cursor::new();
            for at in &order {
                let id = &ids[*at];
                let mut found = |_: u64, record: &Record, pack: &PackRow| {
                    each(*at, place(record, pack), marks.standing(id, &pack.name));
                };
                file.find(id, &mut cursor, &mut found).map_err(|error| (Arc::clone(file), error))?;
            }
        }
        Ok(())
    }

    /// The best place of each id: not condemned before condemned, then by the pack's name, so that every look-up
    /// of a chunk that lies in several packs agrees. The flag says condemned.
    pub(crate) fn locate(&self, ids: &[ChunkId]) -> Result<Vec<Option<(Location, bool)>>, StoreError> {
        self.mending(|| {
            let mut best: Vec<Option<(Location, bool)>> = vec![None; ids.len()];
            self.visit(ids, |at, place, standing| {
                let condemned = match standing {
                    Standing::Good => false,
                    Standing::Condemned => true,
                    Standing::Struck | Standing::Dead => return,
                };
                let better = best[at].is_none_or(|(old, was)| (condemned, place.pack) < (was, old.pack));
                if better {
                    best[at] = Some((place, condemned));
                }
            })?;
            Ok(best)
        })
    }

    /// Every place of one id, also those that are worth nothing.
    pub(crate) fn places(&self, id: &ChunkId) -> Result<Vec<(Location, Standing)>, StoreError> {
        let mut places = Vec::new();
        for (_, place, standing) in self.all_places(std::slice::from_ref(id))? {
            if !places.contains(&(place, standing)) {
                places.push((place, standing));
            }
        }
        Ok(places)
    }

    /// Every place of every id, with the id's position; one that two map files know comes twice.
    pub(crate) fn all_places(&self, ids: &[ChunkId]) -> Result<Vec<(usize, Location, Standing)>, StoreError> {
        self.mending(|| {
            let mut places = Vec::new();
            self.visit(ids, |at, place, standing| places.push((at, place, standing)))?;
            Ok(places)
        })
    }

    /// Runs `look`; a map file found damaged is made again from its packs, and `look` runs again.
    fn mending<T>(&self, look: impl Fn() -> Result<T, Broken>) -> Result<T, StoreError> {
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err((file, StoreError::Damaged { object, reason })) => {
                    tracing::warn!(object, reason, "making a damaged map file again from its packs");
                    self.left_out().push((file.path().to_owned(), reason));
                    self.drop_file(&file)?;
                    self.reconcile()?;
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    /// Damaged files that were left out, and why. A check tells of them once: they were put right when they were found.
    pub(crate) fn left_out(&self) -> MutexGuard<'_, Vec<(PathBuf, String)>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a damaged file. Every call leaves one file less, so `mending` ends.
    pub(crate) fn drop_file(&self, file: &Arc<MapFile>) -> Result<(), StoreError> {
        self.write().files.retain(|other| !Arc::ptr_eq(other, file));
        if file.path().starts_with(&self.out) {
            self.desk.remove(file.path()).doing(|| format!("removing {}", file.path().display()))?;
        }
        Ok(())
    }

    /// The pack has records here and its file is not gone.
    pub(crate) fn knows(&self, name: &PackName) -> bool {
        let layers = self.read();
        layers.knows(name) && !layers.marks.dead.contains(name)
    }

    /// Takes in a durable pack. One of this name that was gone is there again.
    pub(crate) fn insert(&self, name: PackName, len: u64, entries: &[PackEntry]) -> Result<(), StoreError> {
        let mut layers = self.write();
        let marks = &layers.marks;
        let gone = marks.dead.contains(&name);
        if !layers.knows(&name) || gone {
            layers.fresh.add(PackRow { name, len }, entries);
        }
        if gone {
            let marks = Arc::make_mut(&mut layers.marks);
            marks.dead.remove(&name);
            marks.lost.remove(&name);
        }
        let full = layers.fresh.records.len() >= self.options.fresh_max;
        drop(layers);
        if full { self.spill() } else { Ok(()) }
    }

    /// Changes what is said of packs; counts as a removal.
    pub(crate) fn mark<T>(&self, change: impl FnOnce(&mut Marks) -> T) -> T {
        let mut layers = self.write();
        layers.removals += 1;
        change(Arc::make_mut(&mut layers.marks))
    }

    /// Takes back something that was said of packs; `change` answers whether there was anything.
    pub(crate) fn mark_if(&self, change: impl FnOnce(&mut Marks) -> bool) -> bool {
        change(Arc::make_mut(&mut self.write().marks))
    }

    pub(crate) fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.read().marks)
    }

    /// Grows whenever a chunk that was there may not be any more.
    pub(crate) fn removals(&self) -> u64 {
        self.read().removals
    }

    /// Map files as they are now.
    pub(crate) fn files(&self) -> Vec<Arc<MapFile>> {
        self.read().files.clone()
    }

    /// Every pack that is not gone, once, by name.
    pub(crate) fn packs(&self) -> Vec<PackRow> {
        let layers = self.read();
        let mut packs: Vec<PackRow> = layers.files.iter().flat_map(|file| file.packs()).copied().collect();
        packs.extend(layers.memory().flat_map(|fresh| &fresh.packs));
        packs.retain(|pack| !layers.marks.dead.contains(&pack.name));
        packs.sort_unstable();
        packs.dedup_by_key(|pack| pack.name);
        packs
    }

    /// Records, in files and in memory.
    pub(crate) fn records(&self) -> u64 {
        let layers = self.read();
        let files: u64 = layers.files.iter().map(|file| file.records()).sum();
        files + layers.memory().map(|fresh| fresh.records.len() as u64).sum::<u64>()
    }

    /// Writes the records in memory to a map file, and merges when there are too many files.
    pub(crate) fn spill(&self) -> Result<(), StoreError> {
        let _upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = {
            let mut layers = self.write();
            if layers.fresh.records.is_empty() {
                return Ok(());
            }
            let fresh = Arc::new(std::mem::take(&mut layers.fresh));
            layers.spilling = Some(Arc::clone(&fresh));
            fresh
        };
        let written = self.write_fresh(&fresh);
        let mut layers = self.write();
        layers.spilling = None;
        match written {
            Ok(file) => layers.files.push(Arc::new(file)),
            Err(error) => {
                // Nothing is lost: the packs' own tables say the same. The records stay in memory.
                for ((id, pack), (offset, stored, raw)) in &fresh.records {
                    let entry = PackEntry { id: *id, offset: u64::from(*offset), stored: *stored, raw: *raw };
                    layers.fresh.add(fresh.packs[*pack as usize], &[entry]);
                }
                return Err(error);
            }
        }
        let many = layers.files.len() > self.options.map_files_max;
        drop(layers);
        if many { self.merge() } else { Ok(()) }
    }

    fn write_fresh(&self, fresh: &Fresh) -> Result<MapFile, StoreError> {
        let doing = || "writing a map file".to_owned();
        let mut packs = fresh.packs.clone();
        packs.sort_unstable();
        let place = |row: &PackRow| packs.binary_search(row).ok().and_then(|at| u32::try_from(at).ok());
        let index: Vec<u32> = fresh.packs.iter().map(|row| place(row).unwrap_or(u32::MAX)).collect();
        let mut writer = Writer::new(&self.desk).doing(doing)?;
        for ((id, pack), (offset, stored, raw)) in &fresh.records {
            let pack = index[*pack as usize];
            writer.push(&Record { id: *id, pack, offset: *offset, stored: *stored, raw: *raw }).doing(doing)?;
        }
        self.publish(writer, &packs)
    }

    fn publish(&self, writer: Writer, packs: &[PackRow]) -> Result<MapFile, StoreError> {
        let doing = || format!("writing a map file into {}", self.out.display());
        let path = self.out.join(format!("{}.map", random_name().doing(doing)?));
        let temp = writer.finish(packs).doing(doing)?;
        self.desk.publish(temp, &path).doing(doing)?;
        MapFile::open(&path)
    }
}

fn place(record: &Record, pack: &PackRow) -> Location {
    Location { pack: pack.name, offset: u64::from(record.offset), stored: record.stored, raw: record.raw }
}
