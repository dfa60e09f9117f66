//! What each partition of an image can do: grow, shrink, and how far.
//!
//! In: the manifest, and the first bytes of partitions as the store holds them. Out: abilities, with reasons where there is none.
//! Promise: what is in doubt, dirty, or not known, keeps its size.

use super::layout::{Ability, Inside};
use crate::disk::source::{ReadAt, Window};
use crate::extent::{self, Room};
use ramet_wire::adapt::may_shrink;
use ramet_wire::manifest::{DiskImage, PartitionImage};
use ramet_wire::{ByteRange, MIB};

/// Bytes at the start of a partition that are looked at: superblocks, and the areas of a physical volume.
const HEAD: u64 = 2 * MIB;

/// The ranges of the captured disk that [`abilities`] reads.
#[must_use]
pub fn heads(image: &DiskImage) -> Vec<ByteRange> {
    let head = |partition: &PartitionImage| {
        let range = partition.range;
        ByteRange::between(range.start(), range.end().min(range.start() + HEAD))
    };
    image.partitions.iter().map(head).collect()
}

/// What the partitions of `image` can do; `disk` shows its heads.
#[must_use]
pub fn abilities(image: &DiskImage, disk: &dyn ReadAt) -> Vec<Ability> {
    let of = |partition: &PartitionImage| {
        let ability = ability(partition, disk);
        // The server's plan refuses what this says can not shrink.
        debug_assert!(ability.least.is_err() || may_shrink(partition), "{ability:?}");
        ability
    };
    image.partitions.iter().map(of).collect()
}

fn ability(partition: &PartitionImage, disk: &dyn ReadAt) -> Ability {
    let (number, kind) = (partition.number, partition.content.kind.clone());
    let made =
        |inside, no_growth: Option<String>, least| Ability { number, kind: kind.clone(), inside, no_growth, least };
    let fixed = |inside, reason: String| made(inside, Some(reason.clone()), Err(reason));
    if let Some(reason) = doubt(partition) {
        return fixed(Inside::Other, reason);
    }
    let Ok(head) = Window::new(disk, partition.range) else {
        return fixed(Inside::Other, "lies outside of its disk".to_owned());
    };
    let least = |room: Result<Room, extent::ExtentError>| {
        room.map(|room| (room.device, room.least)).map_err(|error| format!("can not be shrunk: {error}"))
    };
    match partition.content.kind.as_str() {
        "ext2" | "ext3" | "ext4" => made(Inside::Ext, None, least(extent::ext_room(&head)).map(|(_, least)| least)),
        "btrfs" => match least(extent::btrfs_room(&head)) {
            Ok((device, least)) => made(Inside::Btrfs(device), None, Ok(least)),
            Err(reason) => fixed(Inside::Other, reason),
        },
        "xfs" => made(Inside::Xfs, None, Err("is XFS, which can grow and never shrink".to_owned())),
        // Its own bitmap was counted when it was captured; ntfsresize wants room to move, and place for its log.
        "ntfs" => {
            let used = partition.used_bytes;
            made(Inside::Ntfs, None, Ok((used + used / 20 + 32 * MIB).min(partition.range.len())))
        }
        "swap" => made(Inside::Swap, None, Ok(MIB)),
        "LVM2_member" => {
            let no_shrink = "is a physical volume, which is not shrunk: volumes would have to move".to_owned();
            let no_growth = extent::growth_of(&head, partition.range.len()).err();
            made(Inside::Lvm, no_growth.map(|error| format!("can not grow: {error}")), Err(no_shrink))
        }
        _ => fixed(Inside::Other, format!("holds {kind}, whose size is not changed")),
    }
}

/// Why nothing of the partition's content is believed.
fn doubt(partition: &PartitionImage) -> Option<String> {
    if !partition.content.is_clean() {
        let state = partition.content.state.as_deref().unwrap_or_default();
        return Some(format!("is {state}; start the source and shut it down cleanly before it is captured"));
    }
    (partition.whole && partition.content.kind != "LVM2_member" && partition.content.kind != "swap")
        .then(|| "was copied whole, because its own map was in doubt".to_owned())
}
