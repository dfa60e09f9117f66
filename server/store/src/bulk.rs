//! Where packs lie: anything that holds immutable files by name and gives ranges of them.
//!
//! In: a finished pack in a temporary file, or a name and a range. Out: bytes.
//! Promise: a pack has its name only when all of it is durable; nothing outside this file knows where packs lie.

use crate::error::{Doing, StoreError};
use crate::files::{Desk, TempFile, names};
use ramet_wire::PackName;
use ramet_wire::id::hex;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// A pack as the bulk side lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: PackName,
    /// Its length, in bytes.
    pub len: u64,
    /// When it was written, by the clock of where it lies.
    pub written: SystemTime,
}

/// The bulk side of a store. A folder today; an object store later.
pub trait Bulk: Send + Sync + std::fmt::Debug {
    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `NotFound` when there is no such pack, `UnexpectedEof` when it ends before.
    fn read_at(&self, name: &PackName, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The pack's length and time, or none.
    ///
    /// # Errors
    /// Those of the file system or network.
    fn stat(&self, name: &PackName) -> io::Result<Option<Listed>>;

    /// Takes over the finished pack in `path`, replacing one of the same name; when this returns, it is durable.
    ///
    /// # Errors
    /// Those of the file system or network; `path` is then removed by the caller.
    fn put(&self, name: &PackName, path: NewPack) -> io::Result<()>;

    /// Removes a pack; one that is not there is fine.
    ///
    /// # Errors
    /// Those of the file system or network.
    fn remove(&self, name: &PackName) -> io::Result<()>;

    /// All packs whose name starts with the byte `prefix`, sorted by name.
    ///
    /// # Errors
    /// Those of the file system or network.
    fn list(&self, prefix: u8) -> Result<Vec<Listed>, StoreError>;

    /// Names under the bulk side that are no packs, relative to the store.
    ///
    /// # Errors
    /// Those of the file system or network.
    fn strays(&self) -> Result<Vec<String>, StoreError>;
}

/// A pack that was written and has no name yet.
#[derive(Debug)]
pub struct NewPack(pub(crate) TempFile);

impl NewPack {
    /// Where its bytes lie until it has a name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Packs in a folder: `packs/<first two digits>/<64 digits>`.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    desk: Desk,
    open: Mutex<OpenPacks>,
}

#[derive(Debug)]
struct OpenPacks {
    files: HashMap<PackName, (Arc<File>, u64)>,
    tick: u64,
    forgotten: u64,
    max: usize,
}

impl Folder {
    pub(crate) fn new(dir: PathBuf, desk: Desk, open_max: usize) -> Self {
        let open = OpenPacks { files: HashMap::new(), tick: 0, forgotten: 0, max: open_max.max(1) };
        Self { dir, desk, open: Mutex::new(open) }
    }

    fn path(&self, name: &PackName) -> PathBuf {
        let name = name.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    /// The open file of a pack; at most `max` are kept open, the one used longest ago is closed.
    fn file(&self, name: &PackName) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.tick += 1;
        let tick = open.tick;
        if let Some((file, used)) = open.files.get_mut(name) {
            *used = tick;
            return Ok(Arc::clone(file));
        }
        let forgotten = open.forgotten;
        drop(open);
        let file = Arc::new(File::open(self.path(name))?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.forgotten != forgotten {
            // Replaced meanwhile, perhaps: good for this read, not to be kept.
            return Ok(file);
        }
        if open.files.len() >= open.max {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name);
            oldest.map(|name| open.files.remove(&name));
        }
        open.files.insert(*name, (Arc::clone(&file), tick));
        Ok(file)
    }

    fn forget(&self, name: &PackName) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.forgotten += 1;
        open.files.remove(name);
    }
}

impl Bulk for Folder {
    fn read_at(&self, name: &PackName, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(buf, offset)
    }

    fn stat(&self, name: &PackName) -> io::Result<Option<Listed>> {
        match fs::metadata(self.path(name)) {
            Ok(meta) => Ok(Some(Listed { name: *name, len: meta.len(), written: meta.modified()? })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&self, name: &PackName, pack: NewPack) -> io::Result<()> {
        let path = self.path(name);
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            self.desk.steps().step("creating a folder")?;
            match fs::create_dir(parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.desk.sync_parent(parent)?,
            }
        }
        self.desk.publish(pack.0, &path)?;
        self.forget(name);
        Ok(())
    }

    fn remove(&self, name: &PackName) -> io::Result<()> {
        let path = self.path(name);
        self.desk.remove(&path)?;
        self.forget(name);
        if path.parent().is_some_and(Path::exists) { self.desk.sync_parent(&path) } else { Ok(()) }
    }

    fn list(&self, prefix: u8) -> Result<Vec<Listed>, StoreError> {
        let dir = self.dir.join(hex(&[prefix]));
        let mut packs = Vec::new();
        for name in names(&dir)? {
            let Ok(name) = name.parse::<PackName>() else { continue };
            if name.0[0] == prefix {
                packs.extend(self.stat(&name).doing(|| format!("listing pack {name}"))?);
            }
        }
        Ok(packs)
    }

    fn strays(&self) -> Result<Vec<String>, StoreError> {
        let mut strays = Vec::new();
        for folder in names(&self.dir)? {
            let prefix = ramet_wire::id::unhex::<1>(&folder).ok();
            for name in names(&self.dir.join(&folder)).unwrap_or_default() {
                if name.parse::<PackName>().ok().map(|pack| [pack.0[0]]) != prefix {
                    strays.push(format!("packs/{folder}/{name}"));
                }
            }
            if prefix.is_none() {
                strays.push(format!("packs/{folder}"));
            }
        }
        Ok(strays)
    }
}
