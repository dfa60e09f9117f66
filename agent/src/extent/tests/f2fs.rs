//! F2FS written by sload.f2fs, held against partclone, fsck.f2fs and the files themselves.

use super::super::{ExtentKind, Map};
use super::images::{Image, extents, mapped, minus, of_kind, partclone, random, run, total};
use ramet_wire::ByteRange;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;
pub(super) const BLOCK: u64 = 4096;
pub(super) const SEGMENT: u64 = 512 * BLOCK;

pub(super) fn made(size: u64, options: &str) -> Image {
    let image = Image::empty(size);
    let mut args: Vec<&str> = vec!["-q", "-f"];
    args.extend(options.split_whitespace());
    args.push(image.name());
    run("mkfs.f2fs", &args);
    image
}

/// Files of `bytes` bytes together, no block of which is like another one, are put into the image.
pub(super) fn load(image: &Image, folder: &str, files: u64, bytes: u64) -> Vec<Vec<u8>> {
    let tree = image.dir.path().join(format!("source of {folder}"));
    let mut seed = files + bytes;
    let mut contents = Vec::new();
    for number in 0..files {
        let dir = tree.join(format!("{folder}/d{}/e{}", number % 7, number % 3));
        fs::create_dir_all(&dir).unwrap();
        let len = 2 * bytes / files * (number + 1) / (files + 1);
        let content: Vec<u8> = (0..len).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
        fs::write(dir.join(format!("file-{number}")), &content).unwrap();
        contents.push(content);
    }
    run("sload.f2fs", &["-f", tree.to_str().unwrap(), image.name()]);
    contents
}

/// sload keeps small files in their inodes; whole blocks are found again as they are.
fn blocks(contents: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    contents.iter().filter(|content| content.len() > 4096).flat_map(|content| content.chunks_exact(4096))
}

fn fsck(image: &Path) {
    let text = run("fsck.f2fs", &["--dry-run", image.to_str().unwrap()]);
    assert!(text.contains("[Ok..]") && !text.contains("[Fail]"), "{text}");
}

/// Bytes before the main area, and where it ends.
pub(super) fn main_area(image: &Image) -> (u64, u64) {
    let word = |at: u64| u64::from(u32::from_le_bytes(image.read(1024 + at, 4).try_into().unwrap()));
    (word(92) * BLOCK, word(92) * BLOCK + word(68) * SEGMENT)
}

/// The map is believed, it is partclone's, and a clone by it has the same files and no error.
pub(super) fn agrees(image: &Image, contents: &[Vec<u8>]) -> Map {
    let size = image.source().size();
    let map = is_read(image, contents);
    let data = of_kind(&extents(&map, size), ExtentKind::Data);
    let (_, main_end) = main_area(image);
    // Behind the main area partclone reads on behind the end of its bitmap.
    let within = minus(&partclone("partclone.f2fs", image), &[ByteRange::between(main_end, size)]);
    assert_eq!(minus(&within, &data), [], "used for partclone and in no extent");
    // Ours alone: what lies behind the main area, and the block where a roll-forward would start.
    let limit = total(&within) + (size - main_end) + BLOCK;
    assert!(map.used_bytes <= limit, "{} bytes, partclone has {}", map.used_bytes, total(&within));
    println!("{} bytes, partclone has {}", map.used_bytes, total(&within));
    map
}

/// The map is believed, and a clone by it has the same files and no error.
fn is_read(image: &Image, contents: &[Vec<u8>]) -> Map {
    let size = image.source().size();
    let map = image.map();
    let tail = |warning: &String| warning.contains("lie behind the end of the f2fs");
    assert!(!map.whole && map.warnings.iter().all(tail), "{map:?}");
    let all = extents(&map, size);
    let (main, main_end) = main_area(image);
    let around = [ByteRange::between(0, main), ByteRange::between(main_end, size)];
    assert_eq!(minus(&around, &of_kind(&all, ExtentKind::Data)), []);
    let clone = image.clone_of(&all);
    fsck(&clone.path);
    let bytes = clone.bytes();
    let found: HashSet<&[u8]> = bytes.chunks_exact(4096).collect();
    assert_eq!(blocks(contents).filter(|block| !found.contains(block)).count(), 0, "blocks of files that are lost");
    map
}

