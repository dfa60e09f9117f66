//! A store in memory and a disk that remembers every write, for tests.
//!
//! In: bytes of disks. Out: a door to their image; a medium that can fail at any write and show what was done in which
//! order.

use super::medium::{Medium, Via};
use crate::disk::source::{ReadAt, Window};
use crate::partition;
use crate::transfer::{ChunkAt, Downstream, Located, PackAt, TransferError};
use ramet_wire::api::{ErrorKind, ImageInfo, ImageState};
use ramet_wire::cutting::{CUTTING, ZERO_RUN_MIN, first_cut};
use ramet_wire::manifest::{Content, DiskImage, Manifest, PartitionImage, Source, Stored};
use ramet_wire::pack::{PackBuilder, PackEntry};
use ramet_wire::receipt::{Origin, Proof, SignedReceipt};
use ramet_wire::segment::{Record, RecordKind, SPAN, SegmentRef, encode};
use ramet_wire::{BLOCK, ByteRange, ChunkId, Fingerprint, ImageId, PackName, TableKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of a fixed generator (xorshift64): no two blocks are equal, none is zero.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A disk to capture.
pub(crate) struct Captured<'a> {
    pub disk: &'a dyn ReadAt,
    pub sector: u32,
    /// Extents by partition number, from the partition's start; partitions that are not named are captured whole.
    pub extents: BTreeMap<u32, Vec<ByteRange>>,
    pub serial: Option<String>,
}

impl<'a> Captured<'a> {
    pub fn of(disk: &'a dyn ReadAt) -> Self {
        Self { disk, sector: 512, extents: BTreeMap::new(), serial: None }
    }
}

type OnRead = dyn Fn(&PackAt, &mut [u8]) -> Result<(), TransferError> + Send + Sync;

/// A store in memory that holds one image.
pub(crate) struct Shelf {
    pub packs: Mutex<HashMap<PackName, Arc<Vec<u8>>>>,
    pub map: Mutex<HashMap<ChunkId, (PackName, PackEntry)>>,
    pub manifest: Mutex<Vec<u8>>,
    pub state: Mutex<ImageState>,
    pub located: AtomicUsize,
    pub reads: AtomicUsize,
    pub read_bytes: AtomicU64,
    pub damaged: Mutex<Vec<ChunkId>>,
    pub receipts: Mutex<Vec<String>>,
    pub failures: Mutex<Vec<String>>,
    pub refuse_receipt: AtomicBool,
    pub on_read: Mutex<Option<Box<OnRead>>>,
}

/// Builds packs and segments while a disk is read.
#[derive(Default)]
struct Maker {
    packs: HashMap<PackName, Arc<Vec<u8>>>,
    map: HashMap<ChunkId, (PackName, PackEntry)>,
    known: HashSet<ChunkId>,
    open: Option<PackBuilder<Vec<u8>>>,
}

impl Maker {
    fn put(&mut self, bytes: &[u8]) -> ChunkId {
        let id = ChunkId::of(bytes);
        if self.known.insert(id) {
            let mut pack = self.open.take().unwrap_or_else(|| PackBuilder::new(Vec::new()).unwrap());
            let frame = zstd::bulk::compress(bytes, 1).unwrap();
            pack.push(id, u32::try_from(bytes.len()).unwrap(), &frame).unwrap();
            self.open = Some(pack);
            if self.open.as_ref().unwrap().is_full() {
                self.close();
            }
        }
        id
    }

    fn close(&mut self) {
        let Some(pack) = self.open.take() else { return };
        let pack = pack.finish().unwrap();
        self.map.extend(pack.entries.iter().map(|entry| (entry.id, (pack.name, *entry))));
        self.packs.insert(pack.name, Arc::new(pack.out));
    }

    fn store(&mut self, space: &dyn ReadAt, extents: &[ByteRange]) -> Stored {
        let mut records = Vec::new();
        for extent in extents {
            self.extent(space, *extent, &mut records);
        }
        self.store_records(&records)
    }

    fn store_records(&mut self, records: &[Record]) -> Stored {
        let sum = |zero: bool| {
            let of = |record: &&Record| (record.kind == RecordKind::Zero) == zero;
            records.iter().filter(of).map(|record| u64::from(record.len)).sum()
        };
        let mut segments = Vec::new();
        for span in records.chunk_by(|a, b| a.offset / SPAN == b.offset / SPAN) {
            for (range, bytes) in encode(span, span[0].offset / SPAN * SPAN, SPAN) {
                segments.push(SegmentRef { first: range.start(), len: range.len(), id: self.put(&bytes) });
            }
        }
        let digest = Stored::digest_of(&segments);
        Stored { data_bytes: sum(false), zero_bytes: sum(true), segments, digest }
    }

