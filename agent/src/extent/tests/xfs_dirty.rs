//! XFS logs: after an unmount, a cut, a repair, many rounds. `xfs_logprint` says which are clean.

use super::super::Map;
use super::images::{Image, extents, run, source};
use super::xfs::{MIB, number, xfs, xfs_db, xfs_tool};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// 200 files, each one on the disk before the next, and never a sync: only the log knows them.
fn write_and_fsync(root: &Path) {
    for number in 0..200 {
        let mut file = File::create(root.join(format!("file-{number}"))).unwrap();
        file.write_all(&[0x5a; 20_000]).unwrap();
        file.sync_all().unwrap();
    }
}

/// The same bytes as they are now in another image: as after a power cut.
fn cut_off(image: &Image) -> Image {
    let copy = Image::empty(0);
    run("cp", &["--sparse=always", image.name(), copy.name()]);
    copy
}

fn says_clean(image: &Image) -> bool {
    let text = xfs_tool("xfs_logprint", &["-t", image.name()]);
    assert!(text.contains("<CLEAN>") || text.contains("<DIRTY>"), "{text}");
    text.contains("<CLEAN>")
}

/// Our opinion, which must be that of `xfs_logprint`.
fn judged(image: &Image, case: &str) -> Map {
    let map = image.map();
    assert_eq!(!map.whole, says_clean(image), "{case}: {:?}", map.warnings);
    let state = if map.whole { "needs recovery" } else { "clean" };
    assert_eq!(map.content.state.as_deref(), Some(state), "{case}: {:?}", map.warnings);
    map
}

fn is_dirty(image: &Image, case: &str) {
    let map = judged(image, case);
    assert!(map.whole && map.warnings.len() == 1, "{case}: {map:?}");
    assert!(map.warnings[0].contains("it needs recovery"), "{case}: {:?}", map.warnings);
    let size = source(&image.path).size();
    assert!(map.used_bytes == size && extents(&map, size).len() == 1, "{case}");
}

#[test]
fn a_mounted_one_is_copied_whole_with_all_fsynced_files_and_after_unmounting_it_is_not() {
    for options in ["", "-b size=1024 -s size=512", "-s size=4096", "-l su=64k", "-m rmapbt=1"] {
        let image = xfs(64 * MIB, options);
        let mount = image.mount("nouuid");
        write_and_fsync(&mount.0);
        let copy = cut_off(&image);
        drop(mount);
        is_dirty(&copy, options);
        assert!(!judged(&image, options).whole, "{options}");
        // A whole copy has all of them once its log was replayed.
        let clone = copy.clone_of(&extents(&copy.map(), 64 * MIB));
        let mount = clone.mount("nouuid");
        for number in 0..200 {
            let bytes = fs::read(mount.0.join(format!("file-{number}"))).unwrap();
            assert!(bytes.len() == 20_000 && bytes.iter().all(|&byte| byte == 0x5a), "{options}: file-{number}");
        }
    }
}

#[test]
fn one_that_was_shut_down_or_frozen_is_copied_whole_and_after_a_mount_it_is_not() {
    let image = xfs(64 * MIB, "");
    {
        let mount = image.mount("nouuid");
        write_and_fsync(&mount.0);
        let root = mount.0.to_str().unwrap();
        run("fsfreeze", &["-f", root]);
        let frozen = cut_off(&image);
        run("fsfreeze", &["-u", root]);
        is_dirty(&frozen, "frozen");
        xfs_tool("xfs_io", &["-x", "-c", "shutdown", root]);
    }
    is_dirty(&image, "shut down");
    drop(image.mount("nouuid"));
    assert!(!judged(&image, "recovered").whole);
}

/// Reading is all that happens: such a mount writes its unmount record, too.
#[test]
fn one_that_was_remounted_to_be_read_only_is_clean() {
    let image = xfs(64 * MIB, "");
    let mount = image.mount("nouuid");
    write_and_fsync(&mount.0);
    run("mount", &["-o", "remount,ro", mount.0.to_str().unwrap()]);
    assert!(!judged(&cut_off(&image), "remounted").whole);
}

