//! A map file: sorted, immutable records of which chunk lies where.
//!
//! In: records in ascending order of id. Out: all records of one id, by one or two reads of a page.
//! Promise: every byte is under a checksum that is verified before the byte is used; memory is 256 KiB and 40 bytes a pack.
//!
//! | part | size | content (little endian) |
//! |---|---|---|
//! | header | 4096 | `RMMP`, version u32 = 1, zeros |
//! | pages | 4096 × ⌈records / 85⌉ | 85 records, zeros to 4088, xxh3-64 of these 4088 bytes |
//! | fan-out | 4 × 65,536 | number of records whose id's first two bytes (big endian) are ≤ the index, u32 |
//! | packs | 40 × packs | name 32, length u64; ascending |
//! | footer | 40 | records u64, packs u32, zero u32, xxh3-64 of header, fan-out and packs u64, xxh3-64 of these 24 bytes u64, `RMMPEND1` |
//!
//! Record, 48 bytes: id 32, index of the pack u32, offset u32, stored u32, raw u32.

use crate::error::{Doing, StoreError};
use crate::files::{Desk, TempFile};
use ramet_wire::{ChunkId, PackName};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const HEADER: [u8; 8] = *b"RMMP\x01\0\0\0";
const END: [u8; 8] = *b"RMMPEND1";
const PAGE: usize = 4096;
const PAGE_BODY: usize = PAGE - 8;
const RECORD: usize = 48;
pub(crate) const PER_PAGE: u64 = (PAGE_BODY / RECORD) as u64;
const FANOUT: usize = 1 << 16;
const PACK_ROW: usize = 40;
const FOOTER: usize = 40;
/// Most packs of one map file: bounds memory before anything is allocated.
const PACKS_MAX: u32 = 1 << 26;

/// One record: a chunk and its place in a pack of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub id: ChunkId,
    pub pack: u32,
    pub offset: u32,
    pub stored: u32,
    pub raw: u32,
}

impl Record {
    fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..32].copy_from_slice(&self.id.0);
        for (at, word) in [self.pack, self.offset, self.stored, self.raw].into_iter().enumerate() {
            bytes[32 + at * 4..36 + at * 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let mut id = [0; 32];
        id.copy_from_slice(&bytes[..32]);
        let word = |at: usize| le32(&bytes[32 + at * 4..]);
        Self { id: ChunkId(id), pack: word(0), offset: word(1), stored: word(2), raw: word(3) }
    }
}

/// A pack that a map file refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackRow {
    pub name: PackName,
    pub len: u64,
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

fn bucket(id: &ChunkId) -> usize {
    usize::from(u16::from_be_bytes([id.0[0], id.0[1]]))
}

/// An open map file.
#[derive(Debug)]
pub(crate) struct MapFile {
    path: PathBuf,
    file: File,
    records: u64,
    fanout: Vec<u32>,
    packs: Vec<PackRow>,
}

/// One page in memory, so that neighbouring ids are found without another read.
pub(crate) struct Cursor {
    page: Option<u64>,
    bytes: Box<[u8; PAGE]>,
}

impl Cursor {
    pub(crate) fn new() -> Self {
        Self { page: None, bytes: Box::new([0; PAGE]) }
    }

    fn record(&self, slot: u64) -> Record {
        let at = usize::try_from(slot % PER_PAGE).unwrap_or(0) * RECORD;
        Record::decode(&self.bytes[at..at + RECORD])
    }
}

