//! Clean ext file systems in all layouts: partclone and dumpe2fs say what is used.

use super::super::{ExtentKind, Map};
use super::images::{Group, Image, dumpe2fs, extents, minus, of_kind, partclone, random, run, total, write_tree};
use ramet_wire::ByteRange;
use std::process::Command;

const MIB: u64 = 1 << 20;

fn sorted(mut ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    ranges
}

/// What partclone calls used and nobody ever wrote, as dumpe2fs prints it: the unused tail of an inode table
/// (`bg_itable_unused`), the bitmap of a group that has none yet (`*_UNINIT`), and the blocks that backup groups keep
/// for descriptors of groups to come.
fn never_written(groups: &[Group]) -> Vec<ByteRange> {
    let mut ranges = Vec::new();
    for group in groups {
        ranges.push(group.unused);
        ranges.push(group.reserved);
        for (bitmap, flag) in [(group.block_bitmap, "BLOCK_UNINIT"), (group.inode_bitmap, "INODE_UNINIT")] {
            if group.flags.contains(flag) {
                ranges.push(bitmap);
            }
        }
    }
    sorted(ranges)
}

/// What is used: for partclone, and for dumpe2fs, which partclone must not know less than. Partclone 0.3.23 gives up
/// on bigalloc ("bitmap error at 0 group").
fn used_for_tools(image: &Image, groups: &[Group], clean: bool) -> Vec<ByteRange> {
    let header = run("dumpe2fs", &["-h", image.name()]);
    let number = |key: &str| {
        let line = header.lines().find(|line| line.starts_with(key)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let end = number("Block count:") * number("Block size:");
    let free: Vec<ByteRange> = groups.iter().flat_map(|group| group.free.clone()).collect();
    let used = minus(&[ByteRange::between(0, end)], &free);
    if header.contains("bigalloc") || !clean {
        return used;
    }
    let cloned = partclone("partclone.extfs", image);
    assert_eq!(minus(&cloned, &used), [], "dumpe2fs calls free what partclone copies");
    used
}

/// Holds our map of a clean, unmounted file system against both oracles.
pub(super) fn agrees(image: &Image) {
    let map = image.map();
    assert_eq!(map.warnings, Vec::<String>::new());
    map_agrees(&map, image, true);
}

/// Holds a map against what the oracles say of `image`. Where only its journal was replayed, the superblock has other
/// counts than the groups, and partclone gives up.
pub(super) fn map_agrees(map: &Map, image: &Image, clean: bool) {
    assert!(!map.whole, "{:?}", map.warnings);
    let ours = extents(map, image.source().size());
    let data = of_kind(&ours, ExtentKind::Data);
    let groups = dumpe2fs(image);
    let used = used_for_tools(image, &groups, clean);
    let missing = minus(&minus(&used, &never_written(&groups)), &data);
    assert_eq!(missing, [], "used for partclone, written by somebody, and in no extent");
    let metadata = sorted(groups.iter().flat_map(|group| group.metadata.clone()).collect());
    assert_eq!(minus(&metadata, &data), [], "metadata by dumpe2fs in no extent");
    assert_eq!(data[0].start(), 0, "the boot block is an extent");
    // Rounding to 4 KiB adds up to one block at each end of a run where blocks are smaller.
    let seams = 2 * 4096 * used.len() as u64;
    let left_out = total(&minus(&metadata, &used));
    let (ours_total, used_total) = (map.used_bytes, total(&used) + left_out);
    assert!(ours_total <= used_total + used_total / 100 + seams, "{ours_total} bytes, partclone has {used_total}");
    zeros_were_never_written(&groups, &ours);
}

/// Zero extents are exactly the whole 4 KiB blocks of unused tails, and of reserved blocks.
fn zeros_were_never_written(groups: &[Group], ours: &[super::super::Extent]) {
    let size = u64::MAX;
    let unused = groups.iter().map(|group| group.unused.round_in(size));
    let reserved = groups.iter().map(|group| group.reserved.round_in(size));
    let expected = sorted(unused.chain(reserved).collect());
    let zeros = of_kind(ours, ExtentKind::Zero);
    assert_eq!(minus(&expected, &zeros), []);
    assert_eq!(minus(&zeros, &expected), []);
}

/// Makes it on garbage, fills it by the kernel, compares its map, and then a clone: nothing but the extents, on other
/// garbage, is a clean file system with the same files.
fn written_layout(size: u64, options: &str) {
    let image = Image::garbage(size);
    image.mke2fs(options);
    {
        let mount = image.mount("noinit_itable");
        write_tree(&mount.0, 150, size / 50);
    }
    agrees(&image);
    let clone = image.clone_of(&extents(&image.map(), size));
    run("e2fsck", &["-fn", clone.name()]);
    let (before, after) = (image.mount("ro"), clone.mount("ro"));
    run("diff", &["-r", "--no-dereference", before.0.to_str().unwrap(), after.0.to_str().unwrap()]);
}

macro_rules! layouts {
    ($($name:ident: $mib:literal, $options:literal;)+) => {
        $(#[test]
        fn $name() {
            written_layout($mib * MIB, $options);
        })+
    };
}

layouts! {
    agrees_with_partclone_on_ext2_of_1k_blocks: 40, "-t ext2 -b 1024";
    agrees_with_partclone_on_ext2_of_revision_0: 40, "-t ext2 -r 0 -b 1024";
    agrees_with_partclone_on_ext2_without_sparse_super: 60, "-t ext2 -b 1024 -O ^sparse_super,^resize_inode";
    agrees_with_partclone_on_ext3_of_4k_blocks: 160, "-t ext3 -b 4096";
    agrees_with_partclone_on_ext4_of_1k_blocks: 80, "-t ext4 -b 1024";
    agrees_with_partclone_on_ext4_of_2k_blocks: 120, "-t ext4 -b 2048";
    agrees_with_partclone_on_ext4_of_4k_blocks: 200, "-t ext4 -b 4096";
    agrees_with_partclone_on_ext4_with_uninit_bg: 200, "-t ext4 -b 4096 -O ^metadata_csum,^64bit,uninit_bg";
    agrees_with_partclone_on_ext4_with_uninit_bg_and_64bit: 60, "-t ext4 -b 1024 -O ^metadata_csum,64bit,uninit_bg";
    agrees_with_partclone_on_ext4_with_small_descriptors_and_sums: 60, "-t ext4 -b 1024 -O metadata_csum,^64bit";
    agrees_with_partclone_on_ext4_without_any_sums: 60, "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg";
    agrees_with_partclone_on_bigalloc_of_4k_blocks: 250, "-t ext4 -b 4096 -O bigalloc -C 65536";
    agrees_with_partclone_on_bigalloc_of_1k_blocks: 100, "-t ext4 -b 1024 -O bigalloc -C 8192";
    agrees_with_partclone_on_meta_bg_of_1k_blocks: 200, "-t ext4 -b 1024 -O meta_bg,^resize_inode";
    agrees_with_partclone_on_meta_bg_of_4k_blocks_without_flex_bg: 200, "-t ext4 -b 4096 -O meta_bg,^resize_inode,^flex_bg";
    agrees_with_partclone_without_flex_bg: 100, "-t ext4 -b 1024 -O ^flex_bg";
    agrees_with_partclone_on_sparse_super2: 100, "-t ext4 -b 1024 -O sparse_super2,^resize_inode";
    agrees_with_partclone_without_a_journal: 100, "-t ext4 -b 1024 -O ^has_journal";
    agrees_with_partclone_on_uninitialised_inode_tables: 200, "-t ext4 -b 1024 -E lazy_itable_init=1,nodiscard";
    agrees_with_partclone_on_multi_mount_protection: 60, "-t ext4 -b 1024 -O mmp";
    agrees_with_partclone_on_flags_that_move_no_blocks: 100,
        "-t ext4 -b 1024 -O inline_data,large_dir,ea_inode,encrypt,verity,orphan_file,metadata_csum_seed -I 512";
    agrees_with_partclone_on_small_groups: 60, "-t ext4 -b 4096 -g 1024 -G 4 -N 5000";
    agrees_with_partclone_on_old_small_inodes: 60, "-t ext4 -b 1024 -I 128 -N 50000";
}

#[test]
fn agrees_with_partclone_on_flags_this_kernel_may_not_mount() {
    let tree = tempfile::tempdir().unwrap();
    write_tree(tree.path(), 100, MIB);
    let image = Image::empty(100 * MIB);
    image.mke2fs(&format!("-t ext4 -b 1024 -O quota,project,casefold -d {}", tree.path().display()));
    agrees(&image);
}

#[test]
fn agrees_with_partclone_on_a_floppy() {
    let image = Image::ext(1440 << 10, "-t ext2");
    agrees(&image);
}

#[test]
fn agrees_with_partclone_after_growing_and_a_new_uuid() {
    let image = Image::ext(40 * MIB, "-t ext4 -b 1024 -O metadata_csum_seed");
    std::fs::OpenOptions::new().write(true).open(&image.path).unwrap().set_len(300 * MIB).unwrap();
    run("resize2fs", &[image.name()]);
    run("tune2fs", &["-U", "random", image.name()]);
    {
        let mount = image.mount("noinit_itable");
        write_tree(&mount.0, 100, MIB);
    }
    agrees(&image);
}

/// Old descriptor blocks first, those of new metagroups inside them: what growing leaves behind where no blocks were
/// reserved for it.
#[test]
fn agrees_with_partclone_on_meta_bg_that_starts_later() {
    let image = Image::ext(60 * MIB, "-t ext4 -b 1024 -O ^resize_inode,^64bit -N 4096");
    let flags = u32::from_le_bytes(image.read(1024 + 0x60, 4).try_into().unwrap()) | 0x10;
    run("debugfs", &["-w", "-R", &format!("set_super_value feature_incompat {flags}"), image.name()]);
    run("debugfs", &["-w", "-R", "set_super_value first_meta_bg 1", image.name()]);
    std::fs::OpenOptions::new().write(true).open(&image.path).unwrap().set_len(700 * MIB).unwrap();
    run("resize2fs", &[image.name()]);
    run("e2fsck", &["-fn", image.name()]);
    {
        let mount = image.mount("noinit_itable");
        write_tree(&mount.0, 200, 8 * MIB);
    }
    assert!(run("dumpe2fs", &[image.name()]).contains("  Group descriptor at 262145"), "no metagroup of its own");
    agrees(&image);
}

#[test]
fn names_the_journal_of_a_file_system_with_an_external_one() {
    let journal = Image::ext(20 * MIB, "-O journal_dev -b 4096 -L logs");
    let image = Image::empty(100 * MIB);
    let device = run("losetup", &["-f", "--show", journal.name()]);
    let device = device.trim();
    let made = std::panic::catch_unwind(|| {
        image.mke2fs(&format!("-t ext4 -b 4096 -J device={device}"));
        let mount = image.mount("noinit_itable");
        write_tree(&mount.0, 60, MIB);
    });
    run("losetup", &["-d", device]);
    made.unwrap();
    let uuid = run("blkid", &["-p", "-o", "value", "-s", "UUID", journal.name()]);
    let state = format!("clean, external journal {}", uuid.trim());
    assert_eq!(image.map().content.state.as_deref(), Some(state.as_str()));
    agrees(&image);
    let map = journal.map();
    assert_eq!((map.content.kind.as_str(), map.whole, map.used_bytes), ("ext-journal", true, 20 * MIB));
    assert_eq!(map.content.uuid.as_deref(), Some(uuid.trim()));
    assert_eq!(map.content.label.as_deref(), Some("logs"));
}

#[test]
fn the_journal_is_copied_also_of_a_clean_file_system() {
    let image = Image::ext(300 * MIB, "-t ext4 -b 4096");
    let text = run("debugfs", &["-R", "blocks <8>", image.name()]);
    let journal: Vec<ByteRange> = text
        .split_whitespace()
        .map(|block| block.parse::<u64>().unwrap())
        .map(|block| ByteRange::between(block * 4096, (block + 1) * 4096))
        .collect();
    assert!(journal.len() >= 1024, "{}", journal.len());
    let data = of_kind(&extents(&image.map(), 300 * MIB), ExtentKind::Data);
    assert_eq!(minus(&sorted(journal), &data), []);
}

#[test]
fn the_space_behind_the_last_block_of_a_clean_file_system_is_one_extent() {
    let image = Image::garbage(50 * MIB + 512);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "4096", image.name(), "8192"]);
    let map = image.map();
    let last = extents(&map, 50 * MIB + 512).last().unwrap().range;
    assert_eq!((map.whole, last.start(), last.end()), (false, 32 * MIB, 50 * MIB + 512), "{map:?}");
}

