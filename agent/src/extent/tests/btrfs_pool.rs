//! btrfs on several devices: each one's own stripes, and what is refused when one is missing.

use super::btrfs_images::{MIB, Pool, agrees, listing};
use super::images::{random, run, write_tree};
use std::fs;

fn filled(devices: usize, options: &str, mount_options: &str) -> (Pool, String) {
    let pool = Pool::make(devices, 128 * MIB, options);
    let mounted = pool.mount(mount_options);
    write_tree(&mounted.mount.0, 150, 1 << 20);
    // Across many stripes, and small enough to lie in one.
    let mut seed = 77;
    let noise: Vec<u8> = (0..9 << 20).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
    fs::write(mounted.mount.0.join("large"), &noise).unwrap();
    for number in 0..400_usize {
        fs::write(mounted.mount.0.join(format!("small-{number}")), &noise[number..number + 5000]).unwrap();
    }
    run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
    (0..400).step_by(2).for_each(|number| fs::remove_file(mounted.mount.0.join(format!("small-{number}"))).unwrap());
    let listing = listing(&mounted.mount);
    drop(mounted);
    (pool, listing)
}

fn profiles(cases: &[(usize, &str, &str)]) {
    for (devices, options, mount_options) in cases {
        let (pool, before) = filled(*devices, options, mount_options);
        let all = agrees(&pool, options);
        let clone = pool.clone_of(&all);
        clone.check(options);
        assert_eq!(clone.listing(), before, "{options}");
        let sum: u64 = (0..*devices).map(|index| pool.map(index).used_bytes).sum();
        println!("{options} on {devices}: {sum} used of {}", pool.size() * *devices as u64);
    }
}

#[test]
fn mirrors_agree_with_dump_tree_and_clones_of_all_devices_are_the_same() {
    profiles(&[
        (2, "-d raid1 -m raid1", "rw"),
        (3, "-d raid1c3 -m raid1c3", "rw"),
        (4, "-d raid1c4 -m raid1c4 -R ^free-space-tree", "rw"),
    ]);
}

#[test]
fn stripes_agree_with_dump_tree_and_clones_of_all_devices_are_the_same() {
    profiles(&[
        (2, "-d single -m raid1", "rw"),
        (3, "-d raid0 -m raid0 -n 4096", "rw"),
        (4, "-d raid10 -m raid10", "compress=zstd"),
        (3, "-M -d raid0 -m raid0 -n 4096", "rw"),
    ]);
}

/// Parity is over whole rows, so whole rows are copied: a lost device can still be computed after a restore.
/// `btrfs check` 6.2 reads parity from wrong places and complains of sound files; it has to complain of the same ones
/// before and after.
#[test]
fn parity_agrees_with_dump_tree_and_a_clone_survives_the_loss_of_a_device() {
    let complaints = |pool: &Pool| {
        let text = pool.checked();
        let mirrors = text.lines().filter_map(|line| line.strip_prefix("mirror "));
        let places: Vec<String> = mirrors.map(|line| line.split(" csum").next().unwrap().to_owned()).collect();
        assert!(text.contains("[7/7]") && (text.contains("no error found") || !places.is_empty()), "{text}");
        places
    };
    for (devices, options) in [(2, "-d raid5 -m raid1"), (3, "-d raid5 -m raid5"), (4, "-d raid6 -m raid1c3")] {
        let (pool, before) = filled(devices, options, "rw");
        let mut clone = pool.clone_of(&agrees(&pool, options));
        assert_eq!(complaints(&clone), complaints(&pool), "{options}");
        assert_eq!(clone.listing(), before, "{options}");
        clone.0.pop();
        assert_eq!(listing(&clone.mount("ro,degraded").mount), before, "{options} without its last device");
    }
}

#[test]
fn a_missing_device_makes_all_others_whole() {
    let pool = Pool::make(3, 128 * MIB, "-d raid1 -m raid1 -L pool");
    let map = pool.map(0);
    assert_eq!(map.content.state.as_deref(), Some("clean, device 1 of 3"));
    assert_eq!(map.content.label.as_deref(), Some("pool"));
    for index in 0..3 {
        for missing in (0..3).filter(|missing| *missing != index) {
            let map = pool.map_beside(index, |other| other != missing);
            assert!(map.whole && map.warnings.len() == 1, "{map:?}");
            assert!(map.warnings[0].contains("has 3 devices, 2 of them are captured together"), "{map:?}");
        }
        assert!(pool.map_beside(index, |_| false).warnings[0].contains("3 devices, 1 of them"));
    }
}

/// A device that was away while the others were written to: what it holds of them is old.
#[test]
fn a_device_of_an_older_generation_makes_all_whole() {
    let pool = Pool::make(2, 128 * MIB, "-d raid1 -m raid1");
    let old = pool.0[1].bytes();
    write_tree(&pool.mount("rw").mount.0, 20, 1 << 14);
    assert!(!pool.map(0).whole);
    pool.0[1].write(0, &old);
    for index in 0..2 {
        let map = pool.map(index);
        assert!(map.whole && map.warnings[0].contains("has generation"), "{map:?}");
    }
}

#[test]
fn a_device_that_is_there_twice_makes_all_whole() {
    let mut pool = Pool::make(2, 128 * MIB, "-d raid1 -m raid1");
    let copy = super::images::Image::empty(pool.size());
    copy.write(0, &pool.0[1].bytes());
    pool.0.push(copy);
    let map = pool.map(0);
    assert!(map.whole && map.warnings[0].contains("device 2 of the file system is there twice"), "{map:?}");
}

/// A copy of a file system on one device beside it, and another file system, are nothing to it.
#[test]
fn what_lies_beside_a_file_system_on_one_device_is_not_looked_at() {
    let mut pool = Pool::make(1, 128 * MIB, "");
    let copy = super::images::Image::empty(pool.size());
    copy.write(0, &pool.0[0].bytes());
    pool.0.push(copy);
    pool.0.extend(Pool::make(2, 128 * MIB, "-m raid1").0);
    pool.0.push(super::images::Image::garbage(MIB));
    assert!(!pool.map(0).whole && !pool.map(1).whole);
}

/// Devices that were added and removed leave their numbers behind.
#[test]
fn devices_that_came_later_are_found_by_their_numbers() {
    let mut pool = Pool::make(2, 300 * MIB, "-d raid0 -m raid1");
    pool.0.push(super::images::Image::empty(300 * MIB));
    {
        let first = Pool(pool.0.drain(..2).collect());
        let mounted = first.mount("rw");
        let loops = pool.attach();
        let dir = mounted.mount.0.to_str().unwrap();
        write_tree(&mounted.mount.0, 50, 1 << 18);
        run("btrfs", &["device", "add", "-f", &loops.0[0], dir]);
        run("btrfs", &["device", "remove", "1", dir]);
        drop((mounted, loops));
        pool.0.splice(0..0, first.0);
    }
    // Its superblock is wiped.
    let gone = pool.map_beside(0, |_| true);
    assert!(gone.content.kind != "btrfs", "{gone:?}");
    pool.0.remove(0);
    assert_eq!(pool.map(0).content.state.as_deref(), Some("clean, device 2 of 2"));
    let all = pool.extents("added and removed");
    pool.clone_of(&all).check("added and removed");
}