    /// The rule of the format: zero runs apart, the rest cut by content; in steps, because extents may be large.
    fn extent(&mut self, space: &dyn ReadAt, extent: ByteRange, records: &mut Vec<Record>) {
        const STEP: u64 = 64 << 20;
        let mut at = extent.start();
        while at < extent.end() {
            let end = extent.end().min(at + STEP);
            let mut bytes = vec![0; usize::try_from(end - at).unwrap()];
            space.read_exact_at(&mut bytes, at).unwrap();
            self.cut(&bytes, at, records);
            at = end;
        }
    }

    fn cut(&mut self, bytes: &[u8], start: u64, records: &mut Vec<Record>) {
        let block = usize::try_from(BLOCK).unwrap();
        let is_zero: Vec<bool> = bytes.chunks(block).map(|block| block.iter().all(|byte| *byte == 0)).collect();
        let mut from = 0;
        while from < is_zero.len() {
            let run = |at: usize| is_zero[at..].iter().take_while(|zero| **zero).count();
            let long = |at: usize| run(at) as u64 * BLOCK >= ZERO_RUN_MIN;
            let (mut to, zero) = (from, long(from));
            if zero {
                to += run(from);
            } else {
                while to < is_zero.len() && !long(to) {
                    to += 1;
                }
            }
            let range = from * block..(to * block).min(bytes.len());
            let at = start + range.start as u64;
            if zero {
                let len = u32::try_from(range.len()).unwrap();
                records.push(Record { offset: at, len, kind: RecordKind::Zero });
            } else {
                let (mut rest, mut at) = (&bytes[range], at);
                while let Some(len) = first_cut(rest, true) {
                    let id = self.put(&rest[..len]);
                    records.push(Record { offset: at, len: u32::try_from(len).unwrap(), kind: RecordKind::Data(id) });
                    (rest, at) = (&rest[len..], at + len as u64);
                }
            }
            from = to;
        }
    }

    fn disk(&mut self, ordinal: usize, captured: &Captured<'_>) -> DiskImage {
        let (disk, size) = (captured.disk, captured.disk.size());
        let scan = partition::read(disk, captured.sector).unwrap();
        let gaps = self.store(disk, &scan.gaps);
        let whole = [(0, ByteRange::between(0, size))];
        let held = scan.table.entries.iter().filter(|entry| !entry.extended).map(|entry| (entry.number, entry.range));
        let list: Vec<(u32, ByteRange)> =
            if scan.table.kind == TableKind::None { whole.to_vec() } else { held.collect() };
        let partitions = list
            .into_iter()
            .map(|(number, range)| {
                let all = vec![ByteRange::between(0, range.len())];
                let extents = captured.extents.get(&number).unwrap_or(&all);
                let stored = self.store(&Window::new(disk, range).unwrap(), extents);
                let content = Content { kind: "unknown".to_owned(), ..Content::default() };
                let used_bytes = stored.data_bytes;
                PartitionImage { number, range, content, whole: true, used_bytes, stored }
            })
            .collect();
        DiskImage {
            ordinal: u32::try_from(ordinal).unwrap(),
            size,
            logical_sector: captured.sector,
            physical_sector: captured.sector.max(512),
            model: None,
            serial: captured.serial.clone(),
            wwn: None,
            table: scan.table,
            partitions,
            gaps,
        }
    }
}

