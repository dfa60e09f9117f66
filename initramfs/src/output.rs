//! The output folder: what `ramet boot install` takes.
//!
//! In: files by name. Out: those files, and `build.json` with their sizes and hashes.
//! Promise: `build.json` is written last and removed first: a folder that has it is whole; files that this build did not
//! make are gone.

use crate::error::{Doing, Result};
use crate::ship::Build;
use ramet_wire::build::{BUILD, Made, NAMES};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What `build.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// As in the initramfs.
    #[serde(flatten)]
    pub build: Build,
    /// `all` or `vm`.
    pub set: &'static str,
    /// How many modules are aboard.
    pub modules: usize,
    /// Files of the folder.
    pub files: BTreeMap<String, Made>,
    /// Whether `ramet.iso` holds a token.
    pub token: bool,
    /// The image on `ramet.iso`, `NAME@ID`.
    pub image: Option<String>,
    /// Firmware that modules ask for and that is not aboard, by module.
    pub missing_firmware: BTreeMap<String, Vec<String>>,
}

/// An output folder being filled.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
    files: BTreeMap<String, Made>,
}

impl Output {
    /// Makes `dir` where it is missing, and takes an older build out of it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).doing(|| format!("making folder {}", dir.display()))?;
        for name in [BUILD].iter().chain(NAMES) {
            let path = dir.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.doing(|| format!("removing {} of an older build", path.display()))?,
            }
        }
        Ok(Self { dir: dir.to_owned(), files: BTreeMap::new() })
    }

    /// Where a file of this name lies.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        write(&self.path(name), bytes)?;
        self.take(name)
    }

    /// Takes a file that a tool wrote into the folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(&mut self, name: &str) -> Result<()> {
        let path = self.path(name);
        let made = hash(&path).doing(|| format!("reading {}", path.display()))?;
        self.files.insert(name.to_owned(), made);
        Ok(())
    }

    /// The files so far.
    #[must_use]
    pub const fn files(&self) -> &BTreeMap<String, Made> {
        &self.files
    }

    /// Writes `build.json`: now the folder is whole.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(self, report: &Report) -> Result<()> {
        let text = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
        let path = self.path(BUILD);
        let new = self.path("build.json.new");
        write(&new, text.as_bytes())?;
        fs::rename(&new, &path).doing(|| format!("writing {}", path.display()))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().doing(|| format!("writing {}", path.display()))
}

fn hash(path: &Path) -> std::io::Result<Made> {
    let mut file = File::open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buf = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buf)?;
        if count == 0 {
            break;
        }
        context.update(&buf[..count]);
        size += count as u64;
    }
    Ok(Made { size, sha256: ramet_wire::id::hex(context.finish().as_ref()) })
}
