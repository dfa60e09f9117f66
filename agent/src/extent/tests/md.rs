//! Members of software RAID made by the kernel's own md in a virtual machine: mirrors are looked into, nothing else is.

use super::super::{ExtentKind, Map, map};
use super::fixtures::{fixture, lvm_crc, mend_old, mend_one, text, write_sparse, write_text};
use super::images::{Image, extents, of_kind, random, run};
use super::volumes::{MIB, Rig, maps};
use std::fs;
use std::process::Command;
use std::sync::Arc;

const SIZE: u64 = 20 * MIB;

/// Where data and superblock lie: name, version, first byte of the data, its length, byte of the superblock.
const MIRRORS: [(&str, &str, u64, u64, u64); 4] = [
    ("md-one2", "1.2", MIB, 19 * MIB, 4096),
    ("md-one0", "1.0", 0, 20416 << 10, SIZE - 8192),
    ("md-one1", "1.1", MIB, 19 * MIB, 0),
    ("md-old", "0.90.0", 0, 20416 << 10, SIZE - 65536),
];

/// What mdadm says of a member, without the name of the file.
fn examine(image: &Image, what: &str) -> String {
    run("mdadm", &[what, image.name()]).replace(image.name(), "")
}

/// The data of a member in a file of its own.
fn data(image: &Image, start: u64, len: u64) -> Image {
    let data = Image::empty(len);
    for at in (0..len).step_by(1 << 20) {
        let piece = usize::try_from((len - at).min(1 << 20)).unwrap();
        write_sparse(&data, at, &image.read(start + at, piece));
    }
    data
}

fn deepest(map: &Map) -> &super::super::Inside {
    let mut inside = &map.inside[0];
    while let Some(next) = inside.inside.first() {
        inside = next;
    }
    inside
}

#[test]
fn mirrors_are_mapped_by_what_they_hold() {
    for (name, version, start, len, at) in MIRRORS {
        let image = fixture(name);
        let map = image.map();
        assert!(!map.whole && map.warnings.is_empty(), "{name}: {map:?}");
        assert_eq!((map.content.kind.as_str(), map.content.version.as_deref()), ("linux_raid_member", Some(version)));
        let inside = &map.inside[0];
        assert_eq!((inside.name.as_str(), inside.size, inside.whole), ("", len, false), "{name}");
        assert_eq!((deepest(&map).content.kind.as_str(), deepest(&map).whole), ("ext4", false), "{name}");
        println!("{name}: {} of {SIZE} bytes, inside {:?}", map.used_bytes, deepest(&map).content.label);
        assert!(map.used_bytes < 6 * MIB, "{name}: {}", map.used_bytes);
        let all = extents(&map, SIZE);
        let clone = image.clone_of(&all);
        assert_eq!(examine(&clone, "--examine"), examine(&image, "--examine"), "{name}");
        // Where mdadm says that bitmap and log of bad blocks lie, in sectors from the superblock.
        let said = examine(&image, "--examine");
        let place =
            |line: &str| line.split_whitespace().find_map(|word| word.parse::<i64>().ok().filter(|n| *n != 512));
        for line in said.lines().filter(|line| line.contains("sectors from superblock") || line.contains("at offset")) {
            let from = at.checked_add_signed(512 * place(line).unwrap()).unwrap();
            assert!(clone.read(from, 4096) == image.read(from, 4096), "{name}: {line}");
        }
        if version != "0.90.0" {
            assert_eq!(examine(&clone, "--examine-badblocks"), examine(&image, "--examine-badblocks"), "{name}");
        }
        // The content alone has the same map, moved by where the data starts.
        let (before, after) = (data(&image, start, len), data(&clone, start, len));
        let alone = extents(&before.map(), len);
        let moved = |kind| of_kind(&alone, kind).iter().map(|range| range.shift(start).unwrap()).collect::<Vec<_>>();
        let ours = of_kind(&all, ExtentKind::Data);
        assert!(moved(ExtentKind::Data).iter().all(|range| ours.iter().any(|one| one.contains(*range))), "{name}");
        assert_eq!(of_kind(&all, ExtentKind::Zero), moved(ExtentKind::Zero), "{name}");
        if name != "md-one1" {
            run("e2fsck", &["-fn", after.name()]);
            let (one, other) = (before.mount("ro"), after.mount("ro"));
            for file in ["a/b/f1", "a/b/f3", "a/b/f5"] {
                let read = |root: &std::path::Path| fs::read(root.join(file)).unwrap();
                assert!(read(&one.0) == read(&other.0) && read(&one.0).len() > 10_000, "{name}: {file}");
            }
        }
    }
}

