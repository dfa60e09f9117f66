//! Jobs: what operators ask for, how far it is, and what the agent of a job says.
//!
//! In and out: JSON bodies of `/v1/jobs`.
//! Promise: every end has a cause and a next step in words; a state or cause from a newer version is shown as unknown.

use crate::adapt::{Becomes, BootCall, BootSeen, Check, Size};
use crate::agents::DiskSeen;
use crate::api::ErrorKind;
use crate::machines::{Label, RunsWhat};
use crate::name::{ImageName, ImageRef};
use crate::settings::Then;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Most machines that one request names.
pub const TARGETS_MAX: usize = 10_000;
/// Most things that one job expects.
pub const EXPECT_MAX: usize = 8;
/// Longest time for which a job waits for its clone's first boot, in seconds.
pub const BOOT_LIMIT_MAX: u64 = 86_400;

macro_rules! words {
    ($type:ident { $($name:ident = $word:literal),* $(,)? }) => {
        impl $type {
            /// As it is written everywhere.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* Self::Unknown => "unknown" }
            }

            /// The one with this word; [`Self::Unknown`] for any other.
            #[must_use]
            pub fn of(word: &str) -> Self {
                match word { $($word => Self::$name,)* _ => Self::Unknown }
            }

            /// All of this version.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// A machine's disks into an image.
    Capture,
    /// An image onto a machine's disks.
    Restore,
    /// The agent looks at a machine and leaves.
    Inventory,
    /// The parent of several jobs: restores of one request, or a capture and the restores of what it made.
    Tree,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}
words!(JobKind { Capture = "capture", Restore = "restore", Inventory = "inventory", Tree = "tree" });

/// How far a job is; see `server/src/jobs/states.rs` for the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It waits: for its turn, for another job, or until it is tried again.
    Queued,
    /// Its machine is being switched off.
    Power,
    /// Its machine is being started, and its boot file offers the agent.
    Boot,
    /// Its agent works; its boot file is the local disk again.
    Running,
    /// Its agent is done and leaves; the server watches that the machine comes back to its own disk.
    Leaving,
    /// It is done, with proof.
    Confirmed,
    /// It ended without.
    Failed,
    /// An operator ended it.
    Cancelled,
    /// Its agent was not heard of any more, and no try is left.
    Lost,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}
words!(JobState {
    Queued = "queued",
    Power = "power",
    Boot = "boot",
    Running = "running",
    Leaving = "leaving",
    Confirmed = "confirmed",
    Failed = "failed",
    Cancelled = "cancelled",
    Lost = "lost",
});

impl JobState {
    /// Nothing follows, but a retry.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Confirmed | Self::Failed | Self::Cancelled | Self::Lost)
    }
}

/// Why a job is not confirmed, for programs; the message beside it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The power system refused the credentials.
    PowerAuth,
    /// The power system does not answer.
    PowerUnreachable,
    /// The power system answered OK and nothing changed.
    PowerLies,
    /// The power system cannot do it, refuses it, or its tool is missing.
    PowerUnable,
    /// The machine is on, and nobody allowed to switch it off.
    MachineOn,
    /// The machine was started, and no agent called.
    NoAgent,
    /// Two boots claimed one job.
    ClaimedTwice,
    /// The agent is not on the machine that the job is for, or the machine is not what the job was planned for.
    WrongMachine,
    /// A disk holds something, and the job may only write onto empty ones.
    DiskNotEmpty,
    /// The agent gave up; its words are the message.
    Agent,
    /// The agent was not heard of any more.
    Silent,
    /// The image is gone, or damaged.
    Image,
    /// The machine is off, or did not go off, after the agent has left.
    NotBack,
    /// The agent came back after it had left.
    Returned,
    /// What was expected did not answer.
    NotSeenUp,
    /// The disk holds the image, and the clone is not the machine of its own that was ordered.
    WithoutIdentity,
    /// The image would not boot on the machine.
    WillNotBoot,
    /// The clone has not called.
    NotBooted,
    /// The job that this one waited for is not confirmed.
    Before,
    /// An operator cancelled it.
    Operator,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}
words!(Cause {
    PowerAuth = "power-auth",
    PowerUnreachable = "power-unreachable",
    PowerLies = "power-lies",
    PowerUnable = "power-unable",
    MachineOn = "machine-on",
    NoAgent = "no-agent",
    ClaimedTwice = "claimed-twice",
    WrongMachine = "wrong-machine",
    DiskNotEmpty = "disk-not-empty",
    Agent = "agent",
    Silent = "silent",
    Image = "image",
    NotBack = "not-back",
    Returned = "returned",
    NotSeenUp = "not-seen-up",
    WithoutIdentity = "without-identity",
    WillNotBoot = "will-not-boot",
    NotBooted = "not-booted",
    Before = "before",
    Operator = "operator",
});

