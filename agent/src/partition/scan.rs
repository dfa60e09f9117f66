//! Reading a table: which kind it is, what it says, and what must be kept beside the partitions.
//!
//! In: a disk and its logical sector size. Out: a `Scan`.
//! Promise: only LBA 0, both GPT copies and EBRs are read, all of which lie in the gaps that the scan names.

use super::gaps::{Claim, check_claims, gaps};
use super::gpt::{self, Gpt};
use super::mbr::{self, Chain, Sector};
use super::{GPT_SIGNATURE, PartitionError, SECTOR_SIZES};
use crate::disk::source::ReadAt;
use ramet_wire::table::PARTITIONS_MAX;
use ramet_wire::{ByteRange, Entry, Table, TableKind};
use std::io;

/// A table and what an image must hold beside the partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The structured table.
    pub table: Table,
    /// What the pseudo-partition `gaps` holds: LBA 0, the tables, what lies before the first partition (at most 64 MiB),
    /// every EBR with the gap behind it (at most 1 MiB each), and the end of the disk (1 MiB). Ascending, disjoint,
    /// grown outward to blocks where that touches no partition. Empty for a disk without a table.
    pub gaps: Vec<ByteRange>,
    /// Bytes that lie neither in a partition nor in a gap.
    pub uncaptured: u64,
    /// What is odd about the table, for people.
    pub warnings: Vec<String>,
}

impl Scan {
    /// The disk without its table, because of `warning`: all of it is one entry.
    #[must_use]
    pub fn whole(mut self, warning: String) -> Self {
        self.warnings.push(warning);
        Self { table: whole_disk(Vec::new(), None).table, gaps: Vec::new(), uncaptured: 0, warnings: self.warnings }
    }

    /// The table's entries; one with number 0 for a disk of `size` bytes without a table.
    #[must_use]
    pub fn entries(&self, size: u64) -> Vec<Entry> {
        if self.table.kind != TableKind::None {
            return self.table.entries.clone();
        }
        vec![Entry {
            number: 0,
            range: ByteRange::between(0, size),
            r#type: String::new(),
            guid: None,
            name: None,
            attributes: 0,
            ebr: None,
            extended: false,
        }]
    }
}

/// What lies on a disk, with the raw parts that `retarget` needs.
#[derive(Debug)]
pub(super) enum Found {
    Gpt(Box<Gpt>),
    Mbr(Chain),
    None,
}

/// A disk's table, raw and structured.
#[derive(Debug)]
pub(super) struct Parsed {
    pub found: Found,
    pub table: Table,
    pub warnings: Vec<String>,
    /// LBA 0, whole; empty when the disk is smaller than a sector.
    pub lba0: Vec<u8>,
}

/// Reads the table. `sector_size` is 512 or 4096 (device: its logical sector size; file: see [`sector_size_of_file`]).
///
/// # Errors
/// [`PartitionError`]: the disk did not answer, or the table contradicts itself or the disk's size.
pub fn read(disk: &dyn ReadAt, sector_size: u32) -> Result<Scan, PartitionError> {
    let mut parsed = parse(disk, sector_size)?;
    let size = disk.size();
    let ss = u64::from(sector_size);
    let tables = match &parsed.found {
        Found::None => {
            let Parsed { table, warnings, .. } = parsed;
            return Ok(Scan { table, gaps: Vec::new(), uncaptured: 0, warnings });
        }
        Found::Mbr(chain) => chain.claims(ss),
        Found::Gpt(gpt) => gpt.claims(size, ss),
    };
    let partitions: Vec<Claim> = parsed.table.entries.iter().filter(|e| !e.extended).map(Claim::of).collect();
    check_claims(tables.iter().chain(&partitions), size)?;
    let ebrs: &[u64] = if let Found::Mbr(chain) = &parsed.found { &chain.ebrs } else { &[] };
    let kept = gaps(size, &tables, ebrs, &partitions);
    parsed.warnings.extend(kept.warning);
    Ok(Scan { table: parsed.table, gaps: kept.ranges, uncaptured: kept.uncaptured, warnings: parsed.warnings })
}

/// Sector size of a disk-image file: where `EFI PART` is found, 512, then 4096; else none.
///
/// # Errors
/// Whatever reading the file answers.
pub fn sector_size_of_file(disk: &dyn ReadAt) -> io::Result<Option<u32>> {
    for sector_size in SECTOR_SIZES {
        if has_signature(disk, u64::from(sector_size))? {
            return Ok(Some(sector_size));
        }
    }
    Ok(None)
}

fn has_signature(disk: &dyn ReadAt, offset: u64) -> io::Result<bool> {
    let mut found = [0; 8];
    if disk.size() < offset + 8 {
        return Ok(false);
    }
    disk.read_exact_at(&mut found, offset)?;
    Ok(&found == GPT_SIGNATURE)
}