impl Shelf {
    /// Captures `disks` as image `web`.
    pub fn of(disks: &[Captured<'_>]) -> Self {
        let mut maker = Maker::default();
        let disks = disks.iter().enumerate().map(|(ordinal, disk)| maker.disk(ordinal, disk)).collect();
        maker.close();
        let manifest = Manifest {
            format: 1,
            features: Vec::new(),
            name: "web".parse().unwrap(),
            created: "2026-11-22T12:00:00Z".to_owned(),
            agent: "0.1.0".to_owned(),
            source: Source::default(),
            cutting: CUTTING,
            inconsistent: false,
            warnings: Vec::new(),
            firmware: None,
            boot: None,
            disks,
        };
        Self {
            packs: Mutex::new(maker.packs),
            map: Mutex::new(maker.map),
            manifest: Mutex::new(manifest.write().unwrap()),
            state: Mutex::new(ImageState::Complete),
            located: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            read_bytes: AtomicU64::new(0),
            damaged: Mutex::default(),
            receipts: Mutex::default(),
            failures: Mutex::default(),
            refuse_receipt: AtomicBool::new(false),
            on_read: Mutex::new(None),
        }
    }

    pub fn manifest_value(&self) -> Manifest {
        Manifest::read(&self.manifest.lock().unwrap()).unwrap()
    }

    pub fn id(&self) -> ImageId {
        ImageId::of(&self.manifest.lock().unwrap())
    }

    /// Replaces the manifest; its own rules are not asked.
    pub fn edit(&self, edit: impl FnOnce(&mut Manifest)) {
        let mut manifest = self.manifest_value();
        edit(&mut manifest);
        *self.manifest.lock().unwrap() = serde_json::to_vec(&manifest).unwrap();
    }

    /// Stores a chunk in a pack of its own.
    pub fn add(&self, bytes: &[u8]) -> ChunkId {
        let mut maker = Maker::default();
        let id = maker.put(bytes);
        maker.close();
        self.packs.lock().unwrap().extend(maker.packs);
        self.map.lock().unwrap().extend(maker.map);
        id
    }

    /// Stores records as a space that no disk was read for.
    pub fn add_records(&self, records: &[Record]) -> Stored {
        let mut maker = Maker::default();
        let stored = maker.store_records(records);
        maker.close();
        self.packs.lock().unwrap().extend(maker.packs);
        self.map.lock().unwrap().extend(maker.map);
        stored
    }

    /// All records of a space.
    pub fn records(&self, stored: &Stored, size: u64) -> Vec<Record> {
        let mut all: Vec<Record> = Vec::new();
        for segment in &stored.segments {
            let before = all.last().map_or(0, |record| record.range().end());
            all.extend(ramet_wire::segment::decode(&self.chunk(segment.id), segment, before, size, BLOCK).unwrap());
        }
        all
    }

    pub fn chunk(&self, id: ChunkId) -> Vec<u8> {
        let (pack, entry) = self.map.lock().unwrap()[&id];
        let pack = self.packs.lock().unwrap()[&pack].clone();
        let at = usize::try_from(entry.offset).unwrap();
        zstd::bulk::decompress(&pack[at..at + entry.stored as usize], entry.raw as usize).unwrap()
    }

    /// Flips one bit in the middle of a chunk's frame.
    pub fn damage(&self, id: ChunkId) {
        let (pack, entry) = self.map.lock().unwrap()[&id];
        let mut packs = self.packs.lock().unwrap();
        let mut bytes = packs[&pack].to_vec();
        bytes[usize::try_from(entry.offset).unwrap() + entry.stored as usize / 2] ^= 4;
        packs.insert(pack, Arc::new(bytes));
    }

    pub fn forget_counts(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.located.store(0, Ordering::Relaxed);
        self.read_bytes.store(0, Ordering::Relaxed);
    }

    fn answer(kind: ErrorKind, message: &str) -> TransferError {
        TransferError::Answer { what: "reading a pack".to_owned(), kind, message: message.to_owned() }
    }
}

impl Downstream for Shelf {
    fn image(&self) -> Result<ImageInfo, TransferError> {
        let manifest = self.manifest.lock().unwrap();
        Ok(ImageInfo {
            name: "web".parse().unwrap(),
            id: ImageId::of(&manifest),
            number: 1,
            created: String::new(),
            state: *self.state.lock().unwrap(),
            disks: 1,
            data_bytes: 0,
        })
    }

    fn manifest(&self) -> Result<(Vec<u8>, Origin), TransferError> {
        Ok((self.manifest.lock().unwrap().clone(), Origin::Pinned(Fingerprint([7; 32]))))
    }

    fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError> {
        assert!((1..=4096).contains(&ids.len()), "{} ids in one question", ids.len());
        self.located.fetch_add(ids.len(), Ordering::Relaxed);
        let map = self.map.lock().unwrap();
        let mut located = Located::default();
        for id in ids {
            let at = map.get(id).map(|(name, entry)| {
                let known = located.packs.iter().position(|pack| pack.pack == *name);
                let pack = known.unwrap_or_else(|| {
                    located.packs.push(PackAt { pack: *name, url: "".into() });
                    located.packs.len() - 1
                });
                ChunkAt { pack, offset: entry.offset, stored: entry.stored, raw: entry.raw }
            });
            located.chunks.push(at);
        }
        Ok(located)
    }

    fn read(&self, pack: &PackAt, offset: u64, buf: &mut [u8]) -> Result<(), TransferError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let bytes = self.packs.lock().unwrap().get(&pack.pack).cloned();
        let bytes = bytes.ok_or_else(|| Self::answer(ErrorKind::Retry, "404"))?;
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&bytes[at..at + buf.len()]);
        match &*self.on_read.lock().unwrap() {
            Some(hook) => hook(pack, buf),
            None => Ok(()),
        }
    }

    fn damaged(&self, ids: &[ChunkId]) {
        self.damaged.lock().unwrap().extend(ids);
    }

    fn progress(&self, _: &str, _: u64, _: u64) {}

    fn receipt(&self, receipt: &str) -> Result<Option<SignedReceipt>, TransferError> {
        if self.refuse_receipt.load(Ordering::Relaxed) {
            return Err(Self::answer(ErrorKind::Refused, "receipt does not match"));
        }
        self.receipts.lock().unwrap().push(receipt.to_owned());
        Ok(None)
    }

    fn run(&self) -> Option<String> {
        None
    }

    fn folder(&self) -> Option<&std::path::Path> {
        None
    }

    fn fail(&self, error: &str) {
        self.failures.lock().unwrap().push(error.to_owned());
    }
}

