//! What a destination becomes beyond the copy: another size, a machine of its own, one that calls home.
//!
//! In and out: JSON inside an order ([`Work`](crate::agents::Work)) and inside a receipt.
//! Promise: orders are strict: what an agent does not know it refuses; a receipt says all that was changed after the proof.

use crate::identity::Identity;
pub use crate::layout::{Layout, LayoutPartition, PartSize};
use serde::{Deserialize, Serialize};

/// Most changes that a receipt lists.
pub const CHANGES_MAX: usize = 4096;
/// Longest path or sentence of a change, in bytes.
pub const CHANGE_TEXT_MAX: usize = 4096;

/// What shall be done beyond the copy. The default is nothing: byte for byte the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapt {
    /// What happens on a disk of another size.
    #[serde(default)]
    pub size: Size,
    /// Who the clone is, rendered for its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<Identity>>,
    /// New UUIDs for tables, partitions and file systems, and everything that names them follows.
    #[serde(default)]
    pub new_uuids: bool,
    /// The clone calls the server once, when it has booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_boot: Option<FirstBoot>,
}

impl Adapt {
    /// The copy stays what it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens on a disk of another size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// Partitions stay as they were; a smaller disk is refused unless they fit.
    #[default]
    Keep,
    /// The last partition that can, and what lies in it, grows or shrinks until it fills the disk.
    Fill,
    /// Partitions get these sizes.
    Layout(Layout),
}

/// How a clone says that it has booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstBoot {
    /// The server's URL.
    pub server: String,
    /// Its pinned identity.
    pub key: crate::Fingerprint,
    /// A token for this and nothing else, once.
    pub token: String,
}

/// `POST /v1/first-boot`, with the token of a [`FirstBoot`]: a clone says who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Booted {
    /// Its host name.
    pub host: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its operating system, as `PRETTY_NAME` says.
    #[serde(default)]
    pub os: String,
    /// Its machine-id.
    #[serde(default)]
    pub machine_id: String,
    /// Its addresses, loopback and link-local ones left out.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Fingerprints of its SSH host keys, as `ssh-keygen -l` prints them: `SHA256:…`.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
}

/// What was done beyond the copy, in a receipt. The proof covers the data before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapted {
    /// What was changed, in order; at most [`CHANGES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The clone has the identity that was ordered.
    #[serde(default)]
    pub identity: bool,
    /// Why it has not; the disk holds the image all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
}

/// One thing that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A path in the clone, `disk 0 partition 1`, or the name of a volume.
    pub what: String,
    /// What became of it, for people. Never a secret: files with keys say only that they are new.
    pub how: String,
}
