//! What is captured: disks opened for reading, and the machine around them.
//!
//! In: paths as the operator gave them. Out: sources with their sizes, identities, and what of them is in use.
//! Promise: the same disk under two names is refused; nothing here writes.

use crate::disk::source::ReadAt;
use crate::disk::{self, DiskInfo, Disks, InUse, OpenError, Refusal, Source as Opened};
use ramet_wire::ByteRange;
use ramet_wire::manifest::Source;
use std::path::PathBuf;
use std::sync::Arc;

/// A disk to capture.
pub struct SourceDisk {
    /// As the operator named it.
    pub path: String,
    /// Its bytes.
    pub source: Arc<dyn ReadAt>,
    /// Bytes per logical sector: 512 or 4096.
    pub logical_sector: u32,
    /// Bytes per physical sector.
    pub physical_sector: u32,
    /// Model, as the device says.
    pub model: Option<String>,
    /// Serial number, as the device says.
    pub serial: Option<String>,
    /// World-wide name.
    pub wwn: Option<String>,
    /// Ranges that are mounted or held, in bytes, and by whom. They are copied whole, and the image is inconsistent.
    pub busy: Vec<(ByteRange, String)>,
}

impl std::fmt::Debug for SourceDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceDisk").field("path", &self.path).field("busy", &self.busy).finish_non_exhaustive()
    }
}

/// Why a disk is not captured. Nothing was read into a store.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened.
    #[error("opening {path} for reading")]
    Open {
        /// Which.
        path: String,
        /// Why.
        source: OpenError,
    },
    /// The guard says no.
    #[error("checking the disks to capture")]
    Guard(#[from] Refusal),
}

/// Opens `paths` in their order, which gives them their ordinals.
///
/// # Errors
/// [`SourceError`].
pub fn open_all(known: &Disks, paths: &[PathBuf]) -> Result<Vec<SourceDisk>, SourceError> {
    let open = |path: &PathBuf| {
        let failed = |source| SourceError::Open { path: path.display().to_string(), source };
        DiskInfo::open_source(path).map_err(failed)
    };
    let opened: Vec<Opened> = paths.iter().map(open).collect::<Result<_, _>>()?;
    let infos: Vec<&DiskInfo> = opened.iter().map(|opened| &opened.info).collect();
    let uses = disk::check_sources(known, &infos)?;
    Ok(opened.into_iter().zip(uses).map(|(opened, uses)| with_uses(opened, &uses)).collect())
}

fn with_uses(opened: Opened, uses: &[InUse]) -> SourceDisk {
    let info = opened.info.clone();
    SourceDisk {
        path: info.path.display().to_string(),
        logical_sector: info.sector_size,
        physical_sector: info.physical_sector_size.max(info.sector_size),
        model: info.model,
        serial: info.serial,
        wwn: info.wwn,
        busy: uses.iter().map(|used| (used.range, used.to_string())).collect(),
        source: Arc::new(opened),
    }
}

/// The machine this runs on, as SMBIOS and the kernel tell it.
#[must_use]
pub fn this_machine() -> Source {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(128).collect();
        (!text.is_empty()).then_some(text)
    };
    let firmware = if std::path::Path::new("/sys/firmware/efi").exists() { "uefi" } else { "bios" };
    Source {
        host: read("/proc/sys/kernel/hostname"),
        uuid: read("/sys/class/dmi/id/product_uuid"),
        serial: read("/sys/class/dmi/id/product_serial"),
        vendor: read("/sys/class/dmi/id/sys_vendor"),
        product: read("/sys/class/dmi/id/product_name"),
        firmware: Some(firmware.to_owned()),
    }
}
