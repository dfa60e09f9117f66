//! Who may use a store's folder at the same time as whom.
//!
//! In: a folder and what is to be done in it. Out: a lock that lasts until it is dropped, or who stands in the way.
//! Promise: captures and restores share; a server and a collect are alone. Where flock means nothing, leases decide.

use crate::error::{Doing, StoreError};
use crate::files::{Desk, names, random_name, read_sealed};
use crate::options::{Options, unix};
use nix::sys::statfs::{self, FsType, statfs};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Restores and boot media: nothing is written, not even a lock where the medium is read-only.
    Read,
    /// Captures into a folder, several at once.
    Shared,
    /// The server: everything, alone.
    Server,
    /// Collect, check and repair on a folder: everything, alone.
    Exclusive,
}

impl Access {
    /// Nobody else may hold the store.
    #[must_use]
    pub const fn alone(self) -> bool {
        matches!(self, Self::Server | Self::Exclusive)
    }

    /// May change the folder.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read)
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "a restore",
            Self::Shared => "a capture",
            Self::Server => "a server",
            Self::Exclusive => "store maintenance",
        })
    }
}

/// What a lease file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lease {
    host: String,
    boot: String,
    pid: u32,
    since: u64,
    access: Access,
}

impl Lease {
    fn own(access: Access, options: &Options) -> Self {
        let line = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            host: line("/proc/sys/kernel/hostname"),
            boot: line("/proc/sys/kernel/random/boot_id"),
            pid: std::process::id(),
            since: options.clock.unix(),
            access,
        }
    }
}

impl std::fmt::Display for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, process {} on host {:?} since {} (Unix time)", self.access, self.pid, self.host, self.since)
    }
}

/// A held lock. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _flock: Option<File>,
    lease: Option<PathBuf>,
    beat: Option<Heartbeat>,
}

#[derive(Debug)]
struct Heartbeat {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicBool>,
}

impl Lock {
    /// Takes the lock of the store in `dir` or says who holds it.
    pub(crate) fn take(dir: &Path, access: Access, desk: &Desk, options: &Options) -> Result<Self, StoreError> {
        let flock = flock(dir, access)?;
        if !access.writes() {
            return Ok(Self { _flock: flock, lease: None, beat: None });
        }
        let leases = dir.join("leases");
        let doing = || format!("writing a lease into {}", leases.display());
        let own = Lease::own(access, options);
        let path = leases.join(random_name().doing(doing)?);
        desk.write_sealed(&path, &own)?;
        let mut lock = Self { _flock: flock, lease: Some(path.clone()), beat: None };
        let trust_flock = options.trust_flock.unwrap_or_else(|| flock_is_reliable(dir));
        lock.judge_others(&leases, &path, &own, trust_flock, options)?;
        if !trust_flock {
            lock.beat = Some(Heartbeat::start(path, options.lease_lapse));
        }
        Ok(lock)
    }

    /// Refuses when another host holds the store; removes leases that are void.
    fn judge_others(
        &self,
        leases: &Path,
        path: &Path,
        own: &Lease,
        trust_flock: bool,
        options: &Options,
    ) -> Result<(), StoreError> {
        let now = modified(path).unwrap_or_else(|| options.clock.now());
        for name in names(leases)? {
            let other_path = leases.join(&name);
            if other_path == path {
                continue;
            }
            let Ok(Some(other)) = read_sealed::<Lease>(&other_path) else {
                // Damaged, or just gone: it can only be judged by its age.
                remove_if_old(&other_path, now, options.lease_lapse);
                continue;
            };
            // The lock file of this very kernel is reliable on any file system.
            let by_flock = trust_flock || other.boot == own.boot;
            let age = modified(&other_path).and_then(|then| now.duration_since(then).ok()).unwrap_or_default();
            let void = if by_flock { own.access.alone() } else { age >= options.lease_lapse };
            if void {
                let _ = fs::remove_file(&other_path);
            } else if !by_flock && (own.access.alone() || other.access.alone()) {
                let dir = leases.parent().unwrap_or(leases).to_owned();
                return Err(StoreError::Held { dir, holder: other.to_string() });
            }
        }
        Ok(())
    }

    /// The lock still means something: no other host may have taken it over.
    pub(crate) fn is_held(&self) -> bool {
        let Some(beat) = &self.beat else { return true };
        !beat.lost.load(Ordering::Acquire) && self.lease.as_ref().is_some_and(|path| path.exists())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.beat.take());
        if let Some(path) = &self.lease {
            let _ = fs::remove_file(path);
        }
    }
}

impl Heartbeat {
    /// Renews the lease's time of change, so that other hosts see that somebody lives here.
    fn start(path: PathBuf, lapse: Duration) -> Self {
        let (stop, stopped) = channel();
        let lost = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&lost);
        let thread = std::thread::spawn(move || {
            let mut renewed = std::time::Instant::now();
            while stopped.recv_timeout(lapse / 6) == Err(RecvTimeoutError::Timeout) {
                let touch = File::options().write(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                match touch {
                    Ok(()) => renewed = std::time::Instant::now(),
                    Err(error) => tracing::warn!(lease = %path.display(), %error, "renewing the store's lease"),
                }
                if renewed.elapsed() >= lapse / 2 {
                    says.store(true, Ordering::Release);
                }
            }
        });
        Self { stop, thread: Some(thread), lost }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flock(dir: &Path, access: Access) -> Result<Option<File>, StoreError> {
    let path = dir.join("lock");
    let doing = || format!("locking {}", path.display());
    let file = if access.writes() {
        File::options().create(true).append(true).open(&path).doing(doing)?
    } else {
        match File::open(&path) {
            Ok(file) => file,
            // A store without its lock file, for instance a copy on a read-only medium: nobody can be writing there.
            Err(_) => return Ok(None),
        }
    };
    let taken = if access.alone() { file.try_lock() } else { file.try_lock_shared() };
    match taken {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Held { dir: dir.to_owned(), holder: holders(&dir.join("leases")) })
        }
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io(doing(), error)),
    }
}

/// Everybody with a lease, for people.
fn holders(leases: &Path) -> String {
    let names = names(leases).unwrap_or_default();
    let said = names.iter().filter_map(|name| read_sealed::<Lease>(&leases.join(name)).ok().flatten());
    let said: Vec<String> = said.map(|lease| lease.to_string()).collect();
    if said.is_empty() { "another process".to_owned() } else { said.join("; ") }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn remove_if_old(path: &Path, now: SystemTime, lapse: Duration) {
    if modified(path).is_some_and(|then| unix(now).saturating_sub(unix(then)) >= lapse.as_secs()) {
        let _ = fs::remove_file(path);
    }
}

/// Local file systems, where flock is seen by everybody who could use the folder.
fn flock_is_reliable(dir: &Path) -> bool {
    const LOCAL: [FsType; 9] = [
        statfs::EXT4_SUPER_MAGIC,
        FsType(0x5846_5342), // XFS; nix has no name for it on musl
        statfs::BTRFS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::MSDOS_SUPER_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        FsType(0x2011_BAB0), // exFAT
        FsType(0xF2F5_2010), // F2FS
        FsType(0x7366_746E), // NTFS3
    ];
    statfs(dir).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
}
