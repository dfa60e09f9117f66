//! Every byte of every file of the store, looked at.
//!
//! In: an open store. Out: what is damaged, which images that touches, and what could be put right at once.
//! Promise: a flipped bit in any file is found; damaged chunks are struck at once and their images marked.

use crate::bulk::Listed;
use crate::error::{Doing, StoreError};
use crate::examine::{Examined, examine};
use crate::files::{names, read_sealed};
use crate::image::{ImageEntry, ImageKey};
use crate::map::Standing;
use crate::map::file::MapFile;
use crate::open::KeyFile;
use crate::store::Store;
use crate::walk::{Seen, Visited};
use ramet_wire::frame::{CHUNK_MAX, Opener};
use ramet_wire::{ImageId, ImageName, ImageRef, PackName};
use std::collections::HashMap;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How far a check is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Bytes of packs read.
    pub done_bytes: u64,
    /// Bytes of packs to read.
    pub total_bytes: u64,
    /// What was just looked at.
    pub object: String,
}

/// One damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its path in the store.
    pub object: String,
    /// What is wrong, with both numbers.
    pub reason: String,
    /// Images that have something in it.
    pub images: Vec<(ImageName, ImageId)>,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Packs among them.
    pub packs: u64,
    /// Chunks decompressed and hashed.
    pub chunks: u64,
    /// Damage, by file.
    pub damages: Vec<Damage>,
    /// All images and their state after the check.
    pub images: Vec<ImageEntry>,
    /// Files that are none of the store's, and that nothing is known of.
    pub strays: Vec<String>,
}

impl CheckReport {
    /// Nothing is damaged and no image lacks anything.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let whole = |entry: &ImageEntry| entry.missing == 0 && entry.problem.is_none();
        self.damages.is_empty() && self.images.iter().all(whole)
    }

    fn damage(&mut self, object: impl Into<String>, reason: impl Into<String>, images: Vec<ImageKey>) {
        let object = object.into();
        if !self.damages.iter().any(|damage| damage.object == object) {
            self.damages.push(Damage { object, reason: reason.into(), images });
        }
    }
}

impl Store {
    /// Reads the whole store. Where it is held alone, what is still good in damaged packs is brought to safety and
    /// damaged files that can be made again are made again.
    ///
    /// # Errors
    /// Those of the file system. Damage is no error.
    pub fn check(&self, progress: &mut dyn FnMut(Progress)) -> Result<CheckReport, StoreError> {
        let _upkeep = self.0.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = CheckReport::default();
        self.check_small_files(&mut report)?;
        self.check_map(&mut report)?;
        self.0.map.reconcile()?;
        for pack in &self.0.map.marks().lost {
            report.damage(pack_path(pack), "it is missing, or its length is another than when it was stored", vec![]);
        }
        let damaged = self.check_packs(&mut report, progress)?;
        self.name_images(&mut report)?;
        self.check_images(&mut report)?;
        self.audit_images()?;
        if self.0.access.alone() {
            for pack in damaged {
                self.salvage(&pack)?;
            }
            self.0.map.drop_dead_records()?;
            self.audit_images()?;
        }
        report.images = self.images()?;
        report.strays = self.strays()?;
        Ok(report)
    }

    fn check_small_files(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let dir = &self.0.dir;
        let mut paths = vec![dir.join("format"), dir.join("key.pub")];
        for folder in ["state", "sessions", "leases"] {
            let sealed =
                names(&dir.join(folder))?.into_iter().filter(|name| !matches!(name.as_str(), "numbering" | "saving"));
            paths.extend(sealed.map(|name| dir.join(folder).join(name)));
        }
        for path in paths {
            let Some(reason) = self.check_sealed(&path, report)? else { continue };
            let object = self.relative(&path);
            report.damage(&object, reason, vec![]);
            if self.0.access.alone() {
                match object.as_str() {
                    "format" | "key.pub" => drop(Self::mend(dir, self.0.key)?),
                    "state/strikes" => self.save_strikes()?,
                    "state/condemned" => self.save_condemned()?,
                    _ => self.0.desk.remove(&path).doing(|| format!("removing {object}"))?,
                }
            }
        }
        let key = read_sealed::<KeyFile>(&dir.join("key.pub"));
        if let Ok(Some(file)) = key
            && file.public_key != self.0.key
        {
            let (found, ours) = (file.public_key.fingerprint(), self.0.key.fingerprint());
            report.damage("key.pub", format!("it holds {found}, the store was opened with {ours}"), vec![]);
        }
        Ok(())
    }

