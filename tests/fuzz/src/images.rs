//! Disks and volumes made of a fuzzer's bytes.
//!
//! In: any bytes. Out: sources to be read, on the fuzzer's wish with right checksums where checksums lie.
//! Promise: large volumes come from few bytes, and mutations reach what checksums would keep them from.

use ramet_agent::disk::source::ReadAt;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// An image whose tail is zero: large file systems from few bytes.
///
/// The first byte is log2 of the size (0: as long as the rest), with two flags above it: 0x80 for 4096-byte sectors,
/// 0x40 for "mend the checksums", so that mutations reach what lies behind them.
pub struct Image {
    bytes: Vec<u8>,
    size: u64,
    pub sector_size: u32,
}

impl Image {
    pub fn new(data: &[u8]) -> Option<Self> {
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

/// `data` is the first byte of the target's input and the image behind it.
pub fn mend_ntfs(data: &mut Vec<u8>) {
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
pub struct Scattered {
    blocks: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

const SCATTERED: usize = 4096;

impl Scattered {
    pub fn new(data: &[u8]) -> Option<Self> {
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

/// Disks of 128 MiB from few blocks: a place (32 bits: the disk above bit 28, the block of 4 KiB below) and the block, one
/// after the other. The first byte's 0x40 says that each block gets the CRC-32C that a node or superblock has.
pub struct Blocks(BTreeMap<u64, Vec<u8>>);

pub const DISK: u64 = 128 << 20;

impl Blocks {
    pub fn disks(data: &[u8]) -> Vec<Arc<dyn ReadAt>> {
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
