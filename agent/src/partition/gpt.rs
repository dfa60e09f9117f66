//! GUID partition tables: both copies, checked field by field before anything believes them.
//!
//! Header (UEFI 2.10, table 5.5; little endian):
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | "EFI PART" |
//! | 8 | 4 | revision, 0x00010000 |
//! | 12 | 4 | header size, 92 to a sector |
//! | 16 | 4 | CRC-32 of the header, this field as zero |
//! | 24 | 8 | MyLBA |
//! | 32 | 8 | AlternateLBA |
//! | 40 | 8 | FirstUsableLBA |
//! | 48 | 8 | LastUsableLBA |
//! | 56 | 16 | disk GUID |
//! | 72 | 8 | PartitionEntryLBA |
//! | 80 | 4 | number of entries |
//! | 84 | 4 | size of an entry, 128 · 2ⁿ |
//! | 88 | 4 | CRC-32 of the entries |
//!
//! In: a disk whose LBA 0 announces a GPT. Out: the copies that are intact, and the partitions of one of them.
//! Promise: lengths are bounded before they are used; a copy is believed only with both CRCs right.

use super::gaps::Claim;
use super::scan::read_bytes;
use super::{GPT_SIGNATURE, PartitionError, le32, le64};
use crate::disk::source::ReadAt;
use ramet_wire::{ByteRange, Entry, Table, TableKind};
use std::io::Cursor;

/// Fields of a header, by offset.
pub(super) mod at {
    pub const REVISION: usize = 8;
    pub const HEADER_SIZE: usize = 12;
    pub const HEADER_CRC: usize = 16;
    pub const MY_LBA: usize = 24;
    pub const ALTERNATE_LBA: usize = 32;
    pub const FIRST_USABLE: usize = 40;
    pub const LAST_USABLE: usize = 48;
    pub const DISK_GUID: usize = 56;
    pub const ENTRIES_LBA: usize = 72;
    pub const ENTRY_COUNT: usize = 80;
    pub const ENTRY_SIZE: usize = 84;
    pub const ENTRIES_CRC: usize = 88;
}

/// Smallest header, and what everybody writes.
const HEADER_MIN: u32 = 92;

/// The part of an entry that has a meaning.
const ENTRY_MIN: u32 = 128;

/// Largest entry that is read.
const ENTRY_MAX: u32 = 4096;

/// Largest array of entries that is read, in bytes. The usual one has 16 KiB.
const ARRAY_MAX: u64 = 1 << 20;

/// Where the primary array lies unless a primary header says otherwise.
pub(super) const PRIMARY_ENTRIES_LBA: u64 = 2;

/// One intact copy.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// The header's sector, whole.
    pub header: Vec<u8>,
    /// The array of entries, in whole sectors.
    pub entries: Vec<u8>,
}

impl Copy {
    pub fn my_lba(&self) -> u64 {
        le64(&self.header, at::MY_LBA)
    }
    pub fn alternate_lba(&self) -> u64 {
        le64(&self.header, at::ALTERNATE_LBA)
    }
    pub fn first_usable(&self) -> u64 {
        le64(&self.header, at::FIRST_USABLE)
    }
    pub fn last_usable(&self) -> u64 {
        le64(&self.header, at::LAST_USABLE)
    }
    pub fn entries_lba(&self) -> u64 {
        le64(&self.header, at::ENTRIES_LBA)
    }
    fn entry_count(&self) -> u32 {
        le32(&self.header, at::ENTRY_COUNT)
    }
    fn entry_size(&self) -> u32 {
        le32(&self.header, at::ENTRY_SIZE)
    }

    /// Sectors that the array takes.
    pub fn array_sectors(&self) -> u64 {
        (self.entries.len() / self.header.len()) as u64
    }

    /// Same meaning: GUID, usable range, entries.
    fn agrees_with(&self, other: &Self) -> bool {
        self.header[at::FIRST_USABLE..at::ENTRIES_LBA] == other.header[at::FIRST_USABLE..at::ENTRIES_LBA]
            && self.header[at::ENTRY_COUNT..at::ENTRIES_CRC + 4] == other.header[at::ENTRY_COUNT..at::ENTRIES_CRC + 4]
            && self.alternate_lba() == other.my_lba()
            && self.my_lba() == other.alternate_lba()
    }
}

