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
fn a_balance_that_halted_goes_on_in_the_clone() {
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
    let clone = pool.clone_of(&agrees(&pool, "halted"));
    clone.check("halted");
    let before = listing(&pool.mount("skip_balance,ro").mount);
    {
        // Its mount resumes the balance, which is given time to move something and is then cancelled or has ended.
        let mounted = clone.mount("rw");
        std::thread::sleep(std::time::Duration::from_secs(1));
        let dir = mounted.mount.0.to_str().unwrap();
        let _ = std::process::Command::new("btrfs").args(["balance", "cancel", dir]).output().unwrap();
        run("sync", &["-f", dir]);
        assert_eq!(listing(&mounted.mount), before);
    }
    clone.check("resumed");
}

#[test]
fn after_a_replacement_the_new_device_counts() {
    let pool = Pool::make(2, 300 * MIB, "-d raid1 -m raid1");
    write_tree(&pool.mount("rw").mount.0, 100, 1 << 20);
    let target = Pool(vec![Image::empty(300 * MIB)]);
    {
        let mounted = pool.mount("rw");
        let loops = target.attach();
        run("btrfs", &["replace", "start", "-f", "-B", "2", &loops.0[0], mounted.mount.0.to_str().unwrap()]);
        drop((mounted, loops));
    }
    let mut pool = pool;
    pool.0.truncate(1);
    pool.0.extend(target.0);
    let all = agrees(&pool, "replaced");
    pool.clone_of(&all).check("replaced");
}

/// Its image of the ext4 is a file with extents of all places.
#[test]
fn what_was_an_ext4_agrees_and_can_go_back() {
    let image = Image::ext(300 * MIB, "-t ext4 -b 4096");
    write_tree(&image.mount("rw").0, 60, 1 << 18);
    run("btrfs-convert", &[image.name()]);
    let pool = Pool(vec![image]);
    let clone = pool.clone_of(&agrees(&pool, "converted"));
    clone.check("converted");
    run("btrfs-convert", &["-r", clone.0[0].name()]);
    run("e2fsck", &["-fn", clone.0[0].name()]);
}

#[test]
fn a_seed_makes_it_whole() {
    let pool = Pool::make(1, 200 * MIB, "");
    run("btrfstune", &["-S", "1", pool.0[0].name()]);
    let map = pool.map(0);
    assert!(map.whole && map.warnings[0].contains("it is a seed"), "{map:?}");
}
