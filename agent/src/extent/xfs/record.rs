//! The last record of the log: was it written by an unmount?
//!
//! In: the ring and its head. Out: nothing, or the doubt that something waits to be replayed.
//! Promise: the record ends right at the head and holds one operation, as the kernel's `xlog_check_unmount_rec` wants.
//!
//! | offset | record header (big-endian) | | offset | operation, first in the data |
//! |---|---|---|---|---|
//! | 0, 4 | magic 0xfeedbabe, cycle | | 0 | cycle of its block |
//! | 8 | version: 1 or 2 | | 8 | client: 0xaa is the log itself |
//! | 12 | bytes of data | | 9 | flags: 0x20 unmount |
//! | 16 | LSN of this record | | | |
//! | 32 | checksum (little-endian), 0 for none | | | |
//! | 40 | operations | | | |
//! | 304 | UUID of the file system | | | |
//! | 320 | size of the buffer: over 32 KiB more headers follow, one per 32 KiB | | | |
//!
//! Source: the kernel's fs/xfs/libxfs/xfs_log_format.h, xfs_log.c and xfs_log_recover.c.

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::checksum;
use super::log::{BLOCK, Lsn, Ring};

pub(super) const MAGIC: u32 = 0xfeed_babe;
/// Bytes of data for which one header has room.
const PER_HEADER: u64 = 32 << 10;
/// The headers of the longest record.
const MOST_HEADERS: u64 = 8;
const SUM_AT: usize = 32;
const CLIENT_LOG: u8 = 0xaa;
const UNMOUNT: u8 = 0x20;

/// The record before `head` up to `head`.
fn last(ring: &Ring<'_>, head: u64) -> Result<Vec<u8>, ExtentError> {
    let reach = (ring.record_blocks() + MOST_HEADERS).min(ring.len);
    let mut raw = ring.read(ring.before(head, reach), reach)?;
    let Some(back) = raw.rchunks_exact(BLOCK).position(|block| Fields(block).be32(0) == MAGIC) else {
        return Err(ExtentError::doubt(format!("log has no record in the {reach} blocks before its head {head}")));
    };
    Ok(raw.split_off(raw.len() - (back + 1) * BLOCK))
}

/// # Errors
/// A doubt unless the last record before `head` is that of an unmount.
pub(super) fn check_last(ring: &Ring<'_>, head: u64) -> Result<(), ExtentError> {
    let record = &last(ring, head)?[..];
    let back = (record.len() / BLOCK) as u64;
    let at = ring.before(head, back);
    let headers = check_header(ring, Fields(record), at, head)?;
    let (len, end) = (u64::from(Fields(record).be32(12)), headers + data_blocks(record));
    believe!(
        end == back && len > 0,
        "it needs recovery: the log's last record at block {at} has {end} blocks, its head is {back} blocks behind"
    );
    check_sum(record, in_memory(headers)?, in_memory(len)?, at)?;
    let operations = Fields(record).be32(40);
    let operation = Fields(record.get(in_memory(headers)? * BLOCK..).unwrap_or_default());
    let (client, flags) = (operation.u8(8), operation.u8(9));
    believe!(
        operations == 1 && client == CLIENT_LOG && flags & UNMOUNT != 0,
        "it needs recovery: the log's last record at block {at} has {operations} operations, the first with flags \
         {flags:#x} of client {client:#x}, and is no unmount record"
    );
    Ok(())
}

fn data_blocks(record: &[u8]) -> u64 {
    u64::from(Fields(record).be32(12)).div_ceil(BLOCK as u64)
}

/// Blocks of the record that starts with `header`; `None` where there is none.
pub(super) fn blocks(ring: &Ring<'_>, header: &[u8]) -> Option<u64> {
    (Fields(header).be32(0) == MAGIC).then(|| header_blocks(ring, Fields(header)) + data_blocks(header))
}