#[test]
fn two_members_in_step_are_looked_into_beside_each_other() {
    for map in maps(&[fixture("md-one2"), fixture("md-one2-other")]) {
        assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    }
}

fn is_whole(map: &Map, reason: &str) {
    assert_eq!(map.content.kind, "linux_raid_member", "{reason}");
    assert!(map.whole && map.inside.is_empty() && map.warnings.len() == 1, "{reason}: {map:?}");
    let warning = &map.warnings[0];
    assert!(warning.starts_with("copied whole: ") && warning.contains(reason), "{warning}: {reason}");
}

#[test]
fn other_members_are_copied_whole_with_the_reason() {
    for (name, reason) in [
        ("md-five", "member of a RAID of level 5; only mirrors are looked into"),
        ("md-zero", "member of a RAID of level 0;"),
        ("md-ten", "member of a RAID of level 10;"),
        ("md-row", "member of a RAID of level linear;"),
        ("md-spare", "the member is a spare (role 0xffff of 2)"),
        ("md-rough", "the array was not stopped cleanly: in sync up to sector"),
    ] {
        is_whole(&fixture(name).map(), reason);
    }
}

#[test]
fn a_member_that_the_array_went_on_without_is_copied_whole() {
    // Alone nothing tells that it is out of step.
    assert!(!fixture("md-stale").map().whole);
    let both = maps(&[fixture("md-failed"), fixture("md-stale")]);
    assert!(!both[0].whole, "{:?}", both[0]);
    is_whole(&both[1], "this member has seen 19 events, another one of the same array 23: it is out of step");
}

#[test]
fn superblocks_of_version_1_that_are_odd_make_all_of_it_the_extent() {
    let le4 = |value: u32| value.to_le_bytes().to_vec();
    let le8 = |value: u64| value.to_le_bytes().to_vec();
    // Offset in the superblock, bytes there, and what is wrong then.
    let cases: &[(u64, Vec<u8>, &str)] = &[
        (8, le4(1 | 2), "the array has a member that is being rebuilt (features 0x2)"),
        (8, le4(1 | 4), "the array has a reshape"),
        (8, le4(1 | 8), "the array has bad blocks"),
        (8, le4(1 | 16), "the array has a replacement"),
        (8, le4(1 | 64), "the array has a moved data area"),
        (8, le4(1 | 512), "the array has a journal"),
        (8, le4(1 | 1 << 30), "the array has feature 0x40000000"),
        (72, le4(6), "level 6"),
        (72, le4(0xffff_fffc), "level multipath"),
        (80, le8(0), "the array uses 0 sectors of each member, this one has 38912"),
        (80, le8(38913), "the array uses 38913 sectors of each member, this one has 38912"),
        (80, le8(38000), "bitmap covers 38912 sectors, the array uses 38000"),
        (92, le4(0), "the member is beyond the array's members (role 0x0 of 0)"),
        (96, le4(0), "bitmap at byte 4096 has another magic"),
        (96, le4(0x8000_0000), "area -2147483648 sectors from the superblock at byte 4096"),
        (96, le4(0x7fff_ffff), "bitmap at byte 1099511631360, the partition has 20971520"),
        (96, le4(9), "bitmap at byte 8704 has another magic"),
        (128, le8(2049), "data of the array at sector 2049+38912, the partition has 40960 sectors"),
        (128, le8(u64::MAX), "data of the array at sector 18446744073709551615"),
        (128, le8(8), "lies in the data at"),
        (136, le8(0), "this one has 0"),
        (160, le4(500), "the member is number 500 of"),
        (184, vec![4], "the member has the unknown flags 0x4"),
        (186, vec![0xff, 0xff], "bad-block log at sector 24+65535"),
        (188, le4(0xffff_fff0), "area -16 sectors from the superblock"),
        (188, le4(4), "overlaps"),
        (188, le4(2048), "lies in the data at"),
        (208, le8(100), "in sync up to sector 100 only"),
        (220, le4(1921), "has 1921 roles, at most 1920 fit"),
        (256, vec![0xfe, 0xff], "the member is faulty (role 0xfffe of 2)"),
        (256, vec![0xfd, 0xff], "the member is a journal (role 0xfffd of 2)"),
    ];
    for (at, bytes, reason) in cases {
        let image = fixture("md-one2");
        image.write(4096 + at, bytes);
        mend_one(&image, 4096);
        is_whole(&image.map(), reason);
    }
    let image = fixture("md-one2");
    image.write(4096 + 32, b"X");
    is_whole(&image.map(), "superblock of mdraid has checksum");
    // Bitmap at 8192: version, covered sectors, state, bytes per bit, nodes.
    for (at, bytes, reason) in [
        (4, le4(5), "bitmap has version 5 for 0 nodes"),
        (48, le4(2), "bitmap has the state 0x2"),
        (52, le4(0), "bitmap has chunks of 0 bytes"),
        (52, le4(513), "bitmap has chunks of 513 bytes"),
        (64, le4(0xffff_ffff), "bitmap at 8192+2199023255040, the partition has 20971520"),
        (68, le4(4), "bitmap has version 4 for 4 nodes"),
    ] {
        let image = fixture("md-one2");
        image.write(8192 + at, &bytes);
        is_whole(&image.map(), reason);
    }
}

