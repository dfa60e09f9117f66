//! Files that are either there whole or not at all.
//!
//! In: bytes and a path. Out: a file that was synced before it got its name, in a folder that was synced after.
//! Promise: a small file read back by `read_sealed` is bit for bit what was written; a flipped bit is an error.
//!
//! A sealed file is one line of JSON, then `checksum ` and the xxh3-64 of that line (16 hex digits), then a newline.

use crate::error::{Doing, StoreError};
use crate::options::Steps;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Longest sealed file, in bytes.
const SEALED_MAX: u64 = 64 << 20;

/// The folder for files that are still being written.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    tmp: PathBuf,
    steps: Steps,
}

impl Desk {
    pub(crate) fn new(tmp: PathBuf, steps: Steps) -> Self {
        Self { tmp, steps }
    }

    pub(crate) const fn steps(&self) -> &Steps {
        &self.steps
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.tmp
    }

    /// A new file, readable and writable, that vanishes unless it is given a name.
    pub(crate) fn temp(&self) -> io::Result<TempFile> {
        let path = self.tmp.join(random_name()?);
        self.steps.step("creating a temporary file")?;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(TempFile { path, file: Some(file), steps: self.steps.clone() })
    }

    /// Gives `temp` the name `path`, replacing what was there: sync the file, rename, sync the folder.
    pub(crate) fn publish(&self, mut temp: TempFile, path: &Path) -> io::Result<()> {
        if let Some(file) = &temp.file {
            self.steps.step("syncing a file")?;
            file.sync_all()?;
        }
        self.steps.step("renaming a file")?;
        fs::rename(&temp.path, path)?;
        temp.file = None;
        self.sync_parent(path)
    }

    /// Syncs the folder that `path` lies in.
    pub(crate) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        self.steps.step("syncing a folder")?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// Writes `value` as a sealed file, replacing what was there.
    pub(crate) fn write_sealed<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), StoreError> {
        let doing = || format!("writing {}", path.display());
        let mut temp = self.temp().doing(doing)?;
        temp.write_all(&seal(value)?).doing(doing)?;
        self.publish(temp, path).doing(doing)
    }

    /// Removes a file; one that is not there is fine.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.steps.step("removing a file")?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file without a name of its own yet. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
    file: Option<File>,
    steps: Steps,
}

impl TempFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the temporary file was published"))
    }
}

impl Write for TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.steps.step("writing")?;
        self.file()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // What is left here, a crash included, is removed by the next opening of the store.
        if self.file.is_some() && self.steps.step("removing a temporary file").is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// 32 hex digits nobody else has.
pub(crate) fn random_name() -> io::Result<String> {
    Ok(ramet_wire::id::hex(&random::<16>()?))
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network and FUSE file systems cannot sync a folder, and do not need it.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// The bytes of a sealed file.
pub(crate) fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| StoreError::Bug(format!("sealing: {error}")))?;
    bytes.push(b'\n');
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(format!("checksum {checksum:016x}\n").as_bytes());
    Ok(bytes)
}

/// Reads what [`seal`] made.
pub(crate) fn unseal<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, StoreError> {
    const TRAILER: usize = "checksum 0123456789abcdef\n".len();
    let damaged = |reason: String| StoreError::damaged(object, reason);
    let at = bytes
        .len()
        .checked_sub(TRAILER)
        .ok_or_else(|| damaged(format!("it has {} bytes, at least {} are needed", bytes.len(), TRAILER + 1)))?;
    let (body, trailer) = bytes.split_at(at);
    let wanted = format!("checksum {:016x}\n", xxh3_64(body));
    if trailer != wanted.as_bytes() {
        let found = String::from_utf8_lossy(trailer);
        return Err(damaged(format!("it ends with {:?}, its bytes give {:?}", found, wanted)));
    }
    serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))
}

/// Reads a file of at most `max` bytes; `None` when it is not there.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let doing = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io(doing(), error)),
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).doing(doing)?;
    if bytes.len() as u64 > max {
        return Err(StoreError::damaged(path.display().to_string(), format!("it has more than {max} bytes")));
    }
    Ok(Some(bytes))
}

/// Reads a sealed file; `None` when it is not there.
pub(crate) fn read_sealed<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read_bounded(path, SEALED_MAX)? else { return Ok(None) };
    unseal(&path.display().to_string(), &bytes).map(Some)
}

/// Names in a folder, sorted; none when it is not there. Names that are not UTF-8 are nobody's of ours.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let doing = || format!("listing {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(doing(), error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.doing(doing)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_sealed_file_is_noticed() {
        let bytes = seal(&vec!["one", "two"]).unwrap();
        assert_eq!(unseal::<Vec<String>>("x", &bytes).unwrap(), ["one", "two"]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal::<Vec<String>>("x", &bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(unseal::<Vec<String>>("x", &bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_temporary_file_vanishes_unless_it_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk::new(dir.path().to_owned(), Steps::default());
        drop(desk.temp().unwrap());
        assert!(names(dir.path()).unwrap().is_empty());
        desk.write_sealed(&dir.path().join("a"), &1).unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["a"]);
        assert_eq!(read_sealed::<u32>(&dir.path().join("a")).unwrap(), Some(1));
    }
}
