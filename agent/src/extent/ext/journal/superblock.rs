//! The superblock of a journal.
//!
//! In: the first block of the journal's file. Out: where its log begins, and in which form it is written.
//! Promise: every flag is known, the checksum right, and all of the log inside the file.
//!
//! | offset (big-endian) | field | | offset | field |
//! |---|---|---|---|---|
//! | 0x00 | magic 0xc03b3998 | | 0x20 | error that the journal ended with |
//! | 0x04 | block type: 3, 4 superblock of version 1, 2 | | 0x24, 0x28, 0x2c | compat, incompat, ro_compat flags |
//! | 0x0c, 0x10 | block size, blocks | | 0x30 | UUID, where checksums start |
//! | 0x14 | first block of the log | | 0x50 | checksum type, 4 is CRC-32C |
//! | 0x18, 0x1c | first transaction to replay, its block (0: none) | | 0xfc | checksum |
//!
//! Source: the kernel's Documentation/filesystems/ext4, "Journal (jbd2)", and include/linux/jbd2.h.

use super::super::super::ExtentError;
use super::super::super::bytes::Fields;
use super::super::super::error::believe;
use super::super::super::peek::read;
use super::super::checksum::crc32c;
use super::super::geometry::Geometry;
use super::file::File;
use crate::disk::source::ReadAt;

pub(super) const MAGIC: u32 = 0xc03b_3998;
const LEN: usize = 1024;
const VERSION_2: u32 = 4;
const CRC32C: u8 = 4;

const REVOKE: u32 = 0x1;
const BITS_64: u32 = 0x2;
const CSUM_V3: u32 = 0x10;
/// Left out: 0x4, commits that need not be complete; 0x8, checksums of a form that the kernel no longer writes; 0x20,
/// commits that name changes instead of blocks (fast commits). Left out too is what a mount with `journal_checksum` makes
/// of a file system without checksums of its own: the compatible flag 0x1, one checksum for each transaction.
const KNOWN: u32 = REVOKE | BITS_64 | CSUM_V3;

/// In which form the log is written, and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    /// The first block of the ring; its end is the journal's.
    pub first: u64,
    pub end: u64,
    /// Block in which the replay begins; none when nothing waits.
    pub start: Option<u64>,
    pub sequence: u32,
    pub bits_64: bool,
    /// Where checksums start, if there are any.
    pub seed: Option<u32>,
}

fn raw(part: &dyn ReadAt, geometry: &Geometry, file: &File) -> Result<Vec<u8>, ExtentError> {
    let block = file.place(0)?;
    let mut raw = vec![0; LEN];
    read(part, &mut raw, block * geometry.block, "journal superblock")?;
    let magic = Fields(&raw).be32(0);
    believe!(magic == MAGIC, "journal superblock in block {block} has magic {magic:#x}, {MAGIC:#x} expected");
    Ok(raw)
}

/// First block to replay, and the error that the journal ended with; both 0 in a clean one.
pub(super) fn start_and_error(part: &dyn ReadAt, geometry: &Geometry, file: &File) -> Result<(u32, u32), ExtentError> {
    let raw = raw(part, geometry, file)?;
    Ok((Fields(&raw).be32(0x1c), Fields(&raw).be32(0x20)))
}

impl Superblock {
    pub fn read(part: &dyn ReadAt, geometry: &Geometry, file: &File) -> Result<Self, ExtentError> {
        let raw = raw(part, geometry, file)?;
        let fields = Fields(&raw);
        let (version, error) = (fields.be32(0x04), fields.be32(0x20));
        believe!(version == VERSION_2, "journal superblock has type {version}, {VERSION_2} expected");
        believe!(error == 0, "its journal ended with error {error}, 0 expected");
        let (compat, incompat, ro_compat) = (fields.be32(0x24), fields.be32(0x28), fields.be32(0x2c));
        believe!(
            compat == 0 && incompat & !KNOWN == 0 && ro_compat == 0,
            "journal has flags {compat:#x}, {incompat:#x}, {ro_compat:#x}; known are 0, {KNOWN:#x}, 0"
        );
        let summed = incompat & CSUM_V3 != 0;
        let mut seed = None;
        if summed {
            let kind = fields.u8(0x50);
            believe!(kind == CRC32C, "journal has checksum type {kind}, {CRC32C} (CRC-32C) is known");
            let (before, after) = (fields.bytes(0, 0xfc), fields.bytes(0x100, LEN - 0x100));
            let (stored, computed) = (fields.be32(0xfc), crc32c(crc32c(crc32c(!0, before), &[0; 4]), after));
            believe!(
                stored == computed,
                "checksum of the journal superblock is {stored:#010x}, its bytes give {computed:#010x}"
            );
            seed = Some(crc32c(!0, fields.bytes(0x30, 16)));
        }
        let block = u64::from(fields.be32(0x0c));
        believe!(block == geometry.block, "journal has blocks of {block} bytes, the file system of {}", geometry.block);
        let (end, first, start) =
            (u64::from(fields.be32(0x10)), u64::from(fields.be32(0x14)), u64::from(fields.be32(0x1c)));
        believe!(end <= file.blocks, "journal has {end} blocks, its file {}", file.blocks);
        believe!(first > 0 && first < end, "log begins at block {first} of a journal of {end}");
        believe!(
            start == 0 || (first..end).contains(&start),
            "replay begins at block {start}, outside of {first} to {end}"
        );
        Ok(Self {
            first,
            end,
            start: (start != 0).then_some(start),
            sequence: fields.be32(0x18),
            bits_64: incompat & BITS_64 != 0,
            seed,
        })
    }
}
