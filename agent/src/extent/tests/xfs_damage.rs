//! Damaged and hostile XFS: never a panic, never an error, always the whole partition and a reason.

use super::super::map;
use super::images::extents;
use super::xfs::{MIB, xfs};
use super::xfs_sample::{Sample, V4, V5, is_whole};
use crate::disk::source::ReadAt;
use proptest::prelude::*;
use std::sync::Arc;

#[test]
fn the_undamaged_samples_are_believed_and_have_trees_of_several_levels() {
    for sample in [&*V5, &*V4] {
        let map = map(Arc::new(sample.changed(Vec::new()))).unwrap();
        assert!(!map.whole, "{:?}", map.warnings);
        assert!(sample.be16(sample.root(0) + 4) > 0 && sample.be16(sample.root(1) + 4) > 0);
    }
}

#[test]
fn any_flipped_byte_of_a_summed_structure_makes_it_whole() {
    let (root, leaf) = (V5.root(0), V5.leaf());
    for (name, start, len) in [
        ("superblock", 0, 512),
        ("AGF of AG 0", 512, 512),
        ("AGFL of AG 0", 1536, 512),
        ("superblock of AG 1", V5.ag, 512),
        ("AGF of AG 1", V5.ag + 512, 512),
        ("in the bnobt of AG 0", root, V5.block),
        ("in the bnobt of AG 0", leaf, V5.block),
    ] {
        // The magic is looked at before the sum, and the UUID of a superblock is no more than a number.
        for at in (start + 4..start + len).step_by(13).filter(|at| !(start + 102..start + 104).contains(at)) {
            let found = V5.bytes[at] ^ 0x10;
            let image = V5.changed(vec![(at, vec![found])]);
            let map = map(Arc::new(image)).unwrap();
            assert!(map.whole, "{name} byte {}", at - start);
            assert!(map.warnings[0].contains(name), "{name} byte {}: {:?}", at - start, map.warnings);
        }
    }
}

type Cases<'a> = &'a [(usize, &'a [u8], &'a str)];

#[test]
fn a_superblock_that_contradicts_itself_makes_it_whole() {
    let both: Cases<'_> = &[
        (4, &[0, 0, 0, 0], "blocks of 0 bytes"),
        (4, &[0, 2, 0, 0], "blocks of 131072 bytes"),
        (4, &[0, 0, 4, 1], "blocks of 1025 bytes"),
        (8, &[0xff; 8], "the partition has 33554432 bytes"),
        (8, &[0; 8], "0 blocks make 0"),
        (16, &[0, 0, 0, 0, 0, 0, 0, 9], "realtime device of 9 blocks"),
        (48, &[0; 8], "its log lies on another device"),
        (48, &[0xff; 8], "log lies in AG"),
        (48, &[0, 0, 0, 0, 0, 0, 0, 1], "log has blocks 1 to"),
        (84, &[0, 0, 0, 0], "0 blocks per AG"),
        (84, &[0xff; 4], "4294967295 blocks per AG"),
        (88, &[0, 0, 0, 3], "superblock has 3 AGs"),
        (96, &[0, 0, 0, 1], "log has"),
        (96, &[0xff; 4], "log has blocks"),
        (102, &[0, 0], "sectors of 0 bytes"),
        (102, &[3, 0], "sectors of 768 bytes"),
        (120, &[16], "blocks of 1 << 16"),
        (121, &[10], "sectors of 1 << 10"),
        (124, &[3], "AGs of 1 << 3"),
        (126, &[1], "mkfs.xfs is still at work"),
        (179, &[1], "shared version 1"),
        (193, &[9], "log sectors"),
        (194, &[2, 0], "log sectors of 512 bytes"),
        (196, &[0, 0, 3, 0], "log stripe unit of 768 bytes"),
        (196, &[0, 8, 0, 0], "log stripe unit of 524288 bytes"),
        (200, &[0, 0, 0x10, 0], "unknown features2 flags 0x1000"),
        (204, &[0x80, 0, 0, 0], "unknown features2 flags 0x80000000"),
    ];
    for sample in [&*V5, &*V4] {
        for (at, value, warning) in both {
            is_whole(sample.superblock(&[(*at, value)]), warning, &format!("{value:x?} at {at}"));
        }
    }
    let v5: Cases<'_> = &[
        (100, &[0xb4, 0xa6], "version 6, 4 and 5 are known"),
        (100, &[0xb4, 0xa3], "version 3, 4 and 5 are known"),
        (100, &[0x94, 0xa5], "directories of version 1"),
        (100, &[0xb6, 0xa5], "shared version"),
        (100, &[0xbc, 0xa5], "log sectors of 0 bytes, 1 expected"),
        (208, &[0, 0, 0, 1], "unknown compat flags 0x1"),
        (212, &[0, 0, 0, 0x10], "unknown ro_compat flags 0x10"),
        (216, &[0, 0, 1, 0x0b], "unknown incompat flags 0x100"),
        (216, &[0x80, 0, 0, 0x0b], "unknown incompat flags 0x80000000"),
        (216, &[0, 0, 0, 0x1b], "it needs xfs_repair"),
        (220, &[0, 0, 0, 1], "unknown log_incompat flags 0x1"),
        (32, &[0xee; 16], "not of 0xeeeeeeee"),
        (240, &[0x10, 0, 0, 0, 0, 0, 0, 0], "superblock was written at cycle 268435456 block 0"),
    ];
    for (at, value, warning) in v5 {
        is_whole(V5.superblock(&[(*at, value)]), warning, &format!("{value:x?} at {at}"));
    }
}

