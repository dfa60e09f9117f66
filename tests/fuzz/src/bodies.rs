//! What each fuzz target does with its bytes, and what must hold then.
//!
//! In: any bytes. Out: nothing; a broken promise is a panic.
//! Promise: no file, no clock, no randomness: the same bytes do the same, so a found input is a regression test.

use ramet_agent::disk::source::ReadAt;
use ramet_agent::{extent, partition};
use ramet_wire::range::BLOCK;
use ramet_wire::{ByteRange, ChunkId, ImageGlob, ImageRef, Table, TableKind};
use ramet_wire::{api, frame, manifest, pack, receipt, segment};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// What a target does with its bytes.
pub type Body = fn(&[u8]);

/// Every target by name. Seeds lie in `tests/fixtures` (the first word of their names), found inputs in `regressions`.
pub const TARGETS: &[(&str, Body)] = &[
    ("ext", extents),
    ("exfat", extents),
    ("f2fs", scattered),
    ("fat", extents),
    ("btrfs", btrfs),
    ("ntfs", ntfs),
    ("swap", extents),
    ("xfs", extents),
    ("gpt", table),
    ("mbr", table),
    ("pack", packs),
    ("segment", segments),
    ("manifest", manifests),
    ("message", messages),
];

/// The body of the target `name`.
pub fn body(name: &str) -> Option<Body> {
    TARGETS.iter().find(|(target, _)| *target == name).map(|(_, body)| *body)
}

/// An image whose tail is zero: large file systems from few bytes.
///
/// The first byte is log2 of the size (0: as long as the rest), with two flags above it: 0x80 for 4096-byte sectors,
/// 0x40 for "mend the checksums", so that mutations reach what lies behind them.
struct Image {
    bytes: Vec<u8>,
    size: u64,
    sector_size: u32,
}

impl Image {
    fn new(data: &[u8]) -> Option<Self> {
        let (&flags, bytes) = data.split_first()?;
        let given = 1_u64 << u32::from(flags & 0x3f).min(36);
        let size = if flags & 0x3f == 0 { bytes.len() as u64 } else { given.max(bytes.len() as u64) };
        let sector_size = if flags & 0x80 == 0 { 512 } else { 4096 };
        let mut bytes = bytes.to_vec();
        if flags & 0x40 != 0 {
            match bytes.get(..11) {
                Some([_, _, _, b'E', b'X', b'F', b'A', b'T', ..]) => mend_exfat(&mut bytes),
                Some([b'X', b'F', b'S', b'B', ..]) => mend_xfs(&mut bytes),
                _ => mend_gpt(&mut bytes, sector_size as usize),
            }
        }
        (size > 0).then_some(Self { bytes, size, sector_size })
    }
}

