//! The log of a journal: complete transactions, one after the other.
//!
//! In: a journal that waits to be replayed. Out: for each block that a replay writes, where its last copy lies.
//! Promise: ends at the first block that does not belong to the next transaction, as the kernel does; goes round the
//! ring at most once; a wrong checksum or an unknown block is a doubt.
//!
//! | block (big-endian) | fields behind magic, type, transaction (4 bytes each) |
//! |---|---|
//! | 1, descriptor | tags, each for one of the blocks that follow; its checksum in the last 4 bytes |
//! | tag | block, flags; high half of the block; checksum (16 bytes with checksums, else 8, 12 with 64 bits: 2 of sum) |
//! | 2, commit | ends the transaction; checksum at 16 |
//! | 5, revocation | bytes used; numbers of blocks that are not written from earlier copies; checksum like 1 |
//!
//! Flags of a tag: 1 the copy lacks its first 4 bytes, which were the magic; 2 no UUID follows; 8 the last one.
//! Source: the kernel's fs/jbd2/recovery.c and Documentation/filesystems/ext4, "Journal (jbd2)".

use super::super::super::ExtentError;
use super::super::super::bytes::{Fields, in_memory};
use super::super::super::error::believe;
use super::super::super::peek::read;
use super::super::checksum::crc32c;
use super::super::geometry::Geometry;
use super::file::File;
use super::superblock::{MAGIC, Superblock};
use crate::disk::source::ReadAt;
use std::collections::BTreeMap;

const HEADER: usize = 12;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOCATION: u32 = 5;
const ESCAPED: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;
/// Blocks of the file system that have copies in the log, or are revoked: at most 32 MiB of memory. A full journal of
/// 1 GiB has half as many.
const BLOCKS_MAX: usize = 1 << 19;

/// The last copy of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The block in which it lies.
    pub place: u64,
    /// Its first four bytes are the magic.
    pub escaped: bool,
    /// Which transaction of the log it belongs to, from 0 on.
    transaction: u64,
}

/// What a replay writes.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub transactions: u64,
    /// By the block that is written.
    pub copies: BTreeMap<u64, Copy>,
}

/// What one transaction adds once its commit was seen. Without one, a power cut came before all of it was written: then
/// wrong checksums of copies say nothing.
#[derive(Default)]
struct Pending {
    copies: Vec<(u64, Copy)>,
    revoked: Vec<u64>,
    doubt: Option<String>,
}

struct Reader<'a> {
    part: &'a dyn ReadAt,
    geometry: &'a Geometry,
    file: &'a File,
    head: &'a Superblock,
    next: u64,
    /// Blocks of the ring that were not read yet.
    left: u64,
    /// Complete ones. By their place in the log, so that it does not matter that numbers wrap.
    transactions: u64,
}

/// The log of the journal in `file`.
pub(super) fn log(part: &dyn ReadAt, geometry: &Geometry, file: &File, head: &Superblock) -> Result<Log, ExtentError> {
    let Some(next) = head.start else { return Ok(Log::default()) };
    Reader { part, geometry, file, head, next, left: head.end - head.first, transactions: 0 }.all()
}