/// A GPT with at least one intact copy.
#[derive(Debug)]
pub(super) struct Gpt {
    pub primary: Option<Copy>,
    pub backup: Option<Copy>,
    /// Both are intact and say the same.
    pub agree: bool,
}

impl Gpt {
    /// The copy that counts: the primary where it is intact.
    pub fn source(&self) -> &Copy {
        let source = self.primary.as_ref().or(self.backup.as_ref());
        source.expect("read() returns a Gpt only with an intact copy")
    }

    /// Where the primary array lies, or will lie.
    pub fn primary_entries_lba(&self) -> u64 {
        self.primary.as_ref().map_or(PRIMARY_ENTRIES_LBA, Copy::entries_lba)
    }

    /// LBA 0 and both copies, where they lie or have to be written anew on a disk of `size` bytes.
    pub fn claims(&self, size: u64, ss: u64) -> Vec<Claim> {
        let source = self.source();
        let sectors = |lba: u64, count: u64| ByteRange::between(lba * ss, (lba + count) * ss);
        let mut claims = vec![
            Claim::new("LBA 0", sectors(0, 1)),
            Claim::new("the primary GPT header", sectors(1, 1)),
            Claim::new("the primary GPT entries", sectors(self.primary_entries_lba(), source.array_sectors())),
        ];
        let (header, entries, count) = match &self.backup {
            Some(backup) => (backup.my_lba(), backup.entries_lba(), backup.array_sectors()),
            None => {
                let header = self.backup_lba(size / ss);
                (header, header.saturating_sub(source.array_sectors()), source.array_sectors())
            }
        };
        claims.push(Claim::new("the backup GPT entries", sectors(entries, count)));
        claims.push(Claim::new("the backup GPT header", sectors(header, 1)));
        claims
    }

    /// LBA of the backup header on this disk of `total` sectors: as the source says where there is room for it, else
    /// the last one.
    pub fn backup_lba(&self, total: u64) -> u64 {
        let source = self.source();
        let said = if self.primary.is_some() { source.alternate_lba() } else { source.my_lba() };
        let room = said < total && said > source.last_usable().saturating_add(source.array_sectors());
        if room { said } else { total - 1 }
    }

    /// The structured form. A GPT of `size / ss` sectors; partitions end inside the disk.
    pub fn table(&self, size: u64, ss: u64, warnings: &mut Vec<String>) -> Result<Table, PartitionError> {
        let source = self.source();
        let mut entries = Vec::new();
        for (number, found) in decode_entries(source)? {
            let (first, last) = (found.first_lba, found.last_lba);
            if last < first {
                return Err(PartitionError::Backwards { number, first, last });
            }
            let bytes = |lba: u64| lba.saturating_mul(ss);
            let range = ByteRange::between(bytes(first), bytes(last.saturating_add(1)));
            if range.end() > size {
                return Err(PartitionError::OutOfRange { what: format!("partition {number}"), range, size });
            }
            if first < source.first_usable() || last > source.last_usable() {
                warnings.push(format!(
                    "partition {number} (LBA {first} to {last}) leaves the usable range (LBA {} to {})",
                    source.first_usable(),
                    source.last_usable()
                ));
            }
            entries.push(Entry {
                number,
                range,
                r#type: found.part_type_guid.guid.hyphenated().to_string(),
                guid: Some(found.part_guid.hyphenated().to_string()),
                name: (!found.name.is_empty()).then_some(found.name),
                attributes: found.flags,
                ebr: None,
                extended: false,
            });
        }
        // The copy's check has compared the usable range with the disk's size.
        let usable = ByteRange::between(source.first_usable() * ss, (source.last_usable() + 1) * ss);
        Ok(Table { kind: TableKind::Gpt, id: Some(guid(&source.header)), usable: Some(usable), hybrid: false, entries })
    }
}

fn guid(header: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&header[at::DISK_GUID..at::DISK_GUID + 16]);
    uuid::Uuid::from_bytes_le(bytes).hyphenated().to_string()
}

