//! What a destination becomes beyond the copy: another size, a machine of its own, one that calls home.
//!
//! In and out: JSON inside an order ([`Work`](crate::agents::Work)) and inside a receipt.
//! Promise: orders are strict: what an agent does not know it refuses; a receipt says all that was changed after the proof.

use crate::identity::Identity;
pub use crate::layout::{Layout, LayoutPartition, PartSize};
use crate::manifest::PartitionImage;
use serde::{Deserialize, Serialize};

/// Most changes that a receipt lists.
pub const CHANGES_MAX: usize = 4096;
/// Longest path or sentence of a change, in bytes.
pub const CHANGE_TEXT_MAX: usize = 4096;
/// Largest [`Booted`] as JSON, in bytes.
pub const BOOTED_MAX: usize = 32 << 10;
/// Most addresses of a [`Booted`].
pub const ADDRESSES_MAX: usize = 64;
/// Most SSH host keys of a [`Booted`].
pub const SSH_KEYS_MAX: usize = 16;
/// Longest word of a [`Booted`], in characters.
pub const BOOTED_TEXT_MAX: usize = 256;

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

impl Size {
    /// Partitions stay as they were.
    #[must_use]
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// In one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Fill => "fill",
            Self::Layout(_) => "layout",
        }
    }
}

/// Kinds of content that a restore onto a smaller disk can shrink.
const SHRINKS: [&str; 6] = ["ext2", "ext3", "ext4", "btrfs", "ntfs", "swap"];

/// Whether what a partition holds can lie in a smaller one. How far, only its agent knows, from the file system itself.
#[must_use]
pub fn may_shrink(partition: &PartitionImage) -> bool {
    let kind = partition.content.kind.as_str();
    SHRINKS.contains(&kind) && partition.content.is_clean() && (!partition.whole || kind == "swap")
}

/// What becomes of a call of the clone, where an operator wants it to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootCall {
    /// It is noted when it comes.
    Noted,
    /// The job waits for it, and fails without it.
    Awaited,
}

/// A check of a plan that an operator can overrule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Whether the image would boot on the machine.
    BootCheck,
}

/// What an order beyond the copy comes to, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Becomes {
    /// The name that it gets, if it gets one.
    #[serde(default)]
    pub hostname: Option<String>,
    /// It gets an identity.
    pub identity: bool,
    /// It gets new UUIDs.
    pub new_uuids: bool,
    /// `keep`, `fill` or `layout`.
    pub size: String,
    /// It calls the server when it has booted.
    pub first_boot: bool,
}

impl Becomes {
    /// In words; none for a plain copy.
    #[must_use]
    pub fn of(adapt: &Adapt, calls: bool) -> Option<Self> {
        if adapt.is_nothing() && !calls {
            return None;
        }
        Some(Self {
            hostname: adapt.identity.as_ref().and_then(|identity| identity.hostname.clone()),
            identity: adapt.identity.is_some(),
            new_uuids: adapt.new_uuids,
            size: adapt.size.word().to_owned(),
            first_boot: calls || adapt.first_boot.is_some(),
        })
    }
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

/// A call of a clone that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSeen {
    /// RFC 3339.
    pub at: String,
    /// The job that made the clone.
    pub job: u64,
    /// From where.
    pub peer: String,
    /// What it said.
    pub booted: Booted,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Content, Stored};
    use crate::{ByteRange, MIB};

    #[test]
    fn what_is_in_doubt_or_unknown_does_not_shrink() {
        let of = |kind: &str, state: Option<&str>, whole| PartitionImage {
            number: 1,
            range: ByteRange::between(0, MIB),
            content: Content { state: state.map(str::to_owned), ..Content::of(kind) },
            whole,
            used_bytes: 0,
            stored: Stored { data_bytes: 0, zero_bytes: 0, segments: Vec::new(), digest: Stored::digest_of(&[]) },
        };
        for kind in SHRINKS {
            assert!(may_shrink(&of(kind, None, false)) && may_shrink(&of(kind, Some("clean"), false)), "{kind}");
            assert!(!may_shrink(&of(kind, Some("needs recovery"), false)), "{kind}");
        }
        assert!(may_shrink(&of("swap", None, true)) && !may_shrink(&of("ext4", None, true)));
        assert!(!may_shrink(&of("xfs", None, false)) && !may_shrink(&of("unknown", None, true)));
    }

    #[test]
    fn what_a_machine_becomes_is_nothing_for_a_plain_copy() {
        assert_eq!(Becomes::of(&Adapt::default(), false), None);
        let adapt = Adapt { size: Size::Fill, ..Adapt::default() };
        let becomes = Becomes::of(&adapt, true).unwrap();
        assert_eq!((becomes.size.as_str(), becomes.first_boot, becomes.identity), ("fill", true, false));
    }
}
