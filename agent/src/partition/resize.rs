//! The final bytes of a table whose partitions got other places.
//!
//! In: the byte-exact table of the captured disk, the new disk's size, the new place of each partition. Out: the sectors to
//! write, and the table that they mean.
//! Promise: numbers, GUIDs, names, types and attributes stay; beside what `retarget` changes, only these fields do: first
//! and last LBA of GPT entries and the CRCs over them; start, length and CHS of MBR records, and where EBRs lie. The result
//! is read again, as if it lay on a disk, and is the plan or a refusal.

use super::gpt::at;
use super::mbr::{RECORD_SIZE, RECORDS_AT};
use super::retarget::{Layout, Piece, retarget_to};
use super::scan::{Found, parse};
use super::{PartitionError, le32, le64};
use crate::disk::source::ReadAt;
use ramet_wire::{ByteRange, Entry, Table, TableKind};
use std::io;

/// First and last LBA in a GPT entry (UEFI 2.10, table 5.6).
const FIRST_LBA: usize = 32;
/// The same.
const LAST_LBA: usize = 40;
/// What a CHS address says that is of no meaning, as everybody writes it for LBAs beyond 8 GB.
const CHS_NONE: [u8; 3] = [0xfe, 0xff, 0xff];

/// The table of a disk of `new_size` bytes on which partitions lie at the ranges (and EBRs) of `planned`, whose other
/// fields are those of `table`. `old` shows the captured gaps.
///
/// # Errors
/// What [`super::retarget`] refuses; [`PartitionError::Unmovable`] for tables whose places can not be changed;
/// [`PartitionError::Differs`] when the result does not mean the plan.
pub fn resize(
    old: &dyn ReadAt,
    table: &Table,
    sector_size: u32,
    new_size: u64,
    planned: &[Entry],
) -> Result<Layout, PartitionError> {
    let ss = u64::from(sector_size);
    let wanted = Table { entries: planned.to_vec(), ..table.clone() };
    let mut layout = retarget_to(old, table, &wanted, sector_size, new_size)?;
    match table.kind {
        TableKind::None => return Ok(layout),
        TableKind::Gpt => {
            if table.hybrid {
                return Err(PartitionError::Unmovable { why: "its MBR has entries beside that of the GPT" });
            }
            edit_gpt(&mut layout, planned, ss)?;
        }
        TableKind::Mbr => {
            let Found::Mbr(chain) = parse(old, sector_size)?.found else {
                return Err(PartitionError::Unmovable { why: "it is no MBR" });
            };
            edit_mbr(&mut layout, table, planned, &chain.ebrs, ss)?;
        }
    }
    rehearse(&layout, &wanted, sector_size, new_size)?;
    Ok(layout)
}

fn edit_gpt(layout: &mut Layout, planned: &[Entry], ss: u64) -> Result<(), PartitionError> {
    for pieces in [&mut layout.head, &mut layout.backup] {
        // A header and its array, in either order.
        let is_header = |piece: &Piece| piece.bytes.starts_with(super::GPT_SIGNATURE);
        let header = pieces.iter().position(is_header).ok_or(PartitionError::Unmovable { why: "it has no header" })?;
        let (mut head, array) = (pieces[header].bytes.clone(), &mut pieces[1 - header].bytes);
        let (count, size) = (le32(&head, at::ENTRY_COUNT), le32(&head, at::ENTRY_SIZE));
        for entry in planned {
            let index = entry.number.checked_sub(1).filter(|index| *index < count);
            let start = index.and_then(|index| usize::try_from(u64::from(index) * u64::from(size)).ok());
            let room = start.filter(|start| start + LAST_LBA + 8 <= array.len());
            let start = room.ok_or(PartitionError::Unmovable { why: "an entry lies outside of its array" })?;
            let (first, last) = (entry.range.start() / ss, (entry.range.end() / ss).saturating_sub(1));
            array[start + FIRST_LBA..start + FIRST_LBA + 8].copy_from_slice(&first.to_le_bytes());
            array[start + LAST_LBA..start + LAST_LBA + 8].copy_from_slice(&last.to_le_bytes());
        }
        let len = usize::try_from(u64::from(count) * u64::from(size)).unwrap_or(usize::MAX).min(array.len());
        let crc = crc32fast::hash(&array[..len]);
        head[at::ENTRIES_CRC..at::ENTRIES_CRC + 4].copy_from_slice(&crc.to_le_bytes());
        let mine = le64(&head, at::MY_LBA);
        pieces[header].bytes = super::gpt::edit_header(&head, &[(at::MY_LBA, mine)]);
    }
    Ok(())
}

