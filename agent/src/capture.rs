//! Capture: disk → table → partition → extents → chunks → packs → store → manifest (last).
//!
//! In: disks opened for reading, a name, and a door to a store. Out: a published image, or an error and no image.
//! Promise: nothing unreadable is stored as zero; an image that was cut off does not exist; repeating sends the rest.

pub mod source;

use crate::chunk::{self, ChunkError, Extents, Space, pack::Packed};
use crate::disk::source::{ReadAt, Window};
use crate::extent::{self, ExtentError, Map};
use crate::nvram::Nvram;
use crate::partition::{self, PartitionError, Scan};
use crate::progress::{Meter, Part};
use crate::transfer::{Commit, TransferError, Upstream};
use ramet_wire::cutting::CUTTING;
use ramet_wire::firmware::{FEATURE, Firmware, LIST_MAX, Loader};
use ramet_wire::manifest::{DiskImage, FORMAT, Manifest, ManifestError, PartitionImage, Source, Stored};
use ramet_wire::{ByteRange, Entry, ImageId, ImageName, TableKind};
use source::SourceDisk;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// How often a capture sends what a collection took away meanwhile, before it gives up.
const COMMITS_MAX: u32 = 3;

/// A GPT partition of this type is an EFI system partition (UEFI specification 2.10, table 5-7).
const ESP_TYPE: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// What shall be captured.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image's name.
    pub name: ImageName,
    /// The machine it comes from.
    pub machine: Source,
    /// Copy file systems that are mounted or held, whole.
    pub force_mounted: bool,
    /// The firmware's variables, where there are any.
    pub nvram: Option<Nvram>,
}

/// A published image and what it took.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Captured {
    /// The name.
    pub image: ImageName,
    /// The new version.
    pub id: ImageId,
    /// Bytes that matter, as the file systems' maps say.
    pub used_bytes: u64,
    /// Bytes read and hashed.
    pub read_bytes: u64,
    /// Bytes recorded as zeros.
    pub zero_bytes: u64,
    /// Of the bytes read, those that the store already had.
    pub present_bytes: u64,
    /// New bytes, raw.
    pub new_bytes: u64,
    /// Bytes of packs sent, segments included.
    pub stored_bytes: u64,
    /// Unpartitioned bytes that are not in the image.
    pub uncaptured_bytes: u64,
    /// Wall seconds.
    pub seconds: f64,
    /// What to look at.
    pub warnings: Vec<String>,
}

/// Why a capture ended without an image.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The table cannot be understood.
    #[error("reading the partition table of {path}")]
    Table {
        /// Which disk.
        path: String,
        /// What is wrong with it.
        source: PartitionError,
    },
    /// A partition lies outside its disk.
    #[error("opening partition {number} of {path}")]
    Window {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// Both numbers.
        source: io::Error,
    },
    /// A partition cannot be read at all.
    #[error("mapping partition {number} of {path}")]
    Map {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// The device's error.
        source: ExtentError,
    },
    /// Something is mounted or held.
    #[error(
        "capturing {path}: partition {number} is in use: {by}; unmount it, or pass --force-mounted for an inconsistent copy"
    )]
    Busy {
        /// Which disk.
        path: String,
        /// Which partition.
        number: u32,
        /// The mount point, swap or holder.
        by: String,
    },
    /// Reading, packing or sending.
    #[error("capturing into image {name}")]
    Store {
        /// Which image.
        name: ImageName,
        /// The stage's error.
        source: ChunkError,
    },
    /// The manifest breaks its own rules.
    #[error("writing the manifest of {name}")]
    Manifest {
        /// Which image.
        name: ImageName,
        /// Which rule.
        source: ManifestError,
    },
    /// The store did not publish it.
    #[error("publishing image {name}")]
    Commit {
        /// Which image.
        name: ImageName,
        /// The store's answer.
        source: TransferError,
    },
    /// The store loses chunks as fast as they are sent.
    #[error("publishing image {name}: the store still lacks {missing} chunks after {COMMITS_MAX} rounds")]
    StillMissing {
        /// Which image.
        name: ImageName,
        /// How many, at least.
        missing: usize,
    },
}

impl CaptureError {
    /// Nothing was sent: the operator must decide something first.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Table { .. }
                | Self::Busy { .. }
                | Self::Window { .. }
                | Self::Store { source: ChunkError::Memory(_), .. }
        )
    }
}

/// A partition with its map.
struct Mapped {
    entry: Entry,
    map: Arc<Map>,
    window: Arc<dyn ReadAt>,
}

/// A disk with all that is known of it before the first chunk.
struct Planned<'a> {
    disk: &'a SourceDisk,
    scan: Scan,
    partitions: Vec<Mapped>,
}

