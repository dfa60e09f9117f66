//! Looking a name up in a directory.
//!
//! In: the record of a directory. Out: the files of that name in any case; Windows makes one at most, others more.
//! Promise: every index block in use is read once, in the order of the stream: pointers inside the index are not
//! followed, so there are no cycles; more than 64 MiB of blocks is a doubt.
//!
//! | $INDEX_ROOT | | | `INDX` block | | | node header | | | entry | |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | 0 | type of the key | | 16 | its place | | 0 | first entry | | 0 | file |
//! | 8 | block length | | 24 | node header | | 4 | end of the entries | | 8 | length |
//! | 16 | node header | | | | | 12 | 1: there are blocks | | 12 | flags: 2 the last |
//! | | | | | | | | | | 16 | key; name at 66, its length at 64 |
//!
//! Source: ntfs-3g, `layout.h` (`INDEX_ROOT`, `INDEX_BLOCK`, `INDEX_HEADER`, `INDEX_ENTRY`, `FILE_NAME_ATTR`).

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::attribute::{BITMAP, I30, INDEX_ALLOCATION, INDEX_ROOT, Record, Reference};
use super::fixup;
use super::stream::Stream;
use super::volume::Volume;
use std::fmt::Display;

/// Files whose names differ in case only.
const SAME_MAX: usize = 8;
const FILE_NAME: u32 = 0x30;
const BLOCKS_MAX: u64 = 64 << 20;
const BLOCK_LEN_MAX: u64 = 64 << 10;
const LARGE: u8 = 1;
const LAST: u16 = 2;
const KEY: usize = 16;

/// The files called `name` (ASCII, in any case) in the directory of this record.
pub(super) fn look_up(volume: &Volume<'_>, directory: &Record, name: &str) -> Result<Vec<Reference>, ExtentError> {
    let number = directory.this.number;
    believe!(directory.directory, "MFT record {number} is no directory");
    let root = volume.stream(directory, INDEX_ROOT, I30)?;
    let Some(root) = root.filter(|root| root.runs().is_empty()) else {
        return Err(ExtentError::doubt(format!("MFT record {number} has no index root of its own")));
    };
    let mut bytes = vec![0; in_memory(root.size)?];
    root.read(volume.part, 0, &mut bytes)?;
    let (kind, block_len) = (Fields(&bytes).le32(0), u64::from(Fields(&bytes).le32(8)));
    believe!(
        kind == FILE_NAME,
        "index root of MFT record {number} has keys of type {kind:#x}, {FILE_NAME:#x} expected"
    );
    let node = bytes.get(16..).unwrap_or_default();
    let mut found = Vec::new();
    in_node(node, name, &format_args!("index root of MFT record {number}"), &mut found)?;
    if Fields(node).u8(12) & LARGE == 0 {
        return Ok(found);
    }
    believe!(
        block_len.is_power_of_two() && (512..=BLOCK_LEN_MAX).contains(&block_len),
        "index of MFT record {number} has blocks of {block_len} bytes, 512 to {BLOCK_LEN_MAX} expected"
    );
    let streams = (volume.stream(directory, INDEX_ALLOCATION, I30)?, volume.stream(directory, BITMAP, I30)?);
    let (Some(blocks), Some(used)) = streams else {
        return Err(ExtentError::doubt(format!("MFT record {number} has a large index without blocks or bitmap")));
    };
    for_blocks(volume, number, (&blocks, &used), block_len, |node, what| in_node(node, name, what, &mut found))?;
    Ok(found)
}

/// Calls `visit` with the node of each index block in use.
fn for_blocks(
    volume: &Volume<'_>,
    number: u64,
    (blocks, used): (&Stream, &Stream),
    block_len: u64,
    mut visit: impl FnMut(&[u8], &dyn Display) -> Result<(), ExtentError>,
) -> Result<(), ExtentError> {
    let count = blocks.size / block_len;
    believe!(
        blocks.size <= BLOCKS_MAX && used.size >= count.div_ceil(8),
        "index of MFT record {number} has {} bytes of blocks (at most {BLOCKS_MAX}) and {} of bitmap",
        blocks.size,
        used.size
    );
    let mut bitmap = vec![0; in_memory(count.div_ceil(8))?];
    used.read(volume.part, 0, &mut bitmap)?;
    // Places count in clusters, or in the smallest sectors where a cluster holds several blocks.
    let unit = if volume.boot.cluster_len <= block_len { volume.boot.cluster_len } else { 512 };
    let mut block = vec![0; in_memory(block_len)?];
    for index in 0..count {
        if bitmap[in_memory(index / 8)?] & (1 << (index % 8)) == 0 {
            continue;
        }
        let offset = index * block_len;
        blocks.read(volume.part, offset, &mut block)?;
        let what = format_args!("index block {index} of MFT record {number}").to_string();
        fixup::undo(&mut block, b"INDX", &what)?;
        let place = Fields(&block).le64(16);
        believe!(place == offset / unit, "{what} says it is at {place}, it is at {}", offset / unit);
        visit(block.get(24..).unwrap_or_default(), &what)?;
    }
    Ok(())
}

/// All entries of one node; `node` starts at its header.
fn in_node(node: &[u8], name: &str, what: &dyn Display, found: &mut Vec<Reference>) -> Result<(), ExtentError> {
    let (mut at, end) = (Fields(node).le32(0) as usize, Fields(node).le32(4) as usize);
    believe!(at >= 16 && at <= end && end <= node.len(), "{what} has entries from {at} to {end} of {}", node.len());
    loop {
        let rest = &node[at..end];
        let entry = Fields(rest);
        let len = usize::from(entry.le16(8));
        believe!(
            len >= KEY && len.is_multiple_of(8) && len <= rest.len(),
            "{what} has an entry of {len} bytes at {at}, {} are left",
            rest.len()
        );
        if entry.le16(12) & LAST != 0 {
            return Ok(());
        }
        let name_len = usize::from(entry.u8(KEY + 64)) * 2;
        believe!(KEY + 66 + name_len <= len, "{what} has a name of {name_len} bytes in an entry of {len}");
        if spells(entry.bytes(KEY + 66, name_len), name) {
            believe!(found.len() < SAME_MAX, "{what} has one of more than {SAME_MAX} files called {name}");
            found.push(Reference::of(entry.le64(0)));
        }
        at += len;
    }
}

/// UTF-16 against ASCII, in any case.
fn spells(units: &[u8], name: &str) -> bool {
    units.len() == name.len() * 2
        && units
            .chunks_exact(2)
            .zip(name.bytes())
            .all(|(unit, byte)| unit[1] == 0 && unit[0].eq_ignore_ascii_case(&byte))
}
