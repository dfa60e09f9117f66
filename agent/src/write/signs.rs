//! What lies on a disk that is about to be overwritten, and what ties an image to its disk's size.
//!
//! In: a disk to read. Out: names, for people and for the plan.
//! Promise: reads only; a disk full of garbage is described, never refused.

use super::medium::{Medium, MediumView};
use crate::disk::source::{ReadAt, Window};
use crate::extent::{Content, firmware_raid_at_end, probe};
use crate::partition;
use ramet_wire::{Entry, TableKind};
use std::io;

/// Most partitions of an old table that are named one by one.
const NAMED_MAX: usize = 32;

/// In a disk's last sector: that of Windows' Logical Disk Manager.
const LDM: &[u8] = b"PRIVHEAD";

/// RAID, LDM and pool metadata that says where the disk's end is, if `disk` has any.
///
/// # Errors
/// Whatever reading the disk answers.
pub fn end_metadata(disk: &dyn ReadAt) -> io::Result<Option<&'static str>> {
    let content = probe(disk).map_err(io::Error::other)?;
    let by_content = ["linux_raid_member", "zfs_member", "drbd"].into_iter().find(|kind| content.kind == *kind);
    if by_content.is_some() {
        return Ok(by_content);
    }
    if let Some(kind) = firmware_raid_at_end(disk).map_err(io::Error::other)? {
        return Ok(Some(kind));
    }
    let Some(offset) = (disk.size() / 512 * 512).checked_sub(512) else { return Ok(None) };
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, offset)?;
    Ok(sector.starts_with(LDM).then_some("LDM (Windows dynamic disk)"))
}

/// What a target holds now, one line each; empty when nothing is recognised. With `only`, what these partitions hold.
///
/// # Errors
/// Whatever reading the disk answers.
pub fn lies_on(medium: &dyn Medium, only: Option<&[u32]>) -> io::Result<Vec<String>> {
    let view = MediumView(medium);
    if let Some(numbers) = only {
        let entries = partition::read(&view, medium.sector()).map(|scan| scan.table.entries).unwrap_or_default();
        let meant = entries.iter().filter(|entry| numbers.contains(&entry.number));
        return meant.map(|entry| partition_line(&view, entry)).collect();
    }
    let mut lines = Vec::new();
    let whole = probe(&view).map_err(io::Error::other)?;
    if whole.kind != "unknown" {
        lines.push(format!("whole disk: {}", describe(&whole)));
    }
    if let Some(name) = end_metadata(&view)?.filter(|name| *name != whole.kind) {
        lines.push(format!("at the disk's end: {name}"));
    }
    let table = match partition::read(&view, medium.sector()) {
        Ok(scan) => scan.table,
        Err(partition::PartitionError::Io { source, .. }) => return Err(source),
        Err(error) => {
            lines.push(format!("a damaged partition table ({error})"));
            return Ok(lines);
        }
    };
    if table.kind == TableKind::None {
        return Ok(lines);
    }
    lines.push(format!("{} table with {} partitions", table.kind, table.entries.len()));
    for entry in table.entries.iter().filter(|entry| !entry.extended).take(NAMED_MAX) {
        lines.push(partition_line(&view, entry)?);
    }
    if table.entries.len() > NAMED_MAX {
        lines.push(format!("and {} more partitions", table.entries.len() - NAMED_MAX));
    }
    Ok(lines)
}

fn partition_line(disk: &MediumView<'_>, entry: &Entry) -> io::Result<String> {
    let content = probe(&Window::new(disk, entry.range)?).map_err(io::Error::other)?;
    let name = entry.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
    Ok(format!("partition {}{name}: {} bytes, {}", entry.number, entry.range.len(), describe(&content)))
}

fn describe(content: &Content) -> String {
    let label = content.label.as_ref().map(|label| format!(" {label:?}")).unwrap_or_default();
    let uuid = content.uuid.as_ref().map(|uuid| format!(" {uuid}")).unwrap_or_default();
    format!("{}{label}{uuid}", content.kind)
}