impl MapFile {
    /// Opens a map file and verifies everything but its pages, which are verified as they are read.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let object = || path.display().to_string();
        let doing = || format!("reading {}", path.display());
        let file = File::open(path).doing(doing)?;
        let len = file.metadata().doing(doing)?.len();
        let damaged = |reason: String| StoreError::damaged(object(), reason);
        let short = || damaged(format!("it has {len} bytes, less than header, fan-out and footer"));
        let footer_at = len.checked_sub(FOOTER as u64).ok_or_else(short)?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at).doing(doing)?;
        let (records, count) = check_footer(&footer).map_err(damaged)?;
        let pages = records.div_ceil(PER_PAGE);
        let fanout_at = PAGE as u64 + pages * PAGE as u64;
        let tail_len = FANOUT * 4 + count as usize * PACK_ROW;
        if fanout_at + tail_len as u64 != footer_at {
            let parts = fanout_at + tail_len as u64 + FOOTER as u64;
            return Err(damaged(format!("it has {len} bytes, its parts {parts}")));
        }
        let mut header = [0; PAGE];
        file.read_exact_at(&mut header, 0).doing(doing)?;
        let mut tail = vec![0; tail_len];
        file.read_exact_at(&mut tail, fanout_at).doing(doing)?;
        let mut hash = Xxh3::new();
        hash.update(&header);
        hash.update(&tail);
        if header[..8] != HEADER || hash.digest() != le64(&footer[16..]) {
            return Err(damaged("the checksum over header, fan-out and packs is wrong".to_owned()));
        }
        let (fanout, packs) = tail.split_at(FANOUT * 4);
        let fanout: Vec<u32> = fanout.chunks_exact(4).map(le32).collect();
        let packs: Vec<PackRow> = packs.chunks_exact(PACK_ROW).map(decode_pack).collect();
        let ascending = fanout.is_sorted() && packs.is_sorted_by(|one, two| one.name < two.name);
        if !ascending || fanout.last().map(|last| u64::from(*last)) != Some(records) {
            return Err(damaged("fan-out or packs are not ascending".to_owned()));
        }
        Ok(Self { path: path.to_owned(), file, records, fanout, packs })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    pub(crate) fn packs(&self) -> &[PackRow] {
        &self.packs
    }

    /// The pack with this name, if the file has records of it.
    pub(crate) fn pack_index(&self, name: &PackName) -> Option<u32> {
        let at = self.packs.binary_search_by(|row| row.name.cmp(name)).ok()?;
        u32::try_from(at).ok()
    }

    /// Rows of packs whose name starts with the byte `prefix`.
    pub(crate) fn packs_with(&self, prefix: u8) -> &[PackRow] {
        let from = self.packs.partition_point(|row| row.name.0[0] < prefix);
        let to = self.packs.partition_point(|row| row.name.0[0] <= prefix);
        &self.packs[from..to]
    }

    fn load(&self, page: u64, cursor: &mut Cursor) -> Result<(), StoreError> {
        if cursor.page == Some(page) {
            return Ok(());
        }
        cursor.page = None;
        self.file
            .read_exact_at(&mut cursor.bytes[..], PAGE as u64 * (page + 1))
            .doing(|| format!("reading page {page} of {}", self.path.display()))?;
        let (found, stored) = (xxh3_64(&cursor.bytes[..PAGE_BODY]), le64(&cursor.bytes[PAGE_BODY..]));
        if found != stored {
            let reason = format!("checksum of page {page} is {found:016x}, stored is {stored:016x}");
            return Err(StoreError::damaged(self.path.display().to_string(), reason));
        }
        cursor.page = Some(page);
        Ok(())
    }

    /// The first slot whose record's id is not less than `id`, within the id's bucket, and the bucket's end.
    fn lower_bound(&self, id: &ChunkId, cursor: &mut Cursor) -> Result<(u64, u64), StoreError> {
        let index = bucket(id);
        let from = if index == 0 { 0 } else { u64::from(self.fanout[index - 1]) };
        let to = u64::from(self.fanout[index]);
        if from == to {
            return Ok((to, to));
        }
        // Ids are hashes: where one lies in its bucket follows from its value, within a page mostly.
        let share = id.0[2..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let guess = u64::try_from((u128::from(share) * u128::from(to - from)) >> 64).unwrap_or(0);
        let (mut low, mut high) = (from / PER_PAGE, (to - 1) / PER_PAGE);
        let mut page = (from + guess) / PER_PAGE;
        let mut steps = 0;
        loop {
            self.load(page, cursor)?;
            let (first, end) = ((page * PER_PAGE).max(from), ((page + 1) * PER_PAGE).min(to));
            steps += 1;
            if page > low && cursor.record(first).id >= *id {
                high = page - 1;
                page = if steps <= 2 { high } else { low.midpoint(high) };
            } else if page < high && cursor.record(end - 1).id < *id {
                low = page + 1;
                page = if steps <= 2 { low } else { low.midpoint(high) };
            } else {
                let (mut one, mut other) = (first, end);
                while one < other {
                    let middle = one.midpoint(other);
                    if cursor.record(middle).id < *id { one = middle + 1 } else { other = middle }
                }
                return Ok((one, to));
            }
        }
    }

    /// Calls `each` with every record of `id` and its slot.
    pub(crate) fn find(
        &self,
        id: &ChunkId,
        cursor: &mut Cursor,
        each: &mut dyn FnMut(u64, &Record, &PackRow),
    ) -> Result<(), StoreError> {
        let (mut slot, to) = self.lower_bound(id, cursor)?;
        while slot < to {
            self.load(slot / PER_PAGE, cursor)?;
            let record = cursor.record(slot);
            if record.id != *id {
                break;
            }
            let pack = self.pack_of(&record)?;
            each(slot, &record, pack);
            slot += 1;
        }
        Ok(())
    }

    fn pack_of(&self, record: &Record) -> Result<&PackRow, StoreError> {
        self.packs.get(record.pack as usize).ok_or_else(|| {
            let reason = format!("record of chunk {} names pack {} of {}", record.id, record.pack, self.packs.len());
            StoreError::damaged(self.path.display().to_string(), reason)
        })
    }

    /// All records in order. Verifies every page.
    pub(crate) fn iter(&self) -> Scan<'_> {
        Scan { file: self, slot: 0, cursor: Cursor::new() }
    }
}