fn edit_mbr(
    layout: &mut Layout,
    table: &Table,
    planned: &[Entry],
    ebrs: &[u64],
    ss: u64,
) -> Result<(), PartitionError> {
    let old_of = |number: u32| table.entries.iter().find(|entry| entry.number == number);
    for entry in planned.iter().filter(|entry| entry.number <= 4) {
        let slot = RECORDS_AT + (entry.number as usize - 1) * RECORD_SIZE;
        if old_of(entry.number).is_none_or(|old| old.range != entry.range) {
            put_record(&mut layout.lba0.bytes, slot, 0, entry.range, ss)?;
        }
    }
    let logical: Vec<&Entry> = planned.iter().filter(|entry| entry.number > 4).collect();
    let moved = logical
        .iter()
        .any(|entry| old_of(entry.number).is_none_or(|old| (old.range, old.ebr) != (entry.range, entry.ebr)));
    let extended = planned.iter().find(|entry| entry.extended).map_or(0, |entry| entry.range.start());
    let stays = table.entries.iter().find(|entry| entry.extended).map_or(0, |entry| entry.range.start()) == extended;
    if !moved && stays {
        return Ok(());
    }
    let in_order = logical.len() == ebrs.len()
        && logical.iter().zip(ebrs).all(|(entry, ebr)| old_of(entry.number).is_some_and(|old| old.ebr == Some(*ebr)));
    if !in_order {
        return Err(PartitionError::Unmovable { why: "its chain of EBRs has links without a partition" });
    }
    for (index, entry) in logical.iter().enumerate() {
        let ebr = entry.ebr.ok_or(PartitionError::Unmovable { why: "a logical partition has no EBR" })?;
        let piece = &mut layout.ebrs[index];
        piece.offset = ebr;
        put_record(&mut piece.bytes, RECORDS_AT, ebr, entry.range, ss)?;
        if let Some((at, next)) = logical.get(index + 1).and_then(|next| Some((next.ebr?, next))) {
            let link = ByteRange::between(at, next.range.end());
            put_record(&mut piece.bytes, RECORDS_AT + RECORD_SIZE, extended, link, ss)?;
        }
    }
    Ok(())
}

/// Start (from `base`), length and CHS of one record.
fn put_record(sector: &mut [u8], slot: usize, base: u64, range: ByteRange, ss: u64) -> Result<(), PartitionError> {
    let lba = |bytes: u64| u32::try_from(bytes / ss);
    let start = range.start().checked_sub(base).map(lba);
    let (Some(Ok(start)), Ok(sectors)) = (start, lba(range.len())) else {
        return Err(PartitionError::Unmovable { why: "an MBR can not say where a partition would lie" });
    };
    let record = sector.get_mut(slot..slot + RECORD_SIZE);
    let record = record.ok_or(PartitionError::Unmovable { why: "its first sector is short" })?;
    record[1..4].copy_from_slice(&CHS_NONE);
    record[5..8].copy_from_slice(&CHS_NONE);
    record[8..12].copy_from_slice(&start.to_le_bytes());
    record[12..16].copy_from_slice(&sectors.to_le_bytes());
    Ok(())
}

/// A disk that holds the pieces of a table, and zeros elsewhere.
struct Stage<'a> {
    layout: &'a Layout,
    size: u64,
}

impl ReadAt for Stage<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::new(offset, buf.len() as u64).map_err(io::Error::other)?;
        if wanted.end() > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        let layout = self.layout;
        let all = std::iter::once(&layout.lba0).chain(&layout.head).chain(&layout.backup).chain(&layout.ebrs);
        for piece in all {
            let own = ByteRange::between(piece.offset, piece.offset.saturating_add(piece.bytes.len() as u64));
            let Some(common) = own.intersect(wanted) else { continue };
            let index = |from: u64| usize::try_from(common.start() - from).unwrap_or(usize::MAX);
            let len = usize::try_from(common.len()).unwrap_or_default();
            let (to, from) = (index(offset), index(piece.offset));
            buf[to..to + len].copy_from_slice(&piece.bytes[from..from + len]);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Reads the table as it will lie on the disk: it must be sound, and mean the plan.
fn rehearse(layout: &Layout, wanted: &Table, sector_size: u32, size: u64) -> Result<(), PartitionError> {
    let found = super::read(&Stage { layout, size }, sector_size)?.table;
    super::retarget::compare(&Table { usable: found.usable, ..wanted.clone() }, &found)
}
