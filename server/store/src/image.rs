//! Images: signed manifests under a name and an id, numbered in the order of their commits.
//!
//! In: a manifest that was found complete. Out: lists, the bytes as they lie, the latest of a name.
//! Promise: an image's folder appears in one rename, after everything in it was synced; its bytes never change.

use crate::error::{Doing, StoreError};
use crate::files::{Desk, names, random_name, read_bounded, read_sealed, seal, sync_dir};
use crate::store::Store;
use ramet_wire::api::{ImageInfo, ImageState};
use ramet_wire::manifest::{MANIFEST_MAX, Manifest};
use ramet_wire::sign::{Domain, PublicKey, SIGNATURE_MAX, Signature};
use ramet_wire::{ChunkId, ImageId, ImageName, ImageRef};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// One version of an image, and what the store thinks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Name, id, commit number, figures, state. `number` is 0 when the file that holds it is damaged.
    pub info: ImageInfo,
    /// Chunks that are known to be missing.
    pub missing: u64,
    /// Why its own files cannot be used, if so.
    pub problem: Option<String>,
}

/// Name and version.
pub(crate) type ImageKey = (ImageName, ImageId);

/// A version in a list, with its commit file or why that cannot be read.
type ListedImage = (ImageKey, Result<CommitFile, StoreError>);

/// What `commit` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitFile {
    pub(crate) number: u64,
    pub(crate) created: String,
    pub(crate) committed: u64,
    pub(crate) disks: u32,
    pub(crate) data_bytes: u64,
}

/// What `damaged` says: chunks the image lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DamageMark {
    /// How many were counted.
    pub(crate) missing: u64,
    /// Some of them.
    pub(crate) ids: Vec<ChunkId>,
    /// `ids` are all of them, and no segment is among them.
    pub(crate) exact: bool,
    /// What is wrong with the image's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The folder of images.
#[derive(Debug)]
pub(crate) struct Images {
    dir: PathBuf,
    desk: Desk,
    writes: bool,
    /// Commit files that were read and found good, and, where nothing may be written, the marks.
    commits: Mutex<HashMap<ImageKey, CommitFile>>,
    marks: Mutex<HashMap<ImageKey, DamageMark>>,
}

impl Images {
    pub(crate) fn open(dir: PathBuf, desk: Desk, writes: bool) -> Self {
        Self { dir, desk, writes, commits: Mutex::default(), marks: Mutex::default() }
    }

    pub(crate) fn path(&self, (name, id): &ImageKey) -> PathBuf {
        self.dir.join(name.as_str()).join(id.to_string())
    }

    /// Every version of every image, with what its commit file says.
    pub(crate) fn list(&self) -> Result<Vec<ListedImage>, StoreError> {
        let mut all = Vec::new();
        for name in names(&self.dir)? {
            let Ok(name) = name.parse::<ImageName>() else { continue };
            for id in names(&self.dir.join(name.as_str()))? {
                let Ok(id) = id.parse::<ImageId>() else { continue };
                let key = (name.clone(), id);
                match self.commit_file(&key) {
                    Ok(Some(file)) => all.push((key, Ok(file))),
                    // Being removed, or never finished on a file system without atomic renames.
                    Ok(None) if !self.path(&key).join("manifest.json").exists() => {}
                    Ok(None) => {
                        let object = self.path(&key).join("commit").display().to_string();
                        all.push((key, Err(StoreError::damaged(object, "it is missing"))));
                    }
                    Err(error) => all.push((key, Err(error))),
                }
            }
        }
        Ok(all)
    }

    fn commit_file(&self, key: &ImageKey) -> Result<Option<CommitFile>, StoreError> {
        let path = self.path(key).join("commit");
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = commits.get(key).filter(|_| path.exists()) {
            return Ok(Some(file.clone()));
        }
        let file = read_sealed::<CommitFile>(&path)?;
        match &file {
            Some(file) => drop(commits.insert(key.clone(), file.clone())),
            None => drop(commits.remove(key)),
        }
        Ok(file)
    }

    /// Like [`Images::list`], from the disk alone.
    pub(crate) fn forget_cache(&self) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The manifest and its signature as they lie, if they belong together and to this key.
    pub(crate) fn signed(&self, key: &ImageKey, public: &PublicKey) -> Result<(Vec<u8>, Signature), StoreError> {
        let dir = self.path(key);
        let file = |name: &str, max| {
            let path = dir.join(name);
            let missing = || StoreError::damaged(path.display().to_string(), "it is missing");
            read_bounded(&path, max)?.ok_or_else(missing)
        };
        let manifest = self.manifest_bytes(key)?;
        let signature = file("manifest.sig", SIGNATURE_MAX as u64)?;
        if !public.verifies(Domain::Manifest, &manifest, &signature) {
            let reason = format!("it is no signature of key {} over the manifest", public.fingerprint());
            return Err(StoreError::damaged(dir.join("manifest.sig").display().to_string(), reason));
        }
        Ok((manifest, Signature(signature)))
    }

