//! Inspect: what lies on a disk, and how much of it a capture would read.
//!
//! In: paths to disks. Out: a report, as JSON with every extent on request, or as a table for people.
//! Promise: nothing is written; the extents shown are those that a capture reads; they are walked while they are
//! printed, so memory stays bounded however large the disk is.

mod render;
mod report;

use crate::disk::source::{ReadAt, Window};
use crate::disk::{DiskInfo, Disks, InUse, OpenError, Reason, uses};
use crate::extent::{self, Content, ExtentError, ExtentKind, Map, Others};
use crate::partition::{PartitionError, Scan};
use ramet_wire::{Entry, TableKind};
pub use report::{DiskReport, InsideReport, PartitionReport, Report, Walk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    let opened = paths.iter().map(|path| open(&disks, path)).collect::<Result<Vec<_>, _>>()?;
    // A volume group may lie on several disks, so all are open before the first partition is mapped.
    let all: Vec<_> = opened.iter().flat_map(|disk| disk.partitions.iter().filter_map(|(_, w)| w.clone())).collect();
    let mut index = 0..;
    let mut maps = Vec::with_capacity(opened.len());
    for disk in &opened {
        let mut others = || extent::others(&all, index.next().unwrap_or(0));
        let partitions = disk.partitions.iter();
        let map = |(entry, window): &(Entry, Option<Arc<dyn ReadAt>>)| {
            window.as_ref().map(|window| mapped(disk, entry, Arc::clone(window), others())).transpose()
        };
        maps.push(partitions.map(map).collect::<Result<Vec<_>, _>>()?);
    }
    extent::doubt_beside_hibernation(maps.iter_mut().flatten().flatten());
    let report = |(disk, maps): (Opened<'_>, Vec<Option<Arc<Map>>>)| {
        let partitions = disk.partitions.iter().zip(maps).map(|((entry, _), map)| look(&disk, entry, map, extents));
        let partitions = partitions.collect();
        report(disk, partitions)
    };
    let reports = opened.into_iter().zip(maps).map(report).collect();
    Ok(Report { disks: reports })
}

/// A disk of which the table was read and the partitions are open.
struct Opened<'a> {
    path: &'a Path,
    info: DiskInfo,
    scan: Scan,
    in_use: Vec<InUse>,
    /// Without a window: the frame of logical partitions.
    partitions: Vec<(Entry, Option<Arc<dyn ReadAt>>)>,
}

fn open<'a>(disks: &Disks, path: &'a Path) -> Result<Opened<'a>, InspectError> {
    let source = DiskInfo::open_source(path).map_err(|source| InspectError::Open { path: path.to_owned(), source })?;
    let info = source.info.clone();
    let mut in_use = uses(disks, &info);
    // A loop device alone is no news: nobody has mounted it.
    in_use.retain(|found| found.reason != Reason::Loop);
    let source = Arc::new(source);
    let refused = |source| InspectError::Table { path: path.to_owned(), source };
    let scan = extent::table(&*source, info.sector_size).map_err(refused)?;
    let mut partitions = Vec::new();
    for entry in scan.entries(info.size) {
        let refused = |source| InspectError::Window { path: path.to_owned(), number: entry.number, source };
        let window = Window::new(Arc::clone(&source), entry.range).map_err(refused)?;
        let window = (!entry.extended).then(|| Arc::new(window) as Arc<dyn ReadAt>);
        partitions.push((entry, window));
    }
    Ok(Opened { path, info, scan, in_use, partitions })
}

fn report(Opened { path, info, scan, .. }: Opened<'_>, partitions: Vec<PartitionReport>) -> DiskReport {
    DiskReport {
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
    }
}

fn mapped(disk: &Opened<'_>, entry: &Entry, window: Arc<dyn ReadAt>, others: Others) -> Result<Arc<Map>, InspectError> {
    let refused = |source| InspectError::Map { path: disk.path.to_owned(), number: entry.number, source };
    extent::map_typed(&entry.r#type, window, others).map(Arc::new).map_err(refused)
}

/// Without a map: the frame of logical partitions.
fn look(disk: &Opened<'_>, entry: &Entry, map: Option<Arc<Map>>, extents: bool) -> PartitionReport {
    let content = map.as_ref().map_or_else(|| Content::of("extended"), |map| map.content.clone());
    let users = disk.in_use.iter().filter(|found| !entry.extended && found.touches(entry.range));
    let state: Vec<String> = content.state.into_iter().chain(users.map(ToString::to_string)).collect();
    let walk = |kind| extents.then(|| Walk::new(map.clone(), kind));
    PartitionReport {
        number: entry.number,
        start: entry.range.start(),
        size: entry.range.len(),
        r#type: (disk.scan.table.kind != TableKind::None).then(|| entry.r#type.clone()),
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
        inside: map.iter().flat_map(|map| &map.inside).map(InsideReport::of).collect(),
        extents: walk(ExtentKind::Data),
        zeros: walk(ExtentKind::Zero),
    }
}

#[cfg(test)]
mod tests;
