//! The same table with other ids.
//!
//! In: a disk, and new ids for its table and partitions. Out: the sectors to write, in groups that are flushed apart.
//! Promise: only ids and CRCs change; after each group at least one copy of a GPT is right. Nothing is written here.

use super::gpt::{Copy, Gpt, at, edit_header};
use super::retarget::Piece;
use super::scan::{Found, parse};
use super::{PartitionError, le32};
use crate::disk::source::ReadAt;
use ramet_wire::{Table, TableKind};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where an entry has its own GUID (UEFI 2.10, table 5.6), and where an MBR has its signature.
const ENTRY_GUID: usize = 16;
const SIGNATURE: usize = 440;

/// The ids that a table shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewIds {
    /// GPT: the disk's GUID.
    pub disk: Option<Uuid>,
    /// MBR: the disk's signature.
    pub signature: Option<u32>,
    /// GPT: GUIDs of partitions by number; others keep theirs.
    pub partitions: BTreeMap<u32, Uuid>,
}

impl NewIds {
    /// Makes `table` say what its bytes will say.
    pub fn put_into(&self, table: &mut Table) {
        let id = match table.kind {
            TableKind::Gpt => self.disk.map(|id| id.hyphenated().to_string()),
            TableKind::Mbr => self.signature.map(|signature| format!("{signature:#010x}")),
            TableKind::None => None,
        };
        if id.is_some() {
            table.id = id;
        }
        for entry in table.entries.iter_mut().filter(|entry| entry.guid.is_some()) {
            if let Some(guid) = self.partitions.get(&entry.number) {
                entry.guid = Some(guid.hyphenated().to_string());
            }
        }
    }
}

/// Sectors to write: each inner list, then a flush. None for a disk without a table.
///
/// # Errors
/// What [`super::read`] refuses, and [`PartitionError::Differs`] where the two copies of a GPT are not the same.
pub fn rename(disk: &dyn ReadAt, sector_size: u32, ids: &NewIds) -> Result<Vec<Vec<Piece>>, PartitionError> {
    let mut parsed = parse(disk, sector_size)?;
    match &parsed.found {
        Found::None => Ok(Vec::new()),
        Found::Mbr(_) => {
            let Some(signature) = ids.signature else { return Ok(Vec::new()) };
            parsed.lba0[SIGNATURE..SIGNATURE + 4].copy_from_slice(&signature.to_le_bytes());
            Ok(vec![vec![Piece { offset: 0, bytes: parsed.lba0 }]])
        }
        Found::Gpt(gpt) => {
            let Gpt { primary: Some(primary), backup: Some(backup), agree: true } = &**gpt else {
                return Err(PartitionError::Differs {
                    what: "GPT".to_owned(),
                    given: "the primary".to_owned(),
                    found: "the backup".to_owned(),
                });
            };
            // The backup first: until its header is there, the primary counts.
            Ok([backup, primary].map(|copy| renamed(copy, u64::from(sector_size), ids)).into())
        }
    }
}

/// Entries, then the header that makes them valid.
fn renamed(copy: &Copy, ss: u64, ids: &NewIds) -> Vec<Piece> {
    let (mut header, mut entries) = (copy.header.clone(), copy.entries.clone());
    // Both were bounded when the copy was read.
    let size = |at| usize::try_from(le32(&header, at)).unwrap_or(usize::MAX);
    let (count, size) = (size(at::ENTRY_COUNT), size(at::ENTRY_SIZE));
    for (&number, guid) in &ids.partitions {
        let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let start = index.saturating_mul(size).saturating_add(ENTRY_GUID);
        if let Some(field) = entries.get_mut(start..start.saturating_add(16)).filter(|_| index < count) {
            field.copy_from_slice(&guid.to_bytes_le());
        }
    }
    let sum = crc32fast::hash(entries.get(..count.saturating_mul(size)).unwrap_or(&entries));
    if let Some(disk) = ids.disk {
        header[at::DISK_GUID..at::DISK_GUID + 16].copy_from_slice(&disk.to_bytes_le());
    }
    header[at::ENTRIES_CRC..at::ENTRIES_CRC + 4].copy_from_slice(&sum.to_le_bytes());
    vec![
        Piece { offset: copy.entries_lba() * ss, bytes: entries },
        Piece { offset: copy.my_lba() * ss, bytes: edit_header(&header, &[]) },
    ]
}
