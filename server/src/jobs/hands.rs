//! The hand on the power button, as the engine sees it.
//!
//! In: a machine and what shall become of its power. Out: what was read back, or why not.
//! Promise: every call is bounded in time; blocking, called on a blocking thread.

use ramet_wire::jobs::Cause;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A machine's power, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerNow {
    /// It is on.
    On,
    /// It is off.
    Off,
    /// It cannot be read.
    Unknown,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandsError {
    /// For programs.
    pub cause: Cause,
    /// What happened.
    pub message: String,
    /// What an operator can do.
    pub next: String,
    /// Another try may help.
    pub again: bool,
}

/// What was done, beside what was asked for.
pub type Warnings = Vec<String>;

/// For whom an order is, and whether it is wanted any more.
#[derive(Clone, Debug, Default)]
pub struct Errand {
    /// The job, if it is for one.
    pub job: Option<i64>,
    given_up: Arc<AtomicBool>,
}

impl Errand {
    /// An order for a job.
    #[must_use]
    pub fn of(job: i64) -> Self {
        Self { job: Some(job), given_up: Arc::default() }
    }

    /// Nobody wants it any more: what takes long ends at the next step.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// It was given up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Switches machines. Machines without a power system never come here.
pub trait Hands: Send + Sync + std::fmt::Debug {
    /// Reads a machine's power.
    ///
    /// # Errors
    /// [`HandsError`].
    fn status(&self, machine: i64, errand: &Errand) -> Result<PowerNow, HandsError>;

    /// Switches a machine off, softly, then hard where that is allowed, and reads *off* back.
    ///
    /// # Errors
    /// [`HandsError`].
    fn off(&self, machine: i64, errand: &Errand, hard: bool) -> Result<Warnings, HandsError>;

    /// Sets the next start to the network, switches on, and reads *on* back.
    ///
    /// # Errors
    /// [`HandsError`].
    fn on_from_network(&self, machine: i64, errand: &Errand, uefi: bool) -> Result<Warnings, HandsError>;
}
