//! The chunk tree: every chunk and every device of the file system.
//!
//! In: the superblock's system chunks, which hold the chunk tree. Out: all chunks.
//! Promise: the superblock, the chunk tree and the devices' own superblocks agree on chunks and devices.
//!
//! | offset | field of a device item | | offset | |
//! |---|---|---|---|---|
//! | 0 | device's id | | 66 | its UUID |
//! | 8, 16 | its bytes in all, in chunks | | 82 | UUID of its file system |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h and fs/btrfs/volumes.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::chunk::{Chunks, kind};
use super::node::{Key, Link};
use super::superblock::Superblock;
use super::tree::Cursor;
use super::volume::{Format, Member, Volume};

const ARRAY: usize = 0x32b;
const ARRAY_MAX: usize = 2048;
const KEY: usize = 17;
const DEV_ITEMS: u64 = 1;
pub(super) const FIRST_CHUNK: u64 = 256;
const DEV_ITEM: u8 = 216;
const CHUNK_ITEM: u8 = 228;
const LAST: Key = Key::new(u64::MAX, u8::MAX, u64::MAX);

/// All chunks, by way of those in the superblock.
///
/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn load(superblock: &Superblock, format: Format, members: Vec<Member>) -> Result<Volume, ExtentError> {
    let chunks = array(superblock, &format, &members)?;
    let system = Volume { format, members, chunks };
    let fields = superblock.fields();
    let (at, generation, level) = (fields.le64(0x58), fields.le64(0xa4), fields.u8(0xc7));
    let root = Link { tree: ("chunk", 3), at, generation, level };
    let mut cursor = Cursor::new(&system, root);
    let mut chunks = Chunks::default();
    let mut devices = 0;
    cursor.seek(Key::new(0, 0, 0))?;
    while let Some((key, item)) = cursor.next_before(LAST)? {
        match (key.object, key.kind) {
            (DEV_ITEMS, DEV_ITEM) => {
                check_device(key.offset, Fields(item), superblock, &system)?;
                devices += 1;
            }
            (FIRST_CHUNK, CHUNK_ITEM) => {
                let used = chunks.add(key.offset, item, &system.format, &system.members)?;
                believe!(used == item.len(), "chunk {} is {} bytes, {used} expected", key.offset, item.len());
            }
            _ => return Err(ExtentError::doubt(format!("chunk tree has key {key}, devices and chunks expected"))),
        }
    }
    let expected = system.members.len();
    believe!(devices == expected, "chunk tree has {devices} devices, the superblock {expected}");
    for known in system.chunks.list() {
        let start = known.range.start();
        let same = chunks.of(start).is_some_and(|chunk| {
            let place = |chunk: &super::chunk::Chunk| (chunk.range, chunk.kind);
            place(chunk) == place(known) && chunks.stripes(chunk) == system.chunks.stripes(known)
        });
        believe!(same, "chunk {start} of the superblock is not the one of {} in the chunk tree", chunks.list().len());
    }
    let Volume { format, members, .. } = system;
    Ok(Volume { format, members, chunks })
}

/// The chunks in the superblock: key and chunk item in turn.
fn array(superblock: &Superblock, format: &Format, members: &[Member]) -> Result<Chunks, ExtentError> {
    let len = usize::try_from(superblock.fields().le32(0xa0)).unwrap_or(usize::MAX);
    believe!(len <= ARRAY_MAX, "superblock has {len} bytes of system chunks, {ARRAY_MAX} at most");
    let mut rest = superblock.fields().bytes(ARRAY, len);
    let mut items = Vec::new();
    while !rest.is_empty() {
        let key = Key::read(Fields(rest), 0);
        let at = len - rest.len();
        believe!(
            (key.object, key.kind) == (FIRST_CHUNK, CHUNK_ITEM),
            "superblock has key {key} at byte {at} of its system chunks, one of kind {CHUNK_ITEM} expected"
        );
        let item = rest.get(KEY..).unwrap_or_default();
        // Parsed apart first: the list wants them in order, and only the item itself knows its length.
        let item_len = Chunks::default().add(key.offset, item, format, members)?;
        let bits = Fields(item).le64(24);
        believe!(
            bits & kind::SYSTEM != 0,
            "chunk {} of the superblock has type {bits:#x}, a system one expected",
            key.offset
        );
        items.push((key.offset, item));
        rest = item.get(item_len..).unwrap_or_default();
    }
    items.sort_unstable_by_key(|(start, _)| *start);
    let mut chunks = Chunks::default();
    for (start, item) in items {
        chunks.add(start, item, format, members)?;
    }
    Ok(chunks)
}

fn check_device(devid: u64, item: Fields<'_>, superblock: &Superblock, volume: &Volume) -> Result<(), ExtentError> {
    let Some(member) = volume.members.iter().find(|member| member.devid == devid) else {
        let count = volume.members.len();
        return Err(ExtentError::doubt(format!("chunk tree has device {devid}, which is none of {count} devices")));
    };
    let (id, len, fsid) = (item.le64(0), item.le64(8), item.bytes(82, 16));
    believe!(id == devid, "chunk tree calls device {devid} also {id}");
    believe!(len == member.len, "chunk tree has {len} bytes of device {devid}, its superblock has {}", member.len);
    let (uuid, known) = (item.bytes(66, 16), &member.uuid);
    believe!(uuid == known, "chunk tree has UUID {uuid:02x?} for device {devid}, its superblock has {known:02x?}");
    let own = superblock.node_uuid();
    believe!(fsid == own, "device {devid} belongs to file system {fsid:02x?}, a seed of {own:02x?}");
    Ok(())
}
