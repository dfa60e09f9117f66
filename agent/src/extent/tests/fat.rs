//! FAT volumes of all widths, held against partclone.

use super::super::{ExtentKind, map};
use super::images::{Image, extents, minus, of_kind, partclone, random, run, total};
use ramet_wire::ByteRange;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// Made on garbage, filled by mtools, a third of it deleted again.
fn filled(size: u64, options: &str) -> Image {
    let image = Image::garbage(size);
    let mut args: Vec<&str> = options.split_whitespace().collect();
    args.push(image.name());
    run("mkfs.vfat", &args);
    let mut seed = 9;
    let mut names = Vec::new();
    for number in 0..40 {
        let path = image.dir.path().join(format!("file{number}.bin"));
        let len = random(&mut seed) % (size / 80);
        std::fs::write(&path, vec![0xa5; usize::try_from(len).unwrap()]).unwrap();
        names.push(path.to_str().unwrap().to_owned());
    }
    let mut copy = vec!["-i", image.name()];
    copy.extend(names.iter().map(String::as_str));
    copy.push("::");
    run("mcopy", &copy);
    for number in (0..40).step_by(3) {
        run("mdel", &["-i", image.name(), &format!("::file{number}.bin")]);
    }
    image
}

/// The clusters of all files by mtools, in bytes.
fn files(image: &Image) -> Vec<ByteRange> {
    let bytes = image.bytes();
    let short = number(&bytes, 22, 2);
    let (_, second) = if short == 0 { tables(&bytes, 36, 4) } else { tables(&bytes, 22, 2) };
    let table = if short == 0 { number(&bytes, 36, 4) } else { short } * number(&bytes, 11, 2);
    let root = number(&bytes, 17, 2) * 32;
    let first = if number(&bytes, 16, 1) == 2 { second } else { second - table } + table + root;
    let cluster = number(&bytes, 11, 2) * number(&bytes, 13, 1);
    let mut ranges = Vec::new();
    for name in (0..40).filter(|number| number % 3 != 0) {
        let text = run("mshowfat", &["-i", image.name(), &format!("::file{name}.bin")]);
        for run in text.split('<').skip(1) {
            let run = run.split('>').next().unwrap();
            let mut ends = run.split('-').map(|end| end.parse::<usize>().unwrap());
            let from = ends.next().unwrap();
            let to = ends.next().unwrap_or(from);
            ranges.push(ByteRange::between((first + (from - 2) * cluster) as u64, (first + (to - 1) * cluster) as u64));
        }
    }
    ranges.sort_unstable();
    ranges
}

fn agrees(image: &Image, version: &str) {
    let size = image.source().size();
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    assert_eq!(map.content.version.as_deref(), Some(version));
    let data = of_kind(&extents(&map, size), ExtentKind::Data);
    let files = files(image);
    assert!(files.len() >= 20);
    assert_eq!(minus(&files, &data), [], "a file for mtools and in no extent");
    let clone = image.clone_of(&extents(&map, size));
    run("fsck.vfat", &["-n", clone.name()]);
    if version == "FAT12" {
        // Partclone 0.3.23 counts FAT12's clusters from a place before the tables' end: where mtools sees files it
        // has free space.
        let limit = total(&files) + 8192 * files.len() as u64 + 64 * 1024;
        assert!(map.used_bytes <= limit, "{} bytes, files have {}", map.used_bytes, total(&files));
        return;
    }
    let used = partclone("partclone.vfat", image);
    assert_eq!(minus(&used, &data), [], "used for partclone and in no extent");
    // Each run may be rounded to 4 KiB at both ends, and what lies behind the last cluster is ours alone.
    let limit = total(&used) + total(&used) / 100 + 8192 * used.len() as u64 + 128 * 1024;
    assert!(map.used_bytes <= limit, "{} bytes, partclone has {}", map.used_bytes, total(&used));
    assert!(map.used_bytes < size * 3 / 4, "{} of {size}", map.used_bytes);
}

#[test]
fn agrees_with_mtools_on_fat12() {
    agrees(&filled(4 * MIB, "-F 12"), "FAT12");
}

