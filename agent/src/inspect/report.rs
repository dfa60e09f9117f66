//! What was found on disks, as scripts read it.
//!
//! In: maps. Out: JSON; the extents are walked while they are written.
//! Promise: a name once given keeps its meaning; numbers are bytes.

use crate::extent::{Content, Extent, ExtentError, ExtentKind, Inside, Map};
use crate::say::chain;
use ramet_wire::{ByteRange, TableKind};
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// What lies on one disk or several. One is serialized as the disk's object, several as `{"disks": […]}`.
#[derive(Debug)]
pub struct Report {
    /// In the order they were named.
    pub disks: Vec<DiskReport>,
}

/// What lies on a disk.
#[derive(Debug, Serialize)]
pub struct DiskReport {
    /// As it was named.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub sector_size: u32,
    /// Which kind of table.
    pub table: TableKind,
    /// The table's id: a disk GUID or an MBR signature.
    pub id: Option<String>,
    /// Model, as the disk says it.
    pub model: Option<String>,
    /// Serial number, as the disk says it.
    pub serial: Option<String>,
    /// World-wide name, as the disk says it.
    pub wwn: Option<String>,
    /// Ascending by number.
    pub partitions: Vec<PartitionReport>,
    /// Bytes outside partitions that a capture keeps with the table.
    pub gap_bytes: u64,
    /// Bytes outside partitions that a capture does not keep.
    pub uncaptured_bytes: u64,
    /// What is odd about the table.
    pub warnings: Vec<String>,
}

/// What lies on a partition.
#[derive(Debug, Serialize)]
pub struct PartitionReport {
    /// As Linux counts; 0 for a disk without a table.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// GPT: type GUID. MBR: type byte.
    pub r#type: Option<String>,
    /// GPT: the partition's own GUID.
    pub guid: Option<String>,
    /// GPT: name.
    pub name: Option<String>,
    /// What was recognised; `extended` for the frame of logical partitions.
    pub content: String,
    /// The content's version.
    pub version: Option<String>,
    /// The content's UUID.
    pub uuid: Option<String>,
    /// The content's label.
    pub label: Option<String>,
    /// What the content says of itself (`clean`, `needs recovery`, …), and who uses it just now.
    pub state: Option<String>,
    /// Bytes that a capture would read.
    pub used_bytes: u64,
    /// The map was not believed, or there is none: the whole partition counts as used.
    pub whole: bool,
    /// Why, and what else is odd.
    pub warnings: Vec<String>,
    /// What lies inside a container: logical volumes, the file system of a mirror's member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<InsideReport>,
    /// Offset and length of each data extent, in bytes from the partition's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extents: Option<Walk>,
    /// The same of what a restore makes zero without the image holding it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<Walk>,
}

/// What lies inside a container.
#[derive(Clone, Debug, Serialize)]
pub struct InsideReport {
    /// Its name in the container, as `vg0/root`; empty where there is only one.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What was recognised.
    pub content: String,
    /// The content's version.
    pub version: Option<String>,
    /// The content's UUID.
    pub uuid: Option<String>,
    /// The content's label.
    pub label: Option<String>,
    /// What the content says of itself.
    pub state: Option<String>,
    /// Bytes that a capture would read, on all disks that it lies on.
    pub used_bytes: u64,
    /// All of it counts as used.
    pub whole: bool,
    /// Why.
    pub warnings: Vec<String>,
    /// What lies inside it in turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<InsideReport>,
}

impl InsideReport {
    /// Of one thing; readers bound how deep it goes.
    #[must_use]
    pub(super) fn of(inside: &Inside) -> Self {
        let Content { kind, version, uuid, label, state, .. } = inside.content.clone();
        Self {
            name: inside.name.clone(),
            size: inside.size,
            content: kind,
            version,
            uuid,
            label,
            state,
            used_bytes: inside.used_bytes,
            whole: inside.whole,
            warnings: inside.warnings.clone(),
            inside: inside.inside.iter().map(Self::of).collect(),
        }
    }
}

/// The extents of one kind, walked anew each time they are serialized.
#[derive(Clone, Debug)]
pub struct Walk {
    map: Option<Arc<Map>>,
    kind: ExtentKind,
}

impl Walk {
    pub(super) const fn new(map: Option<Arc<Map>>, kind: ExtentKind) -> Self {
        Self { map, kind }
    }

    /// The extents, ascending.
    ///
    /// # Errors
    /// Items are errors where the device does not answer, or changed since it was mapped.
    pub fn ranges(&self) -> impl Iterator<Item = Result<ByteRange, ExtentError>> + '_ {
        let wanted = |extent: &Result<Extent, ExtentError>| extent.as_ref().map_or(true, |e| e.kind == self.kind);
        let extents = self.map.iter().flat_map(|map| map.extents());
        extents.filter(wanted).map(|extent| extent.map(|extent| extent.range))
    }
}

impl Serialize for Walk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for range in self.ranges() {
            // serde's errors hold a text only: the whole chain goes into it.
            let range = range.map_err(|error| S::Error::custom(chain(&error)))?;
            list.serialize_element(&[range.start(), range.len()])?;
        }
        list.end()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Several<'a> {
            disks: &'a [DiskReport],
        }
        match &self.disks[..] {
            [disk] => disk.serialize(serializer),
            disks => Several { disks }.serialize(serializer),
        }
    }
}
