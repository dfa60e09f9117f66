//! Where a worker runs: a booted machine, or any Linux on which somebody tries it.
//!
//! In: the run folder, the disks that may be chosen, a screen. Out: files, lines, and what the supervisor left.
//! Promise: two doors, one house: everything behind this is the same for PID 1's worker and for a test.

use super::network::Network;
use super::pulse::Pulse;
use super::stock::Stock;
use crate::hardware::lldp::Listener;
use crate::menu::screen::Screen;
use crate::progress::Meter;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The run folder of a booted machine.
pub const RUN: &str = "/run/ramet";
/// Environment variable that names another one.
pub const RUN_ENV: &str = "RAMET_RUN";

/// A worker's surroundings.
pub struct Here {
    run: Option<PathBuf>,
    /// A person may leave the menu, which a booted machine has no use for.
    pub guest: bool,
    /// The disks that may be chosen.
    pub stock: Stock,
    /// How far the run under way is.
    pub meter: Arc<Meter>,
    /// Signs of life to the supervisor.
    pub pulse: Pulse,
    screen: Mutex<Box<dyn Screen>>,
    nonce: OnceLock<String>,
    neighbours: OnceLock<Listener>,
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").field("run", &self.run).field("stock", &self.stock).finish_non_exhaustive()
    }
}

impl Here {
    /// A booted machine: all its disks, and [`RUN`] or the folder of [`RUN_ENV`].
    #[must_use]
    pub fn booted(screen: Box<dyn Screen>) -> Self {
        let run = std::env::var_os(RUN_ENV).map_or_else(|| PathBuf::from(RUN), PathBuf::from);
        Self::new(Some(run), Stock::of_this_machine(), screen)
    }

    /// Any Linux: `disks`, or where none are named those of the machine. Without [`RUN_ENV`] no file is written.
    #[must_use]
    pub fn on_any_linux(disks: Vec<PathBuf>, screen: Box<dyn Screen>) -> Self {
        let stock = if disks.is_empty() { Stock::of_this_machine() } else { Stock::Named(disks) };
        let here = Self::new(std::env::var_os(RUN_ENV).map(PathBuf::from), stock, screen);
        Self { guest: true, ..here }
    }

    /// These surroundings.
    #[must_use]
    pub fn new(run: Option<PathBuf>, stock: Stock, screen: Box<dyn Screen>) -> Self {
        let meter = Arc::new(Meter::default());
        let pulse = Pulse::start(&meter);
        Self {
            run,
            guest: false,
            stock,
            meter,
            pulse,
            screen: Mutex::new(screen),
            nonce: OnceLock::new(),
            neighbours: OnceLock::new(),
        }
    }

    /// The consoles.
    pub fn screen(&self) -> MutexGuard<'_, Box<dyn Screen>> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line on every console.
    pub fn line(&self, text: &str) {
        self.screen().write(format!("{text}\r\n").as_bytes());
    }

    /// Writes one line to a file of the run folder.
    ///
    /// # Errors
    /// Those of the file system; none where there is no run folder.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        std::fs::create_dir_all(run)?;
        std::fs::write(run.join(name), format!("{text}\n"))
    }

    /// What the supervisor knows of the network.
    #[must_use]
    pub fn network(&self) -> Network {
        let read = |run: &PathBuf| std::fs::read(run.join("network.json")).ok();
        self.run.as_ref().and_then(read).map_or_else(Network::default, |bytes| Network::parse(&bytes))
    }

    /// Where the boot medium is mounted, if there is one.
    #[must_use]
    pub fn medium(&self) -> Option<PathBuf> {
        self.run.as_ref().map(|run| run.join("medium")).filter(|medium| medium.is_dir())
    }

    /// The store on the boot medium, if it carries one.
    #[must_use]
    pub fn store(&self) -> Option<PathBuf> {
        self.medium().map(|medium| medium.join("ramet/store")).filter(|store| store.join("format").exists())
    }

    /// What is heard of the switches behind this machine's cards, from the first call on; none where this is a guest: a
    /// command of an operator does not listen to others' networks.
    #[must_use]
    pub fn neighbours(&self) -> Option<&Listener> {
        (!self.guest).then(|| self.neighbours.get_or_init(Listener::start))
    }

    /// 32 random hex digits, the same for one boot: they lie in the run folder, so that a worker that is started anew
    /// within one boot says the same.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn nonce(&self) -> io::Result<String> {
        if let Some(nonce) = self.nonce.get() {
            return Ok(nonce.clone());
        }
        let kept = self.run.as_ref().and_then(|run| std::fs::read_to_string(run.join("nonce")).ok());
        let kept = kept.map(|text| text.trim().to_owned()).filter(|text| is_nonce(text));
        let nonce = match kept {
            Some(nonce) => nonce,
            None => {
                let nonce = random_nonce(Path::new("/dev/urandom"))?;
                self.write("nonce", &nonce)?;
                nonce
            }
        };
        Ok(self.nonce.get_or_init(|| nonce).clone())
    }
}

fn is_nonce(text: &str) -> bool {
    text.len() == ramet_wire::agents::NONCE_LEN && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_nonce(source: &Path) -> io::Result<String> {
    let mut bytes = [0; ramet_wire::agents::NONCE_LEN / 2];
    io::Read::read_exact(&mut std::fs::File::open(source)?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::screen::Nobody;

    #[test]
    fn a_nonce_is_random_and_stays_for_one_boot() {
        let folder = tempfile::tempdir().unwrap();
        let here = |run: Option<&Path>| Here::new(run.map(Path::to_owned), Stock::Named(Vec::new()), Box::new(Nobody));
        let first = here(Some(folder.path())).nonce().unwrap();
        assert!(is_nonce(&first));
        assert_eq!(here(Some(folder.path())).nonce().unwrap(), first);
        std::fs::write(folder.path().join("nonce"), "no\n").unwrap();
        assert_ne!(here(Some(folder.path())).nonce().unwrap(), first);
        let alone = here(None);
        assert_eq!(alone.nonce().unwrap(), alone.nonce().unwrap());
        assert_ne!(alone.nonce().unwrap(), here(None).nonce().unwrap());
    }

    #[test]
    fn a_store_on_the_medium_is_one_that_has_a_format() {
        let folder = tempfile::tempdir().unwrap();
        let here = Here::new(Some(folder.path().to_owned()), Stock::Named(Vec::new()), Box::new(Nobody));
        assert_eq!(here.store(), None);
        let store = folder.path().join("medium/ramet/store");
        std::fs::create_dir_all(&store).unwrap();
        assert_eq!(here.store(), None);
        std::fs::write(store.join("format"), "").unwrap();
        assert_eq!(here.store(), Some(store));
    }
}
