//! Capture: disk → table → partition → extents → chunks → packs → store → manifest (last).
//!
//! In: disks opened for reading, a name, and a door to a store. Out: a published image, or an error and no image.
//! Promise: nothing unreadable is stored as zero; an image that was cut off does not exist; repeating sends the rest.

mod boot;
mod error;
mod plan;
pub mod source;

use crate::chunk::{self, Space, pack::Packed};
use crate::extent;
use crate::nvram::Nvram;
use crate::progress::Meter;
use crate::transfer::{Commit, Upstream};
pub use error::CaptureError;
use plan::{Planned, plan, spaces, warnings};
use ramet_wire::boot::Facts;
use ramet_wire::cutting::CUTTING;
use ramet_wire::firmware::{FEATURE, Firmware, LIST_MAX, Loader};
use ramet_wire::manifest::{DiskImage, FORMAT, Manifest, ManifestError, PartitionImage, Source, Stored};
use ramet_wire::{ImageId, ImageName};
use source::SourceDisk;
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
    let planned = plan(request, disks)?;
    meter.begin("looking for systems", 0);
    let facts = boot::facts(&planned);
    let spaces: Vec<Space> = planned.iter().flat_map(spaces).collect();
    let mut missing = 0;
    for _ in 0..COMMITS_MAX {
        meter.begin("reading", planned.iter().map(Planned::used_bytes).sum());
        meter.set_parts(planned.iter().flat_map(Planned::parts).collect());
        let stored = chunk::store(&spaces, door, meter);
        let outcome = stored.map_err(|source| CaptureError::Store { name: request.name.clone(), source })?;
        meter.begin("publishing", 0);
        meter.set_parts(Vec::new());
        let manifest = manifest(request, &planned, &facts, outcome.stored)?;
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

fn manifest(
    request: &Request,
    planned: &[Planned<'_>],
    facts: &Facts,
    stored: Vec<Stored>,
) -> Result<Manifest, CaptureError> {
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
    // What breaks the format's rules is of no use; the image is.
    let facts = facts.check(&disks).is_ok().then(|| facts.clone());
    let features = facts.iter().map(|_| ramet_wire::boot::FEATURE).chain(firmware.iter().map(|_| FEATURE));
    let features: Vec<&str> = features.collect();
    Ok(Manifest {
        format: FORMAT,
        features: features.into_iter().map(str::to_owned).collect(),
        name: request.name.clone(),
        created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        source: request.machine.clone(),
        cutting: CUTTING,
        inconsistent: planned.iter().any(Planned::is_inconsistent),
        warnings: planned.iter().flat_map(warnings).chain(firmware_warning).collect(),
        firmware,
        boot: facts,
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