#[test]
fn agrees_with_partclone_on_a_fresh_file_system() {
    let map = agrees(&made(100 * MIB, "-l label"), &[]);
    assert!(map.used_bytes < 20 * MIB, "{}", map.used_bytes);
}

#[test]
fn agrees_with_partclone_on_a_file_system_with_files() {
    for (size, files, bytes) in [(100, 40, 8), (100, 300, 20), (160, 5, 40)] {
        let image = made(size * MIB, "");
        let contents = load(&image, "tree", files, bytes * MIB);
        assert_eq!(contents.len() as u64, files);
        let map = agrees(&image, &contents);
        assert!(map.used_bytes < (24 + 2 * bytes) * MIB, "{}", map.used_bytes);
    }
}

#[test]
fn agrees_with_partclone_on_what_was_written_in_turns() {
    let image = made(160 * MIB, "");
    let mut contents = Vec::new();
    for turn in 0..6 {
        contents.extend(load(&image, &format!("tree{turn}"), 20 + turn, 4 * MIB));
        // Blocks move, and leave holes where they were.
        let start = main_area(&image).0 / BLOCK + 1024 * turn;
        let start = format!("0x{start:x}");
        run("defrag.f2fs", &["-s", &start, "-l", "0x80", "-t", "0x3000", image.name()]);
    }
    agrees(&image, &contents);
}

#[test]
fn agrees_with_partclone_whatever_the_features() {
    for (size, options) in [
        (100, "-O encrypt,extra_attr,inode_checksum,sb_checksum,inode_crtime,lost_found,compression -w 4096"),
        (100, "-C utf8 -O casefold,extra_attr,quota,project_quota,verity"),
        (200, "-s 2 -z 2 -a 1"),
        (100, "-g android"),
    ] {
        println!("{options}:");
        let image = made(size * MIB, options);
        let contents = load(&image, "tree", 20, 4 * MIB);
        agrees(&image, &contents);
    }
}

/// Partclone 0.3.23 refuses it.
#[test]
fn the_large_nat_bitmap_is_understood() {
    let image = made(100 * MIB, "-i");
    let contents = load(&image, "tree", 30, 6 * MIB);
    assert!(is_read(&image, &contents).used_bytes < 40 * MIB);
}

#[test]
fn what_lies_behind_the_last_segment_is_an_extent() {
    let image = made(100 * MIB, "");
    let contents = load(&image, "tree", 10, MIB);
    File::options().write(true).open(&image.path).unwrap().set_len(103 * MIB + 1000).unwrap();
    agrees(&image, &contents);
}

/// Nothing writes to the place of the second superblock when swap is made there.
#[test]
fn what_is_left_of_an_older_f2fs_is_no_f2fs() {
    let image = made(100 * MIB, "");
    run("mkswap", &["-f", image.name()]);
    assert_eq!(image.read(5120, 4), [0x10, 0x20, 0xf5, 0xf2]);
    let map = image.map();
    assert_eq!((map.whole, map.content.kind.as_str()), (false, "swap"));
}

#[test]
fn a_file_system_that_is_written_once_is_copied_whole() {
    let map = made(100 * MIB, "-O ro").map();
    assert!(map.whole && map.warnings[0].contains("written once"), "{map:?}");
}

#[test]
fn a_file_system_on_several_devices_is_copied_whole() {
    let (one, other) = (Image::empty(100 * MIB), Image::empty(100 * MIB));
    run("mkfs.f2fs", &["-q", "-f", "-c", other.name(), one.name()]);
    let map = one.map();
    assert!(map.whole && map.warnings[0].contains("several devices"), "{map:?}");
    let map = other.map();
    assert!(map.whole && map.content.kind == "unknown", "{map:?}");
}

/// The second one has its SIT version bitmap in a further block of the checkpoint.
#[test]
fn maps_a_file_system_of_1_tb_in_less_than_5_seconds() {
    for size in [1_000_000_000_000, 4 << 40] {
        let image = made(size, "");
        let (map, took) = mapped(&image);
        println!("{size}: {} bytes, mapped in {took:?}", map.used_bytes);
        assert!(!map.whole, "{map:?}");
        assert!(took < Duration::from_secs(size / 200_000_000_000), "{took:?}");
        let peak = super::large::peak_kib_of_mapping(&image);
        println!("peak {peak} KiB");
        assert!(peak < 16 << 10, "{peak} KiB");
    }
}
