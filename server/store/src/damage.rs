//! Damage: found anywhere, struck at once, marked on the images, healed by the next capture.
//!
//! In: ids that somebody doubts, packs that are gone. Out: strikes, and marks on the images that lack chunks now.
//! Promise: only what was read again and found bad is struck; a mark goes when every chunk is there again.

use crate::error::StoreError;
use crate::files::{names, read_sealed};
use crate::image::{DamageMark, ImageKey};
use crate::lock::Access;
use crate::map::Standing;
use crate::store::Store;
use crate::walk::{Seen, Visited};
use ramet_wire::api::IDS_MAX;
use ramet_wire::frame::{CHUNK_MAX, Opener};
use ramet_wire::{ChunkId, ImageId, ImageName, PackName};
use std::collections::{BTreeMap, HashSet};
use std::sync::PoisonError;

/// Most strikes kept one by one; beyond that, whole packs are given up until they are read again.
const STRIKES_MAX: usize = 100_000;

/// What came of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamageReport {
    /// Chunks of which a copy was found damaged and struck.
    pub struck: Vec<ChunkId>,
    /// Those of which no good copy is left.
    pub lost: Vec<ChunkId>,
    /// Images that lack chunks now.
    pub images: Vec<(ImageName, ImageId)>,
}

/// `state/strikes`.
type Strikes = BTreeMap<PackName, Vec<ChunkId>>;
/// `state/condemned`: when, in seconds since 1970.
type Condemned = BTreeMap<PackName, u64>;

impl Store {
    /// Reads these chunks again, all their copies, and strikes those that are really damaged. At most
    /// [`IDS_MAX`] ids.
    ///
    /// # Errors
    /// [`StoreError::Bug`] for too many ids; those of the file system.
    pub fn report_damage(&self, ids: &[ChunkId]) -> Result<DamageReport, StoreError> {
        if ids.len() > IDS_MAX {
            return Err(StoreError::Bug(format!("{} ids were reported at once, {IDS_MAX} are allowed", ids.len())));
        }
        let mut opener = Opener::new().map_err(|error| StoreError::io("starting zstd".to_owned(), error))?;
        let mut buf = vec![0; CHUNK_MAX as usize];
        let mut report = DamageReport::default();
        for id in ids {
            let mut good = 0;
            for (place, standing) in self.0.map.places(id)? {
                if !matches!(standing, Standing::Good | Standing::Condemned) {
                    continue;
                }
                match self.read_frame(*id, &place, &mut opener, &mut buf)? {
                    Ok(_) => good += 1,
                    Err(_) => {
                        self.strike_here(&[(*id, place.pack)])?;
                        report.struck.push(*id);
                    }
                }
            }
            if good == 0 {
                report.lost.push(*id);
            }
        }
        report.struck.dedup();
        if !report.struck.is_empty() {
            report.images = self.audit_images()?;
        }
        Ok(report)
    }

