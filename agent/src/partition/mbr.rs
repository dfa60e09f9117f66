//! Master boot records and the chain of extended boot records behind them.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 440 | boot code |
//! | 440 | 4 | disk signature |
//! | 446 | 4 × 16 | records: boot flag, CHS, type, CHS, first LBA, sectors (LBAs of an EBR are relative) |
//! | 510 | 2 | 55 AA |
//!
//! In: LBA 0 of a disk. Out: partitions numbered as Linux numbers them, and where the EBRs lie.
//! Promise: all arithmetic is in 64 bits; a chain that loops ends; nothing is read outside the disk.

use super::gaps::Claim;
use super::scan::read_bytes;
use super::{PartitionError, le16, le32};
use crate::disk::source::ReadAt;
use ramet_wire::{ByteRange, Entry, Table, TableKind};
use std::collections::HashSet;
use std::io::Cursor;

/// Type of the entry that protects a GPT.
pub(super) const PROTECTIVE: u8 = 0xEE;

/// Where the four records begin.
pub(super) const RECORDS_AT: usize = 446;

/// Bytes per record.
pub(super) const RECORD_SIZE: usize = 16;

/// Types that Linux takes for an extended partition.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// Most EBRs of one disk.
const EBRS_MAX: usize = 1024;

/// One of the four records of a boot record. LBAs as written, which in an EBR are relative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub boot: bool,
    pub kind: u8,
    pub start: u64,
    pub sectors: u64,
}

impl Record {
    fn is_extended(self) -> bool {
        EXTENDED.contains(&self.kind)
    }
}

/// A boot record: LBA 0, or an EBR.
#[derive(Clone, Debug)]
pub(super) struct Sector {
    pub records: [Record; 4],
    pub signature: u32,
    /// A boot flag is neither 0 nor 0x80: these are not records.
    pub odd_flags: bool,
}

/// The MBR's partitions in raw form.
#[derive(Debug)]
pub(super) struct Chain {
    /// Offsets of the EBRs in bytes, in the order of the chain.
    pub ebrs: Vec<u64>,
}

impl Chain {
    pub fn claims(&self, ss: u64) -> Vec<Claim> {
        let ebr = |&at| Claim::new(format!("EBR at {at}"), ByteRange::between(at, at + ss));
        let lba0 = Claim::new("LBA 0", ByteRange::between(0, ss));
        std::iter::once(lba0).chain(self.ebrs.iter().map(ebr)).collect()
    }
}

/// The boot record in `sector`, if its last two bytes say that it is one.
///
/// mbrman decodes it. Odd boot flags, on which it would give up, are masked out and reported.
pub(super) fn decode(sector: &[u8]) -> Option<Sector> {
    let mut copy: [u8; 512] = sector.get(..512)?.try_into().ok()?;
    if copy[510..] != [0x55, 0xAA] {
        return None;
    }
    let mut odd_flags = false;
    for slot in 0..4 {
        let flag = &mut copy[RECORDS_AT + slot * RECORD_SIZE];
        odd_flags |= *flag & 0x7F != 0;
        *flag &= 0x80;
    }
    let header = mbrman::MBRHeader::read_from(&mut Cursor::new(&copy[..])).ok()?;
    let record = |entry: &mbrman::MBRPartitionEntry| Record {
        boot: entry.is_active(),
        kind: entry.sys,
        start: u64::from(entry.starting_lba),
        sectors: u64::from(entry.sectors),
    };
    let entries = [&header.partition_1, &header.partition_2, &header.partition_3, &header.partition_4];
    Some(Sector { records: entries.map(record), signature: u32::from_le_bytes(header.disk_signature), odd_flags })
}

/// Which file system's boot sector LBA 0 is, if it is one: those end in 55 AA too.
pub(super) fn boot_sector_of(lba0: &[u8]) -> Option<&'static str> {
    match lba0.get(3..11)? {
        b"NTFS    " => return Some("NTFS"),
        b"EXFAT   " => return Some("exFAT"),
        _ => {}
    }
    let jump = matches!(lba0[0], 0xEB | 0xE9);
    let sector = le16(lba0, 11);
    let cluster = lba0[13];
    let (reserved, fats, media) = (le16(lba0, 14), lba0[16], lba0[21]);
    let fat = jump
        && sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved > 0
        && (1..=2).contains(&fats)
        && (media == 0xF0 || media >= 0xF8);
    fat.then_some("FAT")
}