impl Reader<'_> {
    fn all(mut self) -> Result<Log, ExtentError> {
        let mut copies: BTreeMap<u64, Copy> = BTreeMap::new();
        let mut revoked: BTreeMap<u64, u64> = BTreeMap::new();
        let mut pending = Pending::default();
        while self.left > 0 {
            let place = self.advance()?;
            let raw = self.block(place)?;
            let fields = Fields(&raw);
            if fields.be32(0) != MAGIC || fields.be32(8) != self.sequence() {
                break;
            }
            match fields.be32(4) {
                DESCRIPTOR => self.descriptor(place, &raw, &mut pending)?,
                REVOCATION => self.revocation(place, &raw, &mut pending)?,
                COMMIT => {
                    self.check_commit(place, &raw)?;
                    let done = std::mem::take(&mut pending);
                    if let Some(doubt) = done.doubt {
                        return Err(ExtentError::doubt(doubt));
                    }
                    copies.extend(done.copies);
                    revoked.extend(done.revoked.into_iter().map(|block| (block, self.transactions)));
                    self.transactions += 1;
                }
                kind => {
                    return Err(ExtentError::doubt(format!(
                        "block {place} of the journal has the unknown type {kind}"
                    )));
                }
            }
            let kept = copies.len() + revoked.len() + pending.copies.len() + pending.revoked.len();
            believe!(kept <= BLOCKS_MAX, "log has copies of {kept} blocks, at most {BLOCKS_MAX} are kept");
        }
        copies.retain(|block, copy| revoked.get(block).is_none_or(|until| *until < copy.transaction));
        Ok(Log { transactions: self.transactions, copies })
    }

    /// The number of the transaction that is read.
    fn sequence(&self) -> u32 {
        // Shorter than 2^32 blocks, the log has fewer transactions.
        self.head.sequence.wrapping_add(u32::try_from(self.transactions).unwrap_or(u32::MAX))
    }

    /// Where the next block of the ring lies.
    fn advance(&mut self) -> Result<u64, ExtentError> {
        let place = self.file.place(self.next)?;
        believe!(self.left > 0, "log goes round its ring of {} blocks", self.head.end - self.head.first);
        self.left -= 1;
        self.next = if self.next + 1 == self.head.end { self.head.first } else { self.next + 1 };
        Ok(place)
    }

    fn block(&self, place: u64) -> Result<Vec<u8>, ExtentError> {
        let mut raw = vec![0; in_memory(self.geometry.block)?];
        read(self.part, &mut raw, place * self.geometry.block, "journal")?;
        Ok(raw)
    }

    /// Where the tail with a block's checksum begins: at its end where there is none.
    fn body(&self, place: u64, raw: &[u8]) -> Result<usize, ExtentError> {
        let Some(seed) = self.head.seed else { return Ok(raw.len()) };
        let end = raw.len() - 4;
        let (stored, computed) = (Fields(raw).be32(end), crc32c(crc32c(seed, &raw[..end]), &[0; 4]));
        believe!(
            stored == computed,
            "checksum of block {place} of the journal is {stored:#010x}, its bytes give {computed:#010x}"
        );
        Ok(end)
    }

    fn descriptor(&mut self, place: u64, raw: &[u8], pending: &mut Pending) -> Result<(), ExtentError> {
        let end = self.body(place, raw)?;
        let fields = Fields(raw);
        let len = match (self.head.seed, self.head.bits_64) {
            (Some(_), _) => 16,
            (None, true) => 12,
            (None, false) => 8,
        };
        let mut at = HEADER;
        while at + len <= end {
            let summed = self.head.seed.is_some();
            let flags = if summed { fields.be32(at + 4) } else { u32::from(fields.be16(at + 6)) };
            believe!(
                flags & !(ESCAPED | SAME_UUID | LAST) == 0,
                "tag in block {place} of the journal has flags {flags:#x}"
            );
            let high = if self.head.bits_64 { u64::from(fields.be32(at + 8)) } else { 0 };
            let block = high << 32 | u64::from(fields.be32(at));
            let blocks = self.geometry.blocks;
            believe!(block < blocks, "journal has a copy of block {block}, the file system has {blocks}");
            let copy = self.advance()?;
            if let Some(seed) = self.head.seed {
                let sum = crc32c(crc32c(seed, &self.sequence().to_be_bytes()), &self.block(copy)?);
                let stored = fields.be32(at + 12);
                let doubt = || {
                    format!(
                        "checksum of the copy of block {block} in the journal is {stored:#010x}, its bytes give {sum:#010x}"
                    )
                };
                pending.doubt = pending.doubt.take().or_else(|| (stored != sum).then(doubt));
            }
            let copy = Copy { place: copy, escaped: flags & ESCAPED != 0, transaction: self.transactions };
            pending.copies.push((block, copy));
            at += len + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        Ok(())
    }

    fn revocation(&self, place: u64, raw: &[u8], pending: &mut Pending) -> Result<(), ExtentError> {
        let end = self.body(place, raw)?;
        let used = in_memory(u64::from(Fields(raw).be32(HEADER)))?;
        let each = if self.head.bits_64 { 8 } else { 4 };
        believe!(
            used >= 16 && used <= end,
            "revocations in block {place} of the journal fill {used} bytes, 16 to {end} expected"
        );
        for at in (16..used).step_by(each).take_while(|at| at + each <= used) {
            let fields = Fields(raw);
            let block = if each == 8 { fields.be64(at) } else { u64::from(fields.be32(at)) };
            pending.revoked.push(block);
        }
        Ok(())
    }

    fn check_commit(&self, place: u64, raw: &[u8]) -> Result<(), ExtentError> {
        let Some(seed) = self.head.seed else { return Ok(()) };
        let sum = crc32c(crc32c(crc32c(seed, &raw[..16]), &[0; 4]), &raw[20..]);
        let stored = Fields(raw).be32(16);
        believe!(
            stored == sum,
            "checksum of the commit in block {place} is {stored:#010x}, its bytes give {sum:#010x}"
        );
        Ok(())
    }
}
