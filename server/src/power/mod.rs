//! The hand on the power button: one trait, one driver per protocol, and the rules that prove what they say.
//!
//! In: a machine's settings, its decrypted secret. Out: a state that was read back, or a cause and a next step.
//! Promise: every call is bounded in time; every attempt is recorded; "OK" alone is never taken for done; a secret is
//! in no argv, no log and no message.
//!
//! ```text
//! desk (settings, secret, one order at a time per machine)
//!   └ probe ─ finds the protocol, once        drive ─ off, on, cycle with read-back
//!                 └──────────── trait Power ─────────────┘
//!            ipmi (ipmitool)   redfish (HTTPS)   fence (fence_*)   wake   manual
//! ```

pub mod address;
pub mod desk;
pub mod drive;
pub mod fence;
pub mod hands;
pub mod ipmi;
mod judge;
pub mod manual;
pub mod probe;
pub mod redfish;
pub mod run;
pub mod settings;
pub mod vault;
pub mod wake;

pub use ramet_wire::power::{PowerState, Trouble};
use std::fmt;
use std::time::{Duration, Instant};

/// Longest detail of an attempt, in characters.
const DETAIL_MAX: usize = 300;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Reading the state.
    Status,
    /// On.
    On,
    /// Off by the power button: the operating system may say no.
    SoftOff,
    /// Off at once.
    HardOff,
    /// The next start is from the network.
    NextBoot,
    /// Finding out what is there.
    Probe,
}

impl What {
    /// As attempts are recorded.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::On => "on",
            Self::SoftOff => "soft-off",
            Self::HardOff => "hard-off",
            Self::NextBoot => "next-boot",
            Self::Probe => "probe",
        }
    }

    const fn doing(self) -> &'static str {
        match self {
            Self::Status => "reading the power state",
            Self::On => "switching on",
            Self::SoftOff => "switching off softly",
            Self::HardOff => "switching off hard",
            Self::NextBoot => "setting the next boot",
            Self::Probe => "probing",
        }
    }
}

/// Why power did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} by {how}: {said}", what.doing())]
pub struct PowerError {
    /// Which kind of trouble.
    pub trouble: Trouble,
    /// What was tried.
    pub what: What,
    /// By what: `ipmi suite 17`.
    pub how: String,
    /// What was answered, or why nothing was; without secrets.
    pub said: String,
}

impl PowerError {
    pub(crate) fn new(trouble: Trouble, what: What, how: impl Into<String>, said: impl AsRef<str>) -> Self {
        Self { trouble, what, how: how.into(), said: crate::text::clean(said.as_ref(), DETAIL_MAX) }
    }

    /// The same order may work a moment later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable | Trouble::Busy | Trouble::Timeout | Trouble::Garbled)
    }

    /// What an operator does about it.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self.trouble {
            Trouble::Auth => {
                "set user and password anew (ramet power set) and probe; BMCs lock accounts after some tries"
            }
            Trouble::Unreachable => "see whether the BMC has power and a network, and whether its address is right",
            Trouble::Unsupported => "choose another kind of power for this machine, or make it network-first",
            Trouble::Refused => "look into the BMC's own log; it understood and said no",
            Trouble::Busy => "try again in a minute",
            Trouble::LiesOk => "look at the machine, and restart its BMC: it answers OK and does nothing",
            Trouble::MissingTool => "install the program on the server (scripts/install power)",
            Trouble::Timeout => "try again; if it stays, see whether the network to the BMC loses packets",
            Trouble::Manual => "do by hand what the message says",
            Trouble::Stopped => "nothing: somebody stopped it",
            Trouble::Garbled => "probe again; the BMC's answers do not make sense",
            Trouble::Settings => "correct the machine's power settings and probe (ramet power probe)",
            Trouble::Unknown => "see the server's log",
        }
    }
}

/// One thing that was tried, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What.
    pub what: What,
    /// By what.
    pub how: String,
    /// None: it was answered as it should.
    pub trouble: Option<Trouble>,
    /// The answer.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// Who hears of attempts, and may stop what takes long.
pub trait Attempts {
    /// One more.
    fn note(&mut self, attempt: Attempt);

