//! Damaged and hostile btrfs: every field that is believed, set wrong with its checksum mended.

use super::super::{Others, map, map_beside};
use super::btrfs_images::{MIB, Pool};
use super::btrfs_sample::*;
use super::images::extents;
use crate::disk::source::ReadAt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn any_flipped_byte_of_a_superblock_or_a_node_makes_it_whole() {
    for at in [0, 0x20, 0x48, 0x50, 0x9f, 0xc6, 0x12b, 0x32b, 0xfff] {
        for (copy, name) in
            [(COPIES[0], "checksum of the superblock is"), (COPIES[1], "checksum of the superblock copy")]
        {
            let mut damaged = FREE.sound.clone();
            damaged.raw(copy, |block| block[at] ^= 0x10);
            is_whole(damaged, name, &format!("byte {at:#x} of {copy}"));
        }
    }
    for tree in ["root", "chunk", "extent", "device", "free space"] {
        for at in [0, 0x20, 0x30, 0x64, 0x65, 2000, 4095] {
            let mut damaged = FREE.sound.clone();
            damaged.raw(FREE.root(tree), |block| block[at] ^= 0x10);
            is_whole(damaged, &format!("checksum of the node of the {tree} tree"), &format!("byte {at:#x} of {tree}"));
        }
    }
}

#[test]
fn a_superblock_field_that_is_wrong_makes_it_whole() {
    let incompat = le64(&FREE.sound.block(COPIES[0]), 0xbc);
    let cases: &[(Field, &str)] = &[
        ((0x38, 0x5, 8), "the kernel found errors in it"),
        ((0x38, 1 | 1 << 32, 8), "it is a seed"),
        ((0x38, 1 | 1 << 34, 8), "it is a dump of metadata"),
        ((0x38, 1 | 1 << 35, 8), "its UUID is being changed"),
        ((0x38, 1 | 1 << 40, 8), "it is being converted"),
        ((0x38, 3, 8), "flags 0x3, 0x1 expected"),
        ((0x60, 0x10_0000, 8), "log tree at 1048576 needs to be replayed"),
        ((0x88, 0, 8), "has 0 devices, 1 of them"),
        ((0x88, 2, 8), "has 2 devices, 1 of them"),
        ((0x90, 0, 4), "sectors of 0 bytes"),
        ((0x90, 2048, 4), "sectors of 2048 bytes"),
        ((0x94, 2048, 4), "nodes of 2048 bytes"),
        ((0x94, 1 << 17, 4), "nodes of 131072 bytes"),
        ((0x94, 12288, 4), "nodes of 12288 bytes"),
        ((0x90, 8192, 4), "nodes of 4096 bytes and sectors of 8192"),
        ((0xac, 1, 8), "unknown compat flags 0x1"),
        ((0xb4, 0x13, 8), "unknown compat_ro flags 0x10"),
        ((0xbc, incompat & !1, 8), "without mixed_backref"),
        ((0xbc, incompat | 1 << 12, 8), "zoned is not understood"),
        ((0xbc, incompat | 1 << 13, 8), "extent-tree-v2 is not understood"),
        ((0xbc, incompat | 1 << 14, 8), "raid-stripe-tree is not understood"),
        ((0xbc, incompat | 1 << 15, 8), "unknown incompat flags 0x8000"),
        ((0xbc, incompat | 1 << 17, 8), "unknown incompat flags 0x20000"),
        ((0xbc, incompat | 1 << 10, 8), "the device belongs to file system"),
        ((0xc4, 4, 2), "checksum type 4"),
        ((0xd1, 200 << 20, 8), "209715200 bytes of the device, the partition has 134217728"),
        ((0x11b, 7, 8), "the device belongs to file system"),
        ((0x30, 0, 8), "superblock at 65536 says that it lies at 0"),
        ((0xa0, 2049, 4), "2049 bytes of system chunks"),
        ((0xa0, 96, 4), "chunk 1048576 has 1 stripes in 79 bytes, 80 needed"),
        ((0xa0, 0, 4), "lies in none of 0 chunks"),
        ((0x32b + 8, 204, 1), "(256 204 1048576) at byte 0 of its system chunks"),
        ((0x32b + 17 + 24, 1, 8), "chunk 1048576 of the superblock has type 0x1"),
        ((0x32b + 17, 8 << 20, 8), "chunk 1048576 of the superblock is not the one"),
        ((0x58, 0x4000_0000, 8), "node of the chunk tree at 1073741824 lies in none of 1 chunks"),
        ((0x58, u64::MAX - 4095, 8), "lies in none of 1 chunks"),
        ((0x58, (5 << 20) - 2048, 8), "ends at 5244928, its chunk at 5242880"),
        ((0xa4, 1, 8), "node of the chunk tree"),
        ((0xc7, 8, 1), "root of the chunk tree has level 8"),
        ((0xc7, 1, 1), "has level 0, 1 expected"),
        ((0xc6, 255, 1), "root of the root tree has level 255"),
        ((0x50, FREE.root("extent"), 8), "belongs to tree 2, 1 expected"),
        ((0x50, 14 << 20, 8), "which holds data"),
        ((0x78, 4096, 8), "bytes in use, the superblock has 4096"),
        ((0xc9, 2, 8), "device 1, which is none of 1 devices"),
        ((0x10b, 2, 8), "chunk 1048576 has a stripe on device"),
        ((0xd1, 100 << 20, 8), "chunk tree has 134217728 bytes of device 1, its superblock has 104857600"),
    ];
    for (field, warning) in cases {
        let mut damaged = FREE.sound.clone();
        damaged.superblocks(|block| set(block, *field));
        is_whole(damaged, warning, &format!("{field:x?}"));
    }
}