/// The strongest proof that was seen, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Nothing yet.
    Nothing,
    /// The image was published, or the receipt accepted and checked against the manifest.
    Done,
    /// The agent has left.
    Left,
    /// The machine asked for its boot file, and was sent to its local disk.
    AskedDisk,
    /// What was expected answered.
    Up,
    /// The clone itself called from its own system.
    Booted,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}
words!(Seen { Nothing = "nothing", Done = "done", Left = "left", AskedDisk = "asked-disk", Up = "up", Booted = "booted" });

/// What tells that a machine is up: `tcp:PORT@HOST`, a connection that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expect {
    /// The port; not 0.
    pub port: u16,
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
}

impl FromStr for Expect {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is not tcp:PORT@HOST", text.chars().take(80).collect::<String>());
        let (port, host) = text.strip_prefix("tcp:").and_then(|rest| rest.split_once('@')).ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
            return Err(wrong());
        }
        Ok(Self { port, host: host.to_owned() })
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp:{}@{}", self.port, self.host)
    }
}

impl TryFrom<String> for Expect {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Expect> for String {
    fn from(expect: Expect) -> Self {
        expect.to_string()
    }
}

/// Which disk of the machine is which disk of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobDisk {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// The disk's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The disk's world-wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// Its size, in bytes.
    pub size: u64,
}

/// What holds for all jobs of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobOptions {
    /// What follows on the targets; none: they start from their own disks. A captured machine always goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Targets that are on may be switched off: softly, then hard.
    #[serde(default)]
    pub force_off: bool,
    /// A machine to be captured may be switched off hard, if it does not go off by itself.
    #[serde(default)]
    pub hard_off: bool,
    /// What must answer before a job is confirmed, at most [`EXPECT_MAX`]; only for a single machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// Tries in all, 1 to 10; none: 3, and 1 where a person switches the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Which disk, as `clone.disk` takes it; only for a single machine. Empty: the only candidate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub disk: String,
    /// Refuse disks that hold a table or a file system.
    #[serde(default)]
    pub blank_only: bool,
    /// The clone gets the identity that is declared; none: where one is. `true` refuses machines without one, `false`
    /// makes the plain copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<bool>,
    /// New UUIDs for tables, partitions and file systems.
    #[serde(default)]
    pub new_uuids: bool,
    /// What happens on a disk of another size.
    #[serde(default, skip_serializing_if = "Size::is_keep")]
    pub size: Size,
    /// The clone calls when it has booted; none: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_boot: Option<BootCall>,
    /// For so long a job waits for that, in seconds, at most [`BOOT_LIMIT_MAX`]; none: 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_limit: Option<u64>,
    /// Checks that are overruled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Check>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// [`Plan::digest`] of what the operator has seen and agreed to; another plan by now is refused (409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<String>,
}

/// `POST /v1/jobs`: work for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AddJobs {
    /// One machine's disks into an image.
    Capture {
        /// Which machine.
        machine: String,
        /// The image's name.
        image: ImageName,
        /// How.
        #[serde(default)]
        options: JobOptions,
    },
    /// An image onto machines.
    Restore {
        /// Which; none: of each machine the image that ran on it last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageRef>,
        /// Onto which machines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<String>,
        /// And onto those with this tag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<Label>,
        /// How.
        #[serde(default)]
        options: JobOptions,
    },
    /// One machine onto others: a capture, then restores of what it made.
    Clone {
        /// Which machine.
        machine: String,
        /// The image's name; none: the machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageName>,
        /// Onto which machines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<String>,
        /// And onto those with this tag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<Label>,
        /// How.
        #[serde(default)]
        options: JobOptions,
    },
    /// The agent looks at machines and leaves.
    Inventory {
        /// Which machines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<String>,
        /// And those with this tag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<Label>,
        /// How.
        #[serde(default)]
        options: JobOptions,
    },
}

/// Answer to [`AddJobs`]: what would be done (200), or is being done (201). Refused machines make it a 409 with this
/// body as well, and nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is agreed to: machines, disks, image.
    pub digest: String,
    /// One entry per machine, in the order in which they are begun.
    pub machines: Vec<PlannedMachine>,
    /// The jobs that were made, the parent first; empty for a dry run.
    #[serde(default)]
    pub jobs: Vec<u64>,
}

/// What will happen to one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMachine {
    /// Its name.
    pub machine: Label,
    /// What is done.
    pub kind: JobKind,
    /// Which image.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// `on`, `off` or `unknown`; `manual` where a person switches it.
    pub power: String,
    /// What runs on it.
    #[serde(default)]
    pub runs: Option<RunsWhat>,
    /// Disks whose content will be gone.
    #[serde(default)]
    pub erases: Vec<DiskSeen>,
    /// What it becomes beyond the copy; none: a plain copy.
    #[serde(default)]
    pub becomes: Option<Becomes>,
    /// What an operator should know before agreeing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why nothing will be done.
    #[serde(default)]
    pub refused: Option<String>,
}