    /// What is wrong with a sealed file, if anything; one that is gone is none of our business.
    fn check_sealed(&self, path: &Path, report: &mut CheckReport) -> Result<Option<String>, StoreError> {
        report.files += 1;
        report.bytes += std::fs::metadata(path).map_or(0, |meta| meta.len());
        match read_sealed::<serde_json::Value>(path) {
            Ok(_) => Ok(None),
            Err(StoreError::Damaged { reason, .. }) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }

    /// Reads every page of every map file; damaged ones are made again from the packs.
    fn check_map(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let dir = self.0.dir.join("map");
        for (path, reason) in self.0.map.left_out().drain(..) {
            report.damage(self.relative(&path), format!("{reason}; it was made again from the packs"), vec![]);
        }
        for name in names(&dir)? {
            let path = dir.join(&name);
            report.files += 1;
            report.bytes += std::fs::metadata(&path).map_or(0, |meta| meta.len());
            let read = MapFile::open(&path).and_then(|file| {
                let mut scan = file.iter();
                while scan.next_record()?.is_some() {}
                Ok(())
            });
            match read {
                Ok(()) => {}
                Err(StoreError::Damaged { reason, .. }) => {
                    report.damage(self.relative(&path), reason, vec![]);
                    for file in self.0.map.files().iter().filter(|file| file.path() == path) {
                        self.0.map.drop_file(file)?;
                    }
                    if self.0.access.alone() {
                        self.0.desk.remove(&path).doing(|| format!("removing {}", path.display()))?;
                    }
                }
                // Merged away while we looked.
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Examines every pack, on all cores. Returns the damaged ones.
    fn check_packs(
        &self,
        report: &mut CheckReport,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<PackName>, StoreError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let total_bytes = self.0.map.packs().iter().map(|pack| pack.len).sum();
        let mut done_bytes = 0;
        let mut damaged = Vec::new();
        for prefix in 0..=255 {
            let listed = self.0.bulk.list(prefix)?;
            let next = AtomicUsize::new(0);
            let (send, results) = std::sync::mpsc::sync_channel(cores);
            std::thread::scope(|scope| {
                for _ in 0..cores.min(listed.len()) {
                    let (send, listed, next) = (send.clone(), &listed, &next);
                    scope.spawn(move || {
                        while let Some(pack) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
                            if send.send((*pack, examine(&*self.0.bulk, &pack.name, pack.len))).is_err() {
                                return;
                            }
                        }
                    });
                }
                drop(send);
                for (pack, examined) in results {
                    done_bytes += pack.len;
                    progress(Progress { done_bytes, total_bytes, object: pack_path(&pack.name) });
                    if self.judge(&pack, examined, report)? {
                        damaged.push(pack.name);
                    }
                }
                Ok::<(), StoreError>(())
            })?;
        }
        Ok(damaged)
    }

    /// Writes down what was found in one pack; true when it is damaged.
    fn judge(
        &self,
        pack: &Listed,
        examined: Result<Examined, StoreError>,
        report: &mut CheckReport,
    ) -> Result<bool, StoreError> {
        let examined = match examined {
            Ok(examined) => examined,
            // Deleted in good order while we looked.
            Err(_) if self.0.map.marks().dead.contains(&pack.name) => return Ok(false),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Examined { chunks: 0, bad: Vec::new(), problem: Some("it became shorter while it was read".into()) }
            }
            Err(error) => return Err(error),
        };
        report.files += 1;
        report.packs += 1;
        report.bytes += pack.len;
        report.chunks += examined.chunks;
        let Some(mut reason) = examined.problem else { return Ok(false) };
        if examined.bad.len() > 1 {
            reason = format!("{} chunks are damaged, the first: {reason}", examined.bad.len());
        }
        report.damage(pack_path(&pack.name), reason, vec![]);
        let bad: Vec<_> = examined.bad.iter().map(|id| (*id, pack.name)).collect();
        self.strike_here(&bad)?;
        Ok(true)
    }

    /// Fills in which images have something in the damaged packs: in a damaged chunk where only chunks are damaged,
    /// anything at all where the pack is.
    fn name_images(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        let packs: HashMap<PackName, usize> = report
            .damages
            .iter()
            .enumerate()
            .filter_map(|(at, damage)| Some((damage.object.strip_prefix("packs/")?.get(3..)?.parse().ok()?, at)))
            .collect();
        if packs.is_empty() {
            return Ok(());
        }
        let marks = self.0.map.marks();
        for (key, _) in self.0.images.list()? {
            let Ok(manifest) = self.0.images.manifest(&key) else { continue };
            let mut touched = Vec::new();
            self.walk(&manifest, &mut Visited::default(), &mut |seen| {
                let lost;
                let ids = match seen {
                    Seen::Chunks(ids) => ids,
                    Seen::LostSegment(id) => {
                        lost = [id];
                        &lost
                    }
                };
                for (at, place, standing) in self.0.map.all_places(ids)? {
                    let Some(damage) = packs.get(&place.pack) else { continue };
                    let hit = marks.strikes.get(&place.pack).is_none_or(|bad| bad.contains(&ids[at]));
                    if (hit || standing == Standing::Dead) && !touched.contains(damage) {
                        touched.push(*damage);
                    }
                }
                Ok(true)
            })?;
            for damage in touched {
                report.damages[damage].images.push(key.clone());
            }
        }
        Ok(())
    }

    /// Reads the files of every image.
    fn check_images(&self, report: &mut CheckReport) -> Result<(), StoreError> {
        self.0.images.forget_cache();
        for (key, commit) in self.0.images.list()? {
            let dir = self.0.images.path(&key);
            report.files += 3;
            for name in ["manifest.json", "manifest.sig", "commit"] {
                report.bytes += std::fs::metadata(dir.join(name)).map_or(0, |meta| meta.len());
            }
            let mut note = |result: Result<(), StoreError>| match result {
                Ok(()) => Ok(()),
                Err(StoreError::Damaged { object, reason }) => {
                    report.damage(self.relative(Path::new(&object)), reason, vec![key.clone()]);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            note(commit.map(drop))?;
            note(self.0.images.signed(&key, &self.0.key).map(drop))?;
            note(self.0.images.manifest(&key).map(drop))?;
            let mark = dir.join("damaged");
            if let Some(reason) = self.check_sealed(&mark, report)? {
                report.damage(self.relative(&mark), reason, vec![key.clone()]);
            }
        }
        Ok(())
    }

    /// Reads everything that one image is made of, all copies. Damaged chunks are struck, the image is marked.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; those of the file system.
    pub fn check_image(&self, image: &ImageRef, progress: &mut dyn FnMut(Progress)) -> Result<CheckReport, StoreError> {
        let entry = self.image(image)?;
        let key = (entry.info.name, entry.info.id);
        let mut report = CheckReport::default();
        match self.0.images.signed(&key, &self.0.key) {
            Err(StoreError::Damaged { object, reason }) => {
                report.damage(self.relative(Path::new(&object)), reason, vec![key.clone()]);
            }
            other => drop(other?),
        }
        if let Ok(manifest) = self.0.images.manifest(&key) {
            let mut opener = Opener::new().doing(|| "starting zstd".to_owned())?;
            let mut buf = vec![0; CHUNK_MAX as usize];
            let (mut done_bytes, total_bytes) = (0, entry.info.data_bytes);
            self.walk(&manifest, &mut Visited::default(), &mut |seen| {
                let Seen::Chunks(ids) = seen else { return Ok(false) };
                for (at, place, standing) in self.0.map.all_places(ids)? {
                    if !matches!(standing, Standing::Good | Standing::Condemned) {
                        continue;
                    }
                    let id = ids[at];
                    report.chunks += 1;
                    report.bytes += u64::from(place.stored);
                    done_bytes += u64::from(place.raw);
                    if let Err(reason) = self.read_frame(id, &place, &mut opener, &mut buf)? {
                        self.strike_here(&[(id, place.pack)])?;
                        let reason = format!("chunk {id} at offset {}: {reason}", place.offset);
                        report.damage(pack_path(&place.pack), reason, vec![key.clone()]);
                    }
                }
                progress(Progress { done_bytes, total_bytes, object: key.0.to_string() });
                Ok(true)
            })?;
        }
        if !report.damages.is_empty() {
            self.audit_images()?;
        }
        self.audit_image(&key, &mut Visited::default())?;
        report.images = vec![self.image(&ImageRef { name: key.0, id: Some(key.1) })?];
        Ok(report)
    }

    fn strays(&self) -> Result<Vec<String>, StoreError> {
        const OURS: [&str; 11] =
            ["format", "key.pub", "lock", "leases", "packs", "map", "images", "sessions", "state", "tmp", "lost+found"];
        let mut strays = names(&self.0.dir)?;
        strays.retain(|name| !OURS.contains(&name.as_str()));
        strays.extend(self.state_strays()?.into_iter().map(|name| format!("state/{name}")));
        strays.extend(self.0.bulk.strays()?);
        Ok(strays)
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.0.dir).unwrap_or(path).display().to_string()
    }
}

fn pack_path(pack: &PackName) -> String {
    let name = pack.to_string();
    format!("packs/{}/{name}", &name[..2])
}