#[test]
fn superblock_copies_that_disagree_make_it_whole() {
    let cases: [(Field, &str); 4] = [
        ((0x48, 3, 8), "superblock copy at 67108864 has generation 3, this device's first one has"),
        ((0x12b, b'x'.into(), 1), "superblock copy at 67108864 has 0x78 at byte 0x12b"),
        ((0x40, 0, 8), "superblock copy at 67108864 has no magic"),
        ((0x30, 4096, 8), "superblock copy at 67108864 says that it lies at 4096"),
    ];
    for (field, warning) in cases {
        let mut damaged = FREE.sound.clone();
        damaged.mended(COPIES[1], |block| set(block, field));
        is_whole(damaged, warning, warning);
    }
}

/// The header and the arrays of any node, tried on one that has children, a leaf below it and a root that is a leaf.
#[test]
fn a_node_that_contradicts_its_parent_or_itself_makes_it_whole() {
    let sample = &*EXTENTS;
    let root = sample.root("extent");
    let top = sample.sound.block(root);
    assert!(top[0x64] > 0);
    let child = |index: usize| le64(&top, HEADER + index * 33 + 17);
    let leaf = child(1);
    let last = le32(&sample.sound.block(leaf), 0x60) - 1;
    let generation = le64(&top, 0x50);
    let items: u64 = sample.sound.block(leaf).len() as u64;
    let cases: &[(u64, Field, &str)] = &[
        (root, (0x20, 1, 8), "belongs to file system"),
        (root, (0x30, 1 << 20, 8), "says that it lies at 1048576"),
        (root, (0x50, generation - 1, 8), &format!("has generation {}, {generation} expected", generation - 1)),
        (root, (0x58, 5, 8), "belongs to tree 5, 2 expected"),
        (root, (0x64, 0, 1), "has level 0, "),
        (root, (0x60, 122, 4), "has 122 keys, there is room for 121"),
        (root, (0x60, u64::from(u32::MAX), 4), "has 4294967295 keys"),
        (root, (0x60, 0, 4), "and 0 keys"),
        (root, (HEADER + 33 + 17, child(1) + 1, 8), "no multiple of 4096"),
        (root, (HEADER + 33 + 25, generation + 1, 8), "the node itself"),
        (root, (HEADER + 33, 0, 8), "follows"),
        // A cycle, the same child twice, a child of another tree, and one in a chunk of data.
        (root, (HEADER + 33 + 17, root, 8), "expected"),
        (root, (HEADER + 33 + 17, child(0), 8), "begins with key"),
        (root, (HEADER + 33 + 17, sample.root("device"), 8), "expected"),
        (root, (HEADER + 33 + 17, 14 << 20, 8), "which holds data"),
        (leaf, (0x60, 0, 4), "has 0 keys"),
        (leaf, (0x60, 160, 4), "has 160 keys, there is room for 159"),
        (leaf, (HEADER, 0, 8), "begins with key (0 "),
        (leaf, (HEADER + last * 25, u64::MAX, 8), "ends with key"),
        (leaf, (HEADER + 17, items, 4), "item 0 ends at"),
        (leaf, (HEADER + 21, u64::from(u32::MAX), 4), "item 0 ends at"),
        (leaf, (HEADER + 25 + 17, 0, 4), "item 1 ends at"),
        (leaf, (HEADER + last * 25 + 17, 1, 4), &format!("item {last} ends at")),
    ];
    for (at, field, warning) in cases {
        let mut damaged = sample.sound.clone();
        damaged.mended(*at, |block| set(block, *field));
        is_whole(damaged, warning, &format!("{field:x?} of {at}"));
    }
    // A length of one item that reaches into the keys: all ends still meet.
    let mut damaged = sample.sound.clone();
    damaged.mended(leaf, |block| {
        let (at, len) = (le32(block, HEADER + last * 25 + 17), le32(block, HEADER + last * 25 + 21));
        set(block, (HEADER + last * 25 + 17, 10, 4));
        set(block, (HEADER + last * 25 + 21, (at + len - 10) as u64, 4));
    });
    is_whole(damaged, "items begin at 10, its keys end at", "an item over the keys");
}

