//! What each fuzz target does with its bytes, and what must hold then.
//!
//! In: any bytes. Out: nothing; a broken promise is a panic.
//! Promise: no file, no clock, no randomness: the same bytes do the same, so a found input is a regression test.

#[path = "images.rs"]
mod images;
#[path = "mend.rs"]
mod mend;

use images::{DISK, Image, Scattered};
use ramet_agent::disk::source::ReadAt;
use ramet_agent::{extent, partition};
use ramet_wire::range::BLOCK;
use ramet_wire::{ByteRange, ChunkId, ImageGlob, ImageRef, Table, TableKind};
use ramet_wire::{api, frame, manifest, pack, receipt, segment};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// What a target does with its bytes.
pub type Body = fn(&[u8]);

/// Every target by name. Seeds lie in `tests/fixtures` (the first word of their names), found inputs in `regressions`.
pub const TARGETS: &[(&str, Body)] = &[
    ("btrfs", btrfs),
    ("ext", extents),
    ("exfat", extents),
    ("f2fs", scattered),
    ("fat", fat),
    ("lvm", extents),
    ("md", extents),
    ("ntfs", ntfs),
    ("signatures", extents),
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

/// With 0x40: every protected record gets the right ends, and the mirror what the MFT has, so that mutations reach what
/// lies behind them. The mirror and the log are more than a seed can hold: they are made here, the log an empty one.
fn ntfs(data: &[u8]) {
    let mut data = data.to_vec();
    if data.first().is_some_and(|flags| flags & 0x40 != 0) {
        data[0] &= !0x40;
        mend::ntfs(&mut data);
    }
    extents(&data);
}

/// Beside the map, what firmware could start from it.
fn fat(data: &[u8]) {
    let Some(image) = Image::new(data) else { return };
    let loaders = extent::efi_loaders(&image).expect("memory answers");
    assert!(loaders.len() <= 64, "{} loaders", loaders.len());
    keeps_promises(image);
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

/// The maps of all devices of whatever this is, each beside the others.
fn btrfs(data: &[u8]) {
    let disks: Vec<Arc<dyn ReadAt>> =
        Scattered::disks(data).into_iter().map(|disk| Arc::new(disk) as Arc<dyn ReadAt>).collect();
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