impl ReadAt for Image {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        if let Some(rest) = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..)) {
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Puts the right checksums into the primary GPT, if there is something like one.
fn mend_gpt(bytes: &mut [u8], sector: usize) {
    let le32 = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    if bytes.len() < sector + 92 {
        return;
    }
    let (lba, count, each) = (le32(sector + 72), le32(sector + 80), le32(sector + 84));
    let entries = lba.checked_mul(sector).zip(count.checked_mul(each)).and_then(|(at, len)| {
        let end = at.checked_add(len).filter(|_| len <= 1 << 20)?;
        bytes.get(at..end)
    });
    if let Some(entries) = entries {
        let crc = crc32fast::hash(entries).to_le_bytes();
        bytes[sector + 88..sector + 92].copy_from_slice(&crc);
    }
    bytes[sector + 16..sector + 20].fill(0);
    let crc = crc32fast::hash(&bytes[sector..sector + 92]).to_le_bytes();
    bytes[sector + 16..sector + 20].copy_from_slice(&crc);
}

/// Puts the right checksums into the first AG of an XFS of version 5: its headers, and every block that looks like one
/// of a free-space tree.
fn mend_xfs(bytes: &mut [u8]) {
    if bytes.len() < 512 {
        return;
    }
    let block = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    let sector = usize::from(u16::from_be_bytes([bytes[102], bytes[103]]));
    if !sector.is_power_of_two() || sector < 512 || !block.is_power_of_two() || block < sector {
        return;
    }
    let trees = (0..bytes.len() / block).filter(|index| bytes[index * block..].starts_with(b"AB3"));
    let trees: Vec<_> = trees.map(|index| (index * block, block, 52)).collect();
    let headers = [(0, sector, 224), (sector, sector, 216), (3 * sector, sector, 32)];
    for (at, len, sum_at) in headers.into_iter().chain(trees) {
        if let Some(raw) = bytes.get_mut(at..at + len) {
            raw[sum_at..sum_at + 4].fill(0);
            let sum = crc32c::crc32c(raw).to_le_bytes();
            raw[sum_at..sum_at + 4].copy_from_slice(&sum);
        }
    }
}

/// With 0x40: every protected record gets the right ends, and the mirror what the MFT has, so that mutations reach what
/// lies behind them. The mirror and the log are more than a seed can hold: they are made here, the log an empty one.
fn ntfs(data: &[u8]) {
    let mut data = data.to_vec();
    if data.first().is_some_and(|flags| flags & 0x40 != 0) {
        data[0] &= !0x40;
        mend_ntfs(&mut data);
    }
    extents(&data);
}

/// `data` is the first byte of the target's input and the image behind it.
fn mend_ntfs(data: &mut Vec<u8>) {
    const FURTHEST: usize = 2 << 20;
    let Some(image) = data.get(1..513) else { return };
    let le = |at: usize, len: usize| {
        image[at..at + len].iter().rev().fold(0_usize, |all, byte| all << 8 | usize::from(*byte))
    };
    let cluster = le(11, 2) * le(13, 1);
    let (mft, mirror) = (le(48, 4) * cluster + 1, le(56, 4) * cluster + 1);
    let record = if le(64, 1) > 0xf0 { 1 << (256 - le(64, 1)) } else { le(64, 1) * cluster };
    for at in (1..data.len()).step_by(512) {
        let len = match data.get(at..at + 4) {
            Some(b"FILE") => record,
            Some(b"INDX" | b"RSTR") => 4096,
            _ => continue,
        };
        if let Some(bytes) = data.get_mut(at..at + len) {
            mend_ends(bytes);
        }
    }
    let len = 4 * record;
    if mft + len > data.len() || mirror > FURTHEST || len > FURTHEST || record == 0 {
        return;
    }
    let end = data.len().max(mirror + len.max(cluster));
    data.resize(end, 0);
    data.copy_within(mft..mft + len, mirror);
    data.resize(end + (64 << 10), 0xff);
}

/// The update sequence number of a record at the end of each of its sectors.
fn mend_ends(record: &mut [u8]) {
    let at = usize::from(record[4]) | usize::from(record[5]) << 8;
    if let Some([low, high]) = record.get(at..at + 2).map(|number| [number[0], number[1]]) {
        record.chunks_exact_mut(512).for_each(|sector| sector[510..].copy_from_slice(&[low, high]));
    }
}

/// Makes the backup boot region of an exFAT volume like the main one, and puts the right checksums into both.
fn mend_exfat(bytes: &mut [u8]) {
    let sector = 1_usize << bytes.get(108).map_or(9, |shift| (*shift).clamp(9, 12));
    let (summed, region) = (11 * sector, 12 * sector);
    if bytes.len() < 2 * region {
        return;
    }
    let counted = bytes[..summed].iter().enumerate().filter(|(at, _)| ![106, 107, 112].contains(at));
    let sum = counted.fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    for place in bytes[summed..region].as_chunks_mut::<4>().0 {
        *place = sum.to_le_bytes();
    }
    bytes.copy_within(..region, region);
}

/// Blocks that lie far apart, from few bytes; all else is zero.
///
/// The first byte is that of [`Image`]; then follow blocks of 4096 bytes, each behind its number in four bytes.
struct Scattered {
    blocks: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

const SCATTERED: usize = 4096;

impl Scattered {
    fn new(data: &[u8]) -> Option<Self> {
        let (&flags, rest) = data.split_first()?;
        let size = 1_u64 << u32::from(flags & 0x3f).clamp(12, 44);
        let mut blocks = BTreeMap::new();
        for record in rest.chunks(4 + SCATTERED) {
            let Some((number, bytes)) = record.split_first_chunk::<4>() else { break };
            let mut block = bytes.to_vec();
            block.resize(SCATTERED, 0);
            blocks.insert(u64::from(u32::from_le_bytes(*number)), block);
        }
        let mut image = Self { blocks, size };
        if flags & 0x40 != 0 {
            image.mend_f2fs();
        }
        Some(image)
    }

