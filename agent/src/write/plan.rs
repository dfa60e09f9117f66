//! The plan: what a restore is about to do, before anything is written.
//!
//! In: maps and targets. Out: a value to show, to confirm, and to print as JSON.
//! Promise: everything that will be erased is named as far as it was recognised.

use super::map::{DiskMap, JobKind, Mode};
use super::medium::Medium;
use ramet_wire::boot::{Answer, Verdict};
use ramet_wire::manifest::DiskImage;
use ramet_wire::receipt::{Origin, Proof};
use ramet_wire::{ByteRange, ImageRef, TableKind};
use serde::Serialize;
use std::fmt;

/// A restore before it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Name and version.
    pub image: ImageRef,
    /// When it was captured, by the capturing machine's clock.
    pub created: String,
    /// Who vouches for it.
    pub origin: Origin,
    /// A file system was mounted or held while it was captured.
    pub inconsistent: bool,
    /// What the capture warned of.
    pub warnings: Vec<String>,
    /// Whether this machine starts from it; none where that is not asked: single partitions, image files.
    pub boot: Option<Verdict>,
    /// What will be proven at most.
    pub proof: Proof,
    /// Disk by disk.
    pub disks: Vec<DiskPlan>,
}

/// One disk of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskPlan {
    /// The image disk's ordinal.
    pub ordinal: u32,
    /// The image disk's size in bytes.
    pub source_size: u64,
    /// Its model and serial number.
    pub source: String,
    /// The target's path.
    pub path: String,
    /// The target's size in bytes.
    pub size: u64,
    /// Bytes per logical sector of both.
    pub sector_size: u32,
    /// The target's model and serial number.
    pub target: String,
    /// What lies on the target now.
    pub holds: Vec<String>,
    /// Partitions that will be restored; empty for the whole disk.
    pub partitions: Vec<u32>,
    /// What happens to the table.
    pub table: String,
    /// What becomes of sizes and places of partitions, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
    /// Bytes of data.
    pub data_bytes: u64,
    /// Bytes recorded as zero.
    pub zero_bytes: u64,
    /// Bytes outside the image that are zeroed at the ends of disk and partitions.
    pub blank_bytes: u64,
}

impl DiskPlan {
    /// The plan for one disk. `source` and `target` are model and serial numbers, `holds` what lies there now.
    #[must_use]
    pub fn of(image: &DiskImage, map: &DiskMap, medium: &dyn Medium, target: String, holds: Vec<String>) -> Self {
        let (data_bytes, zero_bytes) = map.bytes();
        let blank = map.fixed.iter().filter(|job| job.space == super::map::BLANK && job.kind == JobKind::Zero);
        let partitions = match &map.mode {
            Mode::Whole => Vec::new(),
            Mode::Partitions(numbers) => numbers.clone(),
        };
        Self {
            ordinal: image.ordinal,
            source_size: image.size,
            source: identity(image.model.as_deref(), image.serial.as_deref()),
            path: medium.name().to_owned(),
            size: medium.size(),
            sector_size: medium.sector(),
            target,
            holds,
            table: table_change(image, map, medium.size()),
            partitions,
            sizes: Vec::new(),
            data_bytes,
            zero_bytes,
            blank_bytes: blank.map(|job| job.range.len()).sum::<u64>()
                + map.spaces.iter().flat_map(|space| &space.zones).map(|zone: &ByteRange| zone.len()).sum::<u64>(),
        }
    }
}

/// Model and serial number, as far as they are known.
#[must_use]
pub fn identity(model: Option<&str>, serial: Option<&str>) -> String {
    let serial = serial.map(|serial| format!("serial {serial}"));
    let parts: Vec<&str> = model.into_iter().chain(serial.as_deref()).collect();
    if parts.is_empty() { "no model or serial known".to_owned() } else { parts.join(", ") }
}

/// What becomes of a table whose partitions get other places.
#[must_use]
pub fn placed_table(image: &DiskImage) -> String {
    let (kind, count) = (image.table.kind, image.table.entries.len());
    format!("{kind} with {count} partitions at new places; their order, numbers, types, GUIDs and names stay")
}

fn table_change(image: &DiskImage, map: &DiskMap, size: u64) -> String {
    if map.mode != Mode::Whole {
        return "the target's table stays as it is".to_owned();
    }
    let (kind, count) = (image.table.kind, image.table.entries.len());
    match kind {
        TableKind::None => "no table: the whole disk is one file system or volume".to_owned(),
        TableKind::Gpt if size != image.size => {
            format!(
                "gpt with {count} partitions, its backup moved to the end of {size} bytes (captured: {})",
                image.size
            )
        }
        _ => format!("{kind} with {count} partitions, byte for byte"),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image     {} captured {}", self.image, self.created)?;
        match &self.origin {
            Origin::Pinned(key) => writeln!(f, "origin    signed by {key}, which was pinned")?,
            Origin::IntegrityOnly(key) => {
                writeln!(f, "origin    signed by {key}, the store's own key: integrity checked, origin not")?;
            }
        }
        if self.inconsistent {
            writeln!(f, "WARNING   captured while a file system was mounted or held: inconsistent")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning   {warning}")?;
        }
        if let Some(Verdict { answer, reasons }) = &self.boot {
            match answer {
                Answer::No => writeln!(f, "WARNING   it will not boot here")?,
                answer => writeln!(f, "boot      {answer}")?,
            }
            reasons.iter().try_for_each(|reason| writeln!(f, "  boot    {reason}"))?;
        }
        for disk in &self.disks {
            write!(f, "{disk}")?;
        }
        match self.proof {
            Proof::None => writeln!(f, "proof     none: nothing will be read back"),
            proof => writeln!(f, "proof     {proof}: every byte will be read back"),
        }
    }
}

impl fmt::Display for DiskPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk {}    {} bytes ({})", self.ordinal, self.source_size, self.source)?;
        writeln!(f, "  onto    {}, {} bytes ({})", self.path, self.size, self.target)?;
        if !self.partitions.is_empty() {
            writeln!(f, "  only    partitions {:?}", self.partitions)?;
        }
        writeln!(f, "  table   {}", self.table)?;
        for line in &self.sizes {
            writeln!(f, "  size    {line}")?;
        }
        let (data, zeros, blank) = (self.data_bytes, self.zero_bytes, self.blank_bytes);
        writeln!(f, "  bytes   {data} of data, {zeros} of zeros, up to {blank} blanked")?;
        if self.holds.is_empty() {
            writeln!(f, "  erases  nothing that was recognised")?;
        }
        for line in &self.holds {
            writeln!(f, "  erases  {line}")?;
        }
        Ok(())
    }
}