    /// Nobody wants it any more: asked between attempts and while states are awaited.
    fn stopped(&self) -> bool {
        false
    }
}

impl Attempts for Vec<Attempt> {
    fn note(&mut self, attempt: Attempt) {
        self.push(attempt);
    }
}

/// How setting the next boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextBoot {
    /// It was read back.
    Set,
    /// The order was taken, and what is read back is something else: a warning for the record.
    SetUnverified(String),
    /// This system has no such setting: the machine must be network-first.
    Unsupported,
}

/// What the engine sees; implemented for each protocol. Blocking: not for a thread of the runtime.
///
/// Every call ends within its protocol's own limits (at most a minute) and records its attempts.
pub trait Power: Send + Sync + fmt::Debug {
    /// For records: `ipmi suite 17`.
    fn how(&self) -> String;

    /// The state can be read; else it is always [`PowerState::Unknown`].
    fn reads_state(&self) -> bool {
        true
    }

    /// Whether the machine runs.
    ///
    /// # Errors
    /// [`PowerError`], as everywhere here.
    fn status(&self, log: &mut dyn Attempts) -> Result<PowerState, PowerError>;

    /// Switches on. An answer proves nothing.
    ///
    /// # Errors
    /// [`PowerError`].
    fn on(&self, log: &mut dyn Attempts) -> Result<(), PowerError>;

    /// Presses the power button.
    ///
    /// # Errors
    /// [`PowerError`].
    fn soft_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError>;

    /// Takes the power away.
    ///
    /// # Errors
    /// [`PowerError`].
    fn hard_off(&self, log: &mut dyn Attempts) -> Result<(), PowerError>;

    /// At its next start, and only then, the machine boots from the network; in UEFI mode if `uefi`.
    ///
    /// # Errors
    /// [`PowerError`].
    fn next_boot_network(&self, uefi: bool, log: &mut dyn Attempts) -> Result<NextBoot, PowerError>;
}

/// Does one thing and records it: the detail where it worked, the trouble where not.
fn tried<T>(
    log: &mut dyn Attempts,
    what: What,
    how: &str,
    work: impl FnOnce() -> Result<(T, String), PowerError>,
) -> Result<T, PowerError> {
    let began = Instant::now();
    let (result, trouble, detail) = match work() {
        Ok((value, detail)) => (Ok(value), None, detail),
        Err(error) => {
            let (trouble, said) = (error.trouble, error.said.clone());
            (Err(error), Some(trouble), said)
        }
    };
    let detail = crate::text::clean(&detail, DETAIL_MAX);
    log.note(Attempt { what, how: how.to_owned(), trouble, detail, took: began.elapsed() });
    result
}

/// A BMC's password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// It was decrypted, or just given.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// For the one who must present it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without it.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

/// A driver's own words in tests: what it was asked, in order.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_by_what_and_why_and_has_a_next_step() {
        let error = PowerError::new(Trouble::Auth, What::On, "ipmi suite 17", "RAKP 2 HMAC is invalid\n");
        assert_eq!(error.to_string(), "switching on by ipmi suite 17: RAKP 2 HMAC is invalid ");
        assert!(error.next_step().contains("password"));
        assert!(!error.is_passing());
    }

    #[test]
    fn a_secret_is_neither_shown_nor_left_in_a_text() {
        let secret = Secret::new("hush".into());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(secret.redact("login with hush failed"), "login with *** failed");
        assert_eq!(Secret::new(String::new()).redact("a"), "a");
    }

    #[test]
    fn an_attempt_is_recorded_whether_it_works_or_not() {
        let mut log = Vec::new();
        let fine = tried(&mut log, What::Status, "x", || Ok((1, "on".to_owned())));
        assert_eq!(fine, Ok(1));
        let bad: Result<(), _> =
            tried(&mut log, What::On, "x", || Err(PowerError::new(Trouble::Busy, What::On, "x", "later")));
        assert_eq!(bad.unwrap_err().trouble, Trouble::Busy);
        let seen: Vec<_> = log.iter().map(|attempt| (attempt.what, attempt.trouble, attempt.detail.as_str())).collect();
        assert_eq!(seen, [(What::Status, None, "on"), (What::On, Some(Trouble::Busy), "later")]);
    }
}
