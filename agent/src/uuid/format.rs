//! Every content that can have a new UUID, one line each.
//!
//! In: the name of a content. Out: how its UUID is spelled, and which bytes give it another one.
//! Promise: what is not in this list keeps its UUID.

use super::patch::{Groups, Patch};
use super::seed::{eight, four};
use super::{btrfs, exfat, ext, f2fs, fat, ntfs, swap, xfs};
use crate::disk::source::ReadAt;
use crate::extent::ExtentError;
use ramet_system::refer::Needs;
use uuid::Uuid;

/// Why a content keeps its UUID.
#[derive(Debug)]
pub(super) enum Keep {
    /// It cannot have another one.
    Because(String),
    /// Nobody knows: it could not be read.
    Error(ExtentError),
}

impl From<ExtentError> for Keep {
    fn from(error: ExtentError) -> Self {
        match error {
            ExtentError::Read { .. } => Self::Error(error),
            doubt => Self::Because(doubt.to_string()),
        }
    }
}

pub(super) fn because<T>(text: impl Into<String>) -> Result<T, Keep> {
    Err(Keep::Because(text.into()))
}

/// What will be written, and what a system must know to use it then.
pub(super) struct Change {
    pub groups: Groups,
    pub needs: Option<Needs>,
}

impl Change {
    /// Copies first, then what counts.
    pub fn of(groups: Groups) -> Result<Self, Keep> {
        Ok(Self { groups, needs: None })
    }
}

/// One content.
pub(super) struct Format {
    pub kinds: &'static [&'static str],
    /// The id as `blkid` prints it.
    pub spell: fn(Uuid) -> String,
    /// The changed bytes of a volume whose every structure was checked.
    pub change: fn(&dyn ReadAt, Uuid) -> Result<Change, Keep>,
}

static FORMATS: [Format; 8] = [
    Format { kinds: &["ext2", "ext3", "ext4"], spell: hyphenated, change: ext::change },
    Format { kinds: &["xfs"], spell: hyphenated, change: xfs::change },
    Format { kinds: &["btrfs"], spell: hyphenated, change: btrfs::change },
    Format { kinds: &["swap"], spell: hyphenated, change: swap::change },
    Format { kinds: &["vfat"], spell: serial, change: fat::change },
    Format { kinds: &["exfat"], spell: serial, change: exfat::change },
    Format { kinds: &["ntfs"], spell: |id| format!("{:016X}", eight(id)), change: ntfs::change },
    Format { kinds: &["f2fs"], spell: hyphenated, change: f2fs::change },
];

pub(super) fn of(kind: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.kinds.contains(&kind))
}

/// Why a content that is not in the list keeps its UUID; nothing where it has none.
pub(super) fn why_not(kind: &str) -> &'static str {
    match kind {
        "crypto_LUKS" => "what names it may lie inside it, where only its owner can follow",
        "linux_raid_member" => "an array is found by its UUID in the initramfs, which is not rewritten",
        "LVM2_member" => {
            "a volume group is found by its name; the UUIDs of volumes and groups also stand in boot loaders \
             that are not rewritten"
        }
        _ => "how it stores its UUID is not known here",
    }
}

fn hyphenated(id: Uuid) -> String {
    id.hyphenated().to_string()
}

fn serial(id: Uuid) -> String {
    format!("{:04X}-{:04X}", four(id) >> 16, four(id) & 0xffff)
}

/// `len` bytes at `at`.
pub(super) fn bytes(part: &dyn ReadAt, at: u64, len: usize, what: &'static str) -> Result<Vec<u8>, Keep> {
    if at.checked_add(len as u64).is_none_or(|end| end > part.size()) {
        return because(format!("{what} at byte {at} ends outside of {} bytes", part.size()));
    }
    let mut raw = vec![0; len];
    part.read_exact_at(&mut raw, at).map_err(|source| Keep::Error(ExtentError::Read { what, offset: at, source }))?;
    Ok(raw)
}

/// Copies in one group, the structure that counts in the next.
pub(super) fn last_counts(mut patches: Vec<Patch>, primary: Patch) -> Groups {
    patches.sort_by_key(|patch| patch.offset);
    let mut groups = vec![patches, vec![primary]];
    groups.retain(|group| !group.is_empty());
    groups
}
