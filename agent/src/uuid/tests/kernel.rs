//! XFS and btrfs with a new UUID, as their tools and this kernel see them.
//!
//! In: file systems that the kernel filled. Out: nothing.
//! Promise: metadata keep the UUID that they carry, every file is there, and the file system can be written.

use super::*;
use crate::disk::testing::{Loop, Mounted};
use ramet_system::refer::Needs;

/// Fills a file system with `tree`.
fn fill(paths: &[&Path], tree: &Path) {
    with_mount(paths, |at| {
        run("cp", &["-a", &format!("{}/.", tree.display()), at.to_str().unwrap()]);
    });
}

fn with_mount(paths: &[&Path], body: impl FnOnce(&Path)) {
    let loops: Vec<Loop> = paths.iter().map(|path| Loop::new(path, &[])).collect();
    if loops.len() > 1 {
        let names: Vec<&str> = loops.iter().map(|one| one.path.to_str().unwrap()).collect();
        run("btrfs", &[&["device", "scan"], &names[..]].concat());
    }
    let mounted = Mounted::new(&loops[0].path);
    body(Path::new(mounted.at()));
    drop(mounted);
    if loops.len() > 1 {
        run("btrfs", &["device", "scan", "--forget"]);
    }
}

fn same_and_writable(paths: &[&Path], tree: &Path, seed: u8) {
    with_mount(paths, |at| {
        run("diff", &["-r", "--exclude=new-*", tree.to_str().unwrap(), at.to_str().unwrap()]);
        std::fs::write(at.join(format!("new-{seed}")), vec![seed; 100_000]).unwrap();
    });
}

#[test]
fn xfs_gets_a_uuid_in_every_ag_and_in_its_log_twice() {
    let tree = tree();
    // The kernel knows file systems by their UUIDs: each one here gets others.
    let rows = ["-q", "-q -b size=1024 -d agcount=4", "-q -l su=65536", "-q -s size=4096"];
    for (options, base) in rows.into_iter().zip((100..).step_by(10)) {
        let image = made(320 * MIB, "mkfs.xfs", options);
        let path: &Path = &image.path;
        fill(&[path], tree.path());
        for (seed, needs) in [(base, Some(Needs::XfsMetaUuid)), (base + 1, None)] {
            let plan = renew_one(&image, seed);
            assert_eq!(plan.ids[0].needs, needs, "{options}");
            assert!(run("xfs_admin", &["-u", path.to_str().unwrap()]).contains(&plan.ids[0].new));
            run("xfs_repair", &["-n", path.to_str().unwrap()]);
            same_and_writable(&[path], tree.path(), seed);
            run("xfs_repair", &["-n", path.to_str().unwrap()]);
        }
        // What `xfs_db` and `xfs_repair -L` make of the log: two unmount records.
        run("xfs_repair", &["-L", path.to_str().unwrap()]);
        renew_one(&image, base + 2);
        run("xfs_repair", &["-n", path.to_str().unwrap()]);
        same_and_writable(&[path], tree.path(), base + 2);
    }
}

#[test]
fn xfs_of_version_4_gets_a_uuid_and_needs_nothing() {
    let image = made(320 * MIB, "mkfs.xfs", "-q -m crc=0,finobt=0,reflink=0");
    let plan = renew_one(&image, 1);
    let path = image.path.to_str().unwrap();
    assert_eq!(plan.ids[0].needs, None);
    assert!(run("xfs_admin", &["-u", path]).contains(&plan.ids[0].new));
    run("xfs_repair", &["-n", path]);
    // All copies: a repair that does not believe the first one takes a majority.
    for ag in 0..4 {
        let shown = run("xfs_db", &["-r", "-c", &format!("sb {ag}"), "-c", "p uuid", path]);
        assert!(shown.contains(&plan.ids[0].new), "{ag}: {shown}");
    }
}

#[test]
fn btrfs_gets_a_uuid_in_every_copy_of_its_superblock_twice() {
    let tree = tree();
    let rows = ["-q -m dup", "-q -m single --csum xxhash", "-q --csum sha256 --mixed", "-q --csum blake2"];
    for (options, base) in rows.into_iter().zip((160..).step_by(10)) {
        let image = made(300 * MIB, "mkfs.btrfs", options);
        let path: &Path = &image.path;
        fill(&[path], tree.path());
        for (seed, needs) in [(base, Some(Needs::BtrfsMetadataUuid)), (base + 1, None)] {
            let plan = renew_one(&image, seed);
            assert_eq!(plan.ids[0].needs, needs, "{options}");
            run("btrfs", &["check", "--readonly", path.to_str().unwrap()]);
            let shown = run("btrfs", &["inspect-internal", "dump-super", "-a", path.to_str().unwrap()]);
            assert_eq!(shown.matches(&format!("fsid\t\t\t{}", plan.ids[0].new)).count(), 2, "{shown}");
            assert!(!shown.contains("DON'T MATCH"), "{shown}");
            same_and_writable(&[path], tree.path(), seed);
        }
    }
}

#[test]
fn all_devices_of_a_btrfs_get_the_same_uuid() {
    let tree = tree();
    let images = [Image::new(200 * MIB), Image::new(200 * MIB)];
    let paths: Vec<&Path> = images.iter().map(|image| &*image.path).collect();
    let names: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    run("mkfs.btrfs", &[&["-q", "-m", "raid1", "-d", "raid1"], &names[..]].concat());
    fill(&paths, tree.path());
    let plan = renew(&paths, 220);
    assert!(plan.ids.len() == 1 && plan.kept.is_empty(), "{plan:?}");
    for path in &paths {
        assert_eq!(blkid(path, "UUID"), plan.ids[0].new);
    }
    same_and_writable(&paths, tree.path(), 220);
    // One of them alone is not all of it.
    let said = described(paths[0], 0);
    keeps(&images[0], &said, "device");
}
