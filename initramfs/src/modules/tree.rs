//! All modules of one kernel.
//!
//! In: `/lib/modules/VERSION`, as a kernel package unpacks it: `kernel/**/*.ko`, also compressed, `modules.order`,
//! `modules.builtin`, `modules.builtin.modinfo`. No `modules.dep` is needed: depmod runs only when a package is installed.
//! Out: modules by name, by alias, and what is built into the kernel.
//! Promise: a module of another kernel is refused.

use super::info::{Info, normal};
use crate::error::{Doing, Result, refused};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest module, in bytes; the largest of Debian's kernel has 15 MiB.
const MODULE_MAX: u64 = 256 << 20;
/// Longest table beside the modules.
const TABLE_MAX: u64 = 16 << 20;
/// Folders below each other; Debian's kernel has 7.
const DEPTH_MAX: u32 = 32;

/// One module.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its path in `/lib/modules/VERSION`, uncompressed: `kernel/fs/ext4/ext4.ko`.
    pub path: String,
    /// Where its bytes lie.
    pub file: PathBuf,
    /// What it says about itself.
    pub info: Info,
}

impl Module {
    /// Its bytes, uncompressed.
    ///
    /// # Errors
    /// Those of the file system; when it is compressed and damaged.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        read(&self.file).doing(|| format!("reading module {}", self.file.display()))
    }
}

/// All modules of one kernel.
#[derive(Clone, Debug)]
pub struct Modules {
    /// The kernel.
    pub version: String,
    /// By name.
    pub by_name: BTreeMap<String, Module>,
    /// What is built into the kernel: names and aliases.
    pub builtin: BTreeSet<String>,
    /// `modules.builtin`, as it lies.
    pub builtin_list: Vec<u8>,
    /// `modules.builtin.modinfo`, as it lies.
    pub builtin_info: Vec<u8>,
    /// Names of modules by the aliases that hold no wildcard, in `modules.order`.
    aliases: HashMap<String, Vec<String>>,
}

/// Takes a compression's ending off.
fn plain(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".xz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    name.strip_suffix(".ko").map(|_| name)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {MODULE_MAX} bytes"));
    if file.metadata()?.len() > MODULE_MAX {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    match path.extension().and_then(|name| name.to_str()) {
        Some("xz") => lzma_rust2::XzReader::new(file, true).take(MODULE_MAX + 1).read_to_end(&mut bytes)?,
        Some("zst") => zstd::stream::Decoder::new(file)?.take(MODULE_MAX + 1).read_to_end(&mut bytes)?,
        _ => file.take(MODULE_MAX + 1).read_to_end(&mut bytes)?,
    };
    if bytes.len() as u64 > MODULE_MAX { Err(too_long()) } else { Ok(bytes) }
}

/// Reads a file or a folder's file that may be compressed; also for firmware.
pub(crate) fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    read(path)
}

fn info(path: &Path) -> io::Result<Info> {
    // An uncompressed module is not read whole: its headers say where `.modinfo` lies.
    if path.extension().is_some_and(|name| name == "ko") {
        Info::of(&File::open(path)?)
    } else {
        Info::of(&read(path)?[..])
    }
}

fn table(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    let what = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    File::open(&path).doing(what)?.take(TABLE_MAX).read_to_end(&mut bytes).doing(what)?;
    Ok(bytes)
}

impl Modules {
    /// Reads all modules in `dir`.
    ///
    /// # Errors
    /// A refusal when there are none, one has no `.modinfo`, or one is of another kernel than `version`; those of the
    /// file system.
    pub fn open(dir: &Path, version: &str) -> Result<Self> {
        let what = || format!("reading the modules in {}", dir.display());
        let next = "give --modules the folder /lib/modules/VERSION of this kernel";
        let mut found = Vec::new();
        walk(dir, "kernel", DEPTH_MAX, &mut found)?;
        if found.is_empty() {
            return Err(refused(what(), "there is no module in its folder kernel/", next));
        }
        let order = String::from_utf8_lossy(&table(dir, "modules.order").unwrap_or_default()).into_owned();
        let order: HashMap<&str, usize> = order.lines().filter_map(plain).zip(0..).collect();
        found.sort_by_key(|(path, _)| (order.get(path.as_str()).copied().unwrap_or(usize::MAX), path.clone()));
        let mut modules = Self {
            version: version.to_owned(),
            by_name: BTreeMap::new(),
            builtin: BTreeSet::new(),
            builtin_list: table(dir, "modules.builtin")?,
            builtin_info: table(dir, "modules.builtin.modinfo").unwrap_or_default(),
            aliases: HashMap::new(),
        };
        for (path, file) in found {
            let info = info(&file).map_err(|error| refused(what(), format!("{path}: {error}"), "unpack it again"))?;
            if let Some(kernel) = info.kernel.as_deref().filter(|kernel| *kernel != version) {
                return Err(refused(what(), format!("{path} is for kernel {kernel}, the kernel is {version}"), next));
            }
            let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".ko")).unwrap_or_default();
            let name = normal(stem);
            for alias in info.aliases.iter().filter(|alias| !alias.contains(['*', '?', '['])) {
                modules.aliases.entry(normal(alias)).or_default().push(name.clone());
            }
            modules.by_name.insert(name, Module { path, file, info });
        }
        modules.read_builtin();
        Ok(modules)
    }

    fn read_builtin(&mut self) {
        let list = String::from_utf8_lossy(&self.builtin_list);
        let names = list.lines().filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"));
        self.builtin.extend(names.map(normal));
        for line in self.builtin_info.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok()) {
            // "ext4.alias=fs-ext4"
            if let Some(("alias", value)) = line.split_once('.').and_then(|(_, rest)| rest.split_once('=')) {
                self.builtin.insert(normal(value));
            }
        }
    }

    /// The modules that answer to `name`, which may be an alias: none when it is built in, or nobody knows it.
    #[must_use]
    pub fn answering(&self, name: &str) -> Vec<&str> {
        let name = normal(name);
        match self.by_name.get_key_value(&name) {
            Some((name, _)) => vec![name],
            None => self.aliases.get(&name).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default(),
        }
    }

    /// Whether the kernel has it without a module.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normal(name))
    }
}

fn walk(dir: &Path, below: &str, depth: u32, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let folder = dir.join(below);
    let what = || format!("reading folder {}", folder.display());
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(what)?,
    };
    for entry in entries {
        let entry = entry.doing(what)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().doing(what)?;
        if kind.is_dir() && depth > 0 {
            walk(dir, &format!("{below}/{name}"), depth - 1, found)?;
        } else if let Some(path) = plain(&name).filter(|_| kind.is_file()) {
            found.push((format!("{below}/{path}"), entry.path()));
        }
    }
    Ok(())
}
