//! Inspect: what lies on a disk, and how much of it a capture would read.
//!
//! In: paths to disks. Out: a report, as JSON with every extent on request, or as a table for people.
//! Promise: nothing is written; the extents shown are those that a capture reads; they are walked while they are
//! printed, so memory stays bounded however large the disk is.

mod render;

use crate::disk::source::{ReadAt, Window};
use crate::disk::{DiskInfo, Disks, InUse, OpenError, Reason, Source, uses};
use crate::extent::{self, Content, Extent, ExtentError, ExtentKind, Map};
use crate::partition::{self, PartitionError};
use crate::say::chain;
use ramet_wire::{ByteRange, Entry, TableKind};
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use std::io;
use std::path::{Path, PathBuf};
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
    /// Offset and length of each data extent, in bytes from the partition's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extents: Option<Walk>,
    /// The same of what a restore makes zero without the image holding it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zeros: Option<Walk>,
}

/// The extents of one kind, walked anew each time they are serialized.
#[derive(Clone, Debug)]
pub struct Walk {
    map: Option<Arc<Map>>,
    kind: ExtentKind,
}

impl Walk {
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

/// A disk that can not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It can not be opened.
    #[error("inspecting {}", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Its table is refused.
    #[error("inspecting {}: reading the partition table", path.display())]
    Table {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: PartitionError,
    },
    /// A partition lies outside the disk.
    #[error("inspecting {}: opening partition {number}", path.display())]
    Window {
        /// The disk.
        path: PathBuf,
        /// The partition.
        number: u32,
        /// Both numbers.
        source: io::Error,
    },
    /// A partition can not be read.
    #[error("inspecting {}: mapping partition {number}", path.display())]
    Map {
        /// The disk.
        path: PathBuf,
        /// The partition.
        number: u32,
        /// Why.
        source: ExtentError,
    },
}

/// Looks at `paths`. With `extents`, the report lists every extent when it is serialized.
///
/// Disks and partitions in use are looked at all the same; their state says so.
///
/// # Errors
/// [`InspectError`] for the first disk that can not be read.
pub fn inspect(paths: &[PathBuf], extents: bool) -> Result<Report, InspectError> {
    let disks = Disks::from_sysfs();
    let report = |path: &PathBuf| inspect_one(&disks, path, extents);
    Ok(Report { disks: paths.iter().map(report).collect::<Result<_, _>>()? })
}

fn inspect_one(disks: &Disks, path: &Path, extents: bool) -> Result<DiskReport, InspectError> {
    let source = DiskInfo::open_source(path).map_err(|source| InspectError::Open { path: path.to_owned(), source })?;
    let info = source.info.clone();
    let mut in_use = uses(disks, &info);
    // A loop device alone is no news: nobody has mounted it.
    in_use.retain(|found| found.reason != Reason::Loop);
    let source = Arc::new(source);
    let scan = partition::read(&*source, info.sector_size)
        .map_err(|source| InspectError::Table { path: path.to_owned(), source })?;
    let whole_disk = [whole_disk(info.size)];
    let entries = if scan.table.kind == TableKind::None { &whole_disk[..] } else { &scan.table.entries };
    let look = |entry: &Entry| look(path, &source, entry, &in_use, extents);
    let mut partitions = entries.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    if scan.table.kind == TableKind::None {
        partitions.iter_mut().for_each(|partition| partition.r#type = None);
    }
    Ok(DiskReport {
        path: path.display().to_string(),
        size: info.size,
        sector_size: info.sector_size,
        table: scan.table.kind,
        id: scan.table.id,
        model: info.model,
        serial: info.serial,
        wwn: info.wwn,
        partitions,
        gap_bytes: scan.gaps.iter().map(|gap| gap.len()).sum(),
        uncaptured_bytes: scan.uncaptured,
        warnings: scan.warnings,
    })
}

/// A disk without a table, as one partition.
fn whole_disk(size: u64) -> Entry {
    Entry {
        number: 0,
        range: ByteRange::between(0, size),
        r#type: String::new(),
        guid: None,
        name: None,
        attributes: 0,
        ebr: None,
        extended: false,
    }
}

fn look(
    path: &Path,
    source: &Arc<Source>,
    entry: &Entry,
    in_use: &[InUse],
    extents: bool,
) -> Result<PartitionReport, InspectError> {
    let number = entry.number;
    let map = if entry.extended {
        None
    } else {
        let window = Window::new(Arc::clone(source), entry.range).map_err(|source| InspectError::Window {
            path: path.to_owned(),
            number,
            source,
        })?;
        let window: Arc<dyn ReadAt> = Arc::new(window);
        let map = extent::map(window).map_err(|source| InspectError::Map { path: path.to_owned(), number, source })?;
        Some(Arc::new(map))
    };
    let content = map.as_ref().map_or_else(|| Content::of("extended"), |map| map.content.clone());
    let users = in_use.iter().filter(|found| !entry.extended && found.touches(entry.range));
    let state: Vec<String> = content.state.into_iter().chain(users.map(ToString::to_string)).collect();
    let walk = |kind| extents.then(|| Walk { map: map.clone(), kind });
    Ok(PartitionReport {
        number,
        start: entry.range.start(),
        size: entry.range.len(),
        r#type: Some(entry.r#type.clone()),
        guid: entry.guid.clone(),
        name: entry.name.clone(),
        content: content.kind,
        version: content.version,
        uuid: content.uuid,
        label: content.label,
        state: (!state.is_empty()).then(|| state.join("; ")),
        used_bytes: map.as_ref().map_or(0, |map| map.used_bytes),
        whole: map.as_ref().is_some_and(|map| map.whole),
        warnings: map.as_ref().map(|map| map.warnings.clone()).unwrap_or_default(),
        extents: walk(ExtentKind::Data),
        zeros: walk(ExtentKind::Zero),
    })
}

#[cfg(test)]
mod tests;