/// Headers of a record.
fn header_blocks(ring: &Ring<'_>, fields: Fields<'_>) -> u64 {
    let size = u64::from(fields.be32(320));
    if !ring.geometry.log_v2 || fields.be32(8) == 1 || size <= PER_HEADER { 1 } else { size.div_ceil(PER_HEADER) }
}

/// Its number of header blocks.
fn check_header(ring: &Ring<'_>, fields: Fields<'_>, at: u64, head: u64) -> Result<u64, ExtentError> {
    let (found, expected) = (fields.be32(4), ring.cycle_at(at, head));
    let lsn = Lsn::from(fields.be64(16));
    believe!(
        lsn.cycle == expected && u64::from(lsn.block) == at,
        "the log's last record at block {at} of cycle {expected} says that it is {lsn} (written in cycle {found})"
    );
    let version = fields.be32(8);
    believe!(
        (1..=2).contains(&version),
        "the log's last record at block {at} has version {version}, 1 and 2 are known"
    );
    believe!(
        fields.bytes(304, 16) == ring.geometry.uuid,
        "the log's last record at block {at} is of file system {:#x}, not of {:#x}",
        super::value(fields.bytes(304, 16)),
        super::value(&ring.geometry.uuid)
    );
    let (headers, size) = (header_blocks(ring, fields), fields.be32(320));
    believe!(
        headers <= MOST_HEADERS,
        "the log's last record at block {at} has a buffer of {size} bytes, at most 256 KiB"
    );
    Ok(headers)
}

/// The header of the last record before `head` as a file system of another `uuid` has it, and its block in the ring.
///
/// # Errors
/// A doubt unless it is the record of an unmount.
pub(super) fn renamed(ring: &Ring<'_>, head: u64, uuid: [u8; 16]) -> Result<(u64, Vec<u8>), ExtentError> {
    check_last(ring, head)?;
    let mut record = last(ring, head)?;
    let at = ring.before(head, (record.len() / BLOCK) as u64);
    let headers = in_memory(header_blocks(ring, Fields(&record)))?;
    let len = in_memory(u64::from(Fields(&record).be32(12)))?;
    let stored = Fields(&record).le32(SUM_AT);
    // Which of the two it is was decided by the kernel that wrote it.
    let which = sums(&record, headers, len)?.iter().position(|sum| *sum == stored);
    record[304..320].copy_from_slice(&uuid);
    if let Some(which) = which.filter(|_| stored != 0) {
        let sum = sums(&record, headers, len)?[which];
        record[SUM_AT..SUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
    }
    record.truncate(BLOCK);
    Ok((at, record))
}

/// The header up to the padding, which 32-bit kernels leave out, as many more headers as the data needs (not as there
/// are), then `len` bytes of data.
fn sums(record: &[u8], headers: usize, len: usize) -> Result<[u32; 2], ExtentError> {
    let needed = (len as u64).div_ceil(PER_HEADER);
    let more = record.chunks_exact(BLOCK).take(headers).skip(1).take(in_memory(needed)?.saturating_sub(1));
    let data = Fields(record).bytes(headers * BLOCK, len);
    Ok([328, 324].map(|end| {
        let sum = checksum::sum(Fields(record).bytes(0, end), SUM_AT);
        let sum = more.clone().fold(sum, |sum, header| crc32c::crc32c_append(sum, &header[..260]));
        crc32c::crc32c_append(sum, data)
    }))
}

/// mkfs and `xfs_repair` write no sum.
fn check_sum(record: &[u8], headers: usize, len: usize, at: u64) -> Result<(), ExtentError> {
    let stored = Fields(record).le32(SUM_AT);
    if stored == 0 {
        return Ok(());
    }
    let [sum, other] = sums(record, headers, len)?;
    believe!(
        stored == sum || stored == other,
        "checksum of the log's last record at block {at} is {stored:#010x}, its bytes give {sum:#010x}"
    );
    Ok(())
}
