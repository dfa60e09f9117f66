//! Kernel modules: which there are, which the machine asks for, and getting them into the kernel.
//!
//! In: the index of `/lib/modules/VERSION`, `modalias` files of sysfs, uevents, and the kernel's own requests.
//! Out: loaded modules, and a record of them in `/run/ramet/modules`.
//! Promise: a module that fails to load never stops the others; why it failed is in the record.

pub mod firmware;

mod index;
mod plug;

pub use index::{Index, ToLoad};
pub use plug::Plug;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Where kernels keep their modules.
const MODULES: &str = "/lib/modules";
/// One line per module: its name, and what became of it.
pub const RECORD: &str = "/run/ramet/modules";

/// What became of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Another thread is at it.
    Loading,
    /// In the kernel.
    Loaded,
    /// The kernel's word against it.
    Refused,
}

/// Loads modules, from any number of threads, each once.
#[derive(Debug)]
pub struct Loader {
    index: Index,
    states: Mutex<HashMap<String, State>>,
    changed: Condvar,
    record: PathBuf,
}

impl Loader {
    /// Reads the index of the running kernel.
    ///
    /// # Errors
    /// When there is none, or it can not be read: the initramfs is for another kernel.
    pub fn of_this_kernel() -> io::Result<Self> {
        let version = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Self::new(&Path::new(MODULES).join(version.trim()), Path::new(RECORD))
    }

    fn new(folder: &Path, record: &Path) -> io::Result<Self> {
        // Without this the index would be empty, and no card found, without a word.
        std::fs::metadata(folder.join("modules.dep"))?;
        let index = Index::read(folder)?;
        if index.names().next().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "modules.dep names no module"));
        }
        Ok(Self { index, states: Mutex::default(), changed: Condvar::new(), record: record.to_owned() })
    }

    /// Loads what `name` means, a module or an alias, with all that it needs. Returns how many files went in.
    ///
    /// # Errors
    /// The kernel's word against a module that `name` means. What these depend on softly may be refused: an accelerated
    /// cipher on a processor without its instructions, say.
    pub fn load(&self, name: &str) -> io::Result<usize> {
        let wanted = self.index.lookup(name);
        let mut loaded = 0;
        let mut refused = None;
        for module in self.index.plan(name) {
            match self.one(&module) {
                Ok(new) => loaded += usize::from(new),
                Err(error) if wanted.contains(&module.name.as_str()) => refused = refused.or(Some(error)),
                Err(_) => {}
            }
        }
        refused.map_or(Ok(loaded), Err)
    }

    /// Whether `name` means anything to this kernel.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.index.is_builtin(name) || !self.index.lookup(name).is_empty()
    }

    fn one(&self, module: &ToLoad) -> io::Result<bool> {
        let mut states = self.lock();
        loop {
            match states.get(&module.name) {
                Some(State::Loading) => states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner),
                Some(State::Loaded | State::Refused) => return Ok(false),
                None => break,
            }
        }
        states.insert(module.name.clone(), State::Loading);
        drop(states);
        let result = insert(&module.path);
        let state = if result.is_ok() { State::Loaded } else { State::Refused };
        self.lock().insert(module.name.clone(), state);
        self.changed.notify_all();
        if !matches!(result, Ok(false)) {
            self.note(&module.name, result.as_ref().err());
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One write per line, so that lines of several processes do not mix.
    fn note(&self, name: &str, error: Option<&io::Error>) {
        let line = error.map_or_else(|| format!("{name}\n"), |error| format!("{name} refused: {error}\n"));
        let file = OpenOptions::new().append(true).create(true).open(&self.record);
        if let Ok(mut file) = file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// Puts one file into the kernel; `false` when it was there already.
fn insert(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel calls as `/sbin/modprobe -q -- NAME` when it wants a file system, a cipher or a code page.
///
/// Returns the exit status: 0 when all that `args` name is in the kernel.
#[must_use]
pub fn modprobe(args: &[String]) -> u8 {
    let names = args.iter().filter(|arg| !arg.starts_with('-'));
    let quiet = args.iter().any(|arg| arg == "-q" || arg == "--quiet");
    let loader = match Loader::of_this_kernel() {
        Ok(loader) => loader,
        Err(error) => {
            tell!("modprobe: reading the index of modules: {error}");
            return 1;
        }
    };
    let mut status = 0;
    for name in names {
        let result = if loader.knows(name) { loader.load(name) } else { Err(Errno::ENOENT.into()) };
        if let Err(error) = result {
            status = 1;
            if !quiet {
                tell!("modprobe: loading {name}: {error}");
            }
        }
    }
    status
}