#[test]
fn every_extent_that_is_zeroed_was_zero_or_an_unused_inode() {
    let image = Image::ext(100 * MIB, "-t ext4 -b 1024");
    let mut seed = 7;
    for zero in of_kind(&extents(&image.map(), 100 * MIB), ExtentKind::Zero) {
        let at = zero.start() + random(&mut seed) % (zero.len() / 4096) * 4096;
        assert_eq!(image.read(at, 4096), vec![0; 4096]);
    }
}

/// Backup superblocks and descriptors in groups that have no bitmap which could say so.
#[test]
fn metadata_of_all_groups_is_an_extent_whatever_the_bitmaps_say() {
    let image = Image::ext(100 * MIB, "-t ext4 -b 1024");
    let data = of_kind(&extents(&image.map(), 100 * MIB), ExtentKind::Data);
    let mut seen = 0;
    for group in dumpe2fs(&image).iter().filter(|group| group.flags.contains("BLOCK_UNINIT")) {
        assert_eq!(minus(&sorted(group.metadata.clone()), &data), []);
        seen += group.metadata.iter().filter(|range| !range.is_empty()).count();
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn bitmaps_of_uninitialised_groups_are_skipped() {
    let image = Image::ext(200 * MIB, "-t ext4 -b 4096 -O ^flex_bg,^has_journal -g 2048");
    let all = of_kind(&extents(&image.map(), 200 * MIB), ExtentKind::Data);
    let mut skipped = 0;
    for group in dumpe2fs(&image) {
        for (bitmap, flag) in [(group.block_bitmap, "BLOCK_UNINIT"), (group.inode_bitmap, "INODE_UNINIT")] {
            let uninit = group.flags.contains(flag);
            assert_eq!(minus(&[bitmap], &all).is_empty(), !uninit, "{group:?}");
            skipped += u32::from(uninit);
        }
    }
    assert!(skipped > 20, "{skipped}");
}

#[test]
fn unused_inodes_become_zero_whether_or_not_they_were_zeroed() {
    for (options, zeroed) in [("-E lazy_itable_init=0", true), ("-E lazy_itable_init=1,nodiscard", false)] {
        let image = Image::garbage(100 * MIB);
        image.mke2fs(&format!("-t ext4 -b 4096 -O ^resize_inode -N 50000 {options}"));
        let all = extents(&image.map(), 100 * MIB);
        let group = &dumpe2fs(&image)[0];
        assert_eq!(group.flags.contains("ITABLE_ZEROED"), zeroed, "{options}");
        let tail = [group.unused.round_in(u64::MAX)];
        assert!(total(&tail) > MIB);
        assert_eq!(minus(&tail, &of_kind(&all, ExtentKind::Data)), tail, "read: {options}");
        assert_eq!(minus(&tail, &of_kind(&all, ExtentKind::Zero)), [], "{options}");
    }
}

/// A disk that held an older file system with the same UUID and checksum seed: its dead inodes would fit.
#[test]
fn a_check_by_a_backup_superblock_finds_no_inodes_of_an_older_file_system_under_a_clone() {
    let options = "-t ext4 -b 1024 -N 20000 -E lazy_itable_init=0 -U 11111111-2222-3333-4444-555555555555";
    let revived = |with_zeros: bool| {
        let target = Image::ext(64 * MIB, options);
        {
            let mount = target.mount("noinit_itable");
            (0..8000).for_each(|number| std::fs::write(mount.0.join(number.to_string()), b"old").unwrap());
        }
        let image = Image::ext(64 * MIB, options);
        let mut all = extents(&image.map(), 64 * MIB);
        all.retain(|extent| with_zeros || extent.kind == ExtentKind::Data);
        image.restore_onto(&target, &all);
        // Exit status 1: something was corrected (it always writes the primary superblock anew).
        let check = Command::new("/usr/sbin/e2fsck").args(["-fy", "-b", "8193", "-B", "1024", target.name()]).output();
        let check = check.unwrap();
        assert!(check.status.code().is_some_and(|code| code <= 1), "{check:?}");
        run("debugfs", &["-R", "ls -p /lost+found", target.name()]).lines().filter(|line| line.contains("/#")).count()
    };
    assert!(revived(false) > 1000, "without zeros there is nothing to see");
    assert_eq!(revived(true), 0);
}

#[test]
fn unused_inodes_are_read_where_no_checksum_vouches_for_their_number() {
    let image = Image::ext(100 * MIB, "-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg,^resize_inode -N 50000");
    let all = extents(&image.map(), 100 * MIB);
    // dumpe2fs counts no unused inodes here: the whole tables are metadata.
    let metadata = sorted(dumpe2fs(&image).iter().flat_map(|group| group.metadata.clone()).collect());
    assert!(total(&metadata) > 12 * MIB, "{}", total(&metadata));
    assert_eq!(of_kind(&all, ExtentKind::Zero), []);
    assert_eq!(minus(&metadata, &of_kind(&all, ExtentKind::Data)), []);
}

#[test]
fn a_map_can_be_walked_twice_and_notices_a_source_that_changed() {
    let image = Image::ext(100 * MIB, "-t ext4 -b 1024");
    let map = image.map();
    assert_eq!(extents(&map, 100 * MIB), extents(&map, 100 * MIB));
    let bitmap = dumpe2fs(&image)[0].block_bitmap;
    image.write(bitmap.start() + 100, &[0x55]);
    let error = map.extents().find_map(Result::err).expect("a changed bitmap");
    assert!(error.to_string().contains("block bitmap of group 0"), "{error}");
}