#[test]
fn agrees_with_partclone_on_fat16() {
    agrees(&filled(40 * MIB, "-F 16"), "FAT16");
}

#[test]
fn agrees_with_partclone_on_fat32() {
    agrees(&filled(64 * MIB, "-F 32 -s 1"), "FAT32");
}

#[test]
fn agrees_with_partclone_on_one_table_only() {
    agrees(&filled(40 * MIB, "-F 16 -f 1"), "FAT16");
}

/// Small EFI system partitions are made so; drivers go by the form of the boot sector.
#[test]
fn a_fat32_with_few_clusters_is_fat32() {
    let image = Image::garbage(40 * MIB);
    run("mkfs.vfat", &["-F", "32", "-s", "8", image.name()]);
    let bytes = image.bytes();
    let (first, second) = tables(&bytes, 36, 4);
    let cluster_9 = (second + (second - first) + 7 * 4096) as u64;
    image.write((first + 4 * 9) as u64, &[0xf8, 0xff, 0xff, 0x0f]);
    let map = image.map();
    assert_eq!((map.whole, map.content.version.as_deref()), (false, Some("FAT32")));
    let data = of_kind(&extents(&map, 40 * MIB), ExtentKind::Data);
    assert_eq!(minus(&[ByteRange::between(cluster_9, cluster_9 + 4096)], &data), []);
    assert!(map.used_bytes < MIB, "{}", map.used_bytes);
}

