//! Multi-mount protection: a block in which the machine that has the file system mounted writes a running number.
//!
//! In: a superblock with the mmp flag. Out: who has it mounted or is checking it, if anybody.
//! Promise: only the number that a clean unmount leaves counts as clean.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::peek::read;
use super::checksum::crc32c;
use super::geometry::{Geometry, Sums};
use super::superblock::{Superblock, incompat};
use crate::disk::source::ReadAt;

const MAGIC: u32 = 0x004d_4d50;
const CLEAN: u32 = 0xff4d_4d50;
const FSCK: u32 = 0xe24d_4d50;
const LEN: usize = 1024;

/// The block of multi-mount protection, where it is switched on and clean.
///
/// # Errors
/// [`ExtentError::MountedElsewhere`] when it is not clean; a doubt when the block makes no sense.
pub(super) fn check(
    part: &dyn ReadAt,
    superblock: &Superblock,
    geometry: &Geometry,
) -> Result<Option<u64>, ExtentError> {
    if !superblock.incompat(incompat::MMP) {
        return Ok(None);
    }
    let number = superblock.fields().le64(0x168);
    let (first, blocks) = (geometry.first_block, geometry.blocks);
    believe!(number > first && number < blocks, "MMP block is {number}, outside of {first} to {blocks}");
    let mut raw = vec![0; LEN];
    read(part, &mut raw, number * geometry.block, "MMP block")?;
    let fields = Fields(&raw);
    let magic = fields.le32(0);
    believe!(magic == MAGIC, "MMP block {number} has magic {magic:#x}, {MAGIC:#x} expected");
    if let Sums::Crc32c(seed) = geometry.sums {
        let (stored, computed) = (fields.le32(0x3fc), crc32c(seed, fields.bytes(0, 0x3fc)));
        believe!(stored == computed, "checksum of the MMP block is {stored:#010x}, its bytes give {computed:#010x}");
    }
    let sequence = fields.le32(4);
    if sequence == CLEAN {
        return Ok(Some(number));
    }
    let doing = if sequence == FSCK { "being checked" } else { "mounted" };
    let node = fields.text(16, 64).unwrap_or_else(|| "an unknown node".to_owned());
    Err(ExtentError::MountedElsewhere(format!(
        "{doing} elsewhere, by {node} (MMP sequence {sequence:#x}, {CLEAN:#x} is clean)"
    )))
}