/// Captures `disks`, in their order, and publishes the image.
///
/// # Errors
/// [`CaptureError`]; the image then does not exist, and what was sent stays for the next try.
pub fn capture(
    request: &Request,
    disks: &[SourceDisk],
    door: &dyn Upstream,
    meter: &Meter,
) -> Result<Captured, CaptureError> {
    let start = Instant::now();
    meter.begin("mapping", 0);
    let planned = disks.iter().map(|disk| plan(request, disk)).collect::<Result<Vec<_>, _>>()?;
    let spaces: Vec<Space> = planned.iter().flat_map(spaces).collect();
    let mut missing = 0;
    for _ in 0..COMMITS_MAX {
        meter.begin("reading", planned.iter().map(Planned::used_bytes).sum());
        meter.set_parts(planned.iter().flat_map(Planned::parts).collect());
        let stored = chunk::store(&spaces, door, meter);
        let outcome = stored.map_err(|source| CaptureError::Store { name: request.name.clone(), source })?;
        meter.begin("publishing", 0);
        meter.set_parts(Vec::new());
        let manifest = manifest(request, &planned, outcome.stored)?;
        let bytes = manifest.write().map_err(|source| CaptureError::Manifest { name: request.name.clone(), source })?;
        match door.commit(&bytes).map_err(|source| CaptureError::Commit { name: request.name.clone(), source })? {
            Commit::Done(id) => {
                let sent = (outcome.content, outcome.segments);
                return Ok(captured(id, manifest, &planned, sent, meter, start.elapsed().as_secs_f64()));
            }
            // A collection condemned them after they were asked for. Reading again sends just these.
            Commit::Missing(ids) => missing = ids.len(),
        }
    }
    Err(CaptureError::StillMissing { name: request.name.clone(), missing })
}

fn plan<'a>(request: &Request, disk: &'a SourceDisk) -> Result<Planned<'a>, CaptureError> {
    let table = |source| CaptureError::Table { path: disk.path.clone(), source };
    let scan = partition::read(&disk.source, disk.logical_sector).map_err(table)?;
    let mut entries: Vec<Entry> = scan.table.entries.iter().filter(|entry| !entry.extended).cloned().collect();
    if scan.table.kind == TableKind::None {
        entries.push(whole_disk(disk.source.size()));
    }
    let partitions = entries.into_iter().map(|entry| mapped(request, disk, entry)).collect::<Result<_, _>>()?;
    Ok(Planned { disk, scan, partitions })
}

/// A disk without a table is one partition with number 0.
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

fn mapped(request: &Request, disk: &SourceDisk, entry: Entry) -> Result<Mapped, CaptureError> {
    let (path, number) = (disk.path.clone(), entry.number);
    let window = Window::new(Arc::clone(&disk.source), entry.range).map_err(|source| CaptureError::Window {
        path: path.clone(),
        number,
        source,
    })?;
    let window: Arc<dyn ReadAt> = Arc::new(window);
    let map_error = |source| CaptureError::Map { path: path.clone(), number, source };
    let busy = disk.busy.iter().find(|(range, _)| range.intersect(entry.range).is_some());
    let map = match busy {
        Some((_, by)) if !request.force_mounted => return Err(CaptureError::Busy { path, number, by: by.clone() }),
        Some((_, by)) => {
            let content = extent::probe(&window).map_err(map_error)?;
            extent::whole(Arc::clone(&window), content, format!("in use while it was read, so inconsistent: {by}"))
        }
        None => extent::map(Arc::clone(&window)).map_err(map_error)?,
    };
    if map.mounted_elsewhere && !request.force_mounted {
        let by = "another machine (multi-mount protection)".to_owned();
        return Err(CaptureError::Busy { path, number, by });
    }
    Ok(Mapped { entry, map: Arc::new(map), window })
}

impl Planned<'_> {
    fn used_bytes(&self) -> u64 {
        let gaps: u64 = self.scan.gaps.iter().map(|gap| gap.len()).sum();
        gaps + self.partitions.iter().map(|partition| partition.map.used_bytes).sum::<u64>()
    }

    /// In the order of [`spaces`].
    fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let gaps = self.scan.gaps.iter().map(|gap| gap.len()).sum();
        let name = |what: &str| format!("{} {what}", self.disk.path);
        let first = Part { name: name("table"), total: gaps, done: 0 };
        std::iter::once(first).chain(self.partitions.iter().map(move |partition| Part {
            name: name(&format!("{} {}", partition.entry.number, partition.map.content.kind)),
            total: partition.map.used_bytes,
            done: 0,
        }))
    }

    fn is_inconsistent(&self) -> bool {
        self.partitions.iter().any(|partition| {
            let used = self.disk.busy.iter().any(|(range, _)| range.intersect(partition.entry.range).is_some());
            used || partition.map.mounted_elsewhere
        })
    }
}

/// The gaps, then the partitions: the order in which [`manifest`] takes their segments back.
fn spaces<'a>(planned: &'a Planned<'_>) -> impl Iterator<Item = Space> + use<'a> {
    let extents = Extents::Ranges(planned.scan.gaps.clone());
    let what = format!("{}, table and gaps", planned.disk.path);
    let first = Space { what, source: Arc::clone(&planned.disk.source), extents };
    std::iter::once(first).chain(planned.partitions.iter().map(|partition| {
        let map = Arc::clone(&partition.map);
        let what = format!("{}, partition {}", planned.disk.path, partition.entry.number);
        Space { what, source: Arc::clone(&partition.window), extents: Extents::Map(map) }
    }))
}