/// Reads what lies on the disk. Partitions are inside the disk; overlaps are not checked yet.
pub(super) fn parse(disk: &dyn ReadAt, sector_size: u32) -> Result<Parsed, PartitionError> {
    if !SECTOR_SIZES.contains(&sector_size) {
        return Err(PartitionError::SectorSize(sector_size));
    }
    let ss = u64::from(sector_size);
    if disk.size() < ss {
        return Ok(whole_disk(Vec::new(), None));
    }
    let lba0 = read_bytes(disk, 0, ss, "LBA 0")?;
    let Some(sector) = mbr::decode(&lba0) else {
        let stale = stale_gpt(disk, ss)?;
        return Ok(whole_disk(lba0, stale));
    };
    if sector.records.iter().any(|r| r.kind == mbr::PROTECTIVE && r.sectors > 0) {
        return parse_gpt(disk, sector_size, lba0, &sector);
    }
    if let Some(reason) = mbr::no_table(&lba0, &sector, disk.size() / ss) {
        let stale = stale_gpt(disk, ss)?;
        return Ok(whole_disk(lba0, stale.or(reason)));
    }
    let mut warnings = Vec::new();
    if let Some(name) = mbr::boot_sector_of(&lba0) {
        warnings.push(format!("LBA 0 holds an MBR and also looks like the boot sector of a {name} file system"));
    }
    // Where a partition starts at LBA 1, what lies there is its own.
    if sector.records.iter().all(|r| r.sectors == 0 || r.start > 1) {
        warnings.extend(stale_gpt(disk, ss)?);
    }
    let (chain, table) = mbr::read(disk, ss, &sector, &mut warnings)?;
    check_count(&table)?;
    Ok(Parsed { found: Found::Mbr(chain), table, warnings, lba0 })
}

fn parse_gpt(disk: &dyn ReadAt, sector_size: u32, lba0: Vec<u8>, sector: &Sector) -> Result<Parsed, PartitionError> {
    let mut warnings = Vec::new();
    let gpt = match gpt::read(disk, u64::from(sector_size), &mut warnings) {
        Err(PartitionError::NoGpt { primary, backup }) => {
            let at = |source| PartitionError::Io { what: "GPT header", offset: 512, source };
            return Err(match sector_size_of_file(disk).map_err(at)? {
                Some(other) if other != sector_size => {
                    PartitionError::OtherSectorSize { table: other, disk: sector_size }
                }
                _ => PartitionError::NoGpt { primary, backup },
            });
        }
        other => other?,
    };
    let mut table = gpt.table(disk.size(), u64::from(sector_size), &mut warnings)?;
    table.hybrid = sector.records.iter().any(|r| r.sectors > 0 && r.kind != mbr::PROTECTIVE);
    check_count(&table)?;
    Ok(Parsed { found: Found::Gpt(Box::new(gpt)), table, warnings, lba0 })
}

/// No table: the whole disk is partition 0, which loses nothing whatever it holds.
fn whole_disk(lba0: Vec<u8>, warning: Option<String>) -> Parsed {
    let table = Table { kind: TableKind::None, id: None, usable: None, hybrid: false, entries: Vec::new() };
    Parsed { found: Found::None, table, warnings: warning.into_iter().collect(), lba0 }
}

/// A GPT header behind an LBA 0 that does not announce one. The kernel does not believe it, and neither do we: file
/// systems made on a whole disk leave old headers behind.
fn stale_gpt(disk: &dyn ReadAt, ss: u64) -> Result<Option<String>, PartitionError> {
    let found = has_signature(disk, ss).map_err(|source| PartitionError::Io { what: "LBA 1", offset: ss, source })?;
    let text = "LBA 1 holds a GPT header, but LBA 0 has no entry of type 0xEE: the GPT is not used";
    Ok(found.then(|| text.to_owned()))
}

fn check_count(table: &Table) -> Result<(), PartitionError> {
    if table.entries.len() > PARTITIONS_MAX {
        return Err(PartitionError::TooMany { what: "partitions", limit: PARTITIONS_MAX });
    }
    Ok(())
}

/// `len` bytes at `offset`; the caller has bounded `len`.
pub(super) fn read_bytes(
    disk: &dyn ReadAt,
    offset: u64,
    len: u64,
    what: &'static str,
) -> Result<Vec<u8>, PartitionError> {
    let failed = |source| PartitionError::Io { what, offset, source };
    let mut bytes = vec![0; usize::try_from(len).map_err(|e| failed(io::Error::other(e)))?];
    disk.read_exact_at(&mut bytes, offset).map_err(failed)?;
    Ok(bytes)
}