/// Fields of items: which tree, which item (by its key's kind), where in it, and what.
fn items(sample: &Sample, cases: &[(&str, u8, Field, &str)]) {
    for (tree, kind, field, warning) in cases {
        let (leaf, index) = sample.item(tree, |_, found, _| found == *kind);
        let mut damaged = sample.sound.clone();
        damaged.mended(leaf, |block| {
            let at = place(block, index);
            set(block, (at + field.0, field.1, field.2));
        });
        is_whole(damaged, warning, &format!("{tree}, {kind}: {field:x?}"));
    }
}

/// Fields of keys.
fn keys(sample: &Sample, cases: &[(&str, u8, Field, &str)]) {
    for (tree, kind, field, warning) in cases {
        let (leaf, index) = sample.item_behind(tree, usize::from(*tree == "extent"), |_, found, _| found == *kind);
        let mut damaged = sample.sound.clone();
        damaged.mended(leaf, |block| set(block, (HEADER + index * 25 + field.0, field.1, field.2)));
        is_whole(damaged, warning, &format!("{tree}, {kind}: key {field:x?}"));
    }
}

#[test]
fn a_chunk_or_device_that_contradicts_itself_makes_it_whole() {
    const CHUNK: u8 = 228;
    let first = |field: Field, warning: &'static str| ("chunk", CHUNK, field, warning);
    items(
        &FREE,
        &[
            first((0, 0, 8), "chunk 1048576 has 0 bytes"),
            first((0, 4097, 8), "chunk 1048576 has 4097 bytes"),
            first((0, u64::MAX - 4095, 8), "a multiple of 4096 expected"),
            first((0, 8 << 20, 8), "chunk 5242880 begins inside the one before, which ends at 9437184"),
            first((16, 4096, 8), "4096 bytes side by side"),
            first((24, 3, 8), "type 0x3, which holds neither"),
            first((24, 0, 8), "type 0x0, which holds neither"),
            first((24, 5, 8), "type 0x5, which holds neither"),
            first((24, 2 | 0x18, 8), "no profile that is known"),
            first((24, 2 | 1 << 11, 8), "no profile that is known"),
            first((24, 2 | 0x20, 8), "type 0x22 and 1 stripes"),
            first((24, 2 | 0x10, 8), "type 0x12 and 1 stripes"),
            first((24, 2 | 0x200, 8), "type 0x202 and 1 stripes"),
            first((24, 2 | 0x400, 8), "type 0x402 and 1 stripes"),
            first((24, 2 | 0x40, 8), "type 0x42 and 1 stripes"),
            first((24, 2 | 0x80, 8), "type 0x82 and 1 stripes"),
            first((24, 2 | 0x100, 8), "type 0x102 and 1 stripes"),
            first((24, 2 | 0x8, 8), "chunk 1048576 of the superblock is not the one"),
            first((44, 0, 2), "type 0x2 and 0 stripes"),
            first((44, 9, 2), "9 stripes in 80 bytes, 336 needed"),
            first((48, 2, 8), "stripe on device 2, which is none of 1 devices"),
            first((56, 127 << 20, 8), "stripe at 133169152 to 137363456 of device 1"),
            first((56, 1, 8), "stripe at 1 to"),
            first((56, u64::MAX - 4095, 8), "of device 1, which has 134217728 bytes"),
            first((56, 2 << 20, 8), "of the superblock is not the one"),
            first((64, 9, 8), "chunk 1048576 has a stripe on device"),
            ("chunk", 216, (0, 2, 8), "calls device 1 also 2"),
            ("chunk", 216, (8, 4096, 8), "chunk tree has 4096 bytes of device 1"),
            ("chunk", 216, (66, 4096, 8), "chunk tree has UUID"),
            ("chunk", 216, (82, 4096, 8), "device 1 belongs to file system"),
        ],
    );
    keys(
        &FREE,
        &[
            ("chunk", 216, (9, 7, 8), "chunk tree has device 7, which is none of 1"),
            ("chunk", 216, (8, 215, 1), "chunk tree has key (1 215 1)"),
            ("chunk", CHUNK, (9, 1 << 19, 8), "chunk 1048576 of the superblock is not the one"),
            ("device", 204, (9, 1 << 19, 8), "device tree has Some((524288"),
            ("device", 204, (8, 203, 1), "device tree has Some((5242880"),
        ],
    );
    items(
        &FREE,
        &[
            ("device", 204, (16, 0, 8), "device tree has Some((1048576, 0, 4194304))"),
            ("device", 204, (24, 4096, 8), "device tree has Some((1048576, 1048576, 4096))"),
        ],
    );
}

