//! What of each disk will be read: its table and the maps of its partitions.
//!
//! In: disks. Out: plans, one per disk; all partitions of all disks are opened before the first one is mapped.
//! Promise: a partition in use is refused, or copied whole where that was asked for.

use super::source::SourceDisk;
use super::{CaptureError, Request};
use crate::chunk::{Extents, Space};
use crate::disk::source::{ReadAt, Window};
use crate::extent::{self, Map, Others};
use crate::partition::Scan;
use crate::progress::Part;
use ramet_wire::Entry;
use std::sync::Arc;

/// A partition with its map.
pub(super) struct Mapped {
    pub entry: Entry,
    pub map: Arc<Map>,
    pub window: Arc<dyn ReadAt>,
}

/// A disk with all that is known of it before the first chunk.
pub(super) struct Planned<'a> {
    pub disk: &'a SourceDisk,
    pub scan: Scan,
    pub partitions: Vec<Mapped>,
}

/// A disk of which the table was read and the partitions are open.
struct Opened<'a> {
    disk: &'a SourceDisk,
    scan: Scan,
    partitions: Vec<(Entry, Arc<dyn ReadAt>)>,
}

/// The plans of `disks`, in their order. A volume group may lie on several of them, so all are opened first.
pub(super) fn plan<'a>(request: &Request, disks: &'a [SourceDisk]) -> Result<Vec<Planned<'a>>, CaptureError> {
    let opened = disks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let all: Vec<_> = opened.iter().flat_map(|disk| disk.partitions.iter().map(|(_, w)| Arc::clone(w))).collect();
    let mut index = 0..;
    let mut planned = Vec::with_capacity(opened.len());
    for Opened { disk, scan, partitions } in opened {
        let others = || extent::others(&all, index.next().unwrap_or(0));
        let partitions = partitions.into_iter().zip(std::iter::repeat_with(others));
        let map = |((entry, window), others)| mapped(request, disk, entry, window, others);
        let partitions = partitions.map(map).collect::<Result<_, _>>()?;
        planned.push(Planned { disk, scan, partitions });
    }
    let partitions = planned.iter_mut().flat_map(|disk| &mut disk.partitions);
    extent::doubt_beside_hibernation(partitions.map(|partition| &mut partition.map));
    Ok(planned)
}

fn open(disk: &SourceDisk) -> Result<Opened<'_>, CaptureError> {
    let table = |source| CaptureError::Table { path: disk.path.clone(), source };
    let scan = extent::table(&disk.source, disk.logical_sector).map_err(table)?;
    let mut partitions = Vec::new();
    for entry in scan.entries(disk.source.size()).into_iter().filter(|entry| !entry.extended) {
        let (path, number) = (&disk.path, entry.number);
        let window = Window::new(Arc::clone(&disk.source), entry.range);
        let window = window.map_err(|source| CaptureError::Window { path: path.clone(), number, source })?;
        partitions.push((entry, Arc::new(window) as Arc<dyn ReadAt>));
    }
    Ok(Opened { disk, scan, partitions })
}

fn mapped(
    request: &Request,
    disk: &SourceDisk,
    entry: Entry,
    window: Arc<dyn ReadAt>,
    others: Others,
) -> Result<Mapped, CaptureError> {
    let (path, number) = (disk.path.clone(), entry.number);
    let map_error = |source| CaptureError::Map { path: path.clone(), number, source };
    let busy = disk.busy.iter().find(|(range, _)| range.intersect(entry.range).is_some());
    let map = match busy {
        Some((_, by)) if !request.force_mounted => return Err(CaptureError::Busy { path, number, by: by.clone() }),
        Some((_, by)) => {
            let content = extent::probe(&window).map_err(map_error)?;
            extent::whole(Arc::clone(&window), content, format!("in use while it was read, so inconsistent: {by}"))
        }
        None => extent::map_typed(&entry.r#type, Arc::clone(&window), others).map_err(map_error)?,
    };
    if map.mounted_elsewhere && !request.force_mounted {
        let by = "another machine (multi-mount protection)".to_owned();
        return Err(CaptureError::Busy { path, number, by });
    }
    Ok(Mapped { entry, map: Arc::new(map), window })
}

impl Planned<'_> {
    pub fn used_bytes(&self) -> u64 {
        let gaps: u64 = self.scan.gaps.iter().map(|gap| gap.len()).sum();
        gaps + self.partitions.iter().map(|partition| partition.map.used_bytes).sum::<u64>()
    }

    /// In the order of [`spaces`].
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let gaps = self.scan.gaps.iter().map(|gap| gap.len()).sum();
        let name = |what: &str| format!("{} {what}", self.disk.path);
        let first = Part { name: name("table"), total: gaps, done: 0 };
        std::iter::once(first).chain(self.partitions.iter().map(move |partition| Part {
            name: name(&format!("{} {}", partition.entry.number, partition.map.content.kind)),
            total: partition.map.used_bytes,
            done: 0,
        }))
    }

    pub fn is_inconsistent(&self) -> bool {
        self.partitions.iter().any(|partition| {
            let used = self.disk.busy.iter().any(|(range, _)| range.intersect(partition.entry.range).is_some());
            used || partition.map.mounted_elsewhere
        })
    }
}

/// The gaps, then the partitions: the order in which the manifest takes their segments back.
pub(super) fn spaces<'a>(planned: &'a Planned<'_>) -> impl Iterator<Item = Space> + use<'a> {
    let extents = Extents::Ranges(planned.scan.gaps.clone());
    let what = format!("{}, table and gaps", planned.disk.path);
    let first = Space { what, source: Arc::clone(&planned.disk.source), extents };
    std::iter::once(first).chain(planned.partitions.iter().map(|partition| {
        let map = Arc::clone(&partition.map);
        let what = format!("{}, partition {}", planned.disk.path, partition.entry.number);
        Space { what, source: Arc::clone(&partition.window), extents: Extents::Map(map) }
    }))
}

/// What an operator should look at, disk by disk.
pub(super) fn warnings(planned: &Planned<'_>) -> Vec<String> {
    let path = &planned.disk.path;
    let table = planned.scan.warnings.iter().map(|warning| format!("{path}: {warning}"));
    let maps = planned.partitions.iter().flat_map(|partition| {
        let number = partition.entry.number;
        partition.map.warnings.iter().map(move |warning| format!("{path} partition {number}: {warning}"))
    });
    table.chain(maps).collect()
}
