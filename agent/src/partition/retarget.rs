//! The final bytes of a table, for a disk of any size.
//!
//! In: the byte-exact table of the old disk, as its gaps hold it, and the new disk's size. Out: the sectors to write.
//! Promise: on a disk of another size only these fields change: AlternateLBA and MyLBA, LastUsableLBA, the backup's
//! PartitionEntryLBA, the size of a 0xEE entry that reached the old end, and the CRCs. Nothing is written here.

use super::gpt::{Copy, Gpt, at, edit_header};
use super::mbr::stretch_protective;
use super::scan::{Found, parse, read_bytes};
use super::{PartitionError, scan};
use crate::disk::source::ReadAt;
use ramet_wire::{Table, TableKind};

/// Bytes for one place of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they go, in bytes from the start of the disk.
    pub offset: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

/// All sectors of a table, in the parts that are written apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// LBA 0, one sector: the last write. No bytes for a disk without a table, whose first sector is partition 0's.
    pub lba0: Piece,
    /// Primary GPT: header, entries.
    pub head: Vec<Piece>,
    /// Backup GPT: entries, header.
    pub backup: Vec<Piece>,
    /// Every EBR.
    pub ebrs: Vec<Piece>,
}

/// The table of a disk of `new_size` bytes. `old` shows the captured gaps of a disk of `old.size()` bytes; `table` is
/// what the image says about them.
///
/// # Errors
/// [`PartitionError::Differs`] when `table` is not what the bytes say; `DoesNotFit` and `NoRoom` when the new disk is
/// too small; and what [`super::read`] refuses.
pub fn retarget(old: &dyn ReadAt, table: &Table, sector_size: u32, new_size: u64) -> Result<Layout, PartitionError> {
    retarget_to(old, table, table, sector_size, new_size)
}

/// The same where partitions will lie as `planned` says: the new disk must have room for these.
pub(super) fn retarget_to(
    old: &dyn ReadAt,
    table: &Table,
    planned: &Table,
    sector_size: u32,
    new_size: u64,
) -> Result<Layout, PartitionError> {
    let mut layout =
        Layout { lba0: Piece { offset: 0, bytes: Vec::new() }, head: Vec::new(), backup: Vec::new(), ebrs: Vec::new() };
    if table.kind == TableKind::None {
        // Nothing of it lies in gaps, so there is nothing to derive it from.
        check_fit(0, old.size(), new_size, new_size)?;
        return Ok(layout);
    }
    compare(table, &scan::read(old, sector_size)?.table)?;
    let parsed = parse(old, sector_size)?;
    let ss = u64::from(sector_size);
    layout.lba0.bytes = parsed.lba0;
    match &parsed.found {
        Found::None => {}
        Found::Mbr(chain) => {
            check_entries(planned, new_size / ss * ss, new_size)?;
            for &offset in &chain.ebrs {
                layout.ebrs.push(Piece { offset, bytes: read_bytes(old, offset, ss, "EBR")? });
            }
        }
        Found::Gpt(gpt) => {
            let (old_total, new_total) = (old.size() / ss, new_size / ss);
            if old_total != new_total {
                // The end of a disk that grew after its table was made is where its backup header lies.
                let ends = [old_total, gpt.backup_lba(old_total) + 1];
                stretch_protective(&mut layout.lba0.bytes, ends, new_total);
            }
            retarget_gpt(gpt, planned, ss, old.size() / ss, new_size, &mut layout)?;
        }
    }
    Ok(layout)
}

fn retarget_gpt(
    gpt: &Gpt,
    table: &Table,
    ss: u64,
    old_total: u64,
    new_size: u64,
    layout: &mut Layout,
) -> Result<(), PartitionError> {
    let new_total = new_size / ss;
    let piece = |lba: u64, bytes: &[u8]| Piece { offset: lba * ss, bytes: bytes.to_vec() };
    if let (true, true, Some(primary), Some(backup)) = (new_total == old_total, gpt.agree, &gpt.primary, &gpt.backup) {
        layout.head = vec![piece(1, &primary.header), piece(primary.entries_lba(), &primary.entries)];
        layout.backup = vec![piece(backup.entries_lba(), &backup.entries), piece(backup.my_lba(), &backup.header)];
        return Ok(());
    }
    let source = gpt.source();
    let array = source.array_sectors();
    let needed = (source.first_usable() + array + 2).saturating_mul(ss);
    if new_size < needed {
        return Err(PartitionError::NoRoom { needed, size: new_size });
    }
    let (backup_lba, last_usable) = if new_total == old_total {
        let lba = gpt.backup_lba(old_total);
        (lba, source.last_usable().min(lba - array - 1))
    } else {
        (new_total - 1, new_total - array - 2)
    };
    // A partition may end behind LastUsableLBA only where the source already had it so, on a disk of the same size.
    let limit = if new_total == old_total { backup_lba - array } else { last_usable + 1 };
    check_entries(table, limit * ss, new_size)?;

    let entries_lba = gpt.primary_entries_lba();
    let header = |template: &Copy, mine, other, entries| {
        let fields = [
            (at::MY_LBA, mine),
            (at::ALTERNATE_LBA, other),
            (at::LAST_USABLE, last_usable),
            (at::ENTRIES_LBA, entries),
        ];
        edit_header(&template.header, &fields)
    };
    let primary = header(source, 1, backup_lba, entries_lba);
    let backup = header(source, backup_lba, 1, backup_lba - array);
    layout.head = vec![piece(1, &primary), piece(entries_lba, &source.entries)];
    layout.backup = vec![piece(backup_lba - array, &source.entries), piece(backup_lba, &backup)];
    Ok(())
}

fn check_entries(table: &Table, limit: u64, size: u64) -> Result<(), PartitionError> {
    let last = table.entries.iter().max_by_key(|entry| entry.range.end());
    last.map_or(Ok(()), |entry| check_fit(entry.number, entry.range.end(), limit, size))
}

fn check_fit(number: u32, end: u64, limit: u64, size: u64) -> Result<(), PartitionError> {
    if end > limit {
        return Err(PartitionError::DoesNotFit { number, end, limit, size });
    }
    Ok(())
}

/// Names the first difference between the image's table and the one that its bytes give.
pub(super) fn compare(given: &Table, found: &Table) -> Result<(), PartitionError> {
    let differs =
        |what: &str, given: String, found: String| Err(PartitionError::Differs { what: what.to_owned(), given, found });
    if given == found {
        return Ok(());
    }
    if given.kind != found.kind {
        return differs("kind", given.kind.to_string(), found.kind.to_string());
    }
    if given.id != found.id {
        return differs("id", format!("{:?}", given.id), format!("{:?}", found.id));
    }
    if given.entries.len() != found.entries.len() {
        return differs("number of partitions", given.entries.len().to_string(), found.entries.len().to_string());
    }
    match given.entries.iter().zip(&found.entries).find(|(a, b)| a != b) {
        Some((a, b)) => differs(&format!("partition {}", b.number), format!("{a:?}"), format!("{b:?}")),
        None => differs(
            "usable range",
            format!("{:?} hybrid {}", given.usable, given.hybrid),
            format!("{:?} hybrid {}", found.usable, found.hybrid),
        ),
    }
}
