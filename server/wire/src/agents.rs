//! What an agent without a token and the server say to each other.
//!
//! In and out: JSON bodies of `POST /v1/agents` and `POST /v1/agents/pin`, and what operators ask about them.
//! Promise: a code or a MAC is no secret: what opens the store is the one-use token of an answer, bound to one boot's nonce.

use crate::api::{Action, Scope};
use crate::hardware::Hardware;
use crate::manifest::Source;
use crate::name::{ImageGlob, ImageName, ImageRef};
use crate::settings::{Mac, Mode, Then};
use serde::{Deserialize, Serialize};

/// Hex digits of a nonce.
pub const NONCE_LEN: usize = 32;
/// Most cards in a [`Hello`].
pub const MACS_MAX: usize = 32;
/// Most disks in a [`Hello`].
pub const DISKS_MAX: usize = 64;
/// Most controllers of a disk.
pub const CONTROLLERS_MAX: usize = 8;
/// Longest text of any field in a [`Hello`], in bytes.
pub const TEXT_MAX: usize = 128;

/// `POST /v1/agents`, for anyone: an agent that has no token says who it is and asks for work, again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The agent's version.
    pub agent: String,
    /// 32 lower-case hex digits, random, the same for one boot: the same nonce gets the same answer again.
    pub nonce: String,
    /// What it was started for: `menu` waits for a person, `job` and `inventory` for the server's word.
    pub mode: Mode,
    /// The machine, as its firmware tells.
    pub machine: Source,
    /// Permanent addresses of its cards, at most [`MACS_MAX`].
    pub macs: Vec<Mac>,
    /// Its disks, at most [`DISKS_MAX`].
    pub disks: Vec<DiskSeen>,
    /// What else it has; the first Hello of a boot has it, later ones may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Box<Hardware>>,
}

/// A disk of a [`Hello`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSeen {
    /// As this kernel calls it: `nvme0n1`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Bytes per logical sector.
    pub sector: u32,
    /// Model, as the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number, as the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The table or file system that is on it: `gpt`, `ext4`, …; empty for none; none where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<String>,
    /// Modaliases of the devices between processor and disk, the outermost first, at most [`CONTROLLERS_MAX`]; empty where
    /// the kernel does not show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// Removable, USB, FC, iSCSI, NVMe-oF, the boot medium: it is a candidate only where it is named.
    #[serde(default)]
    pub named_only: bool,
}

/// What an agent shall do until its next [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    /// Nothing yet: ask again.
    Waiting,
    /// [`Orders::work`] says what.
    Go,
    /// Nothing for this machine: it may start from its own disk.
    Nothing,
    /// Another boot holds this machine's work; an operator must decide.
    Claimed,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// Answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// What to do.
    pub state: OrderState,
    /// What an operator approves: 8 characters of `23456789ABCDEFGHJKMNPQRSTUVWXYZ`, shown as `XXXX-XXXX`.
    pub code: String,
    /// Seconds until the next [`Hello`].
    pub poll: u64,
    /// The work, with [`OrderState::Go`].
    #[serde(default)]
    pub work: Option<Work>,
    /// A sentence for the console; may be empty.
    #[serde(default)]
    pub message: String,
}

/// One thing an agent shall do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Direction.
    pub action: Action,
    /// Capture: the name. Restore: the name, or one version of it.
    pub image: ImageRef,
    /// A token for exactly this, for one run.
    pub token: String,
    /// What follows, where the operator said so.
    #[serde(default)]
    pub then: Option<Then>,
    /// Which disk, as `clone.disk` takes it; empty where the agent chooses.
    #[serde(default)]
    pub disk: String,
    /// The job whose work it is: its agent says [`JobBeat`](crate::jobs::JobBeat)s and
    /// [`JobLeaving`](crate::jobs::JobLeaving) with this token, and with the session of its run.
    #[serde(default)]
    pub job: Option<u64>,
    /// Refuse disks that hold a table or a file system.
    #[serde(default)]
    pub blank_only: bool,
    /// What the destination becomes beyond the copy; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapt: Option<Box<crate::adapt::Adapt>>,
}

/// `POST /v1/agents/pin`, for anyone: a person at the console typed a PIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnterPin {
    /// The nonce of the boot's [`Hello`]s; it must have said one.
    pub nonce: String,
    /// What was typed.
    pub pin: String,
}

/// Answer to [`EnterPin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinAccepted {
    /// A token of the PIN's scopes, images and expiry.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
}

/// `GET /v1/agents`, operators only: an agent that was heard of lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSeen {
    /// Its code.
    pub code: String,
    /// Its state.
    pub state: OrderState,
    /// RFC 3339.
    pub seen: String,
    /// Where it asked from.
    pub peer: String,
    /// What it said last.
    pub hello: Hello,
    /// What it was told to do.
    #[serde(default)]
    pub work: Option<ImageRef>,
    /// What else an operator should know of it; may be empty.
    #[serde(default)]
    pub note: String,
}

/// `POST /v1/agents/{code}/approve`, operators only: exactly one of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Capture into an image of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<ImageName>,
    /// Restore this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<ImageRef>,
    /// The job of its machine that waits for this word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// What follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Which disk, as `clone.disk` takes it; empty: the agent chooses.
    #[serde(default)]
    pub disk: String,
}

/// `POST /v1/pins`, operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPin {
    /// What its tokens may do; `admin` is refused.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// Seconds until it and its tokens expire; at most a week.
    pub expires: u64,
}

/// Answer to [`AddPin`]: the only time the PIN is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinAdded {
    /// Its id, for `pin ls` and `pin rm`.
    pub id: String,
    /// 8 digits.
    pub pin: String,
}

/// `GET /v1/pins`, operators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinInfo {
    /// Its id.
    pub id: String,
    /// What its tokens may do.
    pub scopes: Vec<Scope>,
    /// To which images.
    pub images: ImageGlob,
    /// RFC 3339.
    pub expires: String,
    /// Wrong tries that are left; with none it is void.
    pub tries: u32,
}

/// `PUT /v1/netboot/{mac}`, operators only: what this machine does at its next network boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// `capture`, `restore`, `inventory` or `menu`.
    pub mode: Mode,
    /// Needed by capture and restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// Disarmed when a run of it has succeeded.
    #[serde(default)]
    pub once: bool,
    /// Seconds until it is disarmed by itself; none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// What follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Which disk, as `clone.disk` takes it.
    #[serde(default)]
    pub disk: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
}

/// `GET /v1/netboot`, operators only: an armed machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// Its card.
    pub mac: Mac,
    /// What it does.
    pub arm: Arm,
    /// RFC 3339; none for never.
    pub expires: Option<String>,
    /// RFC 3339: its boot script was fetched last.
    pub fetched: Option<String>,
}