/// The used entries of an intact copy, decoded by the gpt crate.
///
/// The crate panics on entries that have not 128 bytes, so it gets the first 128 bytes of each; no larger field has
/// been specified yet. Its input is our memory: it can read nothing else, and the length is bounded.
fn decode_entries(copy: &Copy) -> Result<Vec<(u32, gpt::partition::Partition)>, PartitionError> {
    let (count, size) = (copy.entry_count(), copy.entry_size());
    let sizes = (usize::try_from(count), usize::try_from(size));
    let (Ok(count_usize), Ok(size_usize)) = sizes else { return Ok(Vec::new()) };
    let array: Vec<u8> = copy
        .entries
        .chunks_exact(size_usize)
        .take(count_usize)
        .flat_map(|entry| entry.iter().take(ENTRY_MIN as usize).copied())
        .collect();
    let header = gpt::header::Header {
        signature: "EFI PART".to_owned(),
        revision: (1, 0),
        header_size_le: HEADER_MIN,
        crc32: 0,
        reserved: 0,
        current_lba: copy.my_lba(),
        backup_lba: copy.alternate_lba(),
        first_usable: copy.first_usable(),
        last_usable: copy.last_usable(),
        disk_guid: uuid::Uuid::nil(),
        part_start: 0,
        num_parts: count,
        part_size: ENTRY_MIN,
        crc32_parts: crc32fast::hash(&array),
    };
    let block = gpt::disk::LogicalBlockSize::Lb512;
    let found = gpt::partition::file_read_partitions(&mut Cursor::new(&array), &header, block);
    let found = found.map_err(|source| PartitionError::Io {
        what: "GPT entries",
        offset: copy.entries_lba().saturating_mul(copy.header.len() as u64),
        source,
    })?;
    Ok(found.into_iter().filter(|(_, entry)| entry.is_used()).collect())
}

/// Both copies of a GPT. Which one counts and what is wrong with the other goes to `warnings`.
pub(super) fn read(disk: &dyn ReadAt, ss: u64, warnings: &mut Vec<String>) -> Result<Gpt, PartitionError> {
    let total = disk.size() / ss;
    let primary = read_copy(disk, ss, 1)?;
    // As the kernel looks for it: where the primary says, else in the last sector.
    let at = primary.as_ref().map_or(total.saturating_sub(1), Copy::alternate_lba);
    let backup = read_copy(disk, ss, at)?;
    let gpt = match (primary, backup) {
        (Err(primary), Err(backup)) => return Err(PartitionError::NoGpt { primary, backup }),
        (Ok(primary), Ok(backup)) => {
            let agree = primary.agrees_with(&backup);
            if !agree {
                warnings.push("primary and backup GPT differ: the primary counts".to_owned());
            }
            Gpt { primary: Some(primary), backup: Some(backup), agree }
        }
        (Ok(primary), Err(reason)) => {
            warnings.push(format!("the backup GPT is damaged, the primary counts: {reason}"));
            Gpt { primary: Some(primary), backup: None, agree: false }
        }
        (Err(reason), Ok(backup)) => {
            warnings.push(format!("the primary GPT is damaged, the backup counts: {reason}"));
            if backup.first_usable() < PRIMARY_ENTRIES_LBA + backup.array_sectors() {
                let backup = format!("FirstUsableLBA {} leaves no room for a primary", backup.first_usable());
                return Err(PartitionError::NoGpt { primary: reason, backup });
            }
            Gpt { primary: None, backup: Some(backup), agree: false }
        }
    };
    if gpt.backup.as_ref().is_some_and(|backup| backup.my_lba() != total - 1) {
        let at = gpt.source().alternate_lba();
        warnings.push(format!("the backup GPT is at LBA {at}, not in the last sector, LBA {}", total - 1));
    }
    Ok(gpt)
}