#[test]
fn sectors_of_4096_bytes_are_understood() {
    agrees(&filled(40 * MIB, "-F 16 -S 4096 -s 1"), "FAT16");
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Start of the first and of the second allocation table.
fn tables(bytes: &[u8], length_at: usize, length_len: usize) -> (usize, usize) {
    let first = number(bytes, 11, 2) * number(bytes, 14, 2);
    (first, first + number(bytes, 11, 2) * number(bytes, length_at, length_len))
}

#[test]
fn a_cluster_that_only_one_table_calls_used_is_an_extent() {
    let image = filled(64 * MIB, "-F 32 -s 1");
    let bytes = image.bytes();
    let (first, second) = tables(&bytes, 36, 4);
    let clusters_start = second + (second - first);
    let before = map(Arc::new(bytes.clone())).unwrap();
    for table in [first, second] {
        let mut bytes = bytes.clone();
        let cluster = 120_000;
        bytes[table + 4 * cluster] = 1;
        let at = (clusters_start + (cluster - 2) * 512) as u64;
        let map = map(Arc::new(bytes)).unwrap();
        let data = of_kind(&extents(&map, 64 * MIB), ExtentKind::Data);
        assert!(map.used_bytes > before.used_bytes);
        assert_eq!(minus(&[ByteRange::between(at, at + 512)], &data), []);
    }
}

#[test]
fn all_before_the_first_and_after_the_last_cluster_is_an_extent() {
    let image = Image::empty(64 * MIB);
    run("mkfs.vfat", &["-F", "32", "-s", "1", image.name(), "40000"]);
    let bytes = image.bytes();
    let (first, second) = tables(&bytes, 36, 4);
    let data = of_kind(&extents(&image.map(), 64 * MIB), ExtentKind::Data);
    let clusters_start = (second + (second - first)) as u64;
    let end = 40_000 * 1024;
    assert_eq!(minus(&[ByteRange::between(0, clusters_start), ByteRange::between(end, 64 * MIB)], &data), []);
}

#[test]
fn a_dirty_volume_is_copied_whole() {
    let fat16 = filled(40 * MIB, "-F 16").bytes();
    let fat32 = filled(64 * MIB, "-F 32 -s 1").bytes();
    let (table16, copy16) = tables(&fat16, 22, 2);
    let (table32, copy32) = tables(&fat32, 36, 4);
    // Entry 1: "not clean" and "errors" in the highest bits; and the state byte of the boot sector.
    let cases: [(&[u8], usize, u8); 9] = [
        (&fat16, table16 + 3, 0x7f),
        (&fat16, table16 + 3, 0xbf),
        (&fat16, copy16 + 3, 0x7f),
        (&fat16, 37, 0x01),
        (&fat32, table32 + 7, 0x07),
        (&fat32, table32 + 7, 0x0b),
        (&fat32, copy32 + 7, 0x07),
        (&fat32, 65, 0x01),
        (&fat32, 65, 0x02),
    ];
    for (base, at, value) in cases {
        let mut bytes = base.to_vec();
        bytes[at] = value;
        let map = map(Arc::new(bytes)).unwrap();
        assert!(map.whole && map.warnings[0].contains("dirty"), "{at}: {map:?}");
        assert_eq!(map.content.state.as_deref(), Some("dirty"));
    }
}

#[test]
fn a_boot_sector_that_contradicts_itself_is_copied_whole() {
    let fat32 = filled(64 * MIB, "-F 32 -s 1").bytes();
    let fat16 = filled(40 * MIB, "-F 16").bytes();
    let (table, _) = tables(&fat32, 36, 4);
    let cases: [(&[u8], usize, &[u8], &str); 12] = [
        (&fat32, 40, &[0x80], "mirroring of the allocation tables is off"),
        (&fat32, 42, &[1], "FAT32 has version 1"),
        (&fat32, 16, &[3], "3 allocation tables"),
        (&fat32, 36, &[1, 0, 0, 0], "an allocation table has 512 bytes"),
        (&fat32, 36, &[0xff; 4], "puts the first cluster at sector"),
        (&fat32, 32, &[0xff; 4], "the partition has 67108864 bytes"),
        (&fat32, 32, &[1, 0, 0, 0], "puts the first cluster at sector"),
        (&fat32, 44, &[1, 0, 0, 0], "root directory starts at cluster 1"),
        (&fat32, 17, &[0, 2], "fixed root directory"),
        (&fat32, table, &[0xf0], "starts with media 0xf0"),
        (&fat16, 54, b"FAT12   ", "is named FAT12"),
        (&fat16, 17, &[0, 0], "root directory of 0 bytes"),
    ];
    for (base, at, value, warning) in cases {
        let mut bytes = base.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        let map = map(Arc::new(bytes)).unwrap();
        assert_eq!(map.content.kind, "vfat", "{warning}");
        assert!(map.whole && map.warnings[0].contains(warning), "{warning}: {map:?}");
    }
}

#[test]
fn the_efi_programs_of_a_volume_are_found_under_short_and_long_names() {
    for options in ["-F 12 -s 1", "-F 16 -s 4", "-F 32 -s 1"] {
        let image = Image::garbage(if options.contains("12") { 2 * MIB } else { 40 * MIB });
        let mut args: Vec<&str> = options.split_whitespace().collect();
        args.push(image.name());
        run("mkfs.vfat", &args);
        let file = image.dir.path().join("program");
        std::fs::write(&file, b"MZ").unwrap();
        let mut wanted = Vec::new();
        for folder in
            ["::/EFI", "::/EFI/BOOT", "::/EFI/debian", "::/EFI/a rather long vendor's name", "::/EFI/debian/deeper"]
        {
            run("mmd", &["-i", image.name(), folder]);
        }
        for path in ["BOOT/BOOTX64.EFI", "debian/shimx64.efi", "debian/grub.cfg", "debian/deeper/x.efi"] {
            run("mcopy", &["-i", image.name(), file.to_str().unwrap(), &format!("::/EFI/{path}")]);
        }
        // So many that the folder needs further clusters.
        for number in 0..40 {
            let path = format!("a rather long vendor's name/Loader number {number} of many.efi");
            run("mcopy", &["-i", image.name(), file.to_str().unwrap(), &format!("::/EFI/{path}")]);
            wanted.push(format!(r"\EFI\{}", path.replace('/', r"\")));
        }
        run("mdel", &["-i", image.name(), "::/EFI/a rather long vendor's name/Loader number 7 of many.efi"]);
        wanted.remove(7);
        wanted.extend([r"\EFI\BOOT\BOOTX64.EFI".to_owned(), r"\EFI\debian\shimx64.efi".to_owned()]);
        let mut found = super::super::efi_loaders(&*image.source()).unwrap();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{options}");
    }
    assert!(super::super::efi_loaders(&*Image::garbage(MIB).source()).unwrap().is_empty());
}
