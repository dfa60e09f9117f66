//! The ids of a disk's table and of its partitions.
//!
//! In: a disk and what the manifest says of it. Out: new ids, or why they stay.
//! Promise: the table with them was read from memory and differs in nothing else.

use super::UuidError;
use super::patch::{Groups, Patch, Rehearsed};
use super::plan::{Disk, NewId, What};
use super::seed::{Seed, four};
use crate::disk::source::ReadAt;
use crate::partition::{self, NewIds, PartitionError};
use ramet_wire::{Table, TableKind};
use std::sync::Arc;

/// Partitions that only Windows makes: its reserved one on GPT, and an NTFS type on MBR.
const WINDOWS_RESERVED: &str = "e3c9e316-0b5c-4db8-817d-f92df00215ae";
const NTFS: &str = "0x07";
const BOOTABLE: u64 = 0x80;

/// Ids and the sectors for them.
pub(super) struct Tabled {
    pub ids: Vec<NewId>,
    pub new: NewIds,
    pub kept: Option<String>,
}

fn failed(disk: u32) -> impl Fn(PartitionError) -> UuidError {
    move |source| UuidError::Table { disk, source }
}

/// # Errors
/// [`UuidError::Table`] where the table cannot be read.
pub(super) fn decide(disk: &Disk<'_>, seed: Seed) -> Result<Tabled, UuidError> {
    let ordinal = disk.image.ordinal;
    let now = partition::read(&*disk.bytes, disk.sector).map_err(failed(ordinal))?.table;
    let kept = |reason: String| Tabled { ids: Vec::new(), new: NewIds::default(), kept: Some(reason) };
    if now.kind == TableKind::None {
        return Ok(Tabled { ids: Vec::new(), new: NewIds::default(), kept: None });
    }
    if now.kind != disk.image.table.kind {
        return Ok(kept(format!("it is {}, the image says {}", now.kind, disk.image.table.kind)));
    }
    if of_windows(&now) {
        let reason = "the boot configuration of Windows (BCD) names them, which is not rewritten";
        return Ok(kept(reason.to_owned()));
    }
    let (new, ids) = new_ids(disk, &now, seed);
    if let Err(error) = rehearse(&disk.bytes, disk.sector, &new, &now) {
        return match error {
            error @ PartitionError::Io { .. } => Err(failed(ordinal)(error)),
            doubt => Ok(kept(doubt.to_string())),
        };
    }
    Ok(Tabled { ids, new, kept: None })
}

fn of_windows(table: &Table) -> bool {
    let reserved = |kind: &str| kind == WINDOWS_RESERVED;
    table.entries.iter().any(|entry| match table.kind {
        TableKind::Mbr => entry.r#type == NTFS && entry.attributes & BOOTABLE != 0,
        _ => reserved(&entry.r#type),
    })
}

fn new_ids(disk: &Disk<'_>, now: &Table, seed: Seed) -> (NewIds, Vec<NewId>) {
    let ordinal = disk.image.ordinal;
    let said = &disk.image.table;
    let (mut new, mut ids) = (NewIds::default(), Vec::new());
    let name = format!("disk {ordinal}");
    let id = seed.id(&format!("{name} table"));
    let mut add = |name: String, what, old: Option<&String>, new: String, current: Option<&String>| {
        if let Some(old) = old {
            let there = current == Some(&new);
            ids.push(NewId { name, what, disk: Some(ordinal), old: old.clone(), new, there, needs: None });
        }
    };
    if now.kind == TableKind::Mbr {
        new.signature = Some(four(id));
        let signature = format!("{:#010x}", four(id));
        add(name.clone(), What::Table, said.id.as_ref(), signature.clone(), now.id.as_ref());
        let part = |table: &Option<String>, number: u32| {
            table.as_deref().and_then(|id| id.strip_prefix("0x")).map(|digits| format!("{digits}-{number:02x}"))
        };
        for entry in &now.entries {
            let (old, current) = (part(&said.id, entry.number), part(&now.id, entry.number));
            let new = part(&Some(signature.clone()), entry.number).unwrap_or_default();
            let name = format!("{name} partition {}", entry.number);
            add(name, What::Partition(entry.number), old.as_ref(), new, current.as_ref());
        }
        return (new, ids);
    }
    new.disk = Some(id);
    add(name.clone(), What::Table, said.id.as_ref(), id.hyphenated().to_string(), now.id.as_ref());
    for entry in &now.entries {
        let name = format!("{name} partition {}", entry.number);
        let id = seed.id(&format!("{name} guid"));
        new.partitions.insert(entry.number, id);
        let said = said.entries.iter().find(|other| other.number == entry.number);
        let old = said.and_then(|said| said.guid.as_ref()).or(entry.guid.as_ref());
        add(name, What::Partition(entry.number), old, id.hyphenated().to_string(), entry.guid.as_ref());
    }
    (new, ids)
}

/// The sectors for a table, in the order in which they are written; none where they are there.
pub(super) fn patches(disk: &dyn ReadAt, sector: u32, new: &NewIds) -> Result<Groups, PartitionError> {
    let groups = partition::rename(disk, sector, new)?;
    let patch = |piece: partition::Piece| Patch::new(piece.offset, piece.bytes);
    Ok(groups.into_iter().map(|group| group.into_iter().map(patch).collect()).collect())
}

fn rehearse(disk: &Arc<dyn ReadAt>, sector: u32, new: &NewIds, now: &Table) -> Result<(), PartitionError> {
    let patches = patches(&**disk, sector, new)?;
    let after = partition::read(&Rehearsed { inner: Arc::clone(disk), patches }, sector)?.table;
    let mut expected = now.clone();
    new.put_into(&mut expected);
    if after != expected {
        let (given, found) = (format!("{expected:?}"), format!("{after:?}"));
        return Err(PartitionError::Differs { what: "renamed table".to_owned(), given, found });
    }
    Ok(())
}