/// The copy whose header is at `lba`. The inner error says what is wrong with it, the outer that the disk did not answer.
fn read_copy(disk: &dyn ReadAt, ss: u64, lba: u64) -> Result<Result<Copy, String>, PartitionError> {
    let total = disk.size() / ss;
    if lba == 0 || lba >= total {
        return Ok(Err(format!("its header is said to be at LBA {lba} of {total}")));
    }
    let header = read_bytes(disk, lba * ss, ss, "GPT header")?;
    let array = match check_header(&header, lba, total) {
        Ok(array) => array,
        Err(reason) => return Ok(Err(reason)),
    };
    let entries_lba = le64(&header, at::ENTRIES_LBA);
    let entries = read_bytes(disk, entries_lba * ss, array.next_multiple_of(ss), "GPT entries")?;
    let found = usize::try_from(array).ok().and_then(|len| entries.get(..len)).map(crc32fast::hash);
    let wanted = le32(&header, at::ENTRIES_CRC);
    if found != Some(wanted) {
        let found = found.unwrap_or_default();
        return Ok(Err(format!(
            "its entries at LBA {entries_lba} have CRC {found:#010x}, the header says {wanted:#010x}"
        )));
    }
    Ok(Ok(Copy { header, entries }))
}

/// Checks a header read from `lba`. Returns the array's length in bytes, which lies on the disk, clear of the header
/// and of the usable range.
fn check_header(header: &[u8], lba: u64, total: u64) -> Result<u64, String> {
    let ss = header.len() as u64;
    if header.get(..8) != Some(GPT_SIGNATURE.as_slice()) {
        return Err(format!("LBA {lba} does not begin with \"EFI PART\""));
    }
    let revision = le32(header, at::REVISION);
    let size = le32(header, at::HEADER_SIZE);
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    if revision >> 16 != 1 || size < HEADER_MIN || len > header.len() {
        return Err(format!("its header has revision {revision:#010x} and {size} bytes"));
    }
    let crc = crc32fast::hash(&without_crc(&header[..len]));
    let wanted = le32(header, at::HEADER_CRC);
    if crc != wanted {
        return Err(format!("its header has CRC {crc:#010x}, and says {wanted:#010x}"));
    }
    let mine = le64(header, at::MY_LBA);
    if mine != lba {
        return Err(format!("its header lies at LBA {lba} and says {mine}"));
    }
    let (first, last) = (le64(header, at::FIRST_USABLE), le64(header, at::LAST_USABLE));
    if first > last || last >= total {
        return Err(format!("its usable range is LBA {first} to {last}, the disk has {total} sectors"));
    }
    let (count, entry) = (le32(header, at::ENTRY_COUNT), le32(header, at::ENTRY_SIZE));
    if entry % ENTRY_MIN != 0 || !(entry / ENTRY_MIN).is_power_of_two() || entry > ENTRY_MAX || count == 0 {
        return Err(format!("it has {count} entries of {entry} bytes"));
    }
    let array = u64::from(count) * u64::from(entry);
    if array > ARRAY_MAX {
        return Err(format!("its entries take {array} bytes, at most {ARRAY_MAX} are read"));
    }
    let entries = le64(header, at::ENTRIES_LBA);
    let end = entries.saturating_add(array.div_ceil(ss));
    let fits = if lba == 1 { entries >= 2 && end <= first } else { entries > last && end <= lba };
    if !fits {
        return Err(format!(
            "its entries are at LBA {entries} to {}, its header at {lba}, its usable range is {first} to {last}",
            end - 1
        ));
    }
    Ok(array)
}

/// A header with its CRC field as zero, as the CRC is computed.
pub(super) fn without_crc(header: &[u8]) -> Vec<u8> {
    let mut copy = header.to_vec();
    copy[at::HEADER_CRC..at::HEADER_CRC + 4].fill(0);
    copy
}

/// Sets 64-bit fields of a header and makes its CRC right again.
pub(super) fn edit_header(header: &[u8], fields: &[(usize, u64)]) -> Vec<u8> {
    let mut edited = header.to_vec();
    for &(at, value) in fields {
        edited[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let len = usize::try_from(le32(&edited, at::HEADER_SIZE)).unwrap_or(usize::MAX).min(edited.len());
    let crc = crc32fast::hash(&without_crc(&edited[..len]));
    edited[at::HEADER_CRC..at::HEADER_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    edited
}
