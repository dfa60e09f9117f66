//! Groups of which a part is in doubt: that part is copied as it lies, and the rest by its own maps.

use super::super::Content;
use super::images::{Image, extents, random};
use super::lvm::{agrees, by_default, ext4, swap, tree};
use super::volumes::{MIB, Rig, alone, maps};
use ramet_wire::ByteRange;
use std::fs;

#[test]
fn a_volume_in_doubt_is_whole_and_its_neighbours_are_not() {
    let rig = Rig::new(&[96]);
    let (good, dirty, asleep) = (ext4(24 * MIB), Image::garbage(24 * MIB), swap(4 * MIB));
    dirty.mke2fs("-t ext4 -J size=4 -O ^metadata_csum");
    for (name, extents) in [("good", 24), ("dirty", 24), ("asleep", 4), ("nothing", 8)] {
        rig.create(name, &format!("-l {extents} vg0"));
    }
    // Its state: not valid, as that of an ext2 while it is mounted.
    dirty.write(1024 + 0x3a, &[0]);
    asleep.write(4086, b"S1SUSPEND\0");
    rig.fill("good", &good);
    rig.fill("dirty", &dirty);
    rig.fill("asleep", &asleep);
    let map = alone(&rig.disks[0]);
    let inside: Vec<_> =
        map.inside.iter().map(|one| (one.name.as_str(), one.whole, one.content.kind.as_str())).collect();
    let expected = [
        ("vg0/good", false, "ext4"),
        ("vg0/dirty", true, "ext4"),
        ("vg0/asleep", true, "swap (hibernated)"),
        ("vg0/nothing", true, "unknown"),
    ];
    assert_eq!(inside, expected);
    assert!(!map.whole && map.warnings.len() == 2, "{:?}", map.warnings);
    assert!(map.warnings[0].starts_with("logical volume vg0/dirty: copied whole: "), "{:?}", map.warnings);
    assert!(map.warnings[1].starts_with("logical volume vg0/asleep: "), "{:?}", map.warnings);
    assert!(map.warnings[1].contains("every file system of this machine is in use by it"));
    agrees(&rig, &[("good", &good), ("dirty", &dirty), ("asleep", &asleep)], &{
        let start = rig.segments("nothing")[0].areas[0].1;
        vec![vec![ByteRange::between(0, MIB), ByteRange::between(start, start + 8 * MIB)]]
    });
}

#[test]
fn what_a_killed_kernel_left_in_a_volume_is_all_there() {
    let rig = Rig::new(&[64]);
    rig.create("root", "-l 40 vg0");
    let start = rig.segments("root")[0].areas[0].1;
    let fresh = Image::garbage(40 * MIB);
    fresh.mke2fs("-t ext4 -J size=4");
    rig.fill("root", &fresh);
    // A file of its own: the kernel mounts none that another loop device shows already.
    let disk = Image::empty(64 * MIB);
    fs::copy(&rig.disks[0].path, &disk.path).unwrap();
    let mount = disk.mount(&format!("offset={start},sizelimit={}", 40 * MIB));
    let mut seed = 9;
    for number in 0..40 {
        let noise: Vec<u8> = (0..20_000).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
        let file = fs::File::create(mount.0.join(format!("f{number}"))).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &noise, 0).unwrap();
        file.sync_all().unwrap();
    }
    let files = tree(&mount.0);
    let pulled = Image::empty(64 * MIB);
    fs::copy(&disk.path, &pulled.path).unwrap();
    drop(mount);
    let map = alone(&pulled);
    assert!(!map.whole && !map.inside[0].whole, "{map:?}");
    assert!(map.warnings[0].contains("logical volume vg0/root") && map.warnings[0].contains("replayed"), "{map:?}");
    let clone = pulled.clone_of(&extents(&map, 64 * MIB));
    let back = rig.content("root", std::slice::from_ref(&clone), 40 * MIB);
    let mount = back.mount("noatime");
    assert!(tree(&mount.0) == files && files.len() == 40);
}

#[test]
fn without_all_its_disks_a_volume_is_copied_as_it_lies() {
    let rig = Rig::new(&[40, 40]);
    rig.create("here", &format!("-l 16 vg0 {}", rig.device(0)));
    rig.create("both", "-i 2 -l 20 vg0");
    let (here, both) = (ext4(16 * MIB), ext4(20 * MIB));
    rig.fill("here", &here);
    rig.fill("both", &both);
    agrees(&rig, &[("here", &here), ("both", &both)], &by_default(2));
    let map = alone(&rig.disks[0]);
    assert!(!map.whole && map.warnings.len() == 1, "{:?}", map.warnings);
    assert!(
        map.warnings[0].starts_with("logical volume vg0/both: copied whole: physical volume "),
        "{:?}",
        map.warnings
    );
    assert!(map.warnings[0].ends_with("is not among the disks read together"), "{:?}", map.warnings);
    assert_eq!(map.inside[1].content, Content::unknown());
    assert_eq!(map.used_bytes, MIB + 10 * MIB + here.map().used_bytes);
}

#[test]
fn copies_of_the_text_that_disagree_make_all_of_it_the_extent() {
    let rig = Rig::new(&[40, 40]);
    rig.create("root", "-l 20 vg0");
    let older = Image::empty(40 * MIB);
    fs::copy(&rig.disks[1].path, &older.path).unwrap();
    rig.lvm("lvchange", "--addtag later vg0/root");
    let newer = Image::empty(40 * MIB);
    fs::copy(&rig.disks[0].path, &newer.path).unwrap();
    for map in maps(&[newer, older]) {
        assert!(map.whole && map.warnings[0].contains("number 2") && map.warnings[0].contains("number 3"), "{map:?}");
    }
    // A clone beside its source: which of them is meant?
    let twin = Image::empty(40 * MIB);
    fs::copy(&rig.disks[0].path, &twin.path).unwrap();
    for map in maps(&[rig.disks[0].clone_of(&[]), twin]).iter().skip(1) {
        assert!(!map.whole, "{map:?}");
    }
    let twins: Vec<Image> = (0..2)
        .map(|_| {
            let twin = Image::empty(40 * MIB);
            fs::copy(&rig.disks[0].path, &twin.path).unwrap();
            twin
        })
        .collect();
    for map in maps(&twins) {
        assert!(map.whole && map.warnings[0].contains("is there twice"), "{map:?}");
    }
}
