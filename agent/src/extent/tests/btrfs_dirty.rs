//! btrfs with something to replay, or in the middle of something.

use super::btrfs_images::{MIB, Pool, agrees, listing};
use super::images::{Image, run, write_tree};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Files that are on the disk one by one, and no commit: only the log tree knows them.
fn write_and_fsync(root: &Path) {
    for number in 0..100 {
        let mut file = File::create(root.join(format!("synced-{number}"))).unwrap();
        file.write_all(&[u8::try_from(number).unwrap(); 20_000]).unwrap();
        file.sync_all().unwrap();
    }
}

/// All devices as they would be after a power cut.
fn cut_off(pool: &Pool) -> Pool {
    let copy = |image: &Image| {
        let copy = Image::empty(pool.size());
        run("cp", &["--sparse=always", image.name(), copy.name()]);
        copy
    };
    Pool(pool.0.iter().map(copy).collect())
}

#[test]
fn a_log_tree_makes_all_devices_whole_and_a_restore_replays_it() {
    for (devices, options) in [(1, ""), (2, "-d raid1 -m raid1")] {
        let pool = Pool::make(devices, 200 * MIB, options);
        let mounted = pool.mount("commit=300");
        write_tree(&mounted.mount.0, 20, 1 << 14);
        run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
        write_and_fsync(&mounted.mount.0);
        let cut = cut_off(&pool);
        drop(mounted);
        for index in 0..devices {
            let map = cut.map(index);
            assert!(map.whole && map.used_bytes == pool.size() && map.warnings.len() == 1, "{map:?}");
            assert!(map.warnings[0].contains("log tree at") && map.warnings[0].contains("replayed"), "{map:?}");
            assert!(map.content.state.as_ref().unwrap().starts_with("needs recovery"), "{map:?}");
        }
        // A whole copy is the copy itself; the mount replays.
        let mounted = cut.mount("rw");
        for number in 0..100 {
            let found = fs::read(mounted.mount.0.join(format!("synced-{number}"))).unwrap();
            assert_eq!(found, [u8::try_from(number).unwrap(); 20_000]);
        }
        drop(mounted);
        agrees(&cut, "replayed");
        agrees(&pool, "unmounted");
    }
}

/// Without fsync there is nothing to replay: the last commit is what a mount finds, and what is copied.
#[test]
fn a_power_cut_without_a_log_tree_leaves_the_last_commit() {
    let pool = Pool::make(1, 200 * MIB, "");
    let mounted = pool.mount("commit=300");
    write_tree(&mounted.mount.0, 60, 1 << 18);
    run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
    let before = listing(&mounted.mount);
    fs::write(mounted.mount.0.join("later"), vec![7; 1 << 20]).unwrap();
    fs::remove_dir_all(mounted.mount.0.join("d1")).unwrap();
    let cut = cut_off(&pool);
    drop(mounted);
    let clone = cut.clone_of(&agrees(&cut, "cut off"));
    clone.check("cut off");
    assert_eq!(clone.listing(), before);
}

#[test]
fn a_balance_that_halted_makes_it_whole() {
    let pool = Pool::make(1, 300 * MIB, "");
    {
        let mounted = pool.mount("rw");
        write_tree(&mounted.mount.0, 100, 1 << 20);
        run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
        let dir = mounted.mount.0.to_str().unwrap().to_owned();
        // Paused as soon as it runs; a fast one may end before, so it is begun until one was caught.
        let caught = (0..200).any(|_| {
            run("btrfs", &["balance", "start", "--background", "--full-balance", &dir]);
            let paused = std::process::Command::new("btrfs").args(["balance", "pause", &dir]).output().unwrap();
            paused.status.success()
        });
        assert!(caught);
    }
    let map = pool.map(0);
    assert!(map.whole && map.warnings[0].contains("balance"), "{map:?}");
    {
        let mounted = pool.mount("skip_balance");
        run("btrfs", &["balance", "cancel", mounted.mount.0.to_str().unwrap()]);
    }
    agrees(&pool, "cancelled");
}

#[test]
fn a_device_that_is_being_replaced_makes_it_whole_and_after_it_the_new_one_counts() {
    let pool = Pool::make(2, 300 * MIB, "-d raid1 -m raid1");
    write_tree(&pool.mount("rw").mount.0, 100, 1 << 20);
    let target = Pool(vec![Image::empty(300 * MIB)]);
    let cut = {
        let mounted = pool.mount("rw");
        let loops = target.attach();
        let dir = mounted.mount.0.to_str().unwrap();
        run("btrfs", &["replace", "start", "-f", "-B", "2", &loops.0[0], dir]);
        let mut cut = cut_off(&pool);
        cut.0.extend(cut_off(&target).0);
        drop((mounted, loops));
        cut
    };
    drop(cut);
    let mut pool = pool;
    pool.0.truncate(1);
    pool.0.extend(target.0);
    let all = agrees(&pool, "replaced");
    pool.clone_of(&all).check("replaced");
}

#[test]
fn a_seed_makes_it_whole() {
    let pool = Pool::make(1, 200 * MIB, "");
    run("btrfstune", &["-S", "1", pool.0[0].name()]);
    let map = pool.map(0);
    assert!(map.whole && map.warnings[0].contains("it is a seed"), "{map:?}");
}
