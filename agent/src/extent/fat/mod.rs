//! FAT12, FAT16 and FAT32: a cluster matters if either allocation table says so.
//!
//! In: a partition with a FAT boot sector. Out: all before the first cluster, used clusters, all after the last one.
//! Promise: a dirty volume, a switched-off mirror or a boot sector that contradicts itself is a doubt.

mod boot;
mod files;
mod label;
mod table;

use super::ExtentError;
use super::map::{Content, Layout, Part};
use super::peek::Peek;
use crate::disk::source::ReadAt;
use boot::{Boot, Width};

/// A boot sector that only resembles FAT is of no format; one that is FAT and contradicts itself is still named.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(0, 512)? else { return Ok(None) };
    if !boot::resembles_fat(&raw) {
        return Ok(None);
    }
    let mut content = Content::of("vfat");
    let Ok(boot) = Boot::parse(&raw, peek.size()) else {
        return Ok(Some(Content { state: Some("damaged".to_owned()), ..content }));
    };
    content.uuid = boot.uuid();
    content.label = label::volume_label(peek, &boot)?;
    content.version = Some(match boot.width {
        Width::Twelve => "FAT12".to_owned(),
        Width::Sixteen => "FAT16".to_owned(),
        Width::ThirtyTwo => "FAT32".to_owned(),
    });
    content.state = Some(if table::dirt(peek.part(), &boot)?.is_some() { "dirty" } else { "clean" }.to_owned());
    Ok(Some(content))
}

/// Paths of the EFI programs in a FAT volume, such as `\EFI\debian\shimx64.efi`; none where it is no FAT volume.
///
/// # Errors
/// [`ExtentError::Read`] from the device.
pub fn efi_loaders(part: &dyn ReadAt) -> Result<Vec<String>, ExtentError> {
    let peek = Peek::new(part)?;
    let raw = peek.bytes(0, 512)?.unwrap_or_default();
    match Boot::parse(&raw, part.size()) {
        Ok(boot) if boot::resembles_fat(&raw) => files::loaders(&peek, &boot),
        _ => Ok(Vec::new()),
    }
}

/// At most `len` bytes, and at most 1 MiB, at `from` in a file that [`efi_loaders`] names; none where there is none.
///
/// # Errors
/// [`ExtentError::Read`] from the device.
pub fn efi_file(part: &dyn ReadAt, path: &str, from: u64, len: usize) -> Result<Option<Vec<u8>>, ExtentError> {
    let peek = Peek::new(part)?;
    let raw = peek.bytes(0, 512)?.unwrap_or_default();
    match Boot::parse(&raw, part.size()) {
        Ok(boot) if boot::resembles_fat(&raw) => files::file(&peek, &boot, path, from, len),
        _ => Ok(None),
    }
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let raw = Peek::new(&*part)?.bytes(0, 512)?.unwrap_or_default();
    let boot = Boot::parse(&raw, part.size())?;
    if let Some(reason) = table::dirt(&*part, &boot)? {
        return Err(ExtentError::doubt(reason));
    }
    table::check_ends(&*part, &boot)?;
    Ok(Some(Box::new(table::Clusters { part, boot })))
}