    /// Makes the copy of the superblock and the tails of both checkpoints like what they repeat, with right checksums.
    fn mend_f2fs(&mut self) {
        let sum = |bytes: &[u8]| {
            let mut sum = crc32fast::Hasher::new_with_initial(!0xf2f5_2010);
            sum.update(bytes);
            (!sum.finalize()).to_le_bytes()
        };
        let Some(superblock) = self.blocks.get_mut(&0) else { return };
        let crc = sum(&superblock[1024..1024 + 3068]);
        superblock[4092..].copy_from_slice(&crc);
        let superblock = superblock.clone();
        let first = u64::from(u32::from_le_bytes(superblock[1100..1104].try_into().expect("four bytes")));
        self.blocks.insert(1, superblock);
        for start in [first, first + 512] {
            let Some(head) = self.blocks.get_mut(&start) else { continue };
            head[164..168].copy_from_slice(&4092_u32.to_le_bytes());
            let crc = sum(&head[..4092]);
            head[4092..].copy_from_slice(&crc);
            let (head, total) = (head.clone(), u32::from_le_bytes(head[136..140].try_into().expect("four bytes")));
            self.blocks.insert((start + u64::from(total)).saturating_sub(1), head);
        }
    }
}

impl ReadAt for Scattered {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let each = SCATTERED as u64;
        for (number, block) in self.blocks.range(offset / each..end.div_ceil(each)) {
            let (from, to) = (offset.max(number * each), end.min((number + 1) * each));
            let at = |place: u64, start: u64| usize::try_from(place - start).expect("inside a buffer");
            let source = &block[at(from, number * each)..at(to, number * each)];
            buf[at(from, offset)..at(to, offset)].copy_from_slice(source);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

fn scattered(data: &[u8]) {
    if let Some(image) = Scattered::new(data) {
        keeps_promises(image);
    }
}

fn extents(data: &[u8]) {
    if let Some(image) = Image::new(data) {
        keeps_promises(image);
    }
}

/// The map of whatever this is: no error (memory answers), and extents that keep their promises.
fn keeps_promises(image: impl ReadAt + 'static) {
    let size = image.size();
    check_map(&extent::map(Arc::new(image)).expect("memory answers, and damage is no error"), size);
}

fn check_map(map: &extent::Map, size: u64) {
    let (mut end, mut used) = (0, 0);
    for extent in map.extents() {
        let extent = extent.expect("what was walked once is walked again");
        let range = extent.range;
        assert!(!range.is_empty() && range.start() >= end && range.end() <= size, "{range} after {end}, size {size}");
        assert!(
            range.start() % BLOCK == 0 && (range.end() % BLOCK == 0 || range.end() == size),
            "{range}, size {size}"
        );
        if extent.kind == extent::ExtentKind::Data {
            used += range.len();
        }
        end = range.end();
    }
    assert_eq!(used, map.used_bytes);
    assert!(!map.whole || used == size, "whole, but {used} of {size}");
}

/// Disks of 128 MiB from few blocks: a place (32 bits: the disk above bit 28, the block of 4 KiB below) and the block, one
/// after the other. The first byte's 0x40 says that each block gets the CRC-32C that a node or superblock has.
struct Blocks(BTreeMap<u64, Vec<u8>>);

const DISK: u64 = 128 << 20;

impl Blocks {
    fn disks(data: &[u8]) -> Vec<Arc<dyn ReadAt>> {
        let Some((&flags, records)) = data.split_first() else { return Vec::new() };
        let mut disks: Vec<Self> = Vec::new();
        for record in records.chunks(4 + 4096) {
            let Some((place, bytes)) = record.split_first_chunk::<4>() else { break };
            let place = u32::from_le_bytes(*place);
            let disk = (place >> 28) as usize % 4;
            let mut block = bytes.to_vec();
            block.resize(4096, 0);
            if flags & 0x40 != 0 {
                let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
                block[..4].copy_from_slice(&sum);
            }
            while disks.len() <= disk {
                disks.push(Self(BTreeMap::new()));
            }
            disks[disk].0.insert(u64::from(place & 0x0fff_ffff), block);
        }
        disks.into_iter().map(|disk| Arc::new(disk) as Arc<dyn ReadAt>).collect()
    }
}

impl ReadAt for Blocks {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= DISK);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let within = (at % 4096) as usize;
            let len = rest.len().min(4096 - within);
            let (now, later) = rest.split_at_mut(len);
            if let Some(block) = self.0.get(&(at / 4096)) {
                now.copy_from_slice(&block[within..within + len]);
            }
            (at, rest) = (at + len as u64, later);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        DISK
    }
}

/// The maps of all devices of whatever this is, each beside the others.
fn btrfs(data: &[u8]) {
    let disks = Blocks::disks(data);
    for (index, disk) in disks.iter().enumerate() {
        let beside = disks.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, disk)| disk.clone());
        let map = extent::map_beside(disk.clone(), beside.collect());
        check_map(&map.expect("memory answers, and damage is no error"), DISK);
    }
}

