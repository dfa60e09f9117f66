//! Machines as operators see them, and what they say about them.
//!
//! In and out: JSON bodies of `/v1/machines`, `/v1/rules` and `/v1/audit`.
//! Promise: requests are strict, answers are tolerant; no secret of a power system is in any answer.

use crate::adapt::{BootCall, BootSeen, Check, Size};
use crate::agents::DiskSeen;
use crate::hardware::Hardware;
use crate::jobs::{Expect, JobKind, JobState};
use crate::manifest::Source;
use crate::name::ImageRef;
use crate::receipt::SignedReceipt;
use crate::settings::{Mac, Then};
use crate::tags::Declared;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest name of a machine, of a tag and of a group, in bytes.
pub const MACHINE_NAME_MAX: usize = 64;
/// Most tags of a machine.
pub const TAGS_MAX: usize = 32;
/// Longest note, in characters.
pub const NOTE_MAX: usize = 500;

/// A word by which people call a machine, a tag or a group: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// A word that is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// Empty or too long.
    #[error("name has {0} characters, 1 to {MACHINE_NAME_MAX} are allowed")]
    Length(usize),
    /// A character that labels do not have.
    #[error(
        "name has {0:?} at position {1}; letters, digits, '.', '_' and '-' are allowed, the first a letter or digit"
    )]
    Character(char, usize),
}

impl Label {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = BadLabel;
    fn from_str(text: &str) -> Result<Self, BadLabel> {
        if text.is_empty() || text.len() > MACHINE_NAME_MAX {
            return Err(BadLabel::Length(text.chars().count()));
        }
        let odd = |(at, c): &(usize, char)| !(c.is_ascii_alphanumeric() || (*at > 0 && matches!(c, '.' | '_' | '-')));
        match text.chars().enumerate().find(odd) {
            Some((at, c)) => Err(BadLabel::Character(c, at)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Label {
    type Error = BadLabel;
    fn try_from(text: String) -> Result<Self, BadLabel> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a machine is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    /// It enrolled itself; it gets no work until it is accepted.
    New,
    /// An operator or a rule accepted it.
    Accepted,
    /// It says that it has a card or a UUID of an accepted machine and is not that one.
    Conflict,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// What is on a machine's disks, by its last proven restore or capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsWhat {
    /// Name and version.
    pub image: ImageRef,
    /// RFC 3339.
    pub since: String,
    /// The run that proved it; its receipt is at `/v1/runs/{run}`.
    pub run: String,
    /// It was to be a machine of its own, and is a plain copy of its source.
    #[serde(default)]
    pub without_identity: bool,
}

/// The job that a machine is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusyWith {
    /// The job.
    pub id: u64,
    /// What it does.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
}

/// `GET /v1/machines`: one line of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineInfo {
    /// Its number; never used again.
    pub id: u64,
    /// Its name.
    pub name: Label,
    /// How far it is trusted.
    pub state: MachineState,
    /// Addresses of its cards, ascending.
    pub macs: Vec<Mac>,
    /// SMBIOS vendor and product, for people.
    #[serde(default)]
    pub model: String,
    /// Memory, in bytes; 0 where it is not known.
    #[serde(default)]
    pub memory: u64,
    /// Disks, without those that restores take only when named.
    #[serde(default)]
    pub disks: u32,
    /// Bytes of these.
    #[serde(default)]
    pub disk_bytes: u64,
    /// Ascending.
    pub tags: Vec<Label>,
    /// Rack or circuit, for limits.
    #[serde(default)]
    pub group: Option<Label>,
    /// Restores are refused.
    #[serde(default)]
    pub protected: bool,
    /// A job's agent needs an operator's word, by its code.
    #[serde(default)]
    pub approve: bool,
    /// The firmware asks the network at every start, so that no next-boot setting is needed.
    #[serde(default)]
    pub network_first: bool,
    /// Kind of its power system; none: a person switches it.
    #[serde(default)]
    pub power: Option<String>,
    /// What runs on it.
    #[serde(default)]
    pub runs: Option<RunsWhat>,
    /// What it is busy with.
    #[serde(default)]
    pub job: Option<BusyWith>,
    /// RFC 3339: its agent was heard of last.
    #[serde(default)]
    pub seen: Option<String>,
    /// The call of the clone on its disks.
    #[serde(default)]
    pub booted: Option<BootSeen>,
    /// What an operator should know; may be empty.
    #[serde(default)]
    pub note: String,
}

/// `GET /v1/machines/{machine}`: all that is known of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineDetail {
    /// As in the list.
    pub machine: MachineInfo,
    /// What its firmware tells.
    pub source: Source,
    /// Its disks.
    pub disks: Vec<DiskSeen>,
    /// What else it has.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// RFC 3339: it was first heard of, or added.
    pub first_seen: String,
    /// Where it asked from last.
    #[serde(default)]
    pub peer: Option<String>,
    /// What is asked for whether it is well, if anything.
    #[serde(default)]
    pub health: Option<Expect>,
    /// The identity that is declared for it alone; those of its tags stand under it.
    #[serde(default)]
    pub identity: Option<Declared>,
    /// The receipt of what runs on it.
    #[serde(default)]
    pub receipt: Option<SignedReceipt>,
    /// The newest events, newest first.
    pub history: Vec<MachineEvent>,
}

/// One line of a machine's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineEvent {
    /// RFC 3339.
    pub at: String,
    /// Who did it: `operator ID`, `rule 3`, `job 17`, `agent`.
    pub who: String,
    /// What, as one word: `enrolled`, `accepted`, `restored`, …
    pub what: String,
    /// More, for people.
    pub detail: String,
}

