//! Making a store, opening it, and mending what keeps it from opening.
//!
//! In: a folder and what it is opened for. Out: an open store whose map agrees with its folder.
//! Promise: a folder without its `format` is no store; what a crash left half done is swept away.

use crate::bulk::{Bulk, Folder};
use crate::error::{Doing, StoreError};
use crate::files::{self, Desk, names};
use crate::image::Images;
use crate::lock::{Access, Lock};
use crate::map::Map;
use crate::options::Options;
use crate::session::Sessions;
use crate::store::{Inner, Store};
use crate::upload::Gate;
use ramet_wire::sign::PublicKey;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The version of the folder's layout.
const FORMAT: u64 = 1;
const FOLDERS: [&str; 7] = ["packs", "map", "images", "sessions", "state", "tmp", "leases"];

/// What `format` says. The field `ramet_store` may never change its name or meaning.
#[derive(Serialize, Deserialize)]
struct Format {
    ramet_store: u64,
}

/// What `key.pub` says.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyFile {
    pub(crate) public_key: PublicKey,
}

impl Store {
    /// Makes a store in `dir`, which must be empty or not exist. `public_key` is the half that will lie in it.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], or those of the file system.
    pub fn create(dir: &Path, public_key: PublicKey) -> Result<(), StoreError> {
        let doing = || format!("creating store {}", dir.display());
        fs::create_dir_all(dir).doing(doing)?;
        // A fresh file system on a USB disk is an empty folder, too.
        if let Some(found) = names(dir)?.into_iter().find(|name| name != "lost+found") {
            return Err(StoreError::NotEmpty { dir: dir.to_owned(), found });
        }
        for folder in FOLDERS {
            fs::create_dir(dir.join(folder)).doing(doing)?;
        }
        let desk = Desk::new(dir.join("tmp"), crate::options::Steps::default());
        desk.write_sealed(&dir.join("key.pub"), &KeyFile { public_key })?;
        // Last: what has no `format` is no store.
        desk.write_sealed(&dir.join("format"), &Format { ramet_store: FORMAT })
    }

    /// Writes `format` and `key.pub` again where one of them is damaged or missing, so that the store in `dir` opens.
    /// Returns whether there was anything to do.
    ///
    /// # Errors
    /// [`StoreError::NoStore`] when the folder has no packs and images; [`StoreError::Format`] when it is a store of
    /// another version; those of the file system.
    pub fn mend(dir: &Path, public_key: PublicKey) -> Result<bool, StoreError> {
        if !dir.join("packs").is_dir() || !dir.join("images").is_dir() {
            return Err(StoreError::NoStore { dir: dir.to_owned() });
        }
        let desk = Desk::new(dir.join("tmp"), crate::options::Steps::default());
        let damaged = |error: &StoreError| matches!(error, StoreError::Damaged { .. } | StoreError::NoStore { .. });
        let format = match check_format(dir) {
            Err(error) if damaged(&error) => true,
            other => other.map(|()| false)?,
        };
        let key = match files::read_sealed::<KeyFile>(&dir.join("key.pub")) {
            Err(error) if damaged(&error) => true,
            other => other?.is_none(),
        };
        if key {
            desk.write_sealed(&dir.join("key.pub"), &KeyFile { public_key })?;
        }
        if format {
            desk.write_sealed(&dir.join("format"), &Format { ramet_store: FORMAT })?;
        }
        Ok(format || key)
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], [`StoreError::Format`], [`StoreError::Held`], [`StoreError::Damaged`] for its key file,
    /// or those of the file system.
    pub fn open(dir: &Path, access: Access) -> Result<Self, StoreError> {
        Self::open_with(dir, access, Options::default())
    }

    /// Opens the store in `dir` with limits other than the usual ones.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_with(dir: &Path, access: Access, options: Options) -> Result<Self, StoreError> {
        check_format(dir)?;
        let scratch = if access.writes() { None } else { Some(scratch_folder()?) };
        let tmp = scratch.clone().unwrap_or_else(|| dir.join("tmp"));
        let desk = Desk::new(tmp.clone(), options.steps.clone());
        let lock = Lock::take(dir, access, &desk, &options)?;
        if access.writes() {
            sweep(&desk, access)?;
        }
        let key = files::read_sealed::<KeyFile>(&dir.join("key.pub"))?
            .ok_or_else(|| StoreError::damaged(dir.join("key.pub").display().to_string(), "it is missing"))?;
        let bulk: Arc<dyn Bulk> = Arc::new(Folder::new(dir.join("packs"), desk.clone(), options.open_packs_max));
        let map_out = scratch.clone().unwrap_or_else(|| dir.join("map"));
        let map = Map::open(dir.join("map"), map_out, desk.clone(), Arc::clone(&bulk), options.clone())?;
        let store = Self(Arc::new(Inner {
            sessions: Sessions::open(dir.join("sessions"), desk.clone(), options.clone())?,
            images: Images::open(dir.join("images"), desk.clone(), access.writes()),
            dir: dir.to_owned(),
            access,
            options,
            desk,
            key: key.public_key,
            bulk,
            map,
            publish: Mutex::new(()),
            upkeep: Mutex::new(()),
            saving: Mutex::new(()),
            absolved: Mutex::default(),
            gate: Gate::one_per_core(),
            lock,
            scratch,
        }));
        store.load_marks()?;
        let found = store.0.map.reconcile()?;
        for (pack, reason) in &found.unreadable {
            tracing::warn!(%pack, reason, "a pack's table cannot be read; its chunks are not in the map");
        }
        if !found.lost.is_empty() || !found.unreadable.is_empty() {
            tracing::warn!(lost = found.lost.len(), "packs are lost; looking for the images they touch");
            store.audit_images()?;
        }
        store.forget_deleted()?;
        Ok(store)
    }
}

fn check_format(dir: &Path) -> Result<(), StoreError> {
    let found: Format = files::read_sealed(&dir.join("format"))?.ok_or(StoreError::NoStore { dir: dir.to_owned() })?;
    if found.ramet_store == FORMAT {
        return Ok(());
    }
    Err(StoreError::Format { dir: dir.to_owned(), found: found.ramet_store, wanted: FORMAT })
}

/// A folder of our own outside the store, for a store that must not be written.
fn scratch_folder() -> Result<PathBuf, StoreError> {
    let doing = || "making a scratch folder".to_owned();
    let path = std::env::temp_dir().join(format!("ramet-{}", files::random_name().doing(doing)?));
    fs::create_dir(&path).doing(doing)?;
    Ok(path)
}

/// Removes what a crash left in `tmp`. Beside other captures only what is surely nobody's.
fn sweep(desk: &Desk, access: Access) -> Result<(), StoreError> {
    const OLD: Duration = Duration::from_secs(24 * 3600);
    for name in names(desk.folder())? {
        let path = desk.folder().join(name);
        let age = fs::metadata(&path).and_then(|meta| meta.modified()).ok().and_then(|then| then.elapsed().ok());
        if access.alone() || age.is_some_and(|age| age > OLD) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.doing(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
