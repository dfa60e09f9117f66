//! Clean XFS file systems in all layouts: partclone, xfs_db and xfs_repair say what is used and what is right.

use super::super::ExtentKind;
use super::images::{Image, extents, minus, of_kind, partclone, random, total, write_tree};
use ramet_wire::{BLOCK, ByteRange};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

pub(super) const MIB: u64 = 1 << 20;

/// Runs a tool of xfsprogs, which makes file systems below 300 MB only for its own tests.
fn tool(program: &str, args: &[&str]) -> (bool, String) {
    let out = Command::new(program)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs([("TEST_DIR", "/"), ("TEST_DEV", "/"), ("QA_CHECK_FS", "1")])
        .output()
        .unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

pub(super) fn xfs_tool(program: &str, args: &[&str]) -> String {
    let (success, text) = tool(program, args);
    assert!(success, "{program} {args:?}: {text}");
    text
}

/// An image of `size` bytes with an XFS made with `options`.
pub(super) fn xfs(size: u64, options: &str) -> Image {
    let image = Image::empty(size);
    let mut args: Vec<&str> = vec!["-q", "-f"];
    args.extend(options.split_whitespace());
    args.push(image.name());
    xfs_tool("mkfs.xfs", &args);
    image
}

/// What `xfs_db` prints for `commands`, one after the other.
pub(super) fn xfs_db(image: &Image, options: &[&str], commands: &[&str]) -> String {
    let mut args = options.to_vec();
    args.extend(commands.iter().flat_map(|command| ["-c", command]));
    args.push(image.name());
    xfs_tool("xfs_db", &args)
}

/// A number that `xfs_db` prints as `name = value`.
pub(super) fn number(image: &Image, at: &str, name: &str) -> u64 {
    let text = xfs_db(image, &["-r"], &[at, &format!("print {name}")]);
    text.trim().rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{name}: {text}"))
}

/// What `xfs_db` calls free, which has AGFL blocks among it, and the bytes in AGFLs if each block lies alone.
fn free(image: &Image) -> (Vec<ByteRange>, u64) {
    let [block, ag_blocks, ags] = ["blocksize", "agblocks", "agcount"].map(|name| number(image, "sb 0", name));
    let text = xfs_db(image, &["-r"], &["freesp -d"]);
    let mut free = Vec::new();
    for line in text.lines() {
        let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if let ([ag, start, len], 3) = (&numbers[..], line.split_whitespace().count()) {
            let start = (ag * ag_blocks + start) * block;
            free.push(ByteRange::between(start, start + len * block));
        }
    }
    free.sort_unstable();
    let lists: u64 = (0..ags).map(|ag| number(image, &format!("agf {ag}"), "flcount")).sum();
    (free, lists * block.max(BLOCK))
}

/// Rounded outward to the blocks of an extent, joined.
fn rounded(ranges: &[ByteRange], size: u64) -> Vec<ByteRange> {
    let mut out: Vec<ByteRange> = Vec::new();
    for range in ranges.iter().map(|range| range.round_out(size)) {
        match out.last_mut() {
            Some(last) if last.end() >= range.start() => *last = ByteRange::between(last.start(), range.end()),
            _ => out.push(range),
        }
    }
    out
}

/// Holds our map of a clean, unmounted file system against both oracles, then clones it and checks the clone.
pub(super) fn agrees(image: &Image, case: &str) -> Image {
    let size = image.source().size();
    let map = image.map();
    let tail = |warning: &String| warning.contains("lie behind the end of the xfs");
    assert!(!map.whole && map.warnings.iter().all(tail), "{case}: {:?}", map.warnings);
    assert_eq!((map.content.kind.as_str(), map.content.state.as_deref()), ("xfs", Some("clean")), "{case}");
    let ours = extents(&map, size);
    let data = of_kind(&ours, ExtentKind::Data);
    let end = number(image, "sb 0", "dblocks") * number(image, "sb 0", "blocksize");
    // All behind its end is copied, and no oracle speaks of it.
    let behind = [ByteRange::between(end, size)];
    assert_eq!(minus(&behind, &data), [], "{case}");
    let data = minus(&data, &rounded(&behind, size));
    // It does not write over a map.
    let _ = fs::remove_file(image.dir.path().join("domain"));
    let cloned = partclone("partclone.xfs", image);
    assert_eq!(minus(&cloned, &data), [], "{case}: partclone calls used what we do not");
    let (free, lists) = free(image);
    let used = minus(&[ByteRange::between(0, end)], &free);
    assert_eq!(minus(&used, &data), [], "{case}: xfs_db calls used what we do not");
    // All that is ours alone are the AGFL blocks, and what rounding to 4 KiB adds.
    let more = total(&minus(&data, &rounded(&used, size)));
    assert!(more <= lists, "{case}: {more} bytes more than used, {lists} in AGFLs");
    let (ours, theirs) = (total(&data), total(&rounded(&cloned, size)));
    println!("{case}: {ours} bytes, partclone {theirs}");
    assert!(ours <= theirs / 100 * 101 + lists, "{case}: {ours} bytes, partclone {theirs}");
    let clone = image.clone_of(&extents(&map, size));
    let (right, text) = tool("xfs_repair", &["-n", clone.name()]);
    // It refuses a single AG, and says so, and has then looked at nothing.
    assert!(right || text.contains("Only one AG detected"), "{case}: {text}");
    clone
}

/// The clone's files are those of the image.
fn same_files(image: &Image, clone: &Image, case: &str) {
    let source = image.mount("ro,norecovery,nouuid");
    let target = clone.mount("nouuid");
    let out = Command::new("diff").args(["-r", "--no-dereference"]).args([&source.0, &target.0]).output().unwrap();
    assert!(out.status.success(), "{case}: {}", String::from_utf8_lossy(&out.stdout));
}

/// Files of 4 to 12 KiB until `files` or the end of space, then every second one goes.
pub(super) fn fragment(root: &Path, files: usize) {
    let dirs: Vec<_> = (0..8).map(|dir| root.join(format!("f{dir}"))).collect();
    dirs.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    let name = |number: usize| dirs[number % 8].join(format!("{number}"));
    let mut made = 0;
    while made < files
        && File::create(name(made)).and_then(|mut f| f.write_all(&[7; 4096 * 3][..4096 * (made % 3 + 1)])).is_ok()
    {
        made += 1;
    }
    super::images::run("sync", &["-f", root.to_str().unwrap()]);
    (0..made).filter(|number| number / 8 % 2 == 0).for_each(|number| fs::remove_file(name(number)).unwrap());
}

/// A file until nothing more fits.
fn fill(root: &Path) {
    let mut seed = 9;
    let noise: Vec<u8> = (0..1 << 20).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
    let mut file = File::create(root.join("full")).unwrap();
    while file.write_all(&noise).is_ok() {}
    let _ = file.sync_all();
}

/// Options of mkfs.xfs with which the kernel mounts.
const LAYOUTS: &[&str] = &[
    "",
    "-b size=1024",
    "-b size=2048 -n size=8192",
    "-b size=65536 -d agcount=2",
    "-s size=4096",
    "-s size=2048 -i size=2048",
    "-i sparse=0",
    "-m reflink=0 -i nrext64=0",
    "-m reflink=0,rmapbt=0,finobt=0,bigtime=0,inobtcount=0",
    "-m rmapbt=1,reflink=1 -i nrext64=1",
    "-d agcount=1",
    "-d agsize=16793600",
    "-d su=64k,sw=4 -l su=256k",
    "-l su=32k -l size=16m",
    "-l agnum=2 -b size=1024",
];

/// A log has 512 blocks at least, however long they are.
fn size(options: &str) -> u64 {
    if options.contains("size=65536") { 208 * MIB } else { 96 * MIB }
}

#[test]
fn a_fresh_file_system_is_as_partclone_and_xfs_db_see_it() {
    for options in LAYOUTS {
        agrees(&xfs(size(options), options), &format!("fresh {options}"));
    }
}

#[test]
fn files_written_and_deleted_by_the_kernel_are_on_the_clone() {
    for (index, options) in LAYOUTS.iter().enumerate() {
        let image = xfs(size(options), options);
        {
            let mount = image.mount("nouuid");
            write_tree(&mount.0, 400, 1 << 18);
            // Neighbours in the list get another one of the three.
            match index % 3 {
                0 => fragment(&mount.0, 2000),
                1 => fill(&mount.0),
                _ => {}
            }
        }
        let clone = agrees(&image, &format!("used {options}"));
        same_files(&image, &clone, options);
    }
}

/// A version 4 with `files` files of 1 to 3 blocks of 512 bytes, of which every second one is gone. The kernel of today
/// mounts none, so mkfs writes them and `xfs_repair` finds them damaged.
pub(super) fn fragmented_v4(size: u64, options: &str, files: usize) -> Image {
    let image = Image::empty(size);
    let sources: Vec<String> = (1..=3)
        .map(|blocks: usize| {
            let path = image.dir.path().join(format!("file-{blocks}"));
            fs::write(&path, vec![0x11 * u8::try_from(blocks).unwrap(); 512 * blocks]).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let mut prototype = "/none\n0 0\nd--755 0 0\n".to_owned();
    for number in 0..files {
        prototype += &format!("f{number} ---644 0 0 {}\n", sources[number % 3]);
    }
    let path = image.dir.path().join("prototype");
    fs::write(&path, prototype + "$\n").unwrap();
    let mut args = vec!["-q", "-f", "-m", "crc=0", "-b", "size=512", "-p", path.to_str().unwrap()];
    args.extend(options.split_whitespace());
    args.push(image.name());
    xfs_tool("mkfs.xfs", &args);
    let list = xfs_db(&image, &["-r"], &["ls /"]);
    let files = list.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, inode, "regular", ..] => Some(inode),
        _ => None,
    });
    let doomed: Vec<String> = files.step_by(2).map(|inode| format!("inode {inode}")).collect();
    for some in doomed.chunks(500) {
        let commands = some.iter().flat_map(|inode| [inode.as_str(), "write core.mode 0"]).collect::<Vec<_>>();
        xfs_db(&image, &["-x"], &commands);
    }
    if !doomed.is_empty() {
        xfs_tool("xfs_repair", &[image.name()]);
    }
    image
}