/// `Some` when LBA 0 of a disk of `total` sectors holds no table although it ends in 55 AA; with a reason where a person
/// might have expected one. File systems made on a whole disk must not be taken for a table.
pub(super) fn no_table(lba0: &[u8], sector: &Sector, total: u64) -> Option<Option<String>> {
    let used: Vec<Record> = sector.records.into_iter().filter(|r| r.sectors > 0).collect();
    if used.is_empty() {
        return Some(None);
    }
    let boot_sector = boot_sector_of(lba0);
    if sector.odd_flags {
        let text = "LBA 0 ends in 55 AA, but boot flags other than 0 and 0x80 say that it holds no MBR";
        return Some(boot_sector.is_none().then(|| text.to_owned()));
    }
    if used.iter().any(|r| r.start == 0) {
        // mkfs.fat writes such a record; hybrid ISO images have one too.
        let text = "the MBR has an entry that starts at LBA 0: the disk is taken as a whole";
        return Some(boot_sector.is_none().then(|| text.to_owned()));
    }
    let out = used.iter().any(|r| r.start + r.sectors > total);
    let overlap = |a: &Record, b: &Record| a.start < b.start + b.sectors && b.start < a.start + a.sectors;
    let overlaps = used.iter().enumerate().any(|(i, a)| used[i + 1..].iter().any(|b| overlap(a, b)));
    (boot_sector.is_some() && (out || overlaps)).then_some(None)
}

/// The first sector of something that has `total` of them holds the table of an MBR, or protects a GPT.
pub(crate) fn announces_table(lba0: &[u8], total: u64) -> bool {
    let announces = |sector: Sector| boot_sector_of(lba0).is_none() && no_table(lba0, &sector, total).is_none();
    decode(lba0).is_some_and(announces)
}

/// The partitions of an MBR, as Linux numbers them.
pub(super) fn read(
    disk: &dyn ReadAt,
    ss: u64,
    sector: &Sector,
    warnings: &mut Vec<String>,
) -> Result<(Chain, Table), PartitionError> {
    let mut entries = Vec::new();
    for (number, record) in (1..).zip(sector.records) {
        if record.sectors > 0 {
            entries.push(entry(number, record, 0, ss, disk.size())?);
        } else if record.kind != 0 {
            warnings.push(format!("partition {number} has type {:#04x} and no sectors: it is not used", record.kind));
        }
    }
    check_primaries(&entries)?;
    let mut walk = Walk { disk, ss, ebrs: Vec::new(), seen: HashSet::new(), logical: Vec::new() };
    for record in sector.records.into_iter().filter(|r| r.sectors > 0 && r.is_extended()) {
        walk.extended(record, warnings)?;
    }
    entries.extend(walk.logical);
    let id = Some(format!("{:#010x}", sector.signature));
    let table = Table { kind: TableKind::Mbr, id, usable: None, hybrid: false, entries };
    Ok((Chain { ebrs: walk.ebrs }, table))
}

/// Primaries and extended partitions are disjoint. (Logical ones are checked with the tables.)
fn check_primaries(entries: &[Entry]) -> Result<(), PartitionError> {
    let claims: Vec<Claim> = entries.iter().map(Claim::of).collect();
    super::gaps::check_claims(claims.iter(), u64::MAX)
}

fn entry(number: u32, record: Record, base: u64, ss: u64, size: u64) -> Result<Entry, PartitionError> {
    // 32-bit LBAs and counts times 4096 stay far below 2^64.
    let start = (base + record.start) * ss;
    let range = ByteRange::between(start, start + record.sectors * ss);
    if range.end() > size {
        return Err(PartitionError::OutOfRange { what: format!("partition {number}"), range, size });
    }
    Ok(Entry {
        number,
        range,
        r#type: format!("{:#04x}", record.kind),
        guid: None,
        name: None,
        attributes: if record.boot { 0x80 } else { 0 },
        ebr: None,
        extended: base == 0 && record.is_extended(),
    })
}

/// A walk along EBR chains.
struct Walk<'a> {
    disk: &'a dyn ReadAt,
    ss: u64,
    ebrs: Vec<u64>,
    seen: HashSet<u64>,
    logical: Vec<Entry>,
}

