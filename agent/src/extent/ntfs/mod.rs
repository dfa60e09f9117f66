//! NTFS: a cluster matters if `$Bitmap` says so.
//!
//! In: a partition with an NTFS boot sector. Out: used clusters, and all behind the last one (the boot sector's copy).
//! Promise: a dirty volume, a log to be replayed, a hibernated Windows or metadata that contradicts itself is a doubt.
//!
//! Hand-written, not the crate `ntfs`: what is needed is little (records, runs, one bitmap, one name), every bound on it
//! shall be ours to test, and that crate has had no release since 2023.
//!
//! What `$Bitmap` does not say:
//! - The boot sector's copy lies behind the last cluster, in the partition's last sector. All from there on is copied.
//! - Bad clusters are used in `$Bitmap` (`$BadClus:$Bad`); they are read like any others.
//! - Allocated and never written (valid data length) is copied too: programs with the right to do so make it readable.
//! - Shadow copies (VSS) read blocks that did not change since through the volume, also those of files deleted since,
//!   which `$Bitmap` calls free. The volume itself is complete without them; a warning says what is lost. Their catalog
//!   is named at byte 0x1e00 (libvshadow, "Volume Shadow Snapshot (VSS) format"). partclone and ntfsclone lose the same.
//! - A volume that BitLocker converts has its own signature from the first moment on, and is of another format; here the
//!   boot sector's copy must not carry it.

mod attribute;
mod boot;
mod clusters;
mod directory;
mod fixup;
mod hibernation;
mod logfile;
mod runs;
mod stream;
mod volume;

use super::ExtentError;
use super::bytes::Fields;
use super::error::believe;
use super::map::{Content, Layout, Part};
use super::peek::Peek;
use crate::disk::source::ReadAt;
use clusters::Clusters;
use std::sync::Arc;
use volume::{LOG, Volume};

/// {3808876b-c176-4e48-b7ae-04046e6cc752}
const SHADOW_COPIES: &[u8] = b"\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52";
const SHADOW_COPIES_AT: u64 = 0x1e00;

/// Whether the map may be believed.
enum Condition {
    Clean,
    Dirty(String),
    Hibernated(String),
}

impl Condition {
    /// The flags of the volume, its log, and a hibernated Windows; the last tells most and is looked for first.
    fn of(volume: &Volume<'_>) -> Result<Self, ExtentError> {
        if let Some(reason) = hibernation::in_use(volume)? {
            return Ok(Self::Hibernated(reason));
        }
        let flags = volume.dirt()?;
        let reason = flags.map_or_else(|| logfile::dirt(volume.part, &volume.system(LOG)?), |flags| Ok(Some(flags)))?;
        Ok(reason.map_or(Self::Clean, Self::Dirty))
    }

    const fn state(&self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty(_) => "dirty",
            Self::Hibernated(_) => "hibernated",
        }
    }
}

/// A volume that contradicts itself is still named.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(0, 512)?.filter(|raw| boot::is_ntfs(raw)) else { return Ok(None) };
    let mut content = Content { uuid: Some(boot::uuid(&raw)), ..Content::of("ntfs") };
    let looked = Volume::open(peek.part()).and_then(|volume| {
        content.label = volume.label()?;
        Condition::of(&volume)
    });
    let state = match looked {
        Ok(condition) => condition.state(),
        Err(error @ ExtentError::Read { .. }) => return Err(error),
        Err(_) => "damaged",
    };
    content.state = Some(state.to_owned());
    Ok(Some(content))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let volume = Volume::open(&*part)?;
    match Condition::of(&volume)? {
        Condition::Clean => {}
        Condition::Dirty(reason) | Condition::Hibernated(reason) => return Err(ExtentError::doubt(reason)),
    }
    check_copy(&volume)?;
    let warnings = shadow_copies(&*part)?.into_iter().collect();
    Ok(Some(Box::new(Clusters::new(Arc::clone(&part), &volume, warnings)?)))
}

/// The boot sector's copy need not be there (a partition may have been enlarged), but not be another format's either.
fn check_copy(volume: &Volume<'_>) -> Result<(), ExtentError> {
    let peek = Peek::new(volume.part)?;
    let last = volume.part.size().saturating_sub(512);
    for at in [volume.boot.len, last] {
        believe!(!peek.has(at + 3, b"-FVE-FS-")?, "boot sector is of NTFS, its copy at byte {at} of BitLocker");
    }
    Ok(())
}

fn shadow_copies(part: &dyn ReadAt) -> Result<Option<String>, ExtentError> {
    let header = Peek::new(part)?.bytes(SHADOW_COPIES_AT, 128)?.unwrap_or_default();
    let there = Fields(&header).bytes(0, 16) == SHADOW_COPIES && Fields(&header).le64(48) != 0;
    Ok(there.then(|| {
        "it holds shadow copies (restore points): what they share with files deleted since is not captured".to_owned()
    }))
}