/// The last chunk: two of its stripes or its device extent too many.
#[test]
fn stripes_that_overlap_or_that_the_device_tree_alone_knows_make_it_whole() {
    let (leaf, index) = FREE.item("chunk", |_, kind, start| kind == 228 && start == 13 << 20);
    let mut damaged = FREE.sound.clone();
    damaged.mended(leaf, |block| {
        let at = place(block, index);
        set(block, (at + 56, 6 << 20, 8));
    });
    is_whole(damaged, "a stripe at", "overlap");
    let mut damaged = FREE.sound.clone();
    // One chunk less, and the items above it stay where they are.
    damaged.mended(leaf, |block| set(block, (0x60, index as u64, 4)));
    is_whole(damaged, "behind the 2 of the chunks", "one more in the device tree");
}

#[test]
fn a_root_that_is_missing_or_a_move_that_goes_on_makes_it_whole() {
    let root = FREE.root("root");
    let last = le32(&FREE.sound.block(root), 0x60) - 1;
    let with_key = |object: u64, kind: u8| {
        let mut damaged = FREE.sound.clone();
        damaged.mended(root, |block| {
            set(block, (HEADER + last * 25, object, 8));
            block[HEADER + last * 25 + 8] = kind;
        });
        damaged
    };
    is_whole(with_key(0_u64.wrapping_sub(8), 132), "chunks are being moved", "relocation");
    for (tree, name) in [(2, "extent"), (4, "device"), (10, "free space")] {
        let (leaf, index) = FREE.item("root", |object, kind, _| (object, kind) == (tree, 132));
        let mut damaged = FREE.sound.clone();
        damaged.mended(leaf, |block| block[HEADER + index * 25 + 8] = 133);
        is_whole(damaged, &format!("root of the {name} tree is 0 bytes"), name);
        let mut damaged = FREE.sound.clone();
        damaged.mended(leaf, |block| {
            let at = place(block, index);
            block[at + 238] = 9;
        });
        is_whole(damaged, "has level 9", name);
    }
    let mut damaged = FREE.sound.clone();
    damaged.superblocks(|block| block[0xb4] |= 8);
    is_whole(damaged, "root of the block group tree is 0 bytes", "block group tree");
}