impl Walk<'_> {
    /// Follows the chain of one extended partition. Links are relative to the extended partition and may go backwards,
    /// partitions are relative to their EBR.
    fn extended(&mut self, frame: Record, warnings: &mut Vec<String>) -> Result<(), PartitionError> {
        let frame_range = ByteRange::between(frame.start * self.ss, (frame.start + frame.sectors) * self.ss);
        let mut at = frame.start;
        loop {
            let offset = at * self.ss;
            let range = ByteRange::between(offset, offset + self.ss);
            if range.end() > self.disk.size() {
                return Err(PartitionError::OutOfRange { what: "EBR".to_owned(), range, size: self.disk.size() });
            }
            if !self.seen.insert(at) {
                warnings.push(format!("the chain of EBRs comes back to {offset}: it ends there"));
                return Ok(());
            }
            if self.ebrs.len() >= EBRS_MAX {
                return Err(PartitionError::TooMany { what: "EBRs", limit: EBRS_MAX });
            }
            let bytes = read_bytes(self.disk, offset, self.ss, "EBR")?;
            self.ebrs.push(offset);
            let Some(sector) = decode(&bytes) else {
                warnings.push(format!("the EBR at {offset} does not end in 55 AA: the chain ends there"));
                return Ok(());
            };
            // Only the first two records mean something in an EBR.
            let mine = sector.records.into_iter().take(2);
            for record in mine.clone().filter(|r| r.sectors > 0 && !r.is_extended()) {
                self.partition(record, at, frame_range, warnings)?;
            }
            match mine.clone().find(|r| r.sectors > 0 && r.is_extended()) {
                Some(link) => at = frame.start + link.start,
                None => return Ok(()),
            }
        }
    }

    fn partition(
        &mut self,
        record: Record,
        ebr: u64,
        frame: ByteRange,
        warnings: &mut Vec<String>,
    ) -> Result<(), PartitionError> {
        let number = 5 + u32::try_from(self.logical.len()).unwrap_or(u32::MAX - 5);
        let mut found = entry(number, record, ebr, self.ss, self.disk.size())?;
        found.ebr = Some(ebr * self.ss);
        if !frame.contains(found.range) {
            warnings.push(format!(
                "partition {number} ({}..{}) leaves its extended partition ({}..{})",
                found.range.start(),
                found.range.end(),
                frame.start(),
                frame.end()
            ));
        }
        self.logical.push(found);
        Ok(())
    }
}

/// Offsets of all EBRs that can be found, whatever else is wrong; for blanking.
pub(super) fn ebrs_of_anything(disk: &dyn ReadAt, ss: u64, lba0: &[u8]) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let Some(sector) = decode(lba0) else { return Ok(found) };
    for frame in sector.records.into_iter().filter(|r| r.sectors > 0 && r.is_extended()) {
        let mut at = frame.start;
        let mut bytes = vec![0; lba0.len()];
        while found.len() < EBRS_MAX && !found.contains(&(at * ss)) && at > 0 && (at + 1) * ss <= disk.size() {
            disk.read_exact_at(&mut bytes, at * ss)?;
            let Some(ebr) = decode(&bytes) else { break };
            found.push(at * ss);
            let Some(link) = ebr.records.into_iter().take(2).find(|r| r.sectors > 0 && r.is_extended()) else { break };
            at = frame.start + link.start;
        }
    }
    Ok(found)
}

/// LBA 0 for a disk of `new_total` sectors: a 0xEE record that reached one of the old `ends` reaches the new one. All
/// else stays.
pub(super) fn stretch_protective(lba0: &mut [u8], ends: [u64; 2], new_total: u64) {
    const MAX: u64 = u32::MAX as u64;
    for slot in 0..4 {
        let at = RECORDS_AT + slot * RECORD_SIZE;
        let start = u64::from(le32(lba0, at + 8));
        let sectors = u64::from(le32(lba0, at + 12));
        if lba0[at + 4] != PROTECTIVE || sectors == 0 {
            continue;
        }
        // 32 bits are full on disks past 2 TiB of 512-byte sectors: then "as much as fits" is the end.
        let reached = ends.iter().any(|&end| start + sectors == end || (sectors == MAX && end > start + MAX));
        if reached {
            let len = u32::try_from(new_total.saturating_sub(start)).unwrap_or(u32::MAX);
            lba0[at + 12..at + 16].copy_from_slice(&len.to_le_bytes());
        }
    }
}