    fn manifest_bytes(&self, key: &ImageKey) -> Result<Vec<u8>, StoreError> {
        let path = self.path(key).join("manifest.json");
        let damaged = |reason: String| StoreError::damaged(path.display().to_string(), reason);
        let bytes = read_bounded(&path, MANIFEST_MAX as u64)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let found = ImageId::of(&bytes);
        if found == key.1 { Ok(bytes) } else { Err(damaged(format!("its bytes give id {found}, wanted {}", key.1))) }
    }

    /// The manifest, whoever signed it: enough to know what must be kept.
    pub(crate) fn manifest(&self, key: &ImageKey) -> Result<Manifest, StoreError> {
        let object = || self.path(key).join("manifest.json").display().to_string();
        let manifest = Manifest::read(&self.manifest_bytes(key)?);
        let manifest = manifest.map_err(|error| StoreError::damaged(object(), error))?;
        if manifest.name == key.0 {
            return Ok(manifest);
        }
        Err(StoreError::damaged(object(), format!("it names image {}, its folder {}", manifest.name, key.0)))
    }

    /// Makes an image appear: all its files are synced before its folder gets its name.
    pub(crate) fn publish(
        &self,
        key: &ImageKey,
        manifest: &[u8],
        signature: &Signature,
        commit: &CommitFile,
    ) -> Result<(), StoreError> {
        let doing = || format!("publishing image {}@{}", key.0, key.1);
        let steps = self.desk.steps();
        steps.step("creating an image's folder").doing(doing)?;
        let half = self.desk.folder().join(random_name().doing(doing)?);
        fs::create_dir(&half).doing(doing)?;
        let built = self.build(&half, manifest, signature, commit).and_then(|()| self.rename(&half, key));
        if built.is_err() && steps.step("removing an image's folder").is_ok() {
            let _ = fs::remove_dir_all(&half);
        }
        built
    }

    fn build(
        &self,
        half: &Path,
        manifest: &[u8],
        signature: &Signature,
        commit: &CommitFile,
    ) -> Result<(), StoreError> {
        for (name, bytes) in [("manifest.json", manifest), ("manifest.sig", &signature.0), ("commit", &seal(commit)?)] {
            let doing = || format!("writing {name}");
            self.desk.steps().step("writing an image's file").doing(doing)?;
            let mut file = File::create_new(half.join(name)).doing(doing)?;
            file.write_all(bytes).and_then(|()| file.sync_all()).doing(doing)?;
        }
        sync_dir(half).doing(|| "syncing an image's folder".to_owned())
    }

    fn rename(&self, half: &Path, key: &ImageKey) -> Result<(), StoreError> {
        let doing = || format!("publishing image {}@{}", key.0, key.1);
        let path = self.path(key);
        let parent = self.dir.join(key.0.as_str());
        if !parent.exists() {
            self.desk.steps().step("creating a name's folder").doing(doing)?;
            fs::create_dir(&parent).doing(doing)?;
            self.desk.sync_parent(&parent).doing(doing)?;
        }
        if path.exists() {
            // The same manifest again, its old files damaged.
            self.discard(&path).doing(doing)?;
        }
        self.desk.steps().step("renaming an image's folder").doing(doing)?;
        fs::rename(half, &path).doing(doing)?;
        self.desk.sync_parent(&path).doing(doing)
    }

    /// Takes a folder out of sight in one step, then removes it.
    fn discard(&self, path: &Path) -> std::io::Result<()> {
        let steps = self.desk.steps();
        let away = self.desk.folder().join(random_name()?);
        steps.step("renaming an image's folder away")?;
        fs::rename(path, &away)?;
        self.desk.sync_parent(path)?;
        steps.step("removing an image's folder")?;
        fs::remove_dir_all(&away)
    }

    pub(crate) fn remove(&self, key: &ImageKey) -> Result<(), StoreError> {
        let doing = || format!("removing image {}@{}", key.0, key.1);
        self.discard(&self.path(key)).doing(doing)?;
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        // Only an empty one goes; a commit that makes it again at this moment is told and tries again.
        let _ = fs::remove_dir(self.dir.join(key.0.as_str()));
        Ok(())
    }

    pub(crate) fn mark(&self, key: &ImageKey) -> Result<Option<DamageMark>, StoreError> {
        if !self.writes
            && let Some(mark) = self.marks.lock().unwrap_or_else(PoisonError::into_inner).get(key)
        {
            return Ok(Some(mark.clone()));
        }
        match read_sealed(&self.path(key).join("damaged")) {
            // A damaged mark is a mark.
            Err(StoreError::Damaged { .. }) => Ok(Some(DamageMark::default())),
            other => other,
        }
    }

