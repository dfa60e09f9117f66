//! What lies over a content, behind it, beside it or around it, and makes its map say less than it seems to.

use super::super::{Map, doubt_beside_hibernation, efi_loaders, map_typed, others};
use super::images::{Image, extents, run};
use super::lvm::{ext4, swap};
use super::volumes::{MIB, Rig, maps};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Makes the content with `program` and lays a table over it, as the owner of a virtual machine's disk would.
fn partitioned(program: &str, args: &[&str], label: &str) -> Image {
    let image = Image::empty(300 * MIB);
    run(program, &[args, &[image.name()]].concat());
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["-q", "--wipe", "never", "--no-reread", image.name()]);
    let mut child = sfdisk.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("label: {label}\nstart=65536\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    image
}

#[test]
fn a_table_over_an_older_content_makes_it_whole() {
    let cases: [(&str, &[&str], &str); 5] = [
        ("mkfs.btrfs", &["-q"], "gpt"),
        ("mkfs.btrfs", &["-q"], "dos"),
        ("mke2fs", &["-q", "-t", "ext4", "-O", "^metadata_csum"], "dos"),
        ("mkfs.f2fs", &["-q"], "dos"),
        ("mkswap", &["-q"], "dos"),
    ];
    for (program, args, label) in cases {
        let image = partitioned(program, args, label);
        let blkid = run("blkid", &["-p", "-o", "export", image.name()]);
        assert!(blkid.contains("\nTYPE=") && blkid.contains(&format!("PTTYPE={label}")), "{program}: {blkid}");
        let map = image.map();
        assert!(map.whole && map.warnings.len() == 1, "{program}: {map:?}");
        assert!(map.warnings[0].contains("partition table and the signature of"), "{program}: {map:?}");
    }
}

/// A boot loader in the first sector of a partition ends in 55 AA too, and has no entries.
#[test]
fn a_boot_loader_in_the_first_sector_is_no_table() {
    let image = Image::ext(64 * MIB, "-t ext4");
    image.write(0, b"\xeb\x63\x90");
    image.write(510, b"\x55\xaa");
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
}

#[test]
fn what_lies_behind_a_file_system_is_copied_and_named() {
    for (program, args) in
        [("mke2fs", &["-q", "-t", "ext4"][..]), ("mkfs.xfs", &["-q"]), ("mkfs.btrfs", &["-q"]), ("mkfs.f2fs", &["-q"])]
    {
        let image = Image::empty(400 * MIB);
        run(program, &[args, &[image.name()]].concat());
        let grown = 405 * MIB + 1536;
        std::fs::File::options().write(true).open(&image.path).unwrap().set_len(grown).unwrap();
        // As veritysetup does with `--hash-offset`.
        run(
            "veritysetup",
            &["format", "--data-blocks=1000", &format!("--hash-offset={}", 400 * MIB), image.name(), image.name()],
        );
        let map = image.map();
        assert!(!map.whole && map.warnings.len() == 1, "{program}: {map:?}");
        assert!(map.warnings[0].contains("lie behind the end of the "), "{program}: {map:?}");
        let clone = image.clone_of(&extents(&map, grown));
        let tail = usize::try_from(grown - 400 * MIB).unwrap();
        assert!(clone.read(400 * MIB, tail) == image.read(400 * MIB, tail), "{program}");
        run("veritysetup", &["dump", &format!("--hash-offset={}", 400 * MIB), clone.name()]);
    }
}

fn together(mut all: Vec<Map>) -> Vec<Arc<Map>> {
    let mut all: Vec<Arc<Map>> = all.drain(..).map(Arc::new).collect();
    doubt_beside_hibernation(all.iter_mut());
    all
}

/// The system that wakes up knows of blocks that were written after the last commit of any journal.
#[test]
fn nothing_is_believed_beside_a_hibernated_system() {
    let (root, asleep) = (ext4(40 * MIB), swap(8 * MIB));
    let awake = together(maps(&[ext4(40 * MIB), swap(8 * MIB)]));
    assert!(awake.iter().all(|map| !map.whole), "{awake:?}");
    asleep.write(4086, b"S1SUSPEND\0");
    let rig = Rig::new(&[16]);
    rig.create("swap", "-l 8 vg0");
    rig.fill("swap", &asleep);
    for sleeper in [&asleep, &rig.disks[0]] {
        let found = together(vec![root.map(), sleeper.map()]);
        assert!(found.iter().all(|map| map.whole && map.used_bytes > 0), "{found:?}");
        assert!(found[0].warnings[0].contains("a hibernated system lies beside it"), "{found:?}");
    }
}

#[test]
fn a_frame_of_volumes_is_not_one_of_them() {
    let image = Image::ext(32 * MIB, "-t ext4");
    let map = |kind| map_typed(kind, image.source(), others(&[], 0)).unwrap();
    for kind in ["0x42", "AF9B60A0-1431-4F62-BC68-3311714A69AD", "0xa5"] {
        let map = map(kind);
        assert!(map.whole && map.warnings[0].contains("divided once more"), "{map:?}");
        assert_eq!(map.content.kind, "ext4");
    }
    for kind in ["0x83", "0x07", "", "0fc63daf-8483-4772-8e79-3d69d8477de4"] {
        assert!(!map(kind).whole);
    }
}

/// Each level of groups in groups would be looked into once for every volume of the level above.
#[test]
fn a_group_in_a_volume_is_copied_as_it_lies() {
    let inner = Rig::new(&[24]);
    inner.create("swap", "-l 8 vg0");
    inner.fill("swap", &swap(8 * MIB));
    let outer = Rig::new(&[40]);
    outer.create("disk", "-l 24 vg0");
    outer.create("swap", "-l 8 vg0");
    outer.fill("disk", &inner.disks[0]);
    outer.fill("swap", &swap(8 * MIB));
    let map = &outer.maps()[0];
    let inside: Vec<_> =
        map.inside.iter().map(|one| (one.name.as_str(), one.whole, one.content.kind.as_str())).collect();
    assert_eq!(inside, [("vg0/disk", true, "LVM2_member"), ("vg0/swap", false, "swap")]);
    assert!(!map.whole && map.warnings[0].contains("a volume group in a logical volume"), "{:?}", map.warnings);
}

/// One folder that is listed many times is the same as many folders.
#[test]
fn a_hostile_efi_partition_costs_no_more_than_a_large_one() {
    let image = Image::empty(64 * MIB);
    run("mkfs.vfat", &["-F", "32", "-s", "1", image.name()]);
    let file = image.dir.path().join("program");
    std::fs::write(&file, b"MZ").unwrap();
    run("mmd", &["-i", image.name(), "::/EFI", "::/EFI/VENDOR"]);
    for number in 0..30 {
        run("mcopy", &["-i", image.name(), file.to_str().unwrap(), &format!("::/EFI/VENDOR/{number}.EFI")]);
    }
    let bytes = image.bytes();
    let at = bytes.windows(11).position(|name| name == b"VENDOR     ").unwrap();
    let entry = bytes[at..at + 32].to_vec();
    for copy in 1..100 {
        image.write((at + copy * 32) as u64, &entry);
    }
    assert_eq!(efi_loaders(&*image.source()).unwrap().len(), 64);
}
