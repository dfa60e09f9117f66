//! ext2, ext3 and ext4 with a new UUID, as e2fsprogs and the kernel see them.
//!
//! In: file systems with every set of features that has its own checksums. Out: nothing.
//! Promise: after each change `e2fsck -fn` finds nothing and every copy of the superblock has the new UUID.

use super::*;
use crate::disk::testing::{Loop, Mounted};
use ramet_system::refer::Needs;

fn made_with(size: u64, options: &str, tree: &Path) -> Image {
    made(size, "mke2fs", &format!("-q -F -d {} {options}", tree.display()))
}

/// `dumpe2fs -h` of the superblock in block `at`.
fn header(image: &Image, at: Option<(u64, u64)>) -> String {
    let place = at.map(|(block, size)| [format!("superblock={block}"), format!("blocksize={size}")]);
    let mut args = vec!["-h"];
    if let Some([block, size]) = &place {
        args.extend(["-o", block, "-o", size]);
    }
    args.push(image.path.to_str().unwrap());
    run("dumpe2fs", &args)
}

fn field<'a>(header: &'a str, name: &str) -> &'a str {
    header.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim)
}

#[test]
fn every_kind_of_ext_gets_a_uuid_in_all_copies_and_stays_clean() {
    let tree = tree();
    let rows = [
        ("-t ext2", None),
        ("-t ext3 -b 1024", None),
        ("-t ext2 -r 0 -O none", None),
        ("-t ext2 -O ^sparse_super,^resize_inode -b 1024", None),
        ("-t ext4 -O ^metadata_csum,uninit_bg,^64bit", None),
        ("-t ext4 -O ^metadata_csum,uninit_bg,64bit -b 1024", None),
        ("-t ext4 -O metadata_csum,64bit,^metadata_csum_seed", Some(Needs::ExtSeed)),
        ("-t ext4 -O metadata_csum,metadata_csum_seed", None),
        ("-t ext4 -O metadata_csum,^metadata_csum_seed,meta_bg,^resize_inode -b 1024", Some(Needs::ExtSeed)),
        ("-t ext4 -O metadata_csum,^metadata_csum_seed,sparse_super2 -b 1024", Some(Needs::ExtSeed)),
        ("-t ext4 -O metadata_csum,^metadata_csum_seed,bigalloc,orphan_file", Some(Needs::ExtSeed)),
        ("-t ext4 -O metadata_csum,^metadata_csum_seed,mmp,inline_data,^has_journal", Some(Needs::ExtSeed)),
    ];
    for (options, needs) in rows {
        let image = made_with(80 * MIB, options, tree.path());
        let plan = renew_one(&image, 3);
        assert_eq!(plan.ids[0].needs, needs, "{options}");
        run("e2fsck", &["-fn", image.path.to_str().unwrap()]);
        let first = header(&image, None);
        assert_eq!(field(&first, "Filesystem UUID:"), plan.ids[0].new, "{options}");
        assert_eq!(field(&first, "Filesystem features:").contains("metadata_csum_seed"), options.contains("csum_seed"));
        let block: u64 = field(&first, "Block size:").parse().unwrap();
        let all = run("dumpe2fs", &[image.path.to_str().unwrap()]);
        let copies = all.lines().filter_map(|line| line.trim().strip_prefix("Backup superblock at "));
        for copy in copies {
            let at = copy.split(',').next().unwrap().parse().unwrap();
            assert_eq!(
                field(&header(&image, Some((at, block))), "Filesystem UUID:"),
                plan.ids[0].new,
                "{options}: {at}"
            );
        }
    }
}

#[test]
fn the_same_as_tune2fs_with_a_mounted_file_system() {
    let tree = tree();
    let image = made_with(64 * MIB, "-t ext4 -O metadata_csum,^metadata_csum_seed", tree.path());
    let before = header(&image, None);
    let plan = renew_one(&image, 4);
    let after = header(&image, None);
    let changed: Vec<&str> =
        before.lines().filter(|line| !after.contains(line)).map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(changed, ["Filesystem UUID", "Filesystem features", "Checksum"]);
    // tune2fs computes the seed from the UUID when it takes the feature away: only with the old one it is right.
    assert_eq!(field(&after, "Checksum seed:"), {
        let uuid = uuid::Uuid::parse_str(&plan.ids[0].old).unwrap();
        format!("{:#010x}", crate::extent::ext_crc32c(!0, uuid.as_bytes()))
    });
}

#[test]
fn the_kernel_mounts_it_and_finds_every_file() {
    let tree = tree();
    for options in ["-t ext4 -O metadata_csum,^metadata_csum_seed", "-t ext4 -O ^metadata_csum,uninit_bg", "-t ext3"] {
        let image = made_with(64 * MIB, options, tree.path());
        renew_one(&image, 5);
        let device = Loop::new(&image.path, &[]);
        let mounted = Mounted::new(&device.path);
        same_tree(tree.path(), Path::new(mounted.at()));
        std::fs::write(Path::new(mounted.at()).join("new"), b"new").unwrap();
        drop(mounted);
        drop(device);
        run("e2fsck", &["-fn", image.path.to_str().unwrap()]);
        renew_one(&image, 6);
        run("e2fsck", &["-fn", image.path.to_str().unwrap()]);
    }
}