#[test]
fn superblocks_of_version_0_90_that_are_odd_make_all_of_it_the_extent() {
    let place = SIZE - 65536;
    for (word, value, reason) in [
        (2, 91, "superblock of mdraid has version 0.91, 0.90 expected"),
        (7, 4, "level 4"),
        (8, 0, "the array uses 0 bytes of each member"),
        (8, 20417, "the array uses 20907008 bytes of each member, this one has 20905984"),
        (10, 0, "the role 0 of 0"),
        (33, 0, "the array was not stopped cleanly (state 0x0)"),
        (33, 3, "the array has the state 0x3"),
        (995, 2, "and the role 2 of 2"),
        (996, 2, "the member has the state 0x2"),
        (996, 7, "the member has the state 0x7"),
    ] {
        let image = fixture("md-old");
        image.write(place + 4 * word, &u32::to_le_bytes(value));
        mend_old(&image, place);
        is_whole(&image.map(), reason);
    }
    let image = fixture("md-old");
    image.write(place + 100, b"X");
    is_whole(&image.map(), "superblock of mdraid has checksum");
}

#[test]
fn superblocks_changed_at_random_are_never_a_panic() {
    let mut seed = 11;
    for (name, version, _, _, at) in MIRRORS {
        let image = fixture(name);
        let before = image.map().used_bytes;
        for round in 0..200 {
            let byte = at + random(&mut seed) % if version == "0.90.0" { 4096 } else { 262 };
            let old = image.read(at, 4096);
            image.write(byte, &random(&mut seed).to_le_bytes()[..1 + round % 4]);
            if round % 3 > 0 && version == "0.90.0" {
                mend_old(&image, at);
            } else if round % 3 > 0 {
                mend_one(&image, at);
            }
            let map = image.map();
            // Nothing that a superblock says makes the content's own map another one.
            assert!(map.whole || map.used_bytes.abs_diff(before) <= 2 * MIB, "{name}, byte {byte}: {map:?}");
            image.write(at, &old);
        }
    }
}

#[test]
fn a_forgotten_superblock_behind_another_file_system_costs_no_byte() {
    let member = fixture("md-one0");
    let image = Image::garbage(SIZE);
    image.mke2fs("-t ext4 -b 4096 -m 0");
    image.write(SIZE - 16384, &member.read(SIZE - 16384, 16384));
    is_whole(&image.map(), "the content of the mirror is in doubt");
    // Nobody knows what this is, nor how much of the partition it takes.
    let image = Image::garbage(SIZE);
    image.write(SIZE - 16384, &member.read(SIZE - 16384, 16384));
    let map = image.map();
    assert_eq!((map.used_bytes, map.warnings.len(), map.inside[0].content.kind.as_str()), (SIZE, 0, "unknown"));
}

#[test]
fn other_claims_beside_a_mirror_are_a_doubt() {
    // An older file system before the data of version 1.2.
    let image = fixture("md-one2");
    image.write(1080, b"\x53\xef");
    let map = image.map();
    assert!(map.whole, "{map:?}");
    // A second superblock.
    image.write(1080, &[0; 2]);
    assert!(!image.map().whole);
    image.write(SIZE - 8192, &fixture("md-one0").read(SIZE - 8192, 4096));
    is_whole(&image.map(), "2 superblocks of mdraid, 1 expected");
}