#[test]
fn a_copy_of_the_superblock_that_contradicts_the_first_makes_it_whole() {
    for sample in [&*V5, &*V4] {
        for (at, value, warning) in [
            (0, &[0x59][..], "superblock of AG 1 has magic 0x59465342"),
            (4, &[0, 0, 8, 0], "for its block size"),
            (8, &[0, 0, 0, 0, 0, 0, 0x40, 0], "0x4000 for its blocks"),
            (32, &[1; 16], "0x1010101010101010101010101010101 for its UUID"),
            (48, &[0, 0, 0, 0, 0, 0, 0, 9], "0x9 for its start of the log"),
            (84, &[0, 0, 9, 0], "0x900 for its blocks per AG"),
            (88, &[0, 0, 0, 1], "0x1 for its AGs"),
            (96, &[0, 0, 9, 0], "0x900 for its blocks of the log"),
            (100, &[0xb4, 0xa6], "has version 6"),
            (102, &[4, 0], "0x400 for its sector size"),
            (124, &[9], "0x9 for its log2 of blocks per AG"),
        ] {
            let image = sample.mended(&[(sample.ag + at, value)], sample.ag, 512, 224);
            is_whole(image, warning, &format!("{value:x?} at {at}"));
        }
    }
}

#[test]
fn an_agf_or_agfl_that_contradicts_itself_makes_it_whole() {
    let cases: Cases<'_> = &[
        (0, b"XAGI", "AGF of AG 0 has magic 0x58414749"),
        (4, &[0, 0, 0, 2], "version 2"),
        (8, &[0, 0, 0, 1], "says that it is that of AG 1"),
        (12, &[0, 0, 1, 0], "AGF of AG 0 has 256 blocks"),
        (16, &[0, 0, 0, 0], "AG 0 keeps its block 0 for a tree"),
        (16, &[0xff; 4], "AG 0 keeps its block 4294967295 for a tree"),
        (28, &[0, 0, 0, 0], "a tree of 0 levels"),
        (28, &[0, 0, 0, 10], "a tree of 10 levels"),
        (28, &[0, 0, 0, 9], "level"),
        (40, &[0, 0, 2, 0], "AGFL entries from 512"),
        (48, &[0xff; 4], "AGFL entries from"),
        (52, &[0, 0, 0, 9], "9 free blocks and an extent of"),
        (52, &[0xff; 4], "4294967295 free blocks"),
        (56, &[0, 0, 0, 1], "at most"),
    ];
    for sample in [&*V5, &*V4] {
        for (at, value, warning) in cases {
            is_whole(sample.agf(*at, value), warning, &format!("{value:x?} at {at}"));
        }
        let more = sample.be32(512 + 52) + 1;
        is_whole(sample.agf(52, &more.to_be_bytes()), &format!("free blocks, its AGF has {more}"), "one more");
        is_whole(sample.agf(52, &(more - 2).to_be_bytes()), "free blocks and more, its AGF has", "one less");
        let other = sample.be32(512 + 20);
        is_whole(sample.agf(16, &other.to_be_bytes()), "two uses for block", "both trees in one block");
        let first = usize::try_from(sample.be32(512 + 40)).unwrap();
        let entry = first * 4 + if sample.summed { 36 } else { 0 };
        let free = sample.be32(sample.leaf() + sample.header());
        is_whole(sample.agfl(entry, &free.to_be_bytes()), &format!("block {free} is in use"), "AGFL");
        is_whole(sample.agfl(entry, &[0xff; 4]), "keeps its block 4294967295", "AGFL");
        is_whole(sample.agfl(entry, &other.to_be_bytes()), "two uses for block", "AGFL");
    }
    is_whole(V5.agf(64, &[7; 16]), "belongs to file system 0x70707", "UUID");
    is_whole(V5.agf(208, &[1, 0, 0, 0, 0, 0, 0, 0]), "AGF of AG 0 was written at cycle 16777216", "LSN");
    is_whole(V5.agfl(0, b"XAGF"), "AGFL of AG 0 has magic 0x58414746", "magic");
    is_whole(V5.agfl(4, &[0, 0, 0, 1]), "and number 1", "number");
    is_whole(V5.agfl(8, &[7; 16]), "AGFL of AG 0 belongs to file system 0x70707", "UUID");
    is_whole(V5.agfl(24, &[1, 0, 0, 0, 0, 0, 0, 0]), "AGFL of AG 0 was written at", "LSN");
}