    /// Strikes copies of chunks: they are missing from now on.
    pub(crate) fn strike_here(&self, bad: &[(ChunkId, PackName)]) -> Result<(), StoreError> {
        {
            let mut absolved = self.0.absolved.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, pack) in bad {
                absolved.remove(pack);
            }
        }
        self.0.map.mark(|marks| {
            let mut count: usize = marks.strikes.values().map(HashSet::len).sum();
            for (id, pack) in bad {
                if count < STRIKES_MAX {
                    count += usize::from(marks.strikes.entry(*pack).or_default().insert(*id));
                } else {
                    marks.dead.insert(*pack);
                }
            }
        });
        self.save_strikes()
    }

    /// Writes down what is struck.
    pub(crate) fn save_strikes(&self) -> Result<(), StoreError> {
        if !self.0.access.writes() {
            return Ok(());
        }
        let path = self.0.dir.join("state").join("strikes");
        let _saving = self.0.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.lock_file("saving")?;
        self.take_in_strikes()?;
        let marks = self.0.map.marks();
        let mut strikes = Strikes::new();
        for (pack, ids) in &marks.strikes {
            let mut ids: Vec<ChunkId> = ids.iter().copied().collect();
            ids.sort_unstable();
            strikes.insert(*pack, ids);
        }
        if strikes.is_empty() && !path.exists() {
            return Ok(());
        }
        self.0.desk.write_sealed(&path, &strikes)
    }

    /// Forgets the strikes of a pack whose file was replaced by a good one.
    pub(crate) fn absolve(&self, pack: &PackName) -> Result<(), StoreError> {
        let struck = self.0.map.mark_if(|marks| marks.strikes.remove(pack).is_some());
        let by_others = self.0.access == Access::Shared && self.strikes_on_disk()?.contains_key(pack);
        if !struck && !by_others {
            return Ok(());
        }
        self.0.absolved.lock().unwrap_or_else(PoisonError::into_inner).insert(*pack);
        self.save_strikes()
    }

    fn strikes_on_disk(&self) -> Result<Strikes, StoreError> {
        or_empty(read_sealed(&self.0.dir.join("state").join("strikes")))
    }

    /// Beside other processes: what they struck since is struck here, too.
    fn take_in_strikes(&self) -> Result<(), StoreError> {
        if self.0.access != Access::Shared {
            return Ok(());
        }
        let theirs = self.strikes_on_disk()?;
        let absolved = self.0.absolved.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.0.map.marks();
        let news = theirs.into_iter().filter(|(pack, ids)| {
            let known = |id: &ChunkId| ours.strikes.get(pack).is_some_and(|struck| struck.contains(id));
            !absolved.contains(pack) && !ids.iter().all(known)
        });
        let news: Vec<_> = news.collect();
        if !news.is_empty() {
            self.0.map.mark(|marks| {
                for (pack, ids) in news {
                    marks.strikes.entry(pack).or_default().extend(ids);
                }
            });
        }
        Ok(())
    }

    /// Changes which packs are condemned: on the disk first, then for everybody. The publishing lock is held.
    pub(crate) fn set_condemned(&self, change: impl FnOnce(&mut Condemned)) -> Result<(), StoreError> {
        let before = self.0.map.marks();
        let mut condemned: Condemned = before.condemned.iter().map(|(pack, since)| (*pack, *since)).collect();
        let old = condemned.clone();
        change(&mut condemned);
        if condemned == old {
            return Ok(());
        }
        self.write_condemned(&condemned)?;
        self.0.map.mark(|marks| marks.condemned = condemned.into_iter().collect());
        Ok(())
    }

    fn write_condemned(&self, condemned: &Condemned) -> Result<(), StoreError> {
        if !self.0.access.writes() {
            return Ok(());
        }
        let _saving = self.0.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.desk.write_sealed(&self.0.dir.join("state").join("condemned"), condemned)
    }

    /// Writes down again what is condemned.
    pub(crate) fn save_condemned(&self) -> Result<(), StoreError> {
        let _publishing = self.publishing();
        let marks = self.0.map.marks();
        self.write_condemned(&marks.condemned.iter().map(|(pack, since)| (*pack, *since)).collect())
    }

    /// This pack is not to be deleted after all.
    pub(crate) fn reprieve(&self, pack: &PackName) -> Result<(), StoreError> {
        let _publishing = self.publishing();
        self.set_condemned(|condemned| {
            condemned.remove(pack);
        })
    }

    /// Reads strikes and condemnations. A damaged file of either counts as empty: damage is found again when it is
    /// read, and a condemned pack is a good pack until it is deleted.
    pub(crate) fn load_marks(&self) -> Result<(), StoreError> {
        let state = self.0.dir.join("state");
        let strikes = self.strikes_on_disk()?;
        let condemned: Condemned = or_empty(read_sealed(&state.join("condemned")))?;
        self.0.map.mark(|marks| {
            marks.strikes = strikes.into_iter().map(|(pack, ids)| (pack, ids.into_iter().collect())).collect();
            marks.condemned = condemned.into_iter().collect();
        });
        Ok(())
    }

    /// Forgets condemnations and strikes of packs that are gone: a crash came between deleting and saying so.
    pub(crate) fn forget_deleted(&self) -> Result<(), StoreError> {
        let _publishing = self.publishing();
        let marks = self.0.map.marks();
        let gone = |pack: &PackName| !self.0.map.knows(pack);
        let struck: Vec<PackName> = marks.strikes.keys().filter(|pack| gone(pack)).copied().collect();
        if !struck.is_empty() {
            self.0.map.mark(|marks| marks.strikes.retain(|pack, _| !struck.contains(pack)));
            self.save_strikes()?;
        }
        self.set_condemned(|condemned| condemned.retain(|pack, _| !gone(pack)))
    }

    /// Looks for missing chunks in every image, and marks or unmarks it. Returns those that lack some.
    pub(crate) fn audit_images(&self) -> Result<Vec<ImageKey>, StoreError> {
        let mut visited = Visited::default();
        let mut damaged = Vec::new();
        for (key, _) in self.0.images.list()? {
            if self.audit_image(&key, &mut visited)?.is_some() {
                damaged.push(key);
            }
        }
        Ok(damaged)
    }

    /// The same for one image.
    pub(crate) fn audit_image(&self, key: &ImageKey, visited: &mut Visited) -> Result<Option<DamageMark>, StoreError> {
        let mut mark = DamageMark { missing: 0, ids: Vec::new(), exact: true, problem: None };
        match self.0.images.signed(key, &self.0.key) {
            Ok(_) => {}
            Err(StoreError::Damaged { object, reason }) => mark.problem = Some(format!("{object}: {reason}")),
            Err(error) => return Err(error),
        }
        match self.0.images.manifest(key) {
            Ok(manifest) => {
                self.walk(&manifest, visited, &mut |seen| {
                    let lacking = match seen {
                        Seen::LostSegment(id) => {
                            mark.exact = false;
                            vec![id]
                        }
                        Seen::Chunks(ids) => {
                            let found = self.0.map.locate(ids)?;
                            ids.iter().zip(found).filter(|(_, place)| place.is_none()).map(|(id, _)| *id).collect()
                        }
                    };
                    for id in &lacking {
                        if mark.ids.len() < IDS_MAX && mark.ids.contains(id) {
                            continue;
                        }
                        mark.missing += 1;
                        if mark.ids.len() < IDS_MAX { mark.ids.push(*id) } else { mark.exact = false }
                    }
                    Ok(lacking.is_empty())
                })?;
            }
            Err(StoreError::Damaged { object, reason }) => {
                mark.exact = false;
                mark.problem.get_or_insert(format!("{object}: {reason}"));
            }
            Err(error) => return Err(error),
        }
        let damaged = mark.missing > 0 || mark.problem.is_some();
        let mark = damaged.then_some(mark);
        self.0.images.set_mark(key, mark.as_ref())?;
        Ok(mark)
    }

    /// How many chunks a marked image still lacks, and what is wrong with its own files. Takes the mark away when it
    /// has healed.
    pub(crate) fn still_damaged(&self, key: &ImageKey) -> Result<(u64, Option<String>), StoreError> {
        let Some(mark) = self.0.images.mark(key)? else { return Ok((0, None)) };
        self.take_in_strikes()?;
        let found = self.0.map.locate(&mark.ids)?;
        let lacking = found.iter().filter(|place| place.is_none()).count() as u64;
        if lacking > 0 && mark.problem.is_none() {
            return Ok((if mark.exact { lacking } else { mark.missing.max(lacking) }, None));
        }
        let mark = self.audit_image(key, &mut Visited::default())?.unwrap_or_default();
        Ok((mark.missing, mark.problem))
    }

    /// Names in `state` that are known.
    pub(crate) fn state_strays(&self) -> Result<Vec<String>, StoreError> {
        let mut strays = names(&self.0.dir.join("state"))?;
        strays.retain(|name| !matches!(name.as_str(), "strikes" | "condemned" | "numbering" | "saving"));
        Ok(strays)
    }
}

fn or_empty<T: Default>(read: Result<Option<T>, StoreError>) -> Result<T, StoreError> {
    match read {
        Err(StoreError::Damaged { object, reason }) => {
            tracing::warn!(object, reason, "starting without it");
            Ok(T::default())
        }
        other => Ok(other?.unwrap_or_default()),
    }
}