/// The device statistics that a mount leaves, turned into a replacement.
#[test]
fn a_device_replacement_that_goes_on_makes_it_whole() {
    let (leaf, index) = FREE.item("device", |object, kind, _| (object, kind) == (0, 249));
    for (state, whole) in [(0_u64, false), (1, true), (2, false), (3, false), (4, true), (5, true)] {
        let mut damaged = FREE.sound.clone();
        damaged.mended(leaf, |block| {
            set(block, (HEADER + index * 25 + 8, 250, 1));
            set(block, (HEADER + index * 25 + 9, 0, 8));
            let at = place(block, index);
            set(block, (at, 1, 8));
            set(block, (at + 32, state, 8));
        });
        if whole {
            is_whole(damaged, &format!("device 1 is being replaced (state {state}"), "replacement");
        } else {
            assert!(!map(Arc::new(damaged)).unwrap().whole, "{state}");
        }
    }
}

#[test]
fn a_block_group_that_contradicts_its_chunk_makes_it_whole() {
    items(
        &FREE,
        &[
            ("extent", 192, (0, 1 << 40, 8), "bytes in use of"),
            ("extent", 192, (0, 8192, 8), "block groups have"),
            ("extent", 192, (16, 4, 8), "has type 0x4, its chunk 0x2"),
        ],
    );
    keys(&FREE, &[("extent", 192, (9, 4096, 8), " bytes has no block group")]);
    // The superblock agrees, the map does not.
    for sample in [&*FREE, &*EXTENTS] {
        let (leaf, index) = sample.item("extent", |_, kind, _| kind == 192);
        let mut damaged = sample.sound.clone();
        damaged.mended(leaf, |block| {
            let at = place(block, index);
            add(block, at, 4096);
        });
        damaged.superblocks(|block| add(block, 0x78, 4096));
        is_whole(damaged, "bytes in use, its block group says", "sum");
    }
}

#[test]
fn free_space_that_contradicts_itself_makes_it_whole() {
    let (info, extent, bitmap) = (198, 199, 200);
    items(
        &FREE,
        &[
            ("free space", info, (0, 77, 4), "free stretches, 77 expected"),
            ("free space", info, (4, 1, 4), "kind 200 expected"),
            ("free space", info, (4, 2, 4), "has flags 0x2"),
        ],
    );
    keys(
        &FREE,
        &[
            ("free space", info, (9, 4096, 8), "free space tree has no item (1048576 198 4194304)"),
            ("free space", extent, (0, (1 << 20) + 1, 8), "bytes, in chunk"),
            ("free space", extent, (9, 4097, 8), "bytes, in chunk"),
            ("free space", extent, (9, 0, 8), "bytes, in chunk"),
            ("free space", extent, (9, u64::MAX - 4095, 8), "bytes, in chunk"),
            ("free space", extent, (9, 8192, 8), "free stretches, "),
            ("free space", extent, (8, 201, 1), "kind 199 expected"),
            ("free space", bitmap, (8, 199, 1), "kind 200 expected"),
            ("free space", bitmap, (9, 4096, 8), "bytes, 1 of 256 expected"),
            ("free space", bitmap, (9, 16 << 20, 8), "in chunk"),
        ],
    );
    let (leaf, index) = FREE.item("free space", |_, kind, _| kind == bitmap);
    let mut damaged = FREE.sound.clone();
    damaged.mended(leaf, |block| {
        let at = place(block, index);
        block[at + 9] ^= 0xff;
    });
    is_whole(damaged, "expected", "a byte of a bitmap");
    // Two stretches that overlap, and two that touch.
    let (leaf, index) = FREE.item("free space", |_, kind, _| kind == extent);
    for (by, warning) in [(4096, "begins inside the one before"), (0, "free stretches")] {
        let mut damaged = FREE.sound.clone();
        damaged.mended(leaf, |block| {
            let (start, len) = (le64(block, HEADER + index * 25), le64(block, HEADER + index * 25 + 9));
            set(block, (HEADER + (index + 1) * 25, start + len - by, 8));
            assert_eq!(block[HEADER + (index + 1) * 25 + 8], extent);
        });
        is_whole(damaged, warning, "two stretches");
    }
}