#[test]
fn a_tree_that_contradicts_itself_makes_it_whole() {
    for sample in [&*V5, &*V4] {
        let (root, leaf, header) = (sample.root(0), sample.leaf(), sample.header());
        let children = header + (sample.block - header) / 12 * 8;
        let (own, first) = (root / sample.block, sample.child(root, 0) / sample.block);
        let number = |block: usize| u32::try_from(block).unwrap().to_be_bytes();
        let cases: &[(usize, usize, &[u8], &str)] = &[
            (root, 0, b"ABTX", "has magic 0x41425458"),
            (leaf, 0, b"AB3C", "has magic 0x41423343"),
            (root, 4, &[0, 0], "has level 0"),
            (leaf, 4, &[0, 1], "has level 1, 0 expected"),
            (root, 6, &[0, 0], "has 0 records"),
            (leaf, 6, &[0, 0], "has 0 records"),
            (leaf, 6, &[0xff; 2], "has 65535 records"),
            (leaf, 8, &[0, 0, 0, 5], "follows 5, 4294967295 expected"),
            (leaf, 12, &[0, 0, 0, 5], "which names 5"),
            (leaf, 12, &[0xff; 4], "which names 4294967295"),
            (root, 12, &[0, 0, 0, 5], "which names 5"),
            // The first child is out of range, the root itself, or comes twice.
            (root, children, &[0xff; 4], "names block 4294967295"),
            (root, children, &[0; 4], "names block 0"),
            (root, children, &number(own), "expected"),
            (root, children + 4, &number(first), "expected"),
            // The first key of the root, and the first record.
            (root, header, &[0, 0, 0, 1], "at 1 expected"),
            (leaf, header + 4, &[0, 0, 0, 0], "0 free blocks at"),
            (leaf, header + 12, &[0xff; 4], "4294967295 free blocks at"),
            (leaf, header + 8, &[0, 0, 0, 1], "free blocks at 1 behind"),
            (leaf, header + 12, &[0, 0, 0x20, 0], "8192"),
        ];
        for (block, at, value, warning) in cases {
            let case = format!("{value:x?} at {at} of the block at {block}");
            is_whole(sample.tree(*block, *at, value), warning, &case);
        }
    }
    let leaf = V5.leaf();
    for (at, value, warning) in [
        (16, &[9; 8][..], "is sector 651061555542690057 of AG 0"),
        (24, &[1, 0, 0, 0, 0, 0, 0, 0], "was written at cycle 16777216 block 0 of the log, which ends at"),
        (32, &[7; 16], "belongs to file system 0x70707"),
        (48, &[0, 0, 0, 1], "of AG 1"),
    ] {
        is_whole(V5.tree(leaf, at, value), warning, &format!("{value:x?} at {at}"));
    }
}

/// The first free extent of a fresh AG is made to be where something else lies.
#[test]
fn a_tree_that_calls_headers_or_the_log_free_makes_it_whole() {
    for options in ["-d agcount=1", "-d agcount=1 -m crc=0 -b size=4096"] {
        let sample = Sample::of(&xfs(32 * MIB, options));
        let (leaf, header) = (sample.leaf(), sample.header());
        let log = u32::try_from((sample.log + sample.log_len) / sample.block).unwrap() - 1;
        for (to, warning) in [(log, format!("block {log} is in use")), (0, "block 0 is in use".to_owned())] {
            let record = [to.to_be_bytes(), [0, 0, 0, 1]].concat();
            let image = sample.mended(&[(leaf + header, &record)], leaf, sample.block, 52);
            let mut changes = image.changes;
            if !sample.summed {
                // The tree by length comes first.
                let other = sample.root(1);
                changes.push((other + header, record));
            }
            is_whole(sample.changed(changes), &warning, options);
        }
    }
}

