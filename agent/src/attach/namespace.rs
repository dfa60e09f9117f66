//! A mount namespace of its own, for as long as a closure runs.
//!
//! In: a closure. Out: what it returns.
//! Promise: nobody outside sees a mount made inside, and none of them outlives the closure.

use super::{AttachError, Mount};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Inside of it, mounts are private. Not `Send`: a namespace belongs to its thread.
#[derive(Debug)]
pub struct Namespace {
    base: PathBuf,
    next: Cell<u32>,
    here: std::marker::PhantomData<*const ()>,
}

impl Namespace {
    /// Mounts `device`, which holds `kind`, in a new folder. See [`Mount::new`].
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn mount(&self, device: &Path, kind: &str, read_only: bool, more: &str) -> Result<Mount, AttachError> {
        Mount::new(device, kind, &self.folder()?, read_only, more)
    }

    /// A new empty folder, which is gone with the namespace.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn folder(&self) -> Result<PathBuf, AttachError> {
        let number = self.next.replace(self.next.get() + 1);
        let place = self.base.join(number.to_string());
        std::fs::create_dir(&place)
            .map_err(|source| AttachError::io(format!("making folder {}", place.display()), source))?;
        Ok(place)
    }
}

/// Runs `work` in a thread that has a mount namespace of its own. Threads that it starts share the namespace.
///
/// # Errors
/// [`AttachError`] when there is no namespace to be had (it takes `CAP_SYS_ADMIN`).
pub fn within<T: Send>(work: impl FnOnce(&Namespace) -> T + Send) -> Result<T, AttachError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let base = std::env::temp_dir().join(format!("ramet-attach-{}-{number}", std::process::id()));
    std::fs::create_dir(&base)
        .map_err(|source| AttachError::io(format!("making folder {}", base.display()), source))?;
    let run = || {
        let doing = "making a mount namespace";
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| AttachError::io(doing, errno))?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(|errno| AttachError::io(doing, errno))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("ramet"), &base, Some("tmpfs"), flags, Some("mode=0700,size=1m"))
            .map_err(|errno| AttachError::io(format!("mounting a tmpfs on {}", base.display()), errno))?;
        let here = std::marker::PhantomData;
        Ok(work(&Namespace { base: base.clone(), next: Cell::new(0), here }))
    };
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    let _ = std::fs::remove_dir(&base);
    ended.unwrap_or(Err(AttachError::Thread))
}
