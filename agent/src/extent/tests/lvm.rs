//! Volume groups: every volume is read back as it was, nothing else is copied, and LVM finds its group again.

use super::super::ExtentKind;
use super::fixtures::write_sparse;
use super::images::{Image, extents, of_kind, run, worked, write_tree};
use super::large::peak_kib_of_mapping;
use super::volumes::{MIB, Rig, alone, joined, spread};
use ramet_wire::ByteRange;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// An ext4 with files on a disk that held something else before.
pub(super) fn ext4(size: u64) -> Image {
    let image = Image::garbage(size);
    image.mke2fs("-t ext4 -J size=4");
    let mount = image.mount("noatime");
    write_tree(&mount.0, 60, 1 << 18);
    drop(mount);
    image
}

pub(super) fn swap(size: u64) -> Image {
    let image = Image::garbage(size);
    run("mkswap", &["-q", image.name()]);
    image
}

/// Files below a folder and their bytes.
pub(super) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            all.extend(tree(&path));
        } else if kind.is_file() {
            all.insert(path.to_str().unwrap().rsplit("/mnt/").next().unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Holds the maps of all disks against `lvs` and the maps of the contents alone, and clones the disks onto garbage.
pub(super) fn agrees(rig: &Rig, contents: &[(&str, &Image)], metadata: &[Vec<ByteRange>]) {
    let found = rig.maps();
    let mut expected: Vec<Vec<ByteRange>> = metadata.to_vec();
    let mut zeros = vec![Vec::new(); rig.disks.len()];
    for (name, content) in contents {
        let (size, map) = (content.source().size(), content.map());
        let (segments, all) = (rig.segments(name), extents(&map, size));
        for (kind, on) in [(ExtentKind::Data, &mut expected), (ExtentKind::Zero, &mut zeros)] {
            for (disk, ranges) in spread(&segments, &all, kind, rig.disks.len()).into_iter().enumerate() {
                on[disk].extend(ranges);
            }
        }
    }
    for (disk, map) in found.iter().enumerate() {
        assert_eq!((map.content.kind.as_str(), map.whole), ("LVM2_member", false), "{:?}", map.warnings);
        let size = rig.disks[disk].source().size();
        let all = extents(map, size);
        let block = |ranges: &[ByteRange]| joined(ranges.iter().map(|range| range.round_out(size)).collect());
        assert_eq!(of_kind(&all, ExtentKind::Data), block(&expected[disk]), "disk {disk}");
        let inner = joined(zeros[disk].clone()).iter().map(|range| range.round_in(size)).collect();
        assert_eq!(of_kind(&all, ExtentKind::Zero), joined(inner), "disk {disk}");
    }
    let clones: Vec<Image> =
        rig.disks.iter().zip(&found).map(|(disk, map)| disk.clone_of(&extents(map, disk.source().size()))).collect();
    let before = rig.lvm("lvs", "--noheadings --segments -o lv_full_name,lv_uuid,segtype,seg_size,stripes");
    for (name, content) in contents {
        let size = content.source().size();
        let back = rig.content(name, &clones, size);
        if content.map().content.kind == "ext4" && !content.map().whole {
            run("e2fsck", &["-fn", back.name()]);
            let (one, other) = (content.mount("ro"), back.mount("ro"));
            assert!(tree(&one.0) == tree(&other.0) && !tree(&one.0).is_empty(), "{name}");
        } else {
            let all = extents(&content.map(), size);
            assert!(all.iter().all(|e| content.read(e.range.start(), 4096) == back.read(e.range.start(), 4096)));
        }
    }
    let again = Rig::on(clones);
    assert_eq!(again.lvm("lvs", "--noheadings --segments -o lv_full_name,lv_uuid,segtype,seg_size,stripes"), before);
    for (index, disk) in again.disks.iter().enumerate() {
        // It looks at the usual place only.
        if disk.read(512, 8) == b"LABELONE" {
            again.lvm("pvck", again.device(index));
        }
    }
}

/// Label and metadata area of a physical volume as pvcreate makes it by default.
pub(super) fn by_default(disks: usize) -> Vec<Vec<ByteRange>> {
    vec![vec![ByteRange::between(0, MIB)]; disks]
}

#[test]
fn a_linear_volume_is_mapped_by_its_own_file_system() {
    let rig = Rig::new(&[64]);
    rig.create("root", "-l 40 vg0");
    let content = ext4(40 * MIB);
    rig.fill("root", &content);
    agrees(&rig, &[("root", &content)], &by_default(1));
    let map = alone(&rig.disks[0]);
    assert!(map.used_bytes < 30 * MIB, "{}", map.used_bytes);
    let inside = &map.inside[0];
    assert_eq!((inside.name.as_str(), inside.size, inside.whole), ("vg0/root", 40 * MIB, false));
    assert_eq!((inside.content.kind.as_str(), inside.used_bytes), ("ext4", content.map().used_bytes));
    assert_eq!(inside.content.uuid, content.map().content.uuid);
}

#[test]
fn striped_volumes_over_several_disks_are_put_together() {
    for (stripes, stripe) in [(2, "4k"), (2, "64k"), (3, "16k"), (3, "1m")] {
        let rig = Rig::new(&[40, 40, 40]);
        rig.create("pad", "-l 3 vg0");
        rig.create("data", &format!("-i {stripes} -I {stripe} -l 48 vg0"));
        let content = ext4(48 * MIB);
        rig.fill("data", &content);
        let pad = swap(3 * MIB);
        rig.fill("pad", &pad);
        agrees(&rig, &[("data", &content), ("pad", &pad)], &by_default(3));
    }
}

#[test]
fn volumes_in_many_segments_keep_their_order() {
    let rig = Rig::new(&[100, 60]);
    // They grow in turn, so no segment has its neighbour beside it; one goes on on the other disk.
    rig.create("a", "-l 1 vg0");
    rig.create("b", "-l 1 vg0");
    for _ in 0..23 {
        rig.lvm("lvextend", "-l +1 vg0/a");
        rig.lvm("lvextend", "-l +1 vg0/b");
    }
    let far = format!("-l +10 vg0/a {}", rig.device(1));
    rig.lvm("lvextend", &far);
    rig.lvm("lvextend", "-i 2 -I 8k -l +10 vg0/b");
    assert!(rig.segments("a").len() >= 20, "{:?}", rig.segments("a"));
    let (a, b) = (ext4(34 * MIB), ext4(34 * MIB));
    rig.fill("a", &a);
    rig.fill("b", &b);
    agrees(&rig, &[("a", &a), ("b", &b)], &by_default(2));
}

#[test]
fn a_volume_that_lies_backwards_is_walked_again() {
    let rig = Rig::new(&[64]);
    let device = rig.device(0).to_owned();
    rig.create("back", &format!("-l 1 vg0 {device}:39"));
    for extent in (0..39).rev() {
        rig.lvm("lvextend", &format!("-l +1 vg0/back {device}:{extent}"));
    }
    assert_eq!(rig.segments("back").len(), 40);
    let content = ext4(40 * MIB);
    rig.fill("back", &content);
    agrees(&rig, &[("back", &content)], &by_default(1));
}

#[test]
fn physical_volumes_of_every_make_are_understood() {
    let at = |mib: u64| ByteRange::between(0, mib * MIB);
    // Options of pvcreate, of vgcreate, and where label and areas lie.
    let cases: Vec<(&str, &str, Vec<ByteRange>)> = vec![
        ("", "-s 4k", vec![at(1)]),
        ("", "-s 8M", vec![at(1)]),
        ("--metadatasize 5m", "-s 1M", vec![at(6)]),
        ("--metadatacopies 2", "-s 1M", vec![at(1), ByteRange::between(63 * MIB, 64 * MIB)]),
        ("--bootloaderareasize 3m", "-s 1M", vec![at(4)]),
        ("--dataalignment 2304k", "-s 1M", vec![ByteRange::between(0, 2304 << 10)]),
        ("--dataalignment 64k --dataalignmentoffset 3584b", "-s 1M", vec![ByteRange::between(0, (1 << 20) + 3584)]),
        ("--labelsector 0", "-s 1M", vec![at(1)]),
        ("--labelsector 3", "-s 1M", vec![at(1)]),
        ("--setphysicalvolumesize 50m", "-s 1M", vec![at(1)]),
    ];
    for (physical, group, metadata) in cases {
        let rig = Rig::on(vec![Image::garbage(64 * MIB)]);
        rig.group(physical, group);
        rig.create("root", "-L 32m vg0");
        let content = ext4(32 * MIB);
        rig.fill("root", &content);
        println!("{physical} {group}");
        agrees(&rig, &[("root", &content)], &[metadata]);
    }
}

#[test]
fn a_group_whose_text_lies_on_another_disk_is_found() {
    let rig = Rig::on(vec![Image::garbage(64 * MIB), Image::garbage(64 * MIB)]);
    rig.lvm("pvcreate", &format!("-ff -y --metadatacopies 0 {}", rig.device(0)));
    rig.lvm("pvcreate", &format!("-ff -y {}", rig.device(1)));
    rig.lvm("vgcreate", &format!("-s 1M vg0 {} {}", rig.device(0), rig.device(1)));
    rig.create("root", &format!("-l 40 vg0 {}", rig.device(0)));
    let content = ext4(40 * MIB);
    rig.fill("root", &content);
    agrees(&rig, &[("root", &content)], &[vec![ByteRange::between(0, 4096)], vec![ByteRange::between(0, MIB)]]);
    let map = alone(&rig.disks[0]);
    assert!(map.whole && map.warnings[0].contains("no text of the volume group of physical volume"), "{map:?}");
    // An area that is not kept up says nothing; the other one does.
    let rig = Rig::new(&[64, 64]);
    rig.create("root", &format!("-l 40 vg0 {}", rig.device(0)));
    rig.lvm("pvchange", &format!("--metadataignore y {}", rig.device(0)));
    rig.lvm("lvchange", "--addtag later vg0/root");
    rig.fill("root", &content);
    agrees(&rig, &[("root", &content)], &by_default(2));
    assert!(alone(&rig.disks[0]).whole);
}

#[test]
fn the_text_is_found_wherever_it_lies_in_its_ring() {
    let rig = Rig::on(vec![Image::garbage(64 * MIB)]);
    rig.group("--metadatasize 32k --dataalignment 32k", "-s 1M");
    rig.create("root", "-l 32 vg0");
    let content = ext4(32 * MIB);
    rig.fill("root", &content);
    let mut wrapped = 0;
    for round in 0..60 {
        let change = if round % 2 == 0 { "--addtag" } else { "--deltag" };
        rig.lvm("lvchange", &format!("{change} round vg0/root"));
        let map = alone(&rig.disks[0]);
        assert!(!map.whole, "{:?}", map.warnings);
        let header = rig.disks[0].read(4096 + 24, 40);
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        wrapped += u64::from(word(16) + word(24) > word(8));
    }
    println!("{wrapped} texts went over the end of the ring");
    assert!(wrapped > 0);
    let metadata = ByteRange::between(0, rig.segments("root")[0].areas[0].1);
    agrees(&rig, &[("root", &content)], &[vec![metadata]]);
}

#[test]
fn a_physical_volume_of_no_group_is_its_label_and_areas() {
    let rig = Rig::on(vec![Image::garbage(16 * MIB)]);
    rig.lvm("pvcreate", &format!("-ff -y {}", rig.device(0)));
    let map = alone(&rig.disks[0]);
    assert_eq!((map.whole, map.used_bytes, map.inside.len()), (false, MIB, 0), "{map:?}");
    // A group without volumes: free extents are no extents.
    rig.lvm("vgcreate", &format!("vg0 {}", rig.device(0)));
    let map = alone(&rig.disks[0]);
    assert_eq!((map.whole, map.used_bytes, map.inside.len()), (false, MIB, 0), "{map:?}");
    rig.lvm("vgremove", "vg0");
    assert_eq!(alone(&rig.disks[0]).used_bytes, MIB);
}

#[test]
fn maps_a_volume_of_1_tb_in_less_than_5_seconds_and_64_mib() {
    let rig = Rig::on(vec![Image::empty(1 << 40)]);
    rig.group("", "-s 4M");
    // In pieces, with another volume between them.
    rig.create("root", "-l 100000 vg0");
    rig.create("swap", "-l 1000 vg0");
    rig.lvm("lvextend", "-l +160000 vg0/root");
    let content = Image::empty(rig.size("root"));
    content.mke2fs("-t ext4 -b 4096 -E lazy_itable_init=1,nodiscard");
    let segments = rig.segments("root");
    for extent in content.map().extents().map(Result::unwrap) {
        let step = 16 << 20;
        for at in (extent.range.start()..extent.range.end()).step_by(step) {
            let len = usize::try_from(extent.range.end() - at).unwrap().min(step);
            let bytes = if extent.kind == ExtentKind::Data { content.read(at, len) } else { continue };
            let mut from = 0;
            for (disk, range) in Rig::places(&segments, ByteRange::new(at, len as u64).unwrap()) {
                let to = from + usize::try_from(range.len()).unwrap();
                write_sparse(&rig.disks[disk], range.start(), &bytes[from..to]);
                from = to;
            }
        }
    }
    let (map, took) = worked(|| alone(&rig.disks[0]));
    assert!(!map.whole && !map.inside[0].whole, "{map:?}");
    let peak = peak_kib_of_mapping(&rig.disks[0]);
    println!("{} bytes to read, mapped in {took:?}, peak {peak} KiB", map.used_bytes);
    assert!(took < std::time::Duration::from_secs(5) && peak < 64 << 10, "{took:?}, {peak} KiB");
}