/// The records of a map file, in order of id.
pub(crate) struct Scan<'a> {
    file: &'a MapFile,
    slot: u64,
    cursor: Cursor,
}

impl Scan<'_> {
    /// The next record, its slot and its pack.
    pub(crate) fn next_record(&mut self) -> Result<Option<(u64, Record, PackRow)>, StoreError> {
        if self.slot >= self.file.records {
            return Ok(None);
        }
        self.file.load(self.slot / PER_PAGE, &mut self.cursor)?;
        let record = self.cursor.record(self.slot);
        let pack = *self.file.pack_of(&record)?;
        self.slot += 1;
        Ok(Some((self.slot - 1, record, pack)))
    }
}

fn check_footer(footer: &[u8; FOOTER]) -> Result<(u64, u32), String> {
    let (found, stored) = (xxh3_64(&footer[..24]), le64(&footer[24..]));
    if footer[32..] != END || found != stored {
        return Err(format!("footer's checksum is {found:016x}, stored is {stored:016x}, or its end mark is wrong"));
    }
    let (records, packs) = (le64(&footer[..8]), le32(&footer[8..]));
    if records == 0 || records > u64::from(u32::MAX) || packs == 0 || packs > PACKS_MAX || le32(&footer[12..]) != 0 {
        return Err(format!("{records} records of {packs} packs are out of bounds"));
    }
    Ok((records, packs))
}

fn decode_pack(bytes: &[u8]) -> PackRow {
    let mut name = [0; 32];
    name.copy_from_slice(&bytes[..32]);
    PackRow { name: PackName(name), len: le64(&bytes[32..]) }
}

/// Writes a map file in one pass; worthless unless finished.
pub(crate) struct Writer {
    out: BufWriter<TempFile>,
    page: Vec<u8>,
    fanout: Vec<u32>,
    records: u32,
    last: Option<ChunkId>,
}

impl Writer {
    pub(crate) fn new(desk: &Desk) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, desk.temp()?);
        out.write_all(&header_page())?;
        Ok(Self { out, page: Vec::with_capacity(PAGE), fanout: vec![0; FANOUT], records: 0, last: None })
    }

    /// Appends a record; ids must not descend.
    pub(crate) fn push(&mut self, record: &Record) -> io::Result<()> {
        if self.last.is_some_and(|last| last > record.id) {
            return Err(io::Error::other(format!("map record of chunk {} comes too late", record.id)));
        }
        self.last = Some(record.id);
        self.records = self.records.checked_add(1).ok_or_else(|| io::Error::other("more than 2^32 map records"))?;
        self.fanout[bucket(&record.id)] = self.records;
        self.page.extend_from_slice(&record.encode());
        if self.page.len() + RECORD > PAGE_BODY { self.flush_page() } else { Ok(()) }
    }

    fn flush_page(&mut self) -> io::Result<()> {
        self.page.resize(PAGE_BODY, 0);
        let checksum = xxh3_64(&self.page);
        self.page.extend_from_slice(&checksum.to_le_bytes());
        self.out.write_all(&self.page)?;
        self.page.clear();
        Ok(())
    }

    /// Writes fan-out, packs and footer. `packs` must be ascending; records point into it.
    pub(crate) fn finish(mut self, packs: &[PackRow]) -> io::Result<TempFile> {
        if !self.page.is_empty() {
            self.flush_page()?;
        }
        // Buckets without records end where the one before ends.
        let mut before = 0;
        let mut tail = Vec::with_capacity(FANOUT * 4 + packs.len() * PACK_ROW);
        for end in &self.fanout {
            before = before.max(*end);
            tail.extend_from_slice(&before.to_le_bytes());
        }
        for pack in packs {
            tail.extend_from_slice(&pack.name.0);
            tail.extend_from_slice(&pack.len.to_le_bytes());
        }
        let mut hash = Xxh3::new();
        hash.update(&header_page());
        hash.update(&tail);
        self.out.write_all(&tail)?;
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&u64::from(self.records).to_le_bytes());
        footer.extend_from_slice(&u32::try_from(packs.len()).map_err(io::Error::other)?.to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        footer.extend_from_slice(&hash.digest().to_le_bytes());
        let checksum = xxh3_64(&footer);
        footer.extend_from_slice(&checksum.to_le_bytes());
        footer.extend_from_slice(&END);
        self.out.write_all(&footer)?;
        self.out.into_inner().map_err(|error| error.into_error())
    }
}

