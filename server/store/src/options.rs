//! What an open store may be told: limits, its clock, and where tests let it die.
//!
//! In: defaults, or what a test injects. Out: values that every part of the store reads.
//! Promise: nothing here changes what lies in the folder's files.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How an open store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A session that was not renewed for so long has lapsed.
    pub session_lapse: Duration,
    /// The time of day.
    pub clock: Clock,
    /// Records of new packs kept in memory before they are written to a map file. At most 2^20.
    pub fresh_max: usize,
    /// Map files before they are merged.
    pub map_files_max: usize,
    /// Packs held open for reading.
    pub open_packs_max: usize,
    /// A lease of another host that was not renewed for so long is void.
    pub lease_lapse: Duration,
    #[doc(hidden)]
    pub trust_flock: Option<bool>,
    #[doc(hidden)]
    pub steps: Steps,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session_lapse: Duration::from_secs(30 * 60),
            clock: Clock::system(),
            fresh_max: 1 << 17,
            map_files_max: 16,
            open_packs_max: 64,
            lease_lapse: Duration::from_secs(180),
            trust_flock: None,
            steps: Steps::default(),
        }
    }
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Any other, for tests.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Now, in seconds since 1970.
    #[must_use]
    pub fn unix(&self) -> u64 {
        unix(self.now())
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.unix())
    }
}

/// Seconds since 1970; 0 for times before.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A hook that is asked before every change of the folder; when it says so, the store behaves as if the process had
/// died there: nothing is changed any more and no temporary file is removed.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Hook>>);

type Hook = dyn Fn(&'static str) -> bool + Send + Sync;

impl Steps {
    /// `dies` is told each step's name and answers whether the process dies before it.
    #[must_use]
    pub fn from_fn(dies: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(dies)))
    }

    /// To be called before the change that `name` stands for.
    pub(crate) fn step(&self, name: &'static str) -> io::Result<()> {
        match &self.0 {
            Some(dies) if dies(name) => Err(io::Error::other(format!("killed before {name}"))),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Steps({})", if self.0.is_some() { "hooked" } else { "none" })
    }
}
