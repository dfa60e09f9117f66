//! Damaged, dirty and hostile F2FS: never a panic, never an error, always the whole partition and a reason.

use super::super::ExtentKind;
use super::f2fs::{BLOCK, load, made};
use super::f2fs_volume::{Volume, crc};
use super::images::{extents, minus, of_kind};
use ramet_wire::ByteRange;
use std::sync::LazyLock;

const MIB: u64 = 1 << 20;

/// Fresh: compact summaries and a SIT journal of six entries.
static FRESH: LazyLock<Volume> = LazyLock::new(|| Volume::new(&made(64 * MIB, "")));
/// As sload leaves it: no journal, and an older checkpoint of the same version in the other pack.
static LOADED: LazyLock<Volume> = LazyLock::new(|| {
    let image = made(100 * MIB, "");
    load(&image, "tree", 20, 2 * MIB);
    Volume::new(&image)
});
static SUMMED: LazyLock<Volume> = LazyLock::new(|| Volume::new(&made(64 * MIB, "-O extra_attr,sb_checksum")));

fn is_whole(volume: Volume, warning: &str, case: &str) {
    let size = volume.size;
    let map = volume.map();
    assert_eq!(map.content.kind, "f2fs", "{case}");
    assert!(map.whole, "{case}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{case}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}

#[test]
fn the_samples_are_believed_and_mending_changes_nothing() {
    for sample in [&FRESH, &LOADED, &SUMMED] {
        let mut volume = (*sample).clone();
        assert!(!volume.clone().map().whole);
        volume.mend(volume.pack(0));
        assert!(volume == **sample);
    }
    assert_eq!(FRESH.number(FRESH.pack(1) + 507, 2), 6, "entries in the journal");
    assert_eq!(LOADED.number(LOADED.pack(0) + 132, 4) & 4, 0, "compact summaries");
}

#[test]
fn a_superblock_that_contradicts_itself_makes_it_whole() {
    let word = |value: u32| value.to_le_bytes().to_vec();
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (16, word(14), "blocks of 1 << 14"),
        (20, word(10), "segments of 1 << 10"),
        (36, vec![0; 8], "the file system at 0"),
        (36, vec![0xff; 8], "the partition has 67108864 bytes"),
        (36, vec![1, 64, 0, 0, 0, 0, 0, 0], "superblock has 16385 blocks"),
        (48, word(0), "superblock has 0 segments"),
        (48, word(u32::MAX), "superblock has 4294967295 segments"),
        (48, word(8 << 20), "the last segment ends at block"),
        (52, word(u32::MAX), "the checkpoints end at block"),
        (56, word(4), "the SIT end at block"),
        (60, word(0), "the NAT end at block"),
        (64, word(u32::MAX), "the SSA end at block"),
        (68, word(u32::MAX), "the main area ends at block"),
        (72, word(513), "segment 0 starts at block 513"),
        (76, word(1024), "segment 0 starts at block 512, the checkpoints at 1024"),
        (84, word(0), "what follows starts at 0"),
        (92, word(u32::MAX), "what follows starts at 4294967295"),
        (1664, word(504), "a checkpoint has 504 further blocks"),
        (1664, word(u32::MAX), "a checkpoint has 4294967295 further blocks"),
        (2180, word(2), "a zoned device"),
        (2180, word(0x8000), "of which 0x8000 are not known"),
        (2180, word(0x8000_0000), "of which 0x80000000 are not known"),
        (2180, word(0x800), "checksum of the superblock lies at 0"),
        (2201, b"/dev/sdb".to_vec(), "several devices, of which the first is /dev/sdb"),
        (2763, vec![1], "records stop reasons"),
        (2794, vec![4], "records errors"),
        (2809, vec![4], "records errors"),
    ];
    for (at, value, warning) in cases {
        let mut volume = FRESH.clone();
        volume.superblocks(at, &value);
        is_whole(volume, warning, &format!("{value:x?} at {at}"));
    }
    let mut volume = FRESH.clone();
    volume.superblocks(2762, &[1]);
    assert!(!volume.map().whole, "a shutdown that somebody asked for");
}

#[test]
fn areas_that_move_together_make_it_whole() {
    // Every area starts right behind the one before, and still each has too little.
    for (count, taken, warning) in [(52, 1, "the checkpoints have 1 segments"), (56, 1, "the SIT has 1 segments")] {
        let mut volume = FRESH.clone();
        volume.superblocks(count, &u32::to_le_bytes(taken));
        for next in [80, 84, 88, 92].into_iter().filter(|next| (count, *next) != (56, 80)) {
            let before = u32::try_from(FRESH.word(1024 + next)).unwrap();
            volume.superblocks(next, &(before - 512).to_le_bytes());
        }
        is_whole(volume, warning, warning);
    }
}

#[test]
fn areas_of_the_wrong_size_make_it_whole() {
    let moved = |volume: &mut Volume, at: usize, by: i64| {
        let place = i64::try_from(FRESH.word(1024 + at)).unwrap() + by;
        volume.superblocks(at, &u32::try_from(place).unwrap().to_le_bytes());
    };
    let mut volume = FRESH.clone();
    for at in [72, 76, 80, 84, 88, 92] {
        moved(&mut volume, at, -511);
    }
    is_whole(volume, "the checkpoints start at block 1", "over a superblock");
    let mut huge = FRESH.clone();
    huge.size = 1 << 40;
    huge.superblocks(36, &(1_u64 << 28).to_le_bytes());
    huge.superblocks(48, &400_000_u32.to_le_bytes());
    let mut volume = huge.clone();
    volume.superblocks(68, &39_000_u32.to_le_bytes());
    is_whole(volume, "the SIT has room for 28160 segments, the main area has 39000", "table");
    let mut volume = huge;
    moved(&mut volume, 56, 254);
    for at in [84, 88, 92] {
        moved(&mut volume, at, 254 * 512);
    }
    volume.checkpoint(volume.pack(0), 156, &8192_u32.to_le_bytes());
    is_whole(volume, "the SIT version bitmap ends at byte 8384 of a checkpoint of 4096", "bitmap");
}

#[test]
fn a_superblock_without_its_copy_makes_it_whole() {
    let mut volume = FRESH.clone();
    volume.put(5120, &[0; 3072]);
    is_whole(volume, "superblock at byte 5120 has magic 0x0", "no copy");
    // What only the copy tells of may be long gone.
    let mut volume = FRESH.clone();
    volume.put(1024, &[0; 3072]);
    let map = volume.map();
    assert!(map.whole && map.content.kind == "unknown" && map.warnings.is_empty(), "{map:?}");
    for (copy, name) in [(1024, "byte 1024"), (5120, "byte 5120")] {
        let mut volume = FRESH.clone();
        volume.flip(copy + 110, 1);
        is_whole(volume, "differ at byte 110", name);
        let mut volume = SUMMED.clone();
        volume.flip(copy + 1800, 1);
        is_whole(volume, &format!("checksum of the superblock at {name}"), name);
    }
}

#[test]
fn flags_of_the_checkpoint_make_it_whole() {
    let flags = u32::try_from(FRESH.number(FRESH.pack(0) + 132, 4)).unwrap();
    for (bit, warning) in [
        (0x0002, "wait to be freed"),
        (0x0008, "stopped by an error"),
        (0x0010, "wants to be checked"),
        (0x0020, "fast boot"),
        (0x0800, "quotas"),
        (0x1000, "disabled"),
        (0x2000, "in haste"),
        (0x4000, "resized"),
        (0x8000, "of which 0x8000 are not known"),
        (0x8000_0000, "of which 0x80000000 are not known"),
    ] {
        let mut volume = FRESH.clone();
        volume.checkpoint(volume.pack(0), 132, &(flags | bit).to_le_bytes());
        is_whole(volume, warning, &format!("{bit:#x}"));
    }
    let mut volume = FRESH.clone();
    volume.checkpoint(volume.pack(0), 132, &(flags & !1).to_le_bytes());
    is_whole(volume, "the file system is dirty", "not unmounted");
    for bit in [0x40, 0x80, 0x100, 0x200] {
        let mut volume = FRESH.clone();
        volume.checkpoint(volume.pack(0), 132, &(flags ^ bit).to_le_bytes());
        assert!(!volume.map().whole, "{bit:#x}");
    }
}

/// A node that was synced after the last checkpoint is where the log goes on; the flag of the unmount is still there.
#[test]
fn a_roll_forward_after_a_clean_unmount_makes_it_whole() {
    for sample in [&FRESH, &LOADED] {
        let (head, main) = (sample.pack(0), sample.word(1024 + 92));
        let next = main + sample.word(head + 40) * 512 + usize::try_from(sample.number(head + 70, 2)).unwrap();
        let mut volume = (*sample).clone();
        let version = volume.bytes(head, 8);
        volume.put(next * 4096 + 4084, &version);
        volume.put(next * 4096 + 4088, &[1, 2, 3, 4]);
        is_whole(volume, &format!("block {next} was written after the last checkpoint"), "next node");
        // Without one, the block is copied: another one in its place on the target would be believed by the kernel.
        let data = of_kind(&extents(&(*sample).clone().map(), sample.size), ExtentKind::Data);
        let block = ByteRange::new(next as u64 * BLOCK, BLOCK).unwrap();
        assert_eq!(minus(&[block], &data), []);
    }
}

#[test]
fn the_newer_valid_checkpoint_counts() {
    let (head, other) = (FRESH.pack(0), FRESH.pack(512));
    let version = FRESH.number(head, 8);
    // The other pack becomes the same one, but for one valid block less: which contradicts the SIT.
    let of_version = |version: u64| {
        let mut volume = FRESH.clone();
        volume.put(other, &volume.bytes(head, volume.word(head + 136) * 4096));
        volume.checkpoint(other, 0, &version.to_le_bytes());
        volume.checkpoint(other, 16, &[1]);
        volume
    };
    for (ahead, counts) in [(0, false), (1, true), (1 << 62, true), (u64::MAX, false), (1 << 63, false)] {
        let volume = of_version(version.wrapping_add(ahead));
        assert_eq!(volume.map().whole, counts, "{ahead:#x} ahead of {version:#x}");
    }
    // An older one counts if the newer one is not valid, and not if it is itself not.
    let mut volume = of_version(version - 1);
    volume.flip(head, 1);
    is_whole(volume, "2 valid blocks, the checkpoint 1", "head of the newer one");
    let mut volume = of_version(version + 1);
    volume.flip(volume.ends(other)[1], 1);
    assert!(!volume.map().whole, "tail of the newer one");
    // Both ends are valid and of two versions.
    let mut volume = of_version(version + 1);
    let tail = volume.ends(other)[1];
    volume.flip(tail, 1);
    volume.mend(other);
    assert!(!volume.map().whole, "two versions");
}

#[test]
fn a_checkpoint_that_contradicts_itself_makes_it_whole() {
    let word = |value: u32| value.to_le_bytes().to_vec();
    let main_segments = u32::try_from(FRESH.word(1024 + 68)).unwrap();
    let cases: Vec<(usize, Vec<u8>, &str)> = vec![
        (16, vec![1, 0], "2 valid blocks, the checkpoint 1"),
        (32, word(1), "free segments, the checkpoint 1"),
        (36, word(main_segments), "a log goes on at block"),
        (36, word(u32::MAX), "segment 4294967295"),
        (70, vec![0, 2], "at block 512 of segment"),
        (92, word(main_segments), "a log goes on at block"),
        (120, vec![0xff; 2], "at block 65535 of segment"),
        (140, word(0), "the checkpoint has 6 blocks, 0 before"),
        (140, word(u32::MAX), "the checkpoint has 6 blocks, 4294967295 before"),
        (140, word(2), "0 data summaries"),
        (144, word(2), "1 valid blocks of nodes, the checkpoint 2"),
        (156, word(0), "SIT version bitmap has 0 bytes"),
        (156, word(u32::MAX), "SIT version bitmap has 4294967295 bytes"),
        (160, word(128), "NAT version bitmap has 128 bytes"),
    ];
    for (at, value, warning) in cases {
        let mut volume = FRESH.clone();
        volume.checkpoint(volume.pack(0), at, &value);
        is_whole(volume, warning, &format!("{value:x?} at {at}"));
    }
    let mut volume = FRESH.clone();
    volume.checkpoint(volume.pack(0), 132, &word(0x181));
    is_whole(volume, "1 data summaries, compact: false", "no compact summaries");
    // Tail and head have one version and right checksums, and still differ.
    let mut volume = FRESH.clone();
    let head = volume.pack(0);
    volume.put(head + 176, &[1]);
    volume.mend(head);
    is_whole(volume, "head and tail of the checkpoint at block 512 differ at byte 176", "tail");
}

#[test]
fn no_valid_checkpoint_makes_it_whole() {
    // The other pack of a fresh one is an empty one of version 0.
    for (at, value) in [(0, 1), (136, 0xff), (164, 0xff), (165, 0xff), (200, 1), (4092, 1)] {
        for end in [0, 1] {
            let mut volume = FRESH.clone();
            let place = volume.ends(volume.pack(0))[end] + at;
            volume.flip(place, value);
            let other = volume.pack(512);
            volume.flip(other, 1);
            is_whole(volume, "neither checkpoint is valid (blocks 512 and 1024)", &format!("byte {at} of end {end}"));
        }
    }
    for blocks in [0_u32, 1, 2, 513, u32::MAX] {
        let mut volume = FRESH.clone();
        let (head, other) = (volume.pack(0), volume.pack(512));
        volume.put(head + 136, &blocks.to_le_bytes());
        let sum = crc(&volume.bytes(head, 4092));
        volume.put(head + 4092, &sum.to_le_bytes());
        volume.flip(other, 1);
        is_whole(volume, "neither checkpoint is valid", &format!("{blocks} blocks"));
    }
}

#[test]
fn an_empty_checkpoint_is_no_newer_one() {
    // What mkfs puts into the second pack is summed, says "unmounted" and has no block in use.
    let mut volume = FRESH.clone();
    let head = volume.pack(0);
    volume.flip(head, 1);
    is_whole(volume, "written after the last checkpoint (versions 0x0, 0x0)", "version 0");
}

#[test]
fn entries_of_the_segment_table_that_contradict_themselves_make_it_whole() {
    // Types 0 and 1 are hot and warm data.
    let filled = |at: usize| LOADED.number(at, 2) >> 10 < 2 && (1..200).contains(&(LOADED.number(at, 2) & 0x3ff));
    let data_segment = (0..42).find(|&segment| filled(LOADED.sit_entry(segment))).unwrap();
    for (at, flip, warning) in [
        (2, 0x10, &*format!("SIT entry of segment {data_segment} has")),
        (65, 0x01, "valid blocks, its count is"),
        (0, 0x01, "valid blocks, its count is"),
        (1, 0x02, "valid blocks, its count is"),
        (1, 0x18, "has type"),
        (1, 0x10, "valid blocks of nodes, the checkpoint"),
    ] {
        let mut volume = LOADED.clone();
        let entry = volume.sit_entry(data_segment);
        volume.flip(entry + at, flip);
        is_whole(volume, warning, &format!("{flip:#x} at {at}"));
    }
    // A block more, and counted: more than the checkpoint knows of.
    let mut volume = LOADED.clone();
    let entry = volume.sit_entry(data_segment);
    let count = volume.bytes(entry, 1)[0];
    volume.flip(entry + 65, 1);
    volume.put(entry, &[count + 1]);
    is_whole(volume, "valid blocks, the checkpoint", "one block more");
}

#[test]
fn a_journal_that_contradicts_itself_makes_it_whole() {
    let journal = FRESH.pack(1) + 507;
    let main_segments = u8::try_from(FRESH.word(1024 + 68)).unwrap();
    let second = FRESH.bytes(journal + 2 + 78, 1)[0];
    let cases: &[(usize, &[u8], &str)] = &[
        (0, &[7, 0], "the SIT journal has 7 entries"),
        (0, &[0xff, 0xff], "the SIT journal has 65535 entries"),
        (2, &[main_segments, 0, 0, 0], "the SIT journal has an entry for segment"),
        (2, &[0xff; 4], "the SIT journal has an entry for segment 4294967295"),
        (2, &[second, 0, 0, 0], "the SIT journal has 2 entries for segment"),
        (2 + 4 + 2, &[0xff], "its count is"),
        (0, &[0, 0], "valid blocks of nodes, the checkpoint"),
    ];
    for (at, value, warning) in cases {
        let mut volume = FRESH.clone();
        volume.put(journal + at, value);
        is_whole(volume, warning, &format!("{value:x?} at {at}"));
    }
}

/// The other copy of a SIT block is another one.
#[test]
fn the_copy_of_a_segment_table_block_that_counts_is_read() {
    let mut volume = LOADED.clone();
    let head = volume.pack(0);
    for end in volume.ends(head) {
        volume.flip(end + 192, 0x80);
    }
    volume.mend(head);
    is_whole(volume, "the checkpoint", "the other copy");
    let mut volume = LOADED.clone();
    let (from, half) = (volume.sit_entry(0), volume.word(1024 + 56) / 2 * 512 * 4096);
    let first = volume.word(1024 + 80) * 4096;
    let other = if from == first { first + half } else { first };
    volume.put(other, &[0xee; 4096]);
    assert!(!volume.map().whole, "what does not count");
}

#[test]
fn a_truncated_file_system_makes_it_whole() {
    for len in [4096, 8192, 100_000, 64 * 1_048_576 - 1] {
        let mut volume = FRESH.clone();
        volume.size = len;
        let map = volume.map();
        assert!(map.whole && map.warnings.len() == 1, "{len}: {map:?}");
    }
}