fn manifest(request: &Request, planned: &[Planned<'_>], stored: Vec<Stored>) -> Result<Manifest, CaptureError> {
    let mut stored = stored.into_iter();
    let mut next = || {
        let missing = || ManifestError::Json("fewer spaces were stored than planned".to_owned());
        let bug = |source| CaptureError::Manifest { name: request.name.clone(), source };
        stored.next().ok_or_else(missing).map_err(bug)
    };
    let mut disks = Vec::with_capacity(planned.len());
    for (ordinal, plan) in (0..).zip(planned) {
        let gaps = next()?;
        let mut partitions = Vec::with_capacity(plan.partitions.len());
        for partition in &plan.partitions {
            partitions.push(PartitionImage {
                number: partition.entry.number,
                range: partition.entry.range,
                content: partition.map.content.clone(),
                whole: partition.map.whole,
                used_bytes: partition.map.used_bytes,
                stored: next()?,
            });
        }
        let disk = plan.disk;
        disks.push(DiskImage {
            ordinal,
            size: disk.source.size(),
            logical_sector: disk.logical_sector,
            physical_sector: disk.physical_sector,
            model: disk.model.clone(),
            serial: disk.serial.clone(),
            wwn: disk.wwn.clone(),
            table: plan.scan.table.clone(),
            partitions,
            gaps,
        });
    }
    let (firmware, firmware_warning) = firmware(request, planned, &disks);
    Ok(Manifest {
        format: FORMAT,
        features: firmware.iter().map(|_| FEATURE.to_owned()).collect(),
        name: request.name.clone(),
        created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        source: request.machine.clone(),
        cutting: CUTTING,
        inconsistent: planned.iter().any(Planned::is_inconsistent),
        warnings: planned.iter().flat_map(warnings).chain(firmware_warning).collect(),
        firmware,
        disks,
    })
}

/// How firmware starts from the image: what this machine's own says, if the disks are this machine's, and what lies in its
/// EFI system partitions. Nothing of it is worth failing a capture.
fn firmware(request: &Request, planned: &[Planned<'_>], disks: &[DiskImage]) -> (Option<Firmware>, Option<String>) {
    let mut firmware = Firmware::default();
    for (disk, plan) in disks.iter().zip(planned) {
        for partition in plan.partitions.iter().filter(|partition| partition.entry.r#type == ESP_TYPE) {
            let paths = extent::efi_loaders(&*partition.window).unwrap_or_default();
            let loader = |path| Loader { disk: disk.ordinal, partition: partition.entry.number, path };
            firmware.loaders.extend(paths.into_iter().map(loader));
        }
    }
    let entries = request.nvram.as_ref().map_or(Ok(Vec::new()), |nvram| nvram.entries_of(disks));
    let warning = entries.as_ref().err().map(|error| format!("{error}: the image does not say how it is started"));
    firmware.entries = entries.unwrap_or_default();
    firmware.loaders.truncate(LIST_MAX);
    if firmware.check(disks).is_err() {
        firmware = Firmware::default();
    }
    ((!firmware.is_empty()).then_some(firmware), warning)
}

fn warnings(planned: &Planned<'_>) -> Vec<String> {
    let path = &planned.disk.path;
    let table = planned.scan.warnings.iter().map(|warning| format!("{path}: {warning}"));
    let maps = planned.partitions.iter().flat_map(|partition| {
        let number = partition.entry.number;
        partition.map.warnings.iter().map(move |warning| format!("{path} partition {number}: {warning}"))
    });
    table.chain(maps).collect()
}

fn captured(
    id: ImageId,
    manifest: Manifest,
    planned: &[Planned<'_>],
    (content, segments): (Packed, Packed),
    meter: &Meter,
    seconds: f64,
) -> Captured {
    let sum = |of: fn(&Stored) -> u64| manifest.spaces().map(|(_, _, _, stored)| of(stored)).sum();
    let read_bytes: u64 = sum(|stored| stored.data_bytes);
    let zero_bytes = sum(|stored| stored.zero_bytes);
    let stored_bytes = content.stored_bytes + segments.stored_bytes;
    meter.moved(stored_bytes);
    Captured {
        image: manifest.name.clone(),
        id,
        used_bytes: planned.iter().map(Planned::used_bytes).sum(),
        read_bytes,
        zero_bytes,
        present_bytes: read_bytes.saturating_sub(content.raw_bytes),
        new_bytes: content.raw_bytes,
        stored_bytes,
        uncaptured_bytes: planned.iter().map(|planned| planned.scan.uncaptured).sum(),
        seconds,
        warnings: manifest.warnings,
    }
}