/// The unmount record wanders through the ring and over its end, and the cycle goes up.
#[test]
fn the_log_is_clean_after_each_of_many_rounds_and_dirty_within_each() {
    for (options, rounds) in [("-l su=256k,size=20m", 40), ("-l size=8m", 18), ("-b size=1024 -l size=8m,su=32k", 18)] {
        let image = xfs(96 * MIB, options);
        let mut heads = Vec::new();
        for round in 0..rounds {
            let case = format!("{options} round {round}");
            let mount = image.mount("nouuid");
            let files = if rounds > 20 { 1 } else { 700 };
            for number in 0..files {
                let dir = mount.0.join(format!("{round}-{number}"));
                fs::create_dir(&dir).unwrap();
                fs::write(dir.join("file"), b"x").unwrap();
                fs::rename(dir.join("file"), dir.join("other")).unwrap();
            }
            if round % 4 == 0 {
                run("sync", &["-f", mount.0.to_str().unwrap()]);
                is_dirty(&cut_off(&image), &case);
            }
            fs::read_dir(&mount.0).unwrap().for_each(|dir| fs::remove_dir_all(dir.unwrap().path()).unwrap());
            drop(mount);
            assert!(!judged(&image, &case).whole, "{case}");
            let text = xfs_tool("xfs_logprint", &["-t", image.name()]);
            let line = text.lines().find(|line| line.contains("log tail:")).unwrap();
            heads.push(line.split_whitespace().nth(4).unwrap().parse::<u64>().unwrap());
        }
        assert!(heads.windows(2).any(|pair| pair[1] < pair[0]), "{options}: the ring was never filled: {heads:?}");
    }
}

#[test]
fn a_log_that_was_zeroed_or_renamed_by_the_tools_is_clean() {
    let image = xfs(64 * MIB, "");
    let dirty = {
        let mount = image.mount("nouuid");
        write_and_fsync(&mount.0);
        cut_off(&image)
    };
    is_dirty(&dirty, "before xfs_repair -L");
    xfs_tool("xfs_repair", &["-L", dirty.name()]);
    assert!(!judged(&dirty, "xfs_repair -L").whole);
    xfs_db(&image, &["-x"], &["uuid generate", "label other"]);
    let map = judged(&image, "new UUID");
    assert!(!map.whole && map.content.label.as_deref() == Some("other"), "{map:?}");
    // As no tool leaves it: a record that is no unmount, at either end, and a block of the newest cycle behind it.
    let (start, len) = log(&image);
    let mut records = (0..len as u64 / 512)
        .map(|block| start + block * 512)
        .filter(|&at| image.read(at, 4) == [0xfe, 0xed, 0xba, 0xbe]);
    let newest = records.next_back().unwrap();
    let headers = u64::from(u32::from_be_bytes(image.read(newest + 320, 4).try_into().unwrap())).div_ceil(32 << 10);
    for (at, byte) in [(start + 512 + 9, 0), (newest + headers * 512 + 9, 0), (start + 100 * 512 + 3, 2)] {
        let good = image.read(at, 1);
        image.write(at, &[byte]);
        let map = image.map();
        assert!(map.whole && map.warnings[0].contains("it needs recovery"), "{at}: {map:?}");
        image.write(at, &good);
    }
    drop(image.mount("nouuid"));
    assert!(!judged(&image, "new UUID, mounted").whole);
    super::xfs::agrees(&image, "new UUID");
}

/// Where the log lies, and its length, in bytes.
fn log(image: &Image) -> (u64, usize) {
    let get = |name| number(image, "sb 0", name);
    let (start, bits, block) = (get("logstart"), get("agblklog"), get("blocksize"));
    let at = ((start >> bits) * get("agblocks") + (start & ((1 << bits) - 1))) * block;
    (at, usize::try_from(get("logblocks") * block).unwrap())
}

#[test]
fn a_log_of_zeros_is_no_clean_log() {
    let image = xfs(64 * MIB, "");
    let (at, len) = log(&image);
    image.write(at, &vec![0; len]);
    let map = image.map();
    assert!(map.whole && map.warnings[0].contains("log starts with cycle 0"), "{map:?}");
}

/// The header of the unmount record is the last block of the ring, its data the first one of the next cycle.
#[test]
fn an_unmount_record_over_the_end_of_the_log_is_clean() {
    let image = xfs(64 * MIB, "");
    let (at, len) = log(&image);
    let mut ring = image.read(at, len);
    let (header, data) = (ring[..512].to_vec(), ring[512..1024].to_vec());
    for (block, raw) in ring.chunks_exact_mut(512).enumerate() {
        raw.fill(0);
        raw[3] = if block == 0 { 4 } else { 3 };
    }
    let last = len - 512;
    ring[..512].copy_from_slice(&data);
    ring[..4].copy_from_slice(&[0, 0, 0, 4]);
    ring[last..].copy_from_slice(&header);
    ring[last + 4..last + 8].copy_from_slice(&[0, 0, 0, 3]);
    ring[last + 19] = 3;
    ring[last + 20..last + 24].copy_from_slice(&u32::try_from(last / 512).unwrap().to_be_bytes());
    image.write(at, &ring);
    assert!(!judged(&image, "over the end").whole);
    // One block of the cycle before where the record's data should be.
    ring[3] = 3;
    image.write(at, &ring);
    let map = image.map();
    assert!(map.whole && map.warnings[0].contains("it needs recovery"), "{map:?}");
}
