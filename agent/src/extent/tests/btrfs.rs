//! btrfs on one device, in many formats and states: dump-tree and partclone say what is used.

use super::super::ExtentKind;
use super::btrfs_images::{MIB, Oracle, Pool, agrees, fixed, listing};
use super::fixtures::fixture;
use super::images::{Image, Mount, extents, minus, of_kind, partclone, random, run, total, worked, write_tree};
use super::large::peak_kib_of_mapping;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

/// Folders, files, holes, links; a third of the files is gone again.
fn half(mount: &Mount) {
    write_tree(&mount.0, 200, 1 << 20);
}

/// Files until there is no room; then they stay.
fn full(mount: &Mount) {
    for number in 0.. {
        let wrote = File::create(mount.0.join(format!("file-{number}")))
            .and_then(|mut file| file.write_all(&vec![0x5a; 1 << 20]));
        if wrote.is_err() {
            return;
        }
    }
}

/// Every second file of many goes: the free-space tree changes to bitmaps.
fn fragmented(mount: &Mount) {
    let name = |number: u64| mount.0.join(format!("file-{number}"));
    let mut seed = 5;
    for number in 0..3000 {
        let len = usize::try_from(4096 + random(&mut seed) % 8192).unwrap();
        fs::write(name(number), vec![0xa5; len]).unwrap();
    }
    run("sync", &["-f", mount.0.to_str().unwrap()]);
    (0..3000).step_by(2).for_each(|number| fs::remove_file(name(number)).unwrap());
}

/// Snapshots, shared and preallocated extents, compression, inline files, overwritten and removed subvolumes.
fn features(mount: &Mount) {
    let script = r#"set -e; cd "$0"
        btrfs -q subvolume create a; seq 100000 >a/numbers; echo x >a/inline
        btrfs -q property set a compression zstd; yes text | head -c 5000000 >a/compressed
        sync -f .; btrfs -q subvolume snapshot -r a snap; cp --reflink=always a/numbers a/shared
        fallocate -l 3M a/preallocated; dd if=/dev/zero of=a/numbers bs=4k seek=10 count=5 conv=notrunc status=none
        btrfs -q subvolume snapshot snap gone; sync -f .; rm a/compressed
        btrfs -q subvolume delete -c gone; btrfs -q quota enable . 
        truncate -s 0 nocow; chattr +C nocow; head -c 700000 /dev/urandom >nocow"#;
    run("bash", &["-c", script, mount.0.to_str().unwrap()]);
}

fn fresh(_: &Mount) {}

/// What partclone 0.3.23 calls used is more than is used in several ways: its unit is a node, it takes the logical
/// addresses of files for places on the disk, and it goes on from the nodes of old snapshots. Whatever it has and we
/// have not is in no extent of the extent tree. It has less, too: it leaves out the second copies of DUP chunks,
/// although the file system falls back on them, and most of the reserved first MiB.
fn against_partclone(pool: &Pool, case: &str) {
    let oracle = Oracle::of(pool);
    let extents = pool.extents(case).remove(0);
    let (used, data) = (partclone("partclone.btrfs", &pool.0[0]), of_kind(&extents, ExtentKind::Data));
    let theirs: BTreeSet<u64> =
        minus(&used, &data).iter().flat_map(|range| range.start() / 4096..range.end().div_ceil(4096)).collect();
    assert!(oracle.blocks(1).is_disjoint(&theirs), "{case}: used for partclone and dump-tree, and in no extent");
    let firsts = Oracle::of(pool).chunks.into_iter().map(|mut chunk| {
        chunk.stripes.truncate(1);
        chunk
    });
    let firsts = Oracle { chunks: firsts.collect(), extents: oracle.extents.clone() }.blocks(1);
    let mut extra: BTreeSet<u64> = oracle.blocks(1).difference(&firsts).copied().collect();
    extra.extend(fixed(pool.size()));
    let (ours, extra) = (total(&data), extra.len() as u64 * 4096);
    println!("{case}: {ours} used, partclone {}, {extra} in second copies and fixed places", total(&used));
    let allowed = total(&used) + total(&used) / 100 + extra;
    assert!(ours <= allowed, "{case}: {ours} used, {allowed} allowed");
}

/// Options of mkfs, what fills it, and options of the mount.
type Case = (&'static str, fn(&Mount), &'static str);

fn matrix(cases: &[Case]) {
    for (options, fill, mount_options) in cases {
        let case = format!("{options} {mount_options}");
        let pool = Pool::make(1, if options.contains("-d dup") { 256 * MIB } else { 160 * MIB }, options);
        let before = {
            let mounted = pool.mount(mount_options);
            fill(&mounted.mount);
            run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
            listing(&mounted.mount)
        };
        let all = agrees(&pool, &case);
        against_partclone(&pool, &case);
        let clone = pool.clone_of(&all);
        clone.check(&case);
        assert_eq!(clone.listing(), before, "{case}");
    }
}

#[test]
fn states_of_a_file_system_as_mkfs_makes_it_agree_with_dump_tree_and_partclone() {
    matrix(&[
        ("-L fresh", fresh, "rw"),
        ("-L half", half, "rw"),
        ("-L full", full, "rw"),
        ("-L fragmented", fragmented, "rw"),
        ("-L features", features, "rw"),
    ]);
}

