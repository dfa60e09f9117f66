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
use ramet_agent::{extent, partition, uuid};
use ramet_system::assemble::{Volume, fstab};
use ramet_system::os::Os;
use ramet_wire::identity::{Identity, Vars};
use ramet_wire::range::BLOCK;
use ramet_wire::{ByteRange, ChunkId, ImageGlob, ImageRef, Table, TableKind};
use ramet_wire::{api, boot, frame, manifest, pack, receipt, segment};
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
    ("layout", layout),
    ("pack", packs),
    ("segment", segments),
    ("manifest", manifests),
    ("message", messages),
    ("cpio", initramfs),
    ("alias", aliases),
    ("osrelease", os_release),
    ("identity", identity),
];

/// Whatever this is as an initramfs: what it says of its modules is bounded, and names lead nowhere.
fn initramfs(data: &[u8]) {
    for path in ramet_system::boot::modules_in(data, "6.1").unwrap_or_default() {
        assert!(!path.split('/').any(|part| part == ".." || part.is_empty()), "{path:?}");
    }
}

/// A pattern, a line feed, a name: matching ends, a pattern without special characters fits itself only. And the whole as
/// a list of drivers.
fn aliases(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some((pattern, name)) = text.split_once('\n') {
        let plain = !pattern.contains(['*', '?', '[', '\\']);
        let fits = boot::fits(pattern, name);
        assert!(!plain || fits == (pattern == name), "{pattern:?} {name:?}");
        assert!(boot::fits("*", name));
    }
    if let Ok(drivers) = serde_json::from_value::<boot::Drivers>(text.into_owned().into())
        && let Ok(list) = drivers.read()
    {
        assert!(list.iter().all(|driver| driver.name.is_ascii()));
    }
}

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
    let image: Arc<dyn ReadAt> = Arc::new(image);
    let map = extent::map(image.clone()).expect("memory answers, and damage is no error");
    check_map(&map, image.size());
    check_new_uuid(&image, &map);
}

/// A content gets another UUID only where its map is believed, and then has the same map.
fn check_new_uuid(image: &Arc<dyn ReadAt>, map: &extent::Map) {
    let volume = uuid::Volume { name: "v".to_owned(), bytes: image.clone() };
    let plan = uuid::plan(&[], &[volume], uuid::Seed::new([1; 32])).expect("memory answers");
    let Some(id) = plan.ids.first() else { return };
    assert!(!map.whole, "{id:?}");
    let written = images::Written::over(image.clone());
    uuid::write(&plan, &[uuid::Device::Volume("v", &written)]).expect("memory takes it and gives it back");
    let after = extent::map(Arc::new(written)).expect("memory answers");
    assert!(!after.whole, "{:?}", after.warnings);
    assert_eq!(after.content.uuid.as_ref(), Some(&id.new));
    assert!(map.extents().map(|one| one.ok()).eq(after.extents().map(|one| one.ok())), "{id:?}");
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
    check_new_ids(&image, &scan.table);
    for new_size in [size, size.saturating_add(1 << 30), size / 2] {
        let Ok(layout) = partition::retarget(&image, &scan.table, image.sector_size, new_size) else { continue };
        let pieces: Vec<_> =
            [layout.lba0].into_iter().chain(layout.head).chain(layout.backup).chain(layout.ebrs).collect();
        let mut written: Vec<_> = pieces.iter().filter(|piece| !piece.bytes.is_empty()).map(range_of).collect();
        written.extend(&partitions);
        assert_disjoint(&mut written, new_size);
        if scan.table.kind != TableKind::None {
            let again = partition::read(&Pieces { pieces, under: None, size: new_size }, image.sector_size);
            let again = again.unwrap_or_else(|error| panic!("reading our own table for {new_size}: {error}")).table;
            assert_eq!(
                (again.kind, again.id, again.entries),
                (scan.table.kind, scan.table.id.clone(), scan.table.entries.clone())
            );
        }
    }
}

/// The table with other ids is the same table.
fn check_new_ids(image: &Image, table: &Table) {
    let numbers = table.entries.iter().map(|entry| (entry.number, Default::default()));
    let ids = partition::NewIds { disk: Some(Default::default()), signature: Some(7), partitions: numbers.collect() };
    let Ok(groups) = partition::rename(image, image.sector_size, &ids) else { return };
    let pieces = groups.into_iter().flatten().collect();
    let after = partition::read(&Pieces { pieces, under: Some(image), size: image.size() }, image.sector_size);
    let mut wanted = table.clone();
    ids.put_into(&mut wanted);
    assert_eq!(after.map(|scan| scan.table).ok(), Some(wanted));
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

/// A disk, a blank one if no other lies under it, with a table's pieces on it.
struct Pieces<'a> {
    pieces: Vec<partition::Piece>,
    under: Option<&'a Image>,
    size: u64,
}

