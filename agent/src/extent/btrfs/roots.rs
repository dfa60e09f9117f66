//! The root tree: where the other trees begin, and whether chunks are being moved.
//!
//! In: the superblock. Out: roots of the trees that this reader walks.
//! Promise: a relocation or a device replacement that has begun and not ended is a doubt.
//!
//! | offset | field of a root item | | offset | field of a device replacement |
//! |---|---|---|---|---|
//! | 160 | generation | | 0 | device that goes |
//! | 176 | node's address | | 32 | state: 0 never, 1 begun, 2 ended, 3 given up, 4 halted |
//! | 238 | level | | | |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::node::{Key, Link};
use super::superblock::{Superblock, compat_ro};
use super::tree::Cursor;
use super::volume::Volume;

const ROOT_ITEM: u8 = 132;
const ROOT_ITEM_MIN: usize = 239;
const RELOCATION: u64 = 0_u64.wrapping_sub(8);
const REPLACE: Key = Key::new(0, 250, 0);
const REPLACE_MIN: usize = 40;

/// The trees that are walked.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    pub extent: Link,
    pub device: Link,
    /// The tree with the block group items.
    pub groups: Link,
    /// If it is there and valid.
    pub free_space: Option<Link>,
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn find(superblock: &Superblock, volume: &Volume) -> Result<Roots, ExtentError> {
    let fields = superblock.fields();
    let (at, generation, level) = (fields.le64(0x50), superblock.generation(), fields.u8(0xc6));
    let mut cursor = Cursor::new(volume, Link { tree: ("root", 1), at, generation, level });
    cursor.seek(Key::new(RELOCATION, ROOT_ITEM, 0))?;
    let moving = cursor.next_before(Key::new(RELOCATION, ROOT_ITEM + 1, 0))?;
    if let Some((key, _)) = moving {
        return Err(ExtentError::doubt(format!("chunks are being moved: the root tree has {key}, none expected")));
    }
    let extent = tree(&mut cursor, "extent", 2)?;
    let device = tree(&mut cursor, "device", 4)?;
    let apart = superblock.compat_ro(compat_ro::BLOCK_GROUP_TREE);
    let groups = if apart { tree(&mut cursor, "block group", 11)? } else { extent };
    let valid =
        superblock.compat_ro(compat_ro::FREE_SPACE_TREE) && superblock.compat_ro(compat_ro::FREE_SPACE_TREE_VALID);
    let free_space = if valid { Some(tree(&mut cursor, "free space", 10)?) } else { None };
    check_replacement(volume, device)?;
    Ok(Roots { extent, device, groups, free_space })
}

fn tree(cursor: &mut Cursor<'_>, name: &'static str, number: u64) -> Result<Link, ExtentError> {
    let key = Key::new(number, ROOT_ITEM, 0);
    let item = cursor.find(key)?.unwrap_or_default();
    believe!(item.len() >= ROOT_ITEM_MIN, "root of the {name} tree is {} bytes, {ROOT_ITEM_MIN} needed", item.len());
    let fields = Fields(item);
    Ok(Link { tree: (name, number), at: fields.le64(176), generation: fields.le64(160), level: fields.u8(238) })
}

fn check_replacement(volume: &Volume, devices: Link) -> Result<(), ExtentError> {
    let mut cursor = Cursor::new(volume, devices);
    let Some(item) = cursor.find(REPLACE)? else { return Ok(()) };
    believe!(item.len() >= REPLACE_MIN, "device replacement is {} bytes, {REPLACE_MIN} needed", item.len());
    let (source, state) = (Fields(item).le64(0), Fields(item).le64(32));
    believe!(matches!(state, 0 | 2 | 3), "device {source} is being replaced (state {state}, 0, 2 or 3 expected)");
    Ok(())
}
