//! The manifest: what an image consists of.
//!
//! In: JSON that lies in a store. Out: a value whose every number was checked.
//! Promise: the version is read alone and first; what `read` returns obeys every rule of FORMAT.md, "Manifest".

use crate::boot::{self, Facts};
use crate::cutting::{CUTTING, Cutting};
use crate::firmware::{self, Firmware};
use crate::id::{ImageId, SegmentsDigest, sha256};
use crate::name::ImageName;
use crate::range::{ByteRange, MIB};
use crate::segment::SegmentRef;
use crate::table::{Entry, PARTITIONS_MAX, Table, TableKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The format this build reads and writes.
pub const FORMAT: u32 = 1;
/// Largest manifest, in bytes.
pub const MANIFEST_MAX: usize = 16 << 20;
/// Most disks of an image.
pub const DISKS_MAX: usize = 64;
/// Feature flags this build knows. An unknown one in a manifest is a refusal.
pub const FEATURES: &[&str] = &[boot::FEATURE, firmware::FEATURE];
/// Largest disk, in bytes.
pub const DISK_MAX: u64 = 1 << 56;

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`]; read alone and first.
    pub format: u32,
    /// Feature flags in use, ascending.
    pub features: Vec<String>,
    /// The image's name.
    pub name: ImageName,
    /// When the capture ended, by the agent's clock, RFC 3339. For people; "latest" is the store's commit number.
    pub created: String,
    /// Version of the agent that wrote it.
    pub agent: String,
    /// The machine that was captured.
    pub source: Source,
    /// The rule by which chunks were cut.
    pub cutting: Cutting,
    /// A file system was mounted or held while it was read.
    pub inconsistent: bool,
    /// What the capture warned of.
    pub warnings: Vec<String>,
    /// How firmware starts from it; there exactly when the flag `firmware` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// What starts from it; there exactly when the flag `boot` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Facts>,
    /// Its disks, by ordinal.
    pub disks: Vec<DiskImage>,
}

/// The machine that was captured, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// SMBIOS system UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SMBIOS serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// SMBIOS vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// SMBIOS product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// `uefi` or `bios`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
}

/// One disk of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskImage {
    /// 0, 1, … in the order given at capture.
    pub ordinal: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes per logical sector: 512 or 4096.
    pub logical_sector: u32,
    /// Bytes per physical sector.
    pub physical_sector: u32,
    /// Model, as the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number, as the device says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World-wide name, as the kernel spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The table in structured form; its bytes lie in `gaps`.
    pub table: Table,
    /// Content of the partitions, ascending by number; extended partitions have none.
    pub partitions: Vec<PartitionImage>,
    /// LBA 0, the tables and the space between: a pseudo-partition with the disk's own addresses.
    pub gaps: Stored,
}

/// One partition's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionImage {
    /// As in the table; 0 for a disk without one.
    pub number: u32,
    /// Where it lies on the disk, in bytes.
    pub range: ByteRange,
    /// What it holds.
    pub content: Content,
    /// The whole partition was copied, not only its extents.
    pub whole: bool,
    /// Bytes that the content's own map calls used and that were read.
    pub used_bytes: u64,
    /// How it is stored.
    pub stored: Stored,
}

/// What a partition holds. Names as `blkid` prints them where it knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// `ext4`, `vfat`, `swap`, …; `unknown`.
    pub kind: String,
    /// The content's own UUID or volume id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its version, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `clean`, `needs recovery`, `dirty`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl Content {
    /// Nothing speaks against its own word of itself: clean, or of a kind that has no such word.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.state.as_deref().is_none_or(|state| state.split(',').next() == Some("clean"))
    }

    /// Nothing is known about it.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of("unknown")
    }

    /// Only its name is known.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }
}

/// Bytes of an address space, as segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Sum of all data records, in bytes.
    pub data_bytes: u64,
    /// Sum of all zero records, in bytes.
    pub zero_bytes: u64,
    /// The segments, ascending and disjoint.
    pub segments: Vec<SegmentRef>,
    /// SHA-256 over the segment ids in order.
    pub digest: SegmentsDigest,
}

impl Stored {
    /// The digest that `segments` have.
    #[must_use]
    pub fn digest_of(segments: &[SegmentRef]) -> SegmentsDigest {
        let ids: Vec<u8> = segments.iter().flat_map(|segment| segment.id.0).collect();
        SegmentsDigest(sha256(&ids))
    }
}

/// Why a manifest is refused. `disk` is an ordinal, `number` a partition's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Too large.
    #[error("manifest has {0} bytes, {MANIFEST_MAX} are allowed")]
    Size(usize),
    /// No JSON, or not of this shape.
    #[error("reading manifest as JSON: {0}")]
    Json(String),
    /// A newer format.
    #[error("manifest has format {0}, this build reads {FORMAT}")]
    Format(u64),
    /// A feature this build does not know.
    #[error("manifest uses feature {0:?}, which this build does not know; use a newer version")]
    Feature(String),
    /// Cut by another rule.
    #[error("manifest was cut by {0:?}, this build knows {CUTTING:?}")]
    Cutting(Cutting),
    /// Disk count out of bounds.
    #[error("manifest has {0} disks, 1 to {DISKS_MAX} are allowed")]
    Disks(usize),
    /// How firmware starts from it is out of bounds, or there without its flag.
    #[error("firmware: {0}")]
    Firmware(String),
    /// What starts from it is out of bounds, or there without its flag.
    #[error("boot: {0}")]
    Boot(String),
    /// Ordinals are not 0, 1, ….
    #[error("disk at position {position} has ordinal {ordinal}")]
    Ordinal {
        /// Position in the list.
        position: usize,
        /// Its ordinal.
        ordinal: u32,
    },
    /// Disk size or sector sizes out of bounds.
    #[error("disk {disk}: size {size} with sectors of {sector} bytes is out of bounds")]
    Geometry {
        /// Which disk.
        disk: u32,
        /// Its size.
        size: u64,
        /// Its logical sector size.
        sector: u32,
    },
    /// Too many partitions or entries.
    #[error("disk {disk}: {found} partitions, {PARTITIONS_MAX} are allowed")]
    Partitions {
        /// Which disk.
        disk: u32,
        /// How many.
        found: usize,
    },
    /// Table and partitions do not list the same.
    #[error("disk {disk}: table and partitions disagree at number {number}")]
    Mismatch {
        /// Which disk.
        disk: u32,
        /// The first number that differs.
        number: u32,
    },
    /// A partition outside its disk, empty, or not at a sector.
    #[error("disk {disk} partition {number}: {range} is empty, unaligned or outside {size} bytes")]
    Range {
        /// Which disk.
        disk: u32,
        /// Which partition.
        number: u32,
        /// Its range.
        range: ByteRange,
        /// The disk's size.
        size: u64,
    },
    /// Two partitions share bytes.
    #[error("disk {disk}: partitions {one} and {other} overlap at byte {at}")]
    Overlap {
        /// Which disk.
        disk: u32,
        /// The lower one.
        one: u32,
        /// The higher one.
        other: u32,
        /// First shared byte.
        at: u64,
    },
    /// A partition reaches into a table.
    #[error("disk {disk} partition {number}: {range} reaches into the partition table")]
    InTable {
        /// Which disk.
        disk: u32,
        /// Which partition.
        number: u32,
        /// Its range.
        range: ByteRange,
    },
    /// Segments out of order, empty, or outside.
    #[error("disk {disk} partition {number}: segment {index} at {first}+{len} is out of order or outside {size} bytes")]
    Segment {
        /// Which disk.
        disk: u32,
        /// Which partition; none for the gaps.
        number: Where,
        /// Which segment.
        index: usize,
        /// Its first address.
        first: u64,
        /// Its addresses.
        len: u64,
        /// The address space.
        size: u64,
    },
    /// A sum is larger than what it is a sum of.
    #[error("disk {disk} partition {number}: {sum} bytes stored in a space of {size}")]
    Sum {
        /// Which disk.
        disk: u32,
        /// Which partition.
        number: Where,
        /// Data and zeros.
        sum: u64,
        /// The address space.
        size: u64,
    },
    /// The digest is not that of the segments.
    #[error("disk {disk} partition {number}: digest is {stored}, its segments give {found}")]
    Digest {
        /// Which disk.
        disk: u32,
        /// Which partition.
        number: Where,
        /// In the manifest.
        stored: SegmentsDigest,
        /// Computed.
        found: SegmentsDigest,
    },
}

/// A partition's number, or the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// The pseudo-partition of tables and gaps.
    Gaps,
    /// A partition, by number.
    Partition(u32),
}

impl Where {
    /// What offsets and lengths of its records are multiples of, in bytes.
    #[must_use]
    pub const fn unit(self) -> u64 {
        match self {
            Self::Gaps => crate::segment::GAPS_UNIT,
            Self::Partition(_) => crate::range::BLOCK,
        }
    }
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gaps => f.write_str("gaps"),
            Self::Partition(number) => write!(f, "{number}"),
        }
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
    #[serde(default)]
    features: Vec<String>,
}

impl Manifest {
    /// Reads and checks a manifest. The version is judged before the rest is looked at.
    ///
    /// # Errors
    /// One [`ManifestError`] per rule.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_MAX {
            return Err(ManifestError::Size(bytes.len()));
        }
        let json = |error: serde_json::Error| ManifestError::Json(error.to_string());
        let head: FormatOnly = serde_json::from_slice(bytes).map_err(json)?;
        if head.format != u64::from(FORMAT) {
            return Err(ManifestError::Format(head.format));
        }
        if let Some(unknown) = head.features.iter().find(|feature| !FEATURES.contains(&feature.as_str())) {
            return Err(ManifestError::Feature(unknown.clone()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes to sign and store.
    ///
    /// # Errors
    /// The same as [`Manifest::read`]: nothing is written that could not be read.
    pub fn write(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| ManifestError::Json(error.to_string()))?;
        bytes.push(b'\n');
        Self::read(&bytes)?;
        Ok(bytes)
    }

    /// The image id of a manifest's bytes.
    #[must_use]
    pub fn id(bytes: &[u8]) -> ImageId {
        ImageId::of(bytes)
    }

    /// Every stored space: disk ordinal, which partition, its size in bytes, its segments.
    pub fn spaces(&self) -> impl Iterator<Item = (u32, Where, u64, &Stored)> {
        self.disks.iter().flat_map(|disk| {
            let gaps = std::iter::once((disk.ordinal, Where::Gaps, disk.size, &disk.gaps));
            gaps.chain(disk.partitions.iter().map(|partition| {
                (disk.ordinal, Where::Partition(partition.number), partition.range.len(), &partition.stored)
            }))
        })
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.cutting != CUTTING {
            return Err(ManifestError::Cutting(self.cutting));
        }
        if self.disks.is_empty() || self.disks.len() > DISKS_MAX {
            return Err(ManifestError::Disks(self.disks.len()));
        }
        for (position, disk) in self.disks.iter().enumerate() {
            if u32::try_from(position) != Ok(disk.ordinal) {
                return Err(ManifestError::Ordinal { position, ordinal: disk.ordinal });
            }
            check_disk(disk)?;
        }
        if self.firmware.is_some() != self.features.iter().any(|feature| feature == firmware::FEATURE) {
            return Err(ManifestError::Firmware("the flag and the field do not come together".to_owned()));
        }
        if let Some(firmware) = &self.firmware {
            firmware.check(&self.disks)?;
        }
        if self.boot.is_some() != self.features.iter().any(|feature| feature == boot::FEATURE) {
            return Err(ManifestError::Boot("the flag and the field do not come together".to_owned()));
        }
        if let Some(facts) = &self.boot {
            facts.check(&self.disks)?;
        }
        for (disk, number, size, stored) in self.spaces() {
            check_stored(disk, number, size, stored)?;
        }
        Ok(())
    }
}

fn check_disk(disk: &DiskImage) -> Result<(), ManifestError> {
    let sector = u64::from(disk.logical_sector);
    let physical = disk.physical_sector;
    let known = matches!(disk.logical_sector, 512 | 4096);
    if !known || disk.size == 0 || disk.size > DISK_MAX || !physical.is_power_of_two() || physical < disk.logical_sector
    {
        return Err(ManifestError::Geometry { disk: disk.ordinal, size: disk.size, sector: disk.logical_sector });
    }
    let found = disk.partitions.len().max(disk.table.entries.len());
    if found > PARTITIONS_MAX {
        return Err(ManifestError::Partitions { disk: disk.ordinal, found });
    }
    check_lists(disk)?;
    let mut by_start: Vec<&PartitionImage> = disk.partitions.iter().collect();
    by_start.sort_unstable_by_key(|partition| partition.range.start());
    for partition in &by_start {
        let (number, range) = (partition.number, partition.range);
        let aligned = disk.table.kind == TableKind::None
            || (range.start().is_multiple_of(sector) && range.len().is_multiple_of(sector));
        if range.is_empty() || range.end() > disk.size || !aligned {
            return Err(ManifestError::Range { disk: disk.ordinal, number, range, size: disk.size });
        }
        if !clear_of_tables(disk, range) {
            return Err(ManifestError::InTable { disk: disk.ordinal, number, range });
        }
    }
    for pair in by_start.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        if one.range.end() > other.range.start() {
            let at = other.range.start();
            return Err(ManifestError::Overlap { disk: disk.ordinal, one: one.number, other: other.number, at });
        }
    }
    Ok(())
}

/// The table's entries that hold content and the partitions are the same, in the same order.
fn check_lists(disk: &DiskImage) -> Result<(), ManifestError> {
    let mismatch = |number| Err(ManifestError::Mismatch { disk: disk.ordinal, number });
    if disk.table.kind == TableKind::None {
        return match disk.partitions.as_slice() {
            [whole]
                if whole.number == 0
                    && disk.table.entries.is_empty()
                    && whole.range == ByteRange::between(0, disk.size) =>
            {
                Ok(())
            }
            _ => mismatch(0),
        };
    }
    let mut numbers = BTreeSet::new();
    if let Some(twice) = disk.table.entries.iter().find(|entry| entry.number == 0 || !numbers.insert(entry.number)) {
        return mismatch(twice.number);
    }
    let held: Vec<&Entry> = disk.table.entries.iter().filter(|entry| !entry.extended).collect();
    for (entry, partition) in held.iter().zip(&disk.partitions) {
        if entry.number != partition.number || entry.range != partition.range {
            return mismatch(entry.number);
        }
    }
    if held.len() == disk.partitions.len() {
        return Ok(());
    }
    let first = held.len().min(disk.partitions.len());
    mismatch(held.get(first).map_or_else(|| disk.partitions[first].number, |entry| entry.number))
}

fn clear_of_tables(disk: &DiskImage, range: ByteRange) -> bool {
    match disk.table.kind {
        TableKind::None => true,
        TableKind::Gpt => disk.table.usable.is_some_and(|usable| {
            // LBA 0 and 1 and at least one sector at the end belong to the table whatever it says of itself.
            let sector = u64::from(disk.logical_sector);
            let most = ByteRange::between(2 * sector, disk.size.saturating_sub(sector));
            usable.contains(range) && most.contains(range)
        }),
        TableKind::Mbr => {
            let sector = u64::from(disk.logical_sector);
            let ebrs = disk.table.entries.iter().filter_map(|entry| entry.ebr);
            std::iter::once(0)
                .chain(ebrs)
                .all(|at| range.intersect(ByteRange::between(at, at.saturating_add(sector))).is_none())
        }
    }
}

fn check_stored(disk: u32, number: Where, size: u64, stored: &Stored) -> Result<(), ManifestError> {
    let mut before = 0;
    for (index, segment) in stored.segments.iter().enumerate() {
        let (first, len) = (segment.first, segment.len);
        let end = first.checked_add(len).filter(|_| len > 0 && len <= crate::segment::SPAN);
        match end {
            // The last segment's span may reach past the space: it is counted in whole GiB.
            Some(end) if first >= before && first < size => before = end,
            _ => return Err(ManifestError::Segment { disk, number, index, first, len, size }),
        }
    }
    let sum = stored.data_bytes.saturating_add(stored.zero_bytes);
    if sum > size {
        return Err(ManifestError::Sum { disk, number, sum, size });
    }
    let found = Stored::digest_of(&stored.segments);
    if found == stored.digest {
        Ok(())
    } else {
        Err(ManifestError::Digest { disk, number, stored: stored.digest, found })
    }
}

/// How much before the first partition belongs to the gaps at most, in bytes.
pub const HEAD_MAX: u64 = 64 * MIB;