#[test]
fn version_4_is_as_partclone_and_xfs_db_see_it() {
    for options in [
        "-m crc=0",
        "-m crc=0 -l version=1",
        "-m crc=0 -b size=512",
        "-m crc=0 -b size=65536 -d agcount=2",
        "-m crc=0 -s size=4096",
        "-m crc=0 -i attr=1 -l lazy-count=0",
        "-m crc=0 -l su=64k -n version=ci",
    ] {
        agrees(&xfs(size(options), options), &format!("fresh {options}"));
    }
}

#[test]
fn a_fragmented_version_4_with_trees_of_three_levels_is_as_partclone_and_xfs_db_see_it() {
    let image = fragmented_v4(64 * MIB, "-d agcount=2 -l version=1", 9000);
    assert!(number(&image, "agf 0", "bnolevel") >= 3, "{}", number(&image, "agf 0", "bnolevel"));
    let clone = agrees(&image, "version 4");
    // Every file of the source is in the clone, block by block: xfs_db reads both.
    let list = |image: &Image| xfs_db(image, &["-r"], &["ls /"]);
    assert_eq!(list(&image), list(&clone));
    assert!(list(&image).lines().count() > 4000);
}

#[test]
fn a_grown_file_system_is_as_partclone_and_xfs_db_see_it() {
    let image = xfs(96 * MIB, "-d size=50m,agcount=3");
    agrees(&image, "smaller than its partition");
    {
        let mount = image.mount("nouuid");
        super::images::run("xfs_growfs", &[mount.0.to_str().unwrap()]);
        write_tree(&mount.0, 400, 1 << 18);
    }
    assert!(number(&image, "sb 0", "dblocks") > 20_000);
    let clone = agrees(&image, "grown");
    same_files(&image, &clone, "grown");
}