#[test]
fn without_a_free_space_tree_the_extent_tree_is_walked() {
    matrix(&[
        ("-R ^free-space-tree", half, "rw"),
        ("-R ^free-space-tree -n 4096", fragmented, "rw"),
        ("-R ^free-space-tree -O ^skinny-metadata,^no-holes", features, "nospace_cache"),
        ("-R ^free-space-tree -M", fragmented, "clear_cache,space_cache=v2"),
    ]);
}

#[test]
fn profiles_and_node_sizes_agree_with_dump_tree_and_partclone() {
    matrix(&[
        ("-d single -m single", half, "rw"),
        ("-d dup -m dup -n 32768", half, "rw"),
        ("-M -n 4096", fragmented, "rw"),
        ("-M -d dup -m dup", half, "compress=zstd"),
        ("-d raid0 -m single -n 4096", fresh, "rw"),
    ]);
}

#[test]
fn all_checksums_agree_with_dump_tree_and_partclone() {
    matrix(&[
        ("--csum xxhash -n 4096", fragmented, "rw"),
        ("--csum sha256", half, "rw"),
        ("--csum blake2", half, "rw"),
    ]);
}

/// The UUID of the nodes stays when the file system's is changed.
#[test]
fn a_changed_uuid_is_found_in_the_nodes_by_the_old_one() {
    let pool = Pool::make(1, 160 * MIB, "-L other");
    half(&pool.mount("rw").mount);
    let before = pool.map(0);
    run("btrfstune", &["-m", "-f", pool.0[0].name()]);
    let map = pool.map(0);
    assert_ne!(map.content.uuid, before.content.uuid);
    assert!(super::super::probe(&*pool.0[0].source()).unwrap() == map.content);
    let all = agrees(&pool, "metadata_uuid");
    pool.clone_of(&all).check("metadata_uuid");
}

/// What a balance has ended leaves nothing: chunks elsewhere, and the same files.
#[test]
fn after_a_balance_and_a_resize_the_new_chunks_are_what_counts() {
    let pool = Pool::make(1, 400 * MIB, "");
    {
        let mounted = pool.mount("rw");
        half(&mounted.mount);
        let dir = mounted.mount.0.to_str().unwrap();
        run("btrfs", &["balance", "start", "--full-balance", dir]);
        run("btrfs", &["filesystem", "resize", "380m", dir]);
        run("btrfs", &["balance", "start", "-dconvert=dup", "-mconvert=single", "-f", dir]);
    }
    let all = agrees(&pool, "balanced");
    pool.clone_of(&all).check("balanced");
}

/// Nothing in the unallocated part, and all behind the file system's end.
#[test]
fn a_partition_that_is_longer_than_its_file_system_is_read_behind_it() {
    let image = Image::garbage(200 * MIB);
    run("mkfs.btrfs", &["-q", "-f", "-b", "157286400", image.name()]);
    let pool = Pool(vec![image]);
    let all = agrees(&pool, "longer");
    assert_eq!(all[0].last().unwrap().range.start(), 157_286_400);
}

/// Nearly full of preallocated files with holes punched into them, and many small files: a thousand chunks.
#[test]
fn maps_1_tib_in_less_than_5_s_and_64_mib() {
    for options in ["", "-R ^free-space-tree"] {
        let pool = Pool::make(1, 1 << 40, options);
        {
            let mounted = pool.mount("rw");
            let root = mounted.mount.0.to_str().unwrap();
            let script = r#"set -e; cd "$0"; for part in 1 2 3 4 5 6 7 8 9; do fallocate -l 100G file-$part; done
                for at in $(seq 1000); do fallocate -p -o ${at}G -l 1M file-1; done"#;
            run("bash", &["-c", script, root]);
            (0..10_000)
                .for_each(|number| fs::write(mounted.mount.0.join(format!("small-{number}")), [1; 5000]).unwrap());
            run("sync", &["-f", root]);
            (0..10_000)
                .step_by(2)
                .for_each(|number| fs::remove_file(mounted.mount.0.join(format!("small-{number}"))).unwrap());
        }
        let (map, took) = worked(|| pool.map(0));
        assert!(!map.whole && map.used_bytes > 900 << 30, "{map:?}");
        let count = extents(&map, 1 << 40).len();
        let peak = peak_kib_of_mapping(&pool.0[0]);
        println!("{options}: {} bytes used, {count} extents, mapped in {took:?}, peak {peak} KiB", map.used_bytes);
        assert!(took < Duration::from_secs(5) && peak < 64 << 10, "{took:?}, {peak} KiB");
    }
}

/// As btrfs-progs makes them by default from 6.19 on.
#[test]
fn block_groups_in_a_tree_of_their_own_agree_with_dump_tree() {
    let image = Image::empty(128 * MIB);
    for record in fixture("btrfs-groups").bytes().chunks(4 + 4096) {
        let (number, block) = record.split_at(4);
        image.write(u64::from(u32::from_le_bytes(number.try_into().unwrap())) * 4096, block);
    }
    let super_ = run("btrfs", &["inspect-internal", "dump-super", image.name()]);
    assert!(super_.contains("BLOCK_GROUP_TREE"), "{super_}");
    let pool = Pool(vec![image]);
    pool.clone_of(&agrees(&pool, "fresh")).check("fresh");
    let before = {
        let mounted = pool.mount("rw");
        write_tree(&mounted.mount.0, 60, 1 << 18);
        run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
        listing(&mounted.mount)
    };
    let clone = pool.clone_of(&agrees(&pool, "used"));
    clone.check("used");
    assert_eq!(clone.listing(), before);
}