/// `GET /v1/jobs`: a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its number, ascending.
    pub id: u64,
    /// The job that it is part of.
    #[serde(default)]
    pub parent: Option<u64>,
    /// What it does.
    pub kind: JobKind,
    /// For which machine; none for a tree.
    #[serde(default)]
    pub machine: Option<Label>,
    /// Which image; the version is there once it is known.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// How far it is.
    pub state: JobState,
    /// The step under way, by name.
    pub step: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
    /// Which try this is, from 1; 0 before the first.
    pub try_now: u32,
    /// Tries in all.
    pub tries: u32,
    /// Why it is not confirmed, or why its last try failed.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// The same in words; may be empty.
    #[serde(default)]
    pub message: String,
    /// What an operator can do; empty where nothing is needed.
    #[serde(default)]
    pub next: String,
    /// The strongest proof.
    pub seen: Seen,
    /// Which disks.
    #[serde(default)]
    pub disks: Vec<JobDisk>,
    /// What follows.
    #[serde(default)]
    pub then: Option<Then>,
    /// Who asked for it.
    pub by: String,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339: its first try began.
    #[serde(default)]
    pub started: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub ended: Option<String>,
    /// The newest run of its agents.
    #[serde(default)]
    pub run: Option<String>,
    /// What becomes of its clone's call; none: the clone does not call.
    #[serde(default)]
    pub first_boot: Option<BootCall>,
    /// The host as which its clone has called.
    #[serde(default)]
    pub booted: Option<String>,
}

/// `GET /v1/jobs/{job}`: a job with all that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// As in the list.
    pub job: JobInfo,
    /// Its parts.
    pub parts: Vec<JobInfo>,
    /// What its machine becomes beyond the copy; none: a plain copy.
    #[serde(default)]
    pub becomes: Option<Becomes>,
    /// The call of its clone.
    #[serde(default)]
    pub booted: Option<BootSeen>,
    /// What happened, oldest first.
    pub events: Vec<JobEvent>,
}

/// One thing that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// RFC 3339.
    pub at: String,
    /// The state that it was in afterwards.
    pub state: JobState,
    /// What, as one word.
    pub what: String,
    /// More, for people.
    pub detail: String,
}

/// `POST /v1/jobs/current`, with a token or session that is of a job: its agent lives, between its claim and its leaving.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobBeat {
    /// The step under way, by name.
    pub step: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
}

/// Answer to [`JobBeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWord {
    /// The job.
    pub job: u64,
    /// False: stop, say [`JobLeaving`] and end as if the work had failed.
    pub go_on: bool,
    /// Why not; may be empty.
    #[serde(default)]
    pub message: String,
}

/// `POST /v1/jobs/current/leaving`, with the same: the last word of a job's agent, just before it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobLeaving {
    /// How the machine goes on.
    pub then: Then,
    /// Why the work is not done; none: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With an error: whether another try may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_the_one_that_goes_over_the_wire() {
        fn same<T: Serialize + Copy>(all: &[T], word: fn(T) -> &'static str) {
            for value in all {
                assert_eq!(serde_json::to_value(value).unwrap(), word(*value));
            }
        }
        same(JobKind::ALL, JobKind::word);
        same(JobState::ALL, JobState::word);
        same(Cause::ALL, Cause::word);
        same(Seen::ALL, Seen::word);
        assert!(JobState::ALL.iter().all(|state| JobState::of(state.word()) == *state));
        assert_eq!(serde_json::from_str::<JobState>("\"levitating\"").unwrap(), JobState::Unknown);
        assert!(
            Seen::Booted > Seen::Up
                && Seen::Up > Seen::AskedDisk
                && Seen::AskedDisk > Seen::Left
                && Seen::Left > Seen::Done
        );
    }

    #[test]
    fn what_is_expected_is_read_in_one_way() {
        let expect: Expect = "tcp:22@web01.example".parse().unwrap();
        assert_eq!(
            (expect.port, expect.host.as_str(), expect.to_string()),
            (22, "web01.example", "tcp:22@web01.example".into())
        );
        assert_eq!("tcp:443@fd00::1".parse::<Expect>().unwrap().host, "fd00::1");
        for bad in ["", "tcp:22", "tcp:0@a", "tcp:70000@a", "udp:1@a", "tcp:22@", "tcp:22@a b", "tcp:22@a/b"] {
            assert!(bad.parse::<Expect>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_with_a_field_that_nobody_knows_is_refused() {
        let good = r#"{"do":"restore","image":"web","to":["a"],"options":{"force_off":true}}"#;
        assert!(serde_json::from_str::<AddJobs>(good).is_ok());
        for bad in [
            r#"{"do":"restore","image":"web","too":["a"]}"#,
            r#"{"do":"restore","image":"web","to":["a"],"options":{"forced":true}}"#,
            r#"{"do":"levitate","machine":"a"}"#,
        ] {
            assert!(serde_json::from_str::<AddJobs>(bad).is_err(), "{bad}");
        }
    }
}