    pub(crate) fn set_mark(&self, key: &ImageKey, mark: Option<&DamageMark>) -> Result<(), StoreError> {
        let path = self.path(key).join("damaged");
        if !self.writes {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            match mark {
                Some(mark) => drop(marks.insert(key.clone(), mark.clone())),
                None => drop(marks.remove(key)),
            }
            return Ok(());
        }
        match mark {
            Some(mark) => self.desk.write_sealed(&path, mark),
            None if path.exists() => self.desk.remove(&path).doing(|| format!("removing {}", path.display())),
            None => Ok(()),
        }
    }

    /// When the image was published, by the folder's clock, if one of its files still tells.
    fn age(&self, key: &ImageKey) -> Option<SystemTime> {
        let dir = self.path(key);
        let time = |name| fs::metadata(dir.join(name)).and_then(|meta| meta.modified()).ok();
        time("manifest.json").or_else(|| time("commit"))
    }
}

impl Store {
    /// All images, by name, then by commit number. Images that were healed since lose their mark here.
    ///
    /// # Errors
    /// Those of the file system. An image whose own files are damaged is listed with its problem.
    pub fn images(&self) -> Result<Vec<ImageEntry>, StoreError> {
        let mut entries = Vec::new();
        for (key, commit) in self.0.images.list()? {
            entries.push(self.entry(&key, commit)?);
        }
        entries.sort_by(|a, b| (&a.info.name, a.info.number).cmp(&(&b.info.name, b.info.number)));
        Ok(entries)
    }

    /// The image meant: that version, or the name's latest, which is the one with the highest commit number.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; [`StoreError::Damaged`] when the latest may be one whose number cannot be read.
    pub fn image(&self, image: &ImageRef) -> Result<ImageEntry, StoreError> {
        let mut versions = self.0.images.list()?;
        versions.retain(|(key, _)| key.0 == image.name && image.id.is_none_or(|id| id == key.1));
        let number = |commit: &Result<CommitFile, StoreError>| commit.as_ref().map_or(0, |commit| commit.number);
        versions.sort_by_key(|(_, commit)| number(commit));
        let (key, commit) = versions.pop().ok_or_else(|| StoreError::NoImage(image.clone()))?;
        if image.id.is_none() {
            // One without a number is the latest unless it is older for sure.
            let newest = self.0.images.age(&key);
            let doubt = versions
                .into_iter()
                .find(|(other, commit)| commit.is_err() && published_after(self.0.images.age(other), newest));
            if let Some((_, Err(error))) = doubt {
                return Err(error);
            }
            if let Err(error) = commit {
                return Err(error);
            }
        }
        self.entry(&key, commit)
    }

    fn entry(&self, key: &ImageKey, commit: Result<CommitFile, StoreError>) -> Result<ImageEntry, StoreError> {
        let (commit, problem) = match commit {
            Ok(commit) => (commit, None),
            Err(error) => (
                CommitFile { number: 0, created: String::new(), committed: 0, disks: 0, data_bytes: 0 },
                Some(error.to_string()),
            ),
        };
        let (missing, own) = self.still_damaged(key)?;
        let problem = problem.or(own);
        let damaged = missing > 0 || problem.is_some();
        let info = ImageInfo {
            name: key.0.clone(),
            id: key.1,
            number: commit.number,
            created: commit.created,
            state: if damaged { ImageState::Damaged } else { ImageState::Complete },
            disks: commit.disks,
            data_bytes: commit.data_bytes,
        };
        Ok(ImageEntry { info, missing, problem })
    }

    /// The manifest of an image, byte for byte, and its signature. Both are verified first.
    ///
    /// # Errors
    /// Those of [`Store::image`], and [`StoreError::Damaged`] when manifest and signature do not belong together.
    pub fn manifest(&self, image: &ImageRef) -> Result<(Vec<u8>, Signature), StoreError> {
        let info = self.image(image)?.info;
        self.0.images.signed(&(info.name, info.id), &self.0.key)
    }

    /// Removes one version of an image, the latest when no id is given. Its chunks go with a later collect.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::Access`]; those of the file system.
    pub fn remove(&self, image: &ImageRef) -> Result<ImageId, StoreError> {
        self.may_write("removing an image")?;
        let info = self.image(image)?.info;
        let _publishing = self.publishing();
        self.0.images.remove(&(info.name, info.id))?;
        Ok(info.id)
    }
}

fn published_after(doubtful: Option<SystemTime>, newest: Option<SystemTime>) -> bool {
    match (doubtful, newest) {
        (Some(doubtful), Some(newest)) => doubtful >= newest,
        _ => true,
    }
}