/// A member of version 1.2 around `content`, with a superblock of the real one and another array's UUID.
fn mirrored(content: &Image, uuid: u8, role: u32) -> Image {
    let len = content.source().size();
    let member = Image::empty(len + MIB);
    write_sparse(&member, 0, &fixture("md-one2").read(0, 16384));
    for at in (0..len).step_by(1 << 20) {
        write_sparse(&member, MIB + at, &content.read(at, 1 << 20));
    }
    // Features: no bitmap. Then used and available sectors, UUID, this member's number.
    for (at, bytes) in [
        (8, 0_u32.to_le_bytes().to_vec()),
        (16, vec![uuid; 16]),
        (80, (len / 512).to_le_bytes().to_vec()),
        (136, (len / 512).to_le_bytes().to_vec()),
        (160, role.to_le_bytes().to_vec()),
    ] {
        member.write(4096 + at, &bytes);
    }
    mend_one(&member, 4096);
    let said = run("mdadm", &["--examine", member.name()]);
    assert!(said.contains("- correct") && said.contains(&format!("Active device {role}")), "{said}");
    member
}

#[test]
fn a_volume_group_over_two_mirrors_is_put_together() {
    let rig = Rig::on(vec![Image::empty(24 * MIB), Image::empty(24 * MIB)]);
    rig.group("", "-s 1M");
    rig.create("data", "-i 2 -I 64k -l 16 vg0");
    let content = Image::garbage(16 * MIB);
    content.mke2fs("-t ext4 -J size=4");
    rig.fill("data", &content);
    let members: Vec<Image> = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .into_iter()
        .map(|(disk, role)| mirrored(&rig.disks[disk], 1 + u8::try_from(disk).unwrap(), role))
        .collect();
    let plain = rig.maps();
    for (at, map) in maps(&members).iter().enumerate() {
        assert!(!map.whole && map.warnings.is_empty(), "{at}: {map:?}");
        let volume = deepest(map);
        assert_eq!((volume.name.as_str(), volume.content.kind.as_str(), volume.whole), ("vg0/data", "ext4", false));
        // Superblock and bad-block log beside what the same volume has without a mirror.
        assert_eq!(map.used_bytes, plain[at / 2].used_bytes + 8192, "{at}");
    }
    // One mirror and the other disk without one.
    let mixed = [mirrored(&rig.disks[0], 1, 0), Image::empty(0)];
    fs::copy(&rig.disks[1].path, &mixed[1].path).unwrap();
    for map in maps(&mixed) {
        assert!(!map.whole && !deepest(&map).whole, "{map:?}");
    }
}

#[test]
fn the_checksums_of_these_tests_are_those_of_the_tools() {
    let image = fixture("md-one2");
    let before = image.read(4096, 512);
    mend_one(&image, 4096);
    assert_eq!(image.read(4096, 512), before);
    let image = fixture("md-old");
    let before = image.read(SIZE - 65536, 4096);
    mend_old(&image, SIZE - 65536);
    assert_eq!(image.read(SIZE - 65536, 4096), before);
    let image = fixture("lvm-thin");
    let before = image.read(0, 1 << 20);
    write_text(&image, &text(&image));
    assert!(image.read(0, 1 << 20) == before && lvm_crc(b"") == 0xf597_a6cf);
    assert!(Command::new("mdadm").arg("--version").status().is_ok());
    assert!(map(Arc::new(before)).is_ok());
}

/// Each mirror with a superblock of version 0.90 behind it, made of a real one.
#[test]
fn mirrors_in_mirrors_are_looked_into_four_deep() {
    const RESERVED: usize = 64 << 10;
    let old = fixture("md-old").bytes();
    let real = old[(old.len() / RESERVED - 1) * RESERVED..][..4096].to_vec();
    let root = Image::empty(16 * MIB);
    root.mke2fs("-t ext4 -J size=4");
    let mut bytes = root.bytes();
    for depth in 1..=5 {
        let mut words: Vec<u32> = real.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        (words[8], words[38]) = (u32::try_from(bytes.len() >> 10).unwrap(), 0);
        let sum: u64 = words.iter().map(|word| u64::from(*word)).sum();
        words[38] = u32::try_from(((sum & 0xffff_ffff) + (sum >> 32)) & 0xffff_ffff).unwrap();
        let superblock: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(superblock);
        bytes.resize(bytes.len().next_multiple_of(RESERVED), 0);
        let map = super::super::map(std::sync::Arc::new(bytes.clone())).unwrap();
        if depth <= 4 {
            assert_eq!((deepest(&map).content.kind.as_str(), deepest(&map).whole, map.whole), ("ext4", false, false));
        } else {
            assert!(map.whole && map.warnings[0].contains("at most 4 are looked into"), "{:?}", map.warnings);
        }
    }
}
