//! The receipt: what a restore has proven, and how.
//!
//! In: the agent's counts. Out: JSON that the server compares with the manifest and signs.
//! Promise: there is no success by default; a receipt that claims less than the whole image says so in `proof`.

use crate::id::{ImageId, SegmentsDigest};
use crate::manifest::{Manifest, Where};
use crate::name::ImageName;
use crate::sign::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

/// Largest receipt, in bytes.
pub const RECEIPT_MAX: usize = 4 << 20;

/// How far a read-back reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Nothing was read back.
    None,
    /// A regular file or loop device: read past this process's writes only.
    File,
    /// A device, read past every cache of this machine.
    Device,
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::File => "file",
            Self::Device => "device",
        })
    }
}

/// Who vouches for the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The manifest's signature was checked with a key that somebody pinned.
    Pinned(crate::id::Fingerprint),
    /// The folder's own key: integrity checked, origin not.
    IntegrityOnly(crate::id::Fingerprint),
}

/// What a restore did and proved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Always 1.
    pub format: u32,
    /// Which image.
    pub image: ImageName,
    /// Which version of it.
    pub id: ImageId,
    /// Who vouches for it.
    pub origin: Origin,
    /// The server's run, if a server was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Version of the agent.
    pub agent: String,
    /// When it ended, by the agent's clock, RFC 3339.
    pub finished: String,
    /// Wall seconds from plan to the last read-back.
    pub seconds: f64,
    /// Bytes fetched from the store, as stored.
    pub fetched_bytes: u64,
    /// What was done beside the disks' bytes, such as a firmware entry that was added; for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What was done beyond the copy, where an order said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<crate::adapt::Adapted>,
    /// Disks, as in the image.
    pub disks: Vec<DiskReceipt>,
}

/// One disk of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskReceipt {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// Where it was restored to.
    pub path: String,
    /// The target's serial number, as the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The target's world-wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The target's size, in bytes.
    pub size: u64,
    /// How the bytes were proven.
    pub proof: Proof,
    /// Bytes that were already there and were left alone.
    pub kept_bytes: u64,
    /// Bytes written, zeros included.
    pub written_bytes: u64,
    /// Bytes of table pieces and of other blanked ranges that were read back.
    pub table_bytes: u64,
    /// The spaces that were restored.
    pub spaces: Vec<SpaceReceipt>,
}

/// One partition of a receipt, or the gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceReceipt {
    /// The partition's number; none for the gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The digest that was restored.
    pub digest: SegmentsDigest,
    /// Data bytes read back and found equal.
    pub proven_data_bytes: u64,
    /// Zero bytes read back and found zero.
    pub proven_zero_bytes: u64,
}

/// Why a receipt does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Another image than the run's.
    #[error("receipt is for {found}, the run restored {wanted}")]
    Image {
        /// In the receipt.
        found: String,
        /// What was restored.
        wanted: String,
    },
    /// A disk is missing or twice.
    #[error("receipt has {found} entries for disk {disk}, wanted 1")]
    Disk {
        /// Which image disk.
        disk: u32,
        /// How many entries it has.
        found: usize,
    },
    /// A partition's digest is missing, twice, or another.
    #[error("disk {disk} partition {number}: digest does not match the manifest")]
    Digest {
        /// Which image disk.
        disk: u32,
        /// Which partition.
        number: String,
    },
    /// Fewer bytes proven than the image has.
    #[error("disk {disk} partition {number}: {found} bytes proven, the manifest has {wanted}")]
    Bytes {
        /// Which image disk.
        disk: u32,
        /// Which partition.
        number: String,
        /// Proven.
        found: u64,
        /// In the manifest.
        wanted: u64,
    },
}

impl Receipt {
    /// Compares the receipt with the manifest of its image. The gaps may be proven in part: the table is written
    /// for the target's own size, so bytes there are compared with what was meant (`table_bytes`).
    /// Only with `partitions` (numbers, of all disks) may others be missing.
    ///
    /// # Errors
    /// The first difference, as a [`ReceiptError`].
    pub fn check(&self, manifest: &Manifest, id: ImageId, partitions: &[u32]) -> Result<(), ReceiptError> {
        if self.image != manifest.name || self.id != id {
            let (found, wanted) = (format!("{}@{}", self.image, self.id), format!("{}@{id}", manifest.name));
            return Err(ReceiptError::Image { found, wanted });
        }
        for disk in &manifest.disks {
            let found = self.disks.iter().filter(|entry| entry.ordinal == disk.ordinal).count();
            if found != 1 {
                return Err(ReceiptError::Disk { disk: disk.ordinal, found });
            }
        }
        for (disk, number, _, stored) in manifest.spaces() {
            let Where::Partition(number) = number else { continue };
            if !partitions.is_empty() && !partitions.contains(&number) {
                continue;
            }
            let entry = self.disks.iter().find(|entry| entry.ordinal == disk);
            let mut spaces = entry.iter().flat_map(|entry| &entry.spaces).filter(|space| space.number == Some(number));
            let (space, more) = (spaces.next(), spaces.next());
            let digest = || ReceiptError::Digest { disk, number: number.to_string() };
            let space = space.filter(|space| space.digest == stored.digest && more.is_none()).ok_or_else(digest)?;
            let proof = entry.map_or(Proof::None, |entry| entry.proof);
            let found = space.proven_data_bytes.saturating_add(space.proven_zero_bytes);
            let wanted = stored.data_bytes.saturating_add(stored.zero_bytes);
            let all = space.proven_data_bytes == stored.data_bytes && space.proven_zero_bytes == stored.zero_bytes;
            if proof > Proof::None && !all {
                return Err(ReceiptError::Bytes { disk, number: number.to_string(), found, wanted });
            }
        }
        Ok(())
    }

    /// The weakest proof of any disk.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.disks.iter().map(|disk| disk.proof).min().unwrap_or(Proof::None)
    }
}

/// A receipt that a server checked: the agent's bytes as they came, and the server's signature over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The receipt's JSON, byte for byte.
    pub receipt: String,
    /// The server's key.
    pub key: PublicKey,
    /// Over the bytes of `receipt`, domain [`crate::sign::Domain::Receipt`].
    pub signature: Signature,
}