#[test]
fn extents_that_contradict_each_other_make_it_whole() {
    let (data, node) = (168, 169);
    items(
        &EXTENTS,
        &[
            ("extent", data, (16, 2, 8), "bytes and flags 2"),
            ("extent", data, (16, 3, 8), "bytes and flags 3"),
            ("extent", node, (16, 1, 8), "4096 bytes and flags 1"),
        ],
    );
    keys(
        &EXTENTS,
        &[
            ("extent", node, (9, 8, 8), "a level below 8"),
            ("extent", node, (8, 171, 1), "of unknown kind 171"),
            ("extent", data, (9, 4097, 8), "bytes, in chunk"),
            ("extent", data, (9, 1 << 40, 8), "bytes, in chunk"),
            ("extent", data, (9, 0, 8), "bytes, in chunk"),
            ("extent", data, (9, 1 << 20, 8), "begins inside the one before"),
            ("extent", data, (9, 4096, 8), "its block group says"),
            ("extent", data, (0, (13 << 20) + 1, 8), "bytes, in chunk"),
        ],
    );
    // Without the flag there are no items of kind 169.
    let mut damaged = EXTENTS.sound.clone();
    damaged.superblocks(|block| block[0xbd] &= !1);
    is_whole(damaged, "skinny_metadata expected", "skinny_metadata");
}

/// Another device that contradicts this one.
#[test]
fn a_sibling_that_contradicts_this_device_makes_it_whole() {
    let pool = Pool::make(2, 128 * MIB, "-d raid1 -m raid1 -n 4096");
    let bytes = Arc::new(pool.0[1].bytes());
    let cases: &[(Field, &str)] = &[
        ((0x12b, b'y'.into(), 1), "superblock of device 2 has 0x79 at byte 0x12b"),
        ((0x48, 1, 8), "superblock of device 2 has generation 1"),
        ((0xc9, 1, 8), "device 1 of the file system is there twice"),
        ((0xc9, 3, 8), "on device 2, which is none of 2"),
        ((0xd1, 1 << 40, 8), "of device 2, the partition has 134217728"),
        ((0xd1, 120 << 20, 8), "of device 2, its superblock has 125829120"),
        ((0x10b, 1, 8), "has a stripe on device"),
    ];
    let with = |change: &dyn Fn(&mut Damaged), warning: &str| {
        let mut other = Damaged { base: bytes.clone(), changed: BTreeMap::new() };
        change(&mut other);
        let map = map_beside(pool.0[0].source(), Others::from([Arc::new(other) as Arc<dyn ReadAt>])).unwrap();
        assert!(map.whole && map.warnings[0].contains(warning), "{warning}: {map:?}");
    };
    for (field, warning) in cases {
        with(&|other| other.mended(COPIES[0], |block| set(block, *field)), warning);
    }
    with(&|other| other.raw(COPIES[0], |block| block[0x200] ^= 1), "checksum of the superblock of device 2");
    with(&|other| other.raw(COPIES[0], |block| block[0x20] ^= 1), "2 devices, 1 of them");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Anything may be written over the trees: there is a map, and its extents keep their rules.
    #[test]
    fn whatever_is_written_over_a_node_there_is_a_map(
        tree in prop::sample::select(vec!["root", "chunk", "extent", "device", "free space"]),
        changes in prop::collection::vec((32_usize..NODE, any::<u8>()), 1..4),
    ) {
        for sample in [&*FREE, &*EXTENTS] {
            let Some(at) = sample.roots.get(tree) else { continue };
            let mut damaged = sample.sound.clone();
            damaged.mended(*at, |block| changes.iter().for_each(|(at, value)| block[*at] = *value));
            let map = map(Arc::new(damaged)).unwrap();
            extents(&map, 128 * MIB);
        }
    }
}
