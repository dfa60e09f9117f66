//! exFAT: a cluster matters if the allocation bitmap says so.
//!
//! In: a partition with an exFAT boot sector. Out: all before the first cluster, used clusters, all after the last one.
//! Promise: a dirty volume, two tables (TexFAT), a wrong checksum or a contradiction is a doubt.
//!
//! After Microsoft's "exFAT file system specification", revision 1.00. Tables of fields: `boot.rs`, `root.rs`.

mod bitmap;
mod boot;
mod root;
mod table;

use super::ExtentError;
use super::error::believe;
use super::map::{Content, Layout, Part};
use super::peek::Peek;
use boot::Boot;
pub(crate) use boot::add_to_sum;
use root::Root;

/// Bytes of the root directory in which the label is looked for; formatters make it the first entry.
const LABEL_WITHIN: u64 = 1 << 20;
/// Flags of the boot sector.
const DIRTY: u16 = 2;
const MEDIA_FAILURE: u16 = 4;
/// Means nothing (specification, 3.1.13.4).
const CLEAR_TO_ZERO: u16 = 8;

/// A boot sector that names exFAT and contradicts itself is still named.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(0, boot::LEN)?.filter(|raw| boot::is_exfat(raw)) else { return Ok(None) };
    let mut content = Content { uuid: boot::uuid(&raw), version: Some(boot::version(&raw)), ..Content::of("exfat") };
    let state = match Boot::parse(&raw, peek.size()) {
        Err(_) => "damaged",
        Ok(boot) => match Root::read(peek.part(), &boot, LABEL_WITHIN) {
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            Err(_) => "damaged",
            Ok(root) => {
                content.label = root.label;
                match boot.check_regions(peek.part()) {
                    Err(error @ ExtentError::Read { .. }) => return Err(error),
                    Err(_) => "damaged",
                    Ok(()) if boot.flags & (DIRTY | MEDIA_FAILURE) != 0 => "dirty",
                    Ok(()) => "clean",
                }
            }
        },
    };
    content.state = Some(state.to_owned());
    Ok(Some(content))
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from the device.
pub(super) fn read(Part { bytes: part, .. }: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let raw = Peek::new(&*part)?.bytes(0, boot::LEN)?.unwrap_or_default();
    let boot = Boot::parse(&raw, part.size())?;
    believe!(boot.flags & DIRTY == 0, "the volume is dirty (flags {:#x} in the boot sector)", boot.flags);
    believe!(
        boot.flags & MEDIA_FAILURE == 0,
        "the volume had media failures (flags {:#x} in the boot sector)",
        boot.flags
    );
    let unknown = boot.flags & !CLEAR_TO_ZERO;
    believe!(unknown == 0, "boot sector has flags {unknown:#x} (1 is the second table of TexFAT), 0 expected");
    boot.check_regions(&*part)?;
    Ok(Some(Box::new(bitmap::Clusters::new(part, boot)?)))
}