fn header_page() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..8].copy_from_slice(&HEADER);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Steps;

    fn write(dir: &Path, ids: &[ChunkId]) -> MapFile {
        let desk = Desk::new(dir.to_owned(), Steps::default());
        let mut writer = Writer::new(&desk).unwrap();
        for (at, id) in ids.iter().enumerate() {
            let at = u32::try_from(at).unwrap();
            writer.push(&Record { id: *id, pack: at % 2, offset: at, stored: at + 1, raw: at + 2 }).unwrap();
        }
        let packs = [PackRow { name: PackName([1; 32]), len: 100 }, PackRow { name: PackName([2; 32]), len: 200 }];
        let path = dir.join("x.map");
        desk.publish(writer.finish(&packs).unwrap(), &path).unwrap();
        MapFile::open(&path).unwrap()
    }

    fn found(map: &MapFile, id: &ChunkId) -> Vec<u64> {
        let mut slots = Vec::new();
        map.find(id, &mut Cursor::new(), &mut |slot, record, pack| {
            assert_eq!((record.id, record.offset), (*id, u32::try_from(slot).unwrap()));
            assert_eq!(pack.name.0[0], u8::try_from(slot % 2).unwrap() + 1);
            slots.push(slot);
        })
        .unwrap();
        slots
    }

    #[test]
    fn every_id_is_found_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut ids: Vec<ChunkId> = (0..20_000_u32).map(|i| ChunkId::of(&i.to_le_bytes())).collect();
        ids.sort_unstable();
        let map = write(dir.path(), &ids);
        for (slot, id) in ids.iter().enumerate() {
            assert_eq!(found(&map, id), [slot as u64]);
        }
        for i in 0..2000_u64 {
            assert!(found(&map, &ChunkId::of(&i.to_be_bytes())).is_empty());
        }
    }

    #[test]
    fn ids_that_are_no_hashes_are_found_too() {
        // All in one bucket, unevenly spread, with runs of equal ids over page borders.
        let dir = tempfile::tempdir().unwrap();
        let mut ids = Vec::new();
        for i in 0..3000_u32 {
            let mut id = [0; 32];
            id[8..12].copy_from_slice(&(i / 200 * (i / 200)).to_be_bytes());
            ids.push(ChunkId(id));
        }
        ids.push(ChunkId([255; 32]));
        ids.sort_unstable();
        let map = write(dir.path(), &ids);
        for start in (0..3000).step_by(200) {
            let wanted: Vec<u64> = (start..start + 200).collect();
            assert_eq!(found(&map, &ids[usize::try_from(start).unwrap()]), wanted);
        }
        assert_eq!(found(&map, &ChunkId([255; 32])), [3000]);
        assert!(found(&map, &ChunkId([254; 32])).is_empty());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut ids: Vec<ChunkId> = (0..100_u32).map(|i| ChunkId::of(&i.to_le_bytes())).collect();
        ids.sort_unstable();
        let path = write(dir.path(), &ids).path().to_owned();
        let good = std::fs::read(&path).unwrap();
        let read_all = || -> Result<(), StoreError> {
            let map = MapFile::open(&path)?;
            let mut scan = map.iter();
            while scan.next_record()?.is_some() {}
            Ok(())
        };
        read_all().unwrap();
        for at in (0..good.len()).filter(|at| at % 997 == 0 || good.len() - at < 200) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            assert!(read_all().is_err(), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read_all().is_err(), "cut at {at}");
        }
    }
}
