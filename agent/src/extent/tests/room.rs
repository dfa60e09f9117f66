//! How small ext4 can become, with resize2fs as the oracle; and what is not shrunk.

use super::super::{btrfs_room, ext_room};
use super::images::run;
use crate::disk::source::FileSource;
use std::fs::{self, File};
use std::path::Path;

const MIB: u64 = 1 << 20;

fn made(dir: &Path, mib: u64, args: &[&str], files: &[(usize, usize)]) -> std::path::PathBuf {
    let (tree, path) = (dir.join("tree"), dir.join("fs"));
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir(&tree).unwrap();
    for (kind, (count, len)) in files.iter().enumerate() {
        for n in 0..*count {
            fs::write(tree.join(format!("{kind}-{n}")), vec![7; *len]).unwrap();
        }
    }
    File::create(&path).unwrap().set_len(mib * MIB).unwrap();
    run("mke2fs", &[&["-q", "-F", "-d", tree.to_str().unwrap()], args, &[path.to_str().unwrap()]].concat());
    path
}

fn open(path: &Path) -> FileSource {
    FileSource::new(File::open(path).unwrap(), fs::metadata(path).unwrap().len())
}

/// MiB, arguments of mke2fs, files of how many bytes.
type Case<'a> = (u64, &'a [&'a str], &'a [(usize, usize)]);

#[test]
fn resize2fs_never_needs_more_than_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [Case<'_>; 6] = [
        (800, &["-t", "ext4"], &[(30, 1 << 20)]),
        (800, &["-t", "ext4", "-b", "1024"], &[(30, 1 << 20), (500, 3000)]),
        (600, &["-t", "ext3"], &[(100, 100_000)]),
        (300, &["-t", "ext2"], &[(5, 8 << 20)]),
        (900, &["-t", "ext4", "-i", "8192"], &[(3000, 10)]),
        (700, &["-t", "ext4", "-O", "^flex_bg,^64bit"], &[(200, 400_000)]),
    ];
    for (mib, args, files) in cases {
        let path = made(dir.path(), mib, args, files);
        let room = ext_room(&open(&path)).unwrap();
        let said = run("resize2fs", &["-P", path.to_str().unwrap()]);
        let blocks: u64 = said.rsplit(' ').next().unwrap().trim().parse().unwrap();
        // mke2fs takes small blocks below 512 MiB.
        let block = if args.contains(&"1024") || mib < 512 { 1024 } else { 4096 };
        assert!(blocks * block <= room.least, "{args:?}: {} and {}", blocks * block, room.least);
        assert!(room.least < room.size, "{args:?}: {room:?}");
        // And it does it.
        run("e2fsck", &["-f", "-p", path.to_str().unwrap()]);
        run("resize2fs", &[path.to_str().unwrap(), &format!("{}K", room.least.next_multiple_of(4096) / 1024)]);
        run("e2fsck", &["-f", "-n", path.to_str().unwrap()]);
    }
}

#[test]
fn what_is_not_shrunk_is_a_doubt_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let reason = |args: &[&str]| ext_room(&open(&made(dir.path(), 200, args, &[]))).unwrap_err().to_string();
    assert!(reason(&["-t", "ext4", "-O", "bigalloc"]).contains("bigalloc"));
    assert!(ext_room(&vec![0; 1 << 20]).unwrap_err().to_string().contains("no superblock"));
    assert!(btrfs_room(&vec![0; 1 << 20]).unwrap_err().to_string().contains("no superblock"));
    let path = dir.path().join("btrfs");
    File::create(&path).unwrap().set_len(800 * MIB).unwrap();
    run("mkfs.btrfs", &["-q", path.to_str().unwrap()]);
    let room = btrfs_room(&open(&path)).unwrap();
    assert_eq!((room.size, room.device), (800 * MIB, 1));
    assert!((256 * MIB..300 * MIB).contains(&room.least), "{room:?}");
}