/// `POST /v1/machines`: a machine that an operator knows; it is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMachine {
    /// Its name.
    pub name: Label,
    /// Addresses of its cards, at least one, at most [`MACS_MAX`](crate::agents::MACS_MAX).
    pub macs: Vec<Mac>,
    /// SMBIOS system UUID, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Label>,
    /// Rack or circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Label>,
    /// Restores are refused.
    #[serde(default)]
    pub protected: bool,
    /// A job's agent needs an operator's word.
    #[serde(default)]
    pub approve: bool,
    /// The firmware asks the network at every start.
    #[serde(default)]
    pub network_first: bool,
}

/// `POST /v1/machines/{machine}/accept`: a new machine becomes one of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptMachine {
    /// Its name from now on; none: it keeps the one that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    /// Of a machine in conflict: takes the cards and the UUID from the machines that had them.
    #[serde(default)]
    pub replace: bool,
}

/// `PUT /v1/machines/{machine}`: changes what is named, in one transaction, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMachine {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Label>,
    /// Cards to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_macs: Vec<Mac>,
    /// Cards to take away; one must stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_macs: Vec<Mac>,
    /// Tags to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tags: Vec<Label>,
    /// Tags to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<Label>,
    /// Rack or circuit; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Restores are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// A job's agent needs an operator's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<bool>,
    /// The firmware asks the network at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_first: Option<bool>,
    /// `tcp:PORT@HOST` is asked every minute; empty for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// A note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who its clones are, in TOML, at most [`DECLARED_MAX`](crate::tags::DECLARED_MAX) bytes; empty for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// `PUT /v1/machines`: the same for many, in one transaction: all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMachines {
    /// Those with one of these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<String>,
    /// And those with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Label>,
    /// And all that are accepted.
    #[serde(default)]
    pub all: bool,
    /// What changes; neither a name nor cards.
    pub set: SetMachine,
}

/// Answer to [`SetMachines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Machines that were named.
    pub machines: u64,
}

/// When a rule fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleWhen {
    /// A machine enrols that was never seen before the rule was made.
    #[default]
    New,
    /// An accepted machine's health check has failed three times in a row.
    Failed,
}

/// `POST /v1/rules`: what happens by itself, once for each machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRule {
    /// When.
    #[serde(default)]
    pub when: RuleWhen,
    /// Only machines that ask from this network: `10.0.0.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// Only machines like this: `vendor=Dell* memory>=16G tag=web`; every word must fit. May be empty.
    #[serde(default, rename = "match", skip_serializing_if = "String::is_empty")]
    pub matches: String,
    /// Accept them; `new` only.
    #[serde(default)]
    pub accept: bool,
    /// Tag them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Label>,
    /// Restore this image onto them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<ImageRef>,
    /// Restore the image that ran on them last; `failed` only.
    #[serde(default)]
    pub last: bool,
    /// Also onto disks that hold a table or a file system.
    #[serde(default)]
    pub wipe_existing: bool,
    /// What follows the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// As in [`JobOptions`](crate::jobs::JobOptions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<bool>,
    /// The same.
    #[serde(default)]
    pub new_uuids: bool,
    /// The same.
    #[serde(default, skip_serializing_if = "Size::is_keep")]
    pub size: Size,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_boot: Option<BootCall>,
    /// The same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Check>,
}

/// `GET /v1/rules`: a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Its number.
    pub id: u64,
    /// What it says.
    pub rule: AddRule,
    /// RFC 3339.
    pub created: String,
    /// Who made it.
    pub by: String,
    /// Machines for which it has fired.
    pub fired: u64,
}

/// `GET /v1/audit`: who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its number, ascending without gaps.
    pub id: u64,
    /// RFC 3339.
    pub at: String,
    /// Who: `operator ID`, `rule 3`, `server`.
    pub who: String,
    /// From where; empty for the server itself.
    pub peer: String,
    /// What: `PUT /v1/machines/{machine}`, `restore`, `power off`, …
    pub what: String,
    /// Onto what.
    pub object: String,
    /// How it went: `done`, or why it was refused.
    pub result: String,
}
