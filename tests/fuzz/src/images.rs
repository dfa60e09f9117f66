//! Disks and volumes made of a fuzzer's bytes.
//!
//! In: any bytes. Out: sources to be read, on the fuzzer's wish with right checksums (`mend.rs`).
//! Promise: large volumes come from few bytes; no length in them is believed.

use super::mend;
use ramet_agent::disk::source::ReadAt;
use ramet_agent::uuid::WriteAt;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

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
                Some([_, _, _, b'E', b'X', b'F', b'A', b'T', ..]) => mend::exfat(&mut bytes),
                Some([b'X', b'F', b'S', b'B', ..]) => mend::xfs(&mut bytes),
                _ => {
                    mend::gpt(&mut bytes, sector_size as usize);
                    mend::lvm(&mut bytes);
                    mend::md(&mut bytes);
                }
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

/// An image that was written to.
pub struct Written {
    under: Arc<dyn ReadAt>,
    writes: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Written {
    pub fn over(under: Arc<dyn ReadAt>) -> Self {
        Self { under, writes: Mutex::new(Vec::new()) }
    }
}

impl ReadAt for Written {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.under.read_exact_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (at, bytes) in self.writes.lock().map_err(|_| io::ErrorKind::Other)?.iter() {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                let index = |place: u64| usize::try_from(place).map_err(io::Error::other);
                let (into, out, len) = (index(from - offset)?, index(from - at)?, index(to - from)?);
                buf[into..into + len].copy_from_slice(&bytes[out..out + len]);
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.under.size()
    }
}

impl WriteAt for Written {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.writes.lock().map_err(|_| io::ErrorKind::Other)?.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks of 4096 bytes that lie far apart, from few bytes; all else is zero.
///
/// The first byte is that of [`Image`]; then follow the blocks, each behind its number in four bytes.
pub struct Scattered {
    blocks: Blocks,
    size: u64,
}

pub type Blocks = BTreeMap<u64, Vec<u8>>;

const SCATTERED: usize = 4096;
/// The size of each of several disks.
pub const DISK: u64 = 128 << 20;
const DISKS: usize = 4;

impl Scattered {
    /// One volume; its numbers are those of blocks.
    pub fn new(data: &[u8]) -> Option<Self> {
        let (&flags, records) = data.split_first()?;
        let size = 1_u64 << u32::from(flags & 0x3f).clamp(12, 44);
        let mut blocks: Blocks = scattered(records).map(|(number, block)| (u64::from(number), block)).collect();
        if flags & 0x40 != 0 {
            mend::f2fs(&mut blocks);
        }
        Some(Self { blocks, size })
    }

    /// Disks of btrfs: the disk above bit 28 of each number, the block below.
    pub fn disks(data: &[u8]) -> Vec<Self> {
        let Some((&flags, records)) = data.split_first() else { return Vec::new() };
        let mut disks: Vec<Self> = Vec::new();
        for (number, mut block) in scattered(records) {
            if flags & 0x40 != 0 {
                mend::btrfs(&mut block);
            }
            let disk = (number >> 28) as usize % DISKS;
            while disks.len() <= disk {
                disks.push(Self { blocks: Blocks::new(), size: DISK });
            }
            disks[disk].blocks.insert(u64::from(number & 0x0fff_ffff), block);
        }
        disks
    }
}

fn scattered(records: &[u8]) -> impl Iterator<Item = (u32, Vec<u8>)> {
    records.chunks(4 + SCATTERED).filter_map(|record| {
        let (number, bytes) = record.split_first_chunk::<4>()?;
        let mut block = bytes.to_vec();
        block.resize(SCATTERED, 0);
        Some((u32::from_le_bytes(*number), block))
    })
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