impl ReadAt for Pieces<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = ByteRange::new(offset, buf.len() as u64).ok().filter(|range| range.end() <= self.size);
        let wanted = wanted.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        self.under.map_or(Ok(()), |under| under.read_exact_at(buf, offset))?;
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

/// A file of `--layout`: refused, or a layout that says the same again, and places in which nothing overlaps.
fn layout(data: &[u8]) {
    use ramet_agent::adapt::layout::{Ability, Arranged, Frame, Inside, arrange};
    use ramet_wire::adapt::{Layout, Size};
    const MIB: u64 = 1 << 20;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let layout = match Layout::from_toml(text) {
        Ok(layout) => layout,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let json = serde_json::to_string(&layout).expect("a layout can be written");
    assert_eq!(serde_json::from_str::<Layout>(&json).expect("and read"), layout);
    let entry = |(number, start, end): (u32, u64, u64)| ramet_wire::Entry {
        number,
        range: ByteRange::between(start * MIB, end * MIB),
        r#type: String::new(),
        guid: None,
        name: None,
        attributes: 0,
        ebr: (number > 4).then(|| (start - 1) * MIB),
        extended: number == 4,
    };
    let entries = [(1, 1, 100), (2, 100, 300), (4, 300, 800), (5, 301, 500), (6, 501, 800)].map(entry).to_vec();
    let table = Table { kind: TableKind::Mbr, id: None, usable: None, hybrid: false, entries };
    let able = |number: u32| Ability {
        number,
        kind: "ext4".to_owned(),
        inside: if number == 2 { Inside::Swap } else { Inside::Ext },
        no_growth: None,
        least: Ok(u64::from(number) * 20 * MIB),
    };
    for mib in [400, 800, 5000] {
        let frame = Frame { ordinal: 0, table: &table, image_size: 800 * MIB, size: mib * MIB, sector: 512 };
        let arranged = arrange(&frame, &[1, 2, 5, 6].map(able), &Size::Layout(layout.clone()));
        let Ok(Some(Arranged { entries: placed, steps })) = arranged else { continue };
        assert_eq!(placed.len(), table.entries.len());
        let mut taken: Vec<ByteRange> = placed.iter().filter(|one| !one.extended).map(|one| one.range).collect();
        taken.extend(placed.iter().filter_map(|one| one.ebr).map(|at| ByteRange::between(at, at + 512)));
        assert_disjoint(&mut taken, mib * MIB);
        for step in steps.iter().filter(|step| step.inside == Inside::Ext && step.new.len() < step.old.len()) {
            assert!(step.new.len() >= u64::from(step.number) * 20 * MIB, "{step:?}");
        }
    }
}
/// What an image says of its system, and what it mounts.
fn os_release(data: &[u8]) {
    if let Ok(os) = Os::parse(data) {
        assert!(!os.id.is_empty() && [&os.id, &os.name, &os.version].iter().all(|text| text.len() <= 1024));
        assert!(!os.name.chars().any(char::is_control), "{:?}", os.name);
        let _ = os.family();
    }
    let text = String::from_utf8_lossy(data);
    let volume = Volume { uuid: Some("1".into()), label: Some("root".into()), number: Some(1), ..Volume::default() };
    for entry in fstab::parse(&text) {
        assert!(entry.path.is_absolute());
        let found = entry.volume(std::slice::from_ref(&volume), None);
        assert!(found.is_err() || found == Ok(0));
    }
}

/// A declaration of an operator: what is accepted is rendered or refused, is the same after another round, and holds no
/// line break where a line of a file is made of it.
fn identity(data: &[u8]) {
    let Ok(declared) = Identity::from_toml(&String::from_utf8_lossy(data)) else { return };
    assert_eq!(declared.clone().over(Identity::default()), declared);
    assert_eq!(Identity::default().over(declared.clone()), declared);
    let vars = Vars {
        name: "web02".into(),
        macs: vec!["52:54:00:12:34:56".into()],
        tags: vec!["db".into(), "web".into()],
        ..Vars::default()
    };
    let Ok(rendered) = declared.render(&vars) else { return };
    rendered.check().expect("what is rendered is checked");
    let json = serde_json::to_vec(&rendered).expect("plain types");
    assert_eq!(serde_json::from_slice::<Identity>(&json).expect("what we write we read"), rendered);
    let keys = rendered.users.values().flat_map(|user| user.authorized_keys.iter().flatten());
    let names = rendered.hosts.values().flatten().chain(&rendered.hostname).chain(rendered.files.keys());
    assert!(keys.chain(names).all(|line| !line.chars().any(char::is_control)));
}
