//! The hand on the power button, as the engine sees it.
//!
//! In: a machine and what shall become of its power. Out: what was read back, or why not.
//! Promise: every call is bounded in time; blocking, called on a blocking thread.

use ramet_wire::jobs::Cause;

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

/// Switches machines. Machines without a power system never come here.
pub trait Hands: Send + Sync + std::fmt::Debug {
    /// Reads a machine's power.
    ///
    /// # Errors
    /// [`HandsError`].
    fn status(&self, machine: i64, job: Option<i64>) -> Result<PowerNow, HandsError>;

    /// Switches a machine off, softly, then hard where that is allowed, and reads *off* back.
    ///
    /// # Errors
    /// [`HandsError`].
    fn off(&self, machine: i64, job: Option<i64>, hard: bool) -> Result<Warnings, HandsError>;

    /// Sets the next start to the network, switches on, and reads *on* back.
    ///
    /// # Errors
    /// [`HandsError`].
    fn on_from_network(&self, machine: i64, job: Option<i64>, uefi: bool) -> Result<Warnings, HandsError>;
}

/// No power system is known to this server: every machine is switched by a person.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Nobody {
    fn refuse<T>() -> Result<T, HandsError> {
        let (message, next) = ("this server has no power systems".to_owned(), "switch the machine by hand".to_owned());
        Err(HandsError { cause: Cause::PowerUnable, message, next, again: false })
    }
}

impl Hands for Nobody {
    fn status(&self, _: i64, _: Option<i64>) -> Result<PowerNow, HandsError> {
        Ok(PowerNow::Unknown)
    }

    fn off(&self, _: i64, _: Option<i64>, _: bool) -> Result<Warnings, HandsError> {
        Self::refuse()
    }

    fn on_from_network(&self, _: i64, _: Option<i64>, _: bool) -> Result<Warnings, HandsError> {
        Self::refuse()
    }
}