/// The table of whatever this is: partitions and gaps inside the disk, none over another, and the same partitions again
/// after the table was made for a disk of another size.
fn table(data: &[u8]) {
    let Some(image) = Image::new(data) else { return };
    let size = image.size();
    let scan = match partition::read(&image, image.sector_size) {
        Ok(scan) => scan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let partitions = ranges(&scan.table);
    let mut taken = [scan.gaps.as_slice(), &partitions].concat();
    assert_disjoint(&mut taken, size);
    for range in partition::old_tables(&image, image.sector_size).expect("memory answers") {
        assert!(range.end() <= size, "old table at {range} in {size}");
    }
    for new_size in [size, size.saturating_add(1 << 30), size / 2] {
        let Ok(layout) = partition::retarget(&image, &scan.table, image.sector_size, new_size) else { continue };
        let pieces: Vec<_> =
            [layout.lba0].into_iter().chain(layout.head).chain(layout.backup).chain(layout.ebrs).collect();
        let mut written: Vec<_> = pieces.iter().filter(|piece| !piece.bytes.is_empty()).map(range_of).collect();
        written.extend(&partitions);
        assert_disjoint(&mut written, new_size);
        if scan.table.kind != TableKind::None {
            let again = partition::read(&Pieces { pieces, size: new_size }, image.sector_size);
            let again = again.unwrap_or_else(|error| panic!("reading our own table for {new_size}: {error}")).table;
            assert_eq!(
                (again.kind, again.id, again.entries),
                (scan.table.kind, scan.table.id.clone(), scan.table.entries.clone())
            );
        }
    }
}

fn ranges(table: &Table) -> Vec<ByteRange> {
    table.entries.iter().filter(|entry| !entry.extended).map(|entry| entry.range).collect()
}

fn range_of(piece: &partition::Piece) -> ByteRange {
    ByteRange::new(piece.offset, piece.bytes.len() as u64).expect("a piece has an end")
}

fn assert_disjoint(ranges: &mut [ByteRange], size: u64) {
    ranges.sort_by_key(|range| range.start());
    assert!(ranges.iter().all(|range| range.end() <= size), "{ranges:?} in {size}");
    assert!(ranges.windows(2).all(|pair| pair[0].end() <= pair[1].start()), "{ranges:?}");
}

/// A blank disk with a table's pieces on it.
struct Pieces {
    pieces: Vec<partition::Piece>,
    size: u64,
}

impl ReadAt for Pieces {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::new(offset, buf.len() as u64).ok().filter(|range| range.end() <= self.size);
        let wanted = wanted.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        for piece in &self.pieces {
            let Some(both) = range_of(piece).intersect(wanted) else { continue };
            let at = |start: u64| usize::try_from(both.start() - start).expect("inside a buffer");
            let len = usize::try_from(both.len()).expect("inside a buffer");
            buf[at(offset)..at(offset) + len].copy_from_slice(&piece.bytes[at(piece.offset)..at(piece.offset) + len]);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// A pack's table, with its checksum mended if the first byte says so, and every frame that it names.
fn packs(data: &[u8]) {
    let Some((&flags, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if flags & 1 != 0 {
        mend_pack(&mut bytes);
    }
    let Ok(entries) = pack::read_table(&bytes) else { return };
    let mut opener = frame::Opener::new().expect("zstd makes a context");
    let mut room = vec![0; frame::CHUNK_MAX as usize];
    let mut at = pack::HEADER.len() as u64;
    for entry in entries {
        assert_eq!(entry.offset, at, "frames tile");
        let start = usize::try_from(at).expect("a pack fits into memory");
        let stored = &bytes[start..start + entry.stored as usize];
        if let Ok(chunk) = opener.open(stored, entry.id, entry.raw, &mut room) {
            assert_eq!(ChunkId::of(chunk.bytes()), entry.id);
            assert_eq!(chunk.bytes().len(), entry.raw as usize);
        }
        at += u64::from(entry.stored);
    }
}

fn mend_pack(bytes: &mut [u8]) {
    let len = bytes.len();
    let Some(footer) = len.checked_sub(pack::FOOTER_LEN) else { return };
    let table = u64::from_le_bytes(bytes[footer..footer + 8].try_into().expect("eight bytes"));
    let Some(table) = usize::try_from(table).ok().filter(|at| *at <= footer) else { return };
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[table..footer + 16]).to_le_bytes();
    bytes[footer + 16..footer + 24].copy_from_slice(&sum);
}

/// A segment, and what comes out when its records are written again.
fn segments(data: &[u8]) {
    let Some((head, bytes)) = data.split_first_chunk::<24>() else { return };
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let (first, before, size) = (word(0), word(8), word(16));
    let reference = segment::SegmentRef { first, len: segment::SPAN, id: ChunkId::of(bytes) };
    let Ok(records) = segment::decode(bytes, &reference, before, size, ramet_wire::BLOCK) else { return };
    let mut again = Vec::new();
    for (range, bytes) in segment::encode(&records, first, segment::SPAN) {
        let reference = segment::SegmentRef { first: range.start(), len: range.len(), id: ChunkId::of(&bytes) };
        let before = again.last().map_or(before, |record: &segment::Record| record.range().end());
        again.extend(
            segment::decode(&bytes, &reference, before, size, ramet_wire::BLOCK).expect("what we write we read"),
        );
    }
    assert_eq!(records, again);
}

/// A manifest: what was accepted is written and read again as the same.
fn manifests(data: &[u8]) {
    let Ok(manifest) = manifest::Manifest::read(data) else { return };
    let bytes = manifest.write().expect("an accepted manifest can be written");
    assert_eq!(manifest::Manifest::read(&bytes).expect("what we write we read"), manifest);
}

/// Bodies of requests and answers; the first byte says which. What was accepted is the same after another round.
fn messages(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    match kind {
        0 => round_trip::<api::OpenRun>(body),
        1 => round_trip::<api::RunOpened>(body),
        2 => round_trip::<api::Heartbeat>(body),
        3 => round_trip::<api::EndRun>(body),
        4 => round_trip::<api::RunInfo>(body),
        5 => round_trip::<api::Located>(body),
        6 => round_trip::<api::StillMissing>(body),
        7 => round_trip::<api::Committed>(body),
        8 => round_trip::<api::ImageInfo>(body),
        9 => round_trip::<api::SignedManifest>(body),
        10 => round_trip::<api::ReportDamage>(body),
        11 => round_trip::<api::AddToken>(body),
        12 => round_trip::<api::TokenInfo>(body),
        13 => round_trip::<api::ServerVersion>(body),
        14 => round_trip::<api::ApiError>(body),
        15 => round_trip::<receipt::Receipt>(body),
        16 => round_trip::<receipt::SignedReceipt>(body),
        17 => {
            if let Some(ids) = api::decode_ids(body) {
                assert_eq!(api::encode_ids(&ids), body);
            }
        }
        18 => {
            let count = body.len() * 8;
            if let Some(bits) = api::decode_bitmap(body, count) {
                assert_eq!(api::encode_bitmap(&bits), body);
            }
        }
        _ => names(&String::from_utf8_lossy(body)),
    }
}

fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(body) else { return };
    let again = serde_json::to_vec(&message).expect("a message can be written");
    assert_eq!(serde_json::from_slice::<T>(&again).expect("what we write we read"), message);
}

/// A name that was accepted has no way out of its folder, and is spelled the same again.
fn names(text: &str) {
    if let Ok(name) = text.parse::<ImageRef>() {
        assert_eq!(name.to_string(), text);
        assert!(!text.contains(['/', '\0']) && !text.starts_with('.'), "{text:?}");
    }
    if let (Ok(glob), Ok(name)) = (text.parse::<ImageGlob>(), text.trim_end_matches('*').parse()) {
        assert!(glob.matches(&name), "{text:?} does not match what it starts with");
    }
}