#[test]
fn a_log_or_a_realtime_part_elsewhere_makes_it_whole() {
    let other = Image::empty(32 * MIB);
    for (options, warning) in [
        (format!("-l logdev={},size=16m", other.name()), "its log lies on another device"),
        (format!("-r rtdev={},size=32m", other.name()), "realtime device of 8192 blocks"),
    ] {
        let map = xfs(64 * MIB, &options).map();
        assert!(map.whole && map.warnings[0].contains(warning), "{map:?}");
        assert_eq!(map.content.state, None);
    }
}

/// The first kernels with version 5 had one entry less in an AGFL, and the list of a later one wraps elsewhere; a kernel
/// of today mounts and mends both.
#[test]
fn a_list_of_reserved_blocks_that_an_early_kernel_left_is_no_doubt() {
    let image = xfs(64 * MIB, "-d agcount=2 -l size=16m");
    xfs_db(&image, &["-x"], &["agf 0", "write flfirst 116", "write fllast 1", "write flcount 4"]);
    // partclone and xfs_repair give up.
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    let clone = image.clone_of(&extents(&map, 64 * MIB));
    for image in [&image, &clone] {
        write_tree(&image.mount("nouuid").0, 20, 1 << 14);
    }
    assert!(!clone.map().whole && !image.map().whole, "mended by the kernel");
    same_files(&image, &clone, "mended by the kernel");
}

/// mkfs.xfs of today makes neither of these, the kernel of today mounts both: exchange range and parent pointers.
#[test]
fn flags_that_change_nothing_of_what_lies_where_are_known() {
    for bit in [0x40, 0x80] {
        let image = xfs(64 * MIB, "-d agcount=2 -l size=16m");
        let ag = number(&image, "sb 0", "agblocks") * number(&image, "sb 0", "blocksize");
        for at in [0, ag] {
            let mut raw = image.read(at, 512);
            raw[219] |= bit;
            raw[224..228].fill(0);
            let sum = crc32c::crc32c(&raw).to_le_bytes();
            raw[224..228].copy_from_slice(&sum);
            image.write(at, &raw);
        }
        drop(image.mount("nouuid"));
        let map = image.map();
        assert!(!map.whole && map.warnings.is_empty(), "{bit:#x}: {map:?}");
    }
}