/// Nothing but the other tree knows where these blocks really are.
#[test]
fn a_moved_extent_in_a_tree_without_sums_makes_it_whole() {
    let (leaf, header) = (V4.leaf(), V4.header());
    let records = V4.be16(leaf + 6);
    let mut moved = 0;
    for index in 1..records - 1 {
        let [start, count] = [0, 4].map(|at| V4.be32(leaf + header + index * 8 + at));
        if start + count + 1 < V4.be32(leaf + header + index * 8 + 8) {
            let at = leaf + header + index * 8;
            let image = V4.changed(vec![(at, (start + 1).to_be_bytes().to_vec())]);
            is_whole(image, "bnobt of AG 0 has", &format!("record {index}"));
            moved += 1;
        }
    }
    assert!(moved > 3, "{moved}");
}

#[test]
fn a_log_that_does_not_end_with_a_whole_unmount_record_makes_it_whole() {
    for sample in [&*V5, &*V4] {
        let at = sample.last_record() - sample.log;
        let len = usize::try_from(sample.be32(sample.log + at + 12)).unwrap();
        let cases: &[(usize, &[u8], &str)] = &[
            (8, &[0, 0, 0, 3], "has version 3"),
            (12, &[0, 0, 0, 0], "it needs recovery: the log's last record"),
            (12, &[0, 0, 8, 0], "it needs recovery: the log's last record"),
            (12, &[0xff; 4], "it needs recovery: the log's last record"),
            (20, &[0, 0, 0xff, 0], "says that it is cycle"),
            (40, &[0, 0, 0, 2], "has 2 operations"),
            (304, &[5; 16], "is of file system 0x50505"),
            (320, &[0, 1, 0, 0], "it needs recovery: the log's last record"),
            (320, &[0xff; 4], "at most 256 KiB"),
            (512 + 9, &[0], "is no unmount record"),
            (512 + 8, &[0x69], "is no unmount record"),
            // The block before it was written a cycle earlier, the block behind it a cycle later.
            (512 + len, &[0, 0, 0, 9], "has cycle 9"),
            (4, &[0, 0, 0, 9], "cycle"),
        ];
        for (offset, value, warning) in cases {
            is_whole(sample.record(&[(*offset, value)]), warning, &format!("{value:x?} at {offset}"));
        }
    }
    // The kernel's record has a sum.
    let record = V5.last_record();
    assert!(V5.be32(record + 32) != 0);
    for at in [60, 100, 322, 512 + 17] {
        is_whole(V5.changed(vec![(record + at, vec![0x77])]), "checksum of the log's last record", &format!("{at}"));
    }
}

#[test]
fn a_log_of_another_cycle_at_either_end_makes_it_whole() {
    for sample in [&*V5, &*V4] {
        let (start, last) = (sample.log, sample.log + sample.log_len - 512);
        // Its first block may be a record, whose cycle lies behind the magic.
        let cycle = start + if sample.be32(start) == 0xfeed_babe { 4 } else { 0 };
        is_whole(sample.changed(vec![(cycle, vec![0; 4])]), "log starts with cycle 0", "start");
        is_whole(sample.changed(vec![(last, vec![0, 0, 0, 9])]), "ends with 9", "end");
        is_whole(sample.changed(vec![(cycle, vec![0, 0, 0, 9])]), "cycle", "start");
    }
}

#[test]
fn an_xfs_larger_than_its_partition_makes_it_whole() {
    let mut bytes = V5.bytes.to_vec();
    bytes.truncate(bytes.len() - 4096);
    let map = map(Arc::new(bytes)).unwrap();
    assert!(map.whole && map.warnings[0].contains("the partition has 33550336 bytes"), "{map:?}");
}

#[test]
fn a_superblock_and_nothing_else_is_no_xfs_to_believe() {
    for size in [512, 4096, 65536] {
        let mut bytes = V5.bytes[..512].to_vec();
        bytes.resize(size, 0);
        let map = map(Arc::new(bytes)).unwrap();
        assert!(map.whole && map.warnings.len() == 1, "{map:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Whatever is written over the metadata: it is mapped without an error, and twice the same.
    #[test]
    fn random_damage_is_mapped_without_an_error(
        changes in proptest::collection::vec((0_usize..6, 0_usize..1024, any::<u8>()), 1..6),
        fourth in any::<bool>(),
    ) {
        let sample = if fourth { &*V4 } else { &*V5 };
        let places = [0, 512, 1536, sample.root(0), sample.leaf(), sample.last_record()];
        let changes = changes.into_iter().map(|(place, at, byte)| (places[place] + at % sample.block, vec![byte]));
        let image = sample.changed(changes.collect());
        let size = image.size();
        let map = map(Arc::new(image)).unwrap();
        let first = extents(&map, size);
        prop_assert_eq!(first, extents(&map, size));
    }
}