/// One thing that was done to a [`Ram`] disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write(u64, Vec<u8>, Via),
    Zero(ByteRange),
    Flush,
}

impl Op {
    pub fn range(&self) -> Option<ByteRange> {
        match self {
            Self::Write(at, bytes, _) => Some(ByteRange::between(*at, at + bytes.len() as u64)),
            Self::Zero(range) => Some(*range),
            Self::Flush => None,
        }
    }

    pub fn apply(&self, disk: &mut [u8]) {
        let Some(range) = self.range() else { return };
        let (from, to) = (usize::try_from(range.start()).unwrap(), usize::try_from(range.end()).unwrap());
        match self {
            Self::Write(_, bytes, _) => disk[from..to].copy_from_slice(bytes),
            _ => disk[from..to].fill(0),
        }
    }
}

/// A disk in memory that remembers what was done to it.
pub(crate) struct Ram {
    pub bytes: Mutex<Vec<u8>>,
    pub sector: u32,
    pub direct: Option<u32>,
    pub zeroes: bool,
    pub proof: Proof,
    pub log: Mutex<Vec<Op>>,
    /// Writes, zeros and flushes that still succeed; then the disk is gone.
    pub fuel: AtomicUsize,
    /// A byte that always reads differently past the cache.
    pub rotten: Mutex<Option<u64>>,
    pub name: String,
}

impl Ram {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self::plain(bytes))
    }

    pub fn plain(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            sector: 512,
            direct: Some(512),
            zeroes: true,
            proof: Proof::Device,
            log: Mutex::default(),
            fuel: AtomicUsize::new(usize::MAX),
            rotten: Mutex::new(None),
            name: "/dev/ram".to_owned(),
        }
    }

    fn burn(&self) -> io::Result<()> {
        let left = self.fuel.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fuel| fuel.checked_sub(1));
        left.map(|_| ()).map_err(|_| io::Error::from_raw_os_error(libc::EIO))
    }

    fn check(&self, offset: u64, len: usize, via: Via) {
        assert!(offset + len as u64 <= self.size(), "{offset}+{len} is past the end");
        if via == Via::Direct {
            let align = u64::from(self.direct.expect("this disk refuses O_DIRECT"));
            assert!(offset.is_multiple_of(align) && (len as u64).is_multiple_of(align), "{offset}+{len} unaligned");
        }
    }

    pub fn ops(&self) -> Vec<Op> {
        self.log.lock().unwrap().clone()
    }

    pub fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl Medium for Arc<Ram> {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn sector(&self) -> u32 {
        self.sector
    }

    fn direct(&self) -> Option<u32> {
        self.direct
    }

    fn proof(&self) -> Proof {
        self.proof
    }

    fn read(&self, buf: &mut [u8], offset: u64, via: Via) -> io::Result<()> {
        (**self).check(offset, buf.len(), via);
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buf.len()]);
        let rotten = self.rotten.lock().unwrap().filter(|_| via == Via::Direct);
        if let Some(byte) = rotten.and_then(|at| buf.get_mut(usize::try_from(at.checked_sub(offset)?).ok()?)) {
            *byte ^= 0x10;
        }
        Ok(())
    }

    fn write(&self, buf: &[u8], offset: u64, via: Via) -> io::Result<()> {
        (**self).check(offset, buf.len(), via);
        self.burn()?;
        let op = Op::Write(offset, buf.to_vec(), via);
        let mut log = self.log.lock().unwrap();
        op.apply(&mut self.bytes.lock().unwrap());
        log.push(op);
        Ok(())
    }

    fn zero(&self, range: ByteRange) -> io::Result<bool> {
        if !self.zeroes {
            return Ok(false);
        }
        self.burn()?;
        let mut log = self.log.lock().unwrap();
        Op::Zero(range).apply(&mut self.bytes.lock().unwrap());
        log.push(Op::Zero(range));
        Ok(true)
    }

    fn flush(&self) -> io::Result<()> {
        self.burn()?;
        self.log.lock().unwrap().push(Op::Flush);
        Ok(())
    }

    fn forget(&self, _: ByteRange) {}
}

impl Ram {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }
}
