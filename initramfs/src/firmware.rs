//! Firmware that modules ask for.
//!
//! In: folders or Debian packages with `lib/firmware`, the chosen modules. Out: the files that are asked for and there,
//! and the list of those that are not.
//! Promise: only what some module asks for goes aboard; what is missing is listed, never guessed.

use crate::error::{Doing, Result, refused};
use crate::modules::Chosen;
use crate::modules::tree::read_any;
use crate::tool::{command, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// What was found and what was not.
#[derive(Clone, Debug, Default)]
pub struct Firmware {
    /// Bytes by path relative to `/lib/firmware`.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// Module and file, where nobody has the file.
    pub missing: BTreeSet<(String, String)>,
}

/// Looks for everything that `chosen` asks for in `sources`, the first that has it wins.
///
/// # Errors
/// A refusal when a source is no folder and no package, or has no firmware; those of the file system.
pub fn gather(chosen: &Chosen<'_>, sources: &[PathBuf]) -> Result<Firmware> {
    let mut kept: Vec<TempDir> = Vec::new();
    let mut folders = Vec::new();
    for source in sources {
        folders.extend(folders_of(source, &mut kept)?);
    }
    let mut firmware = Firmware::default();
    for (name, (module, _)) in &chosen.modules {
        for file in &module.info.firmware {
            if firmware.files.contains_key(file) {
                continue;
            }
            match find(&folders, file)? {
                Some(bytes) => {
                    firmware.files.insert(file.clone(), bytes);
                }
                None => {
                    firmware.missing.insert(((*name).to_owned(), file.clone()));
                }
            }
        }
    }
    Ok(firmware)
}

/// The folders of a source in which firmware lies.
fn folders_of(source: &Path, kept: &mut Vec<TempDir>) -> Result<Vec<PathBuf>> {
    let what = || format!("reading firmware in {}", source.display());
    let root = if source.extension().is_some_and(|ending| ending == "deb") {
        std::fs::metadata(source).doing(what)?;
        let dir = TempDir::with_prefix("ramet-firmware.").doing(what)?;
        run(what, command("unpacking a package", "dpkg-deb")?.arg("-x").arg(source).arg(dir.path()))?;
        let root = dir.path().to_owned();
        kept.push(dir);
        root
    } else {
        source.to_owned()
    };
    let below = ["lib/firmware", "usr/lib/firmware"].map(|folder| root.join(folder));
    let found: Vec<PathBuf> = below.into_iter().filter(|folder| folder.is_dir()).collect();
    let is_package = root != *source;
    match (found.is_empty(), is_package, root.is_dir()) {
        (false, ..) => Ok(found),
        (true, false, true) => Ok(vec![root]),
        _ => {
            let next = "give a folder like /lib/firmware, or a package like firmware-bnx2_*.deb";
            Err(refused(what(), "there is no folder lib/firmware in it", next))
        }
    }
}

fn find(folders: &[PathBuf], file: &str) -> Result<Option<Arc<[u8]>>> {
    if file.split('/').any(|part| part.is_empty() || part == "..") {
        return Ok(None);
    }
    for folder in folders {
        for ending in ["", ".xz", ".zst"] {
            let path = folder.join(format!("{file}{ending}"));
            if path.is_file() {
                let bytes = read_any(&path).doing(|| format!("reading firmware {}", path.display()))?;
                return Ok(Some(Arc::from(bytes)));
            }
        }
    }
    Ok(None)
}
