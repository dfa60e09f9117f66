//! ext file systems with something to replay: their maps are older than their files.

use super::super::Map;
use super::images::{Image, extents, run, source};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const MIB: u64 = 1 << 20;

/// 200 files, each one on the disk before the next, and never a sync: only the journal knows them.
fn write_and_fsync(root: &Path) {
    for number in 0..200 {
        let mut file = File::create(root.join(format!("file-{number}"))).unwrap();
        file.write_all(&[0x5a; 20_000]).unwrap();
        file.sync_all().unwrap();
    }
}

/// The map of a copy made while the image is mounted: as after a power cut.
fn cut_off(image: &Image) -> Map {
    let mount = image.mount("noinit_itable");
    write_and_fsync(&mount.0);
    let copy = image.dir.path().join("copy");
    run("cp", &["--sparse=always", image.name(), copy.to_str().unwrap()]);
    let size = fs::metadata(&copy).unwrap().len();
    let map = super::super::map(source(&copy)).unwrap();
    drop(mount);
    let all = extents(&map, size);
    assert!(map.whole && map.used_bytes == size && all.len() == 1, "{map:?}");
    assert_eq!(map.warnings.len(), 1, "{map:?}");
    map
}

#[test]
fn a_journal_of_fast_commits_is_copied_whole_and_after_unmounting_it_is_not() {
    let image = Image::ext(200 * MIB, "-t ext4 -b 4096 -O fast_commit");
    let map = cut_off(&image);
    assert!(map.warnings[0].contains("journal has flags 0x0, 0x3"), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("needs recovery"));
    assert!(!map.mounted_elsewhere);
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("clean"));
}

#[test]
fn a_journal_on_another_device_that_waits_is_copied_whole() {
    let image = Image::ext(20 * MIB, "-t ext4 -b 1024");
    run("debugfs", &["-w", "-R", "set_super_value journal_inum 0", image.name()]);
    run("debugfs", &["-w", "-R", "feature needs_recovery", image.name()]);
    let map = image.map();
    assert!(map.whole && map.warnings[0].contains("needs recovery, and lies on another device"), "{map:?}");
}

#[test]
fn ext2_that_is_not_valid_is_copied_whole_and_after_unmounting_it_is_not() {
    let image = Image::ext(60 * MIB, "-t ext2 -b 1024");
    let map = cut_off(&image);
    assert!(map.warnings[0].contains("not cleanly unmounted"), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("dirty"));
    assert!(!image.map().whole);
}

#[test]
fn an_mmp_block_that_is_not_clean_counts_as_mounted_elsewhere() {
    let image = Image::ext(60 * MIB, "-t ext4 -b 1024 -O mmp");
    let map = cut_off(&image);
    assert!(map.mounted_elsewhere, "{map:?}");
    let node = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let state = map.content.state.unwrap();
    assert!(state.starts_with("mounted elsewhere") && state.contains(node.trim()), "{state}");
    let map = image.map();
    assert!(!map.whole && !map.mounted_elsewhere, "{map:?}");
}

#[test]
fn an_mmp_block_of_a_running_check_counts_as_mounted_elsewhere() {
    let image = Image::ext(20 * MIB, "-t ext2 -b 1024 -O mmp");
    let dump = run("debugfs", &["-R", "stats -h", image.name()]);
    let line = dump.lines().find(|line| line.starts_with("MMP block number")).unwrap();
    let block: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    image.write(block * 1024 + 4, &0xe24d_4d50_u32.to_le_bytes());
    let map = image.map();
    assert!(map.whole && map.mounted_elsewhere, "{map:?}");
    assert!(map.warnings[0].contains("being checked elsewhere"), "{map:?}");
}

/// Sets a field of the superblock by debugfs, which keeps its checksum right.
fn with_field(field: &str, value: &str, warning: &str) {
    let image = Image::ext(20 * MIB, "-t ext4 -b 1024");
    assert!(!image.map().whole);
    run("debugfs", &["-w", "-R", &format!("set_super_value {field} {value}"), image.name()]);
    let map = image.map();
    assert!(map.whole, "{field} {value}");
    assert!(map.warnings[0].contains(warning), "{:?}", map.warnings);
}

#[test]
fn ext4_without_valid_fs_is_copied_whole() {
    with_field("state", "0", "not cleanly unmounted (state 0x0)");
}

#[test]
fn ext4_with_error_fs_is_copied_whole() {
    with_field("state", "3", "found errors");
}

#[test]
fn ext4_whose_orphans_were_being_removed_is_copied_whole() {
    with_field("state", "5", "orphaned inodes");
}

#[test]
fn ext4_with_orphaned_inodes_is_copied_whole() {
    with_field("last_orphan", "12", "orphaned inodes wait to be removed, the first is 12");
}

#[test]
fn ext4_with_orphan_present_is_copied_whole() {
    let image = Image::ext(20 * MIB, "-t ext4 -b 1024");
    let flags = u32::from_le_bytes(image.read(1024 + 0x64, 4).try_into().unwrap());
    with_field("feature_ro_compat", &(flags | 0x1_0000).to_string(), "orphan_present");
}

#[test]
fn ext4_with_an_unknown_incompat_flag_is_copied_whole() {
    let image = Image::ext(20 * MIB, "-t ext4 -b 1024");
    let flags = u32::from_le_bytes(image.read(1024 + 0x60, 4).try_into().unwrap());
    for bit in [0x1, 0x1000, 0x4_0000, 0x8000_0000] {
        with_field("feature_incompat", &(flags | bit).to_string(), &format!("unknown incompat flags {bit:#x}"));
    }
}

#[test]
fn ext4_with_an_unknown_ro_compat_flag_is_copied_whole() {
    let image = Image::ext(20 * MIB, "-t ext4 -b 1024");
    let flags = u32::from_le_bytes(image.read(1024 + 0x64, 4).try_into().unwrap());
    for bit in [0x80, 0x800, 0x4000, 0x2_0000] {
        with_field("feature_ro_compat", &(flags | bit).to_string(), &format!("unknown ro_compat flags {bit:#x}"));
    }
}

/// The flag in the superblock and the journal itself must both say that nothing waits.
#[test]
fn a_journal_with_something_in_it_is_believed_more_than_a_superblock_without_needs_recovery() {
    for options in ["-t ext4 -b 1024", "-t ext3 -b 1024"] {
        let image = Image::ext(60 * MIB, options);
        let blocks = run("debugfs", &["-R", "blocks <8>", image.name()]);
        let journal: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(image.read(journal * 1024, 4), [0xc0, 0x3b, 0x39, 0x98]);
        for (at, warning) in [(0x1c, "journal starts at block 1"), (0x20, "journal ended with error 1")] {
            image.write(journal * 1024 + at + 3, &[1]);
            let map = image.map();
            assert!(map.whole && map.warnings[0].contains(warning), "{options}: {map:?}");
            image.write(journal * 1024 + at + 3, &[0]);
        }
        image.write(journal * 1024, &[0; 4]);
        assert!(image.map().warnings[0].contains("journal superblock in block"), "{:?}", image.map());
    }
}
