//! What contents are called: blkid's names and values.

use super::super::{Content, map, probe, whole};
use super::fixtures::fixture;
use super::images::{Image, run};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// `blkid -p`: key and value; empty when it knows nothing of the image.
fn blkid(image: &Image) -> BTreeMap<String, String> {
    let out = Command::new("/usr/sbin/blkid").args(["-p", "-o", "export", image.name()]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // Spaces and the like are escaped in this form.
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.replace('\\', ""))).collect()
}

fn named_as_by_blkid(image: &Image) -> Content {
    let known = blkid(image);
    let content = probe(&*image.source()).unwrap();
    let get = |key: &str| known.get(key).cloned();
    assert_eq!(Some(content.kind.clone()), get("TYPE"));
    assert_eq!(content.uuid, get("UUID"), "{}", content.kind);
    assert_eq!(content.label, get("LABEL"), "{}", content.kind);
    if content.version.is_some() {
        assert_eq!(content.version, get("VERSION"), "{}", content.kind);
    }
    assert_eq!(image.map().content, content);
    content
}

fn made(size: u64, program: &str, args: &[&str]) -> Content {
    let image = Image::empty(size);
    run(program, &[args, &[image.name()]].concat());
    named_as_by_blkid(&image)
}

#[test]
fn ext_is_named_as_by_blkid() {
    for (kind, options) in [
        ("ext2", "-t ext2 -L label"),
        ("ext2", "-t ext2 -r 0"),
        ("ext3", "-t ext3 -L sixteen_letters_"),
        ("ext4", "-t ext4"),
        ("ext4", "-t ext4 -O ^has_journal -L with_space"),
        ("ext4", "-t ext2 -O extents"),
    ] {
        let args: Vec<&str> = options.split(' ').chain(["-q", "-F"]).collect();
        assert_eq!(made(20 * MIB, "mke2fs", &args).kind, kind, "{options}");
    }
}

#[test]
fn fat_is_named_as_by_blkid() {
    for (size, width) in [(1, "12"), (16, "16"), (64, "32")] {
        let args = ["-F", width, "-s", "1", "-n", "EFI PART", "-i", "1234abcd"];
        assert_eq!(made(size * MIB, "mkfs.vfat", &args).label.as_deref(), Some("EFI PART"));
        made(size * MIB, "mkfs.vfat", &["-F", width, "-s", "1"]);
    }
}

#[test]
fn ntfs_is_named_as_by_blkid() {
    for (args, label) in [
        (&["-L", "with space"][..], Some("with space")),
        (
            &["-s", "4096", "-L", "a label of more than thirty-two characters"],
            Some("a label of more than thirty-two characters"),
        ),
        (&[], None),
    ] {
        let args = [&["-F", "-Q", "-q", "-H", "16", "-S", "63", "-p", "0"][..], args].concat();
        assert_eq!(made(8 * MIB, "mkntfs", &args).label.as_deref(), label);
    }
}

#[test]
fn exfat_is_named_as_by_blkid() {
    for label in ["", "EFI", "with space", "eleven_char"] {
        let content = made(16 * MIB, "mkfs.exfat", &["-L", label]);
        assert_eq!(content.label.as_deref(), Some(label).filter(|label| !label.is_empty()));
    }
    made(16 * MIB, "mkfs.exfat", &[]);
}

#[test]
fn f2fs_is_named_as_by_blkid() {
    let content = made(64 * MIB, "mkfs.f2fs", &["-q", "-f", "-l", "some label"]);
    assert_eq!(content.label.as_deref(), Some("some label"));
    made(64 * MIB, "mkfs.f2fs", &["-q", "-f"]);
}

#[test]
fn swap_is_named_as_by_blkid() {
    assert_eq!(made(MIB, "mkswap", &["-L", "nap"]).label.as_deref(), Some("nap"));
    made(MIB, "mkswap", &["-p", "16384"]);
}

/// A folder with a file, for tools that pack one.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "content").unwrap();
    folder
}

#[test]
fn contents_made_by_their_own_tools_are_named_as_by_blkid() {
    // Program, arguments, MiB, name, and whether a label was given; `DIR` is a folder, `IMG` the image.
    let cases: [(&str, &str, u64, &str, bool); 11] = [
        ("mkreiserfs", "-q -f -f -l label IMG", 64, "reiserfs", true),
        ("mkreiserfs", "-q -f -f --format 3.5 IMG", 64, "reiserfs", false),
        ("mkfs.jfs", "-q -L label IMG", 32, "jfs", true),
        ("mksquashfs", "DIR IMG -noappend -quiet -no-progress", 4, "squashfs", false),
        ("mkfs.erofs", "--quiet IMG DIR", 4, "erofs", false),
        ("genisoimage", "-quiet -V label -o IMG DIR", 4, "iso9660", true),
        ("genisoimage", "-quiet -J -R -V label -o IMG DIR", 4, "iso9660", true),
        ("cryptsetup", "-q luksFormat --type luks1 --pbkdf-force-iterations 1000 IMG KEY", 32, "crypto_LUKS", false),
        (
            "cryptsetup",
            "-q luksFormat --type luks2 --label label --pbkdf pbkdf2 --pbkdf-force-iterations 1000 IMG KEY",
            32,
            "crypto_LUKS",
            true,
        ),
        ("make-bcache", "-B IMG", 32, "bcache", false),
        ("make-bcache", "-C IMG", 128, "bcache", false),
    ];
    for (program, args, mib, kind, label) in cases {
        let (image, folder) = (Image::empty(mib * MIB), folder());
        let (dir, key) = (folder.path().to_str().unwrap().to_owned(), folder.path().join("file"));
        let word = |word| match word {
            "IMG" => image.name().to_owned(),
            "DIR" => dir.clone(),
            "KEY" => key.to_str().unwrap().to_owned(),
            word => word.to_owned(),
        };
        let args: Vec<String> = args.split(' ').map(word).collect();
        run(program, &args.iter().map(String::as_str).collect::<Vec<_>>());
        let content = named_as_by_blkid(&image);
        println!("{program}: {content:?}");
        assert_eq!((content.kind.as_str(), content.label.as_deref()), (kind, label.then_some("label")), "{program}");
        let map = image.map();
        assert!(map.whole && map.warnings.is_empty(), "{program}: {map:?}");
    }
}

#[test]
fn members_of_volume_groups_and_arrays_are_named_as_by_blkid() {
    for name in ["md-one2", "md-one0", "md-one1", "md-old", "md-five", "md-spare", "lvm-thin"] {
        let content = named_as_by_blkid(&fixture(name));
        assert!(content.uuid.is_some() && content.version.is_some(), "{content:?}");
    }
}

/// What ZFS writes into a label: entries of a list in XDR, with their lengths before and after they are unpacked.
fn zfs_list() -> Vec<u8> {
    let mut list = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut push = |name: &str, kind: u32, value: &[u8]| {
        let len = |len: usize| u32::try_from(len).unwrap().to_be_bytes();
        let mut entry = len(name.len()).to_vec();
        entry.extend(name.bytes().chain(std::iter::repeat_n(0, name.len().next_multiple_of(4) - name.len())));
        entry.extend([kind.to_be_bytes(), 1_u32.to_be_bytes()].concat());
        entry.extend(value);
        list.extend(len(entry.len() + 8));
        list.extend([0, 0, 0, 64]);
        list.extend(entry);
    };
    push("version", 8, &5000_u64.to_be_bytes());
    push("name", 9, b"\0\0\0\x04tank");
    push("pool_guid", 8, &9_876_543_210_123_456_789_u64.to_be_bytes());
    push("guid", 8, &77_u64.to_be_bytes());
    list.extend([0; 8]);
    list
}

#[test]
fn a_pool_of_zfs_is_named_as_by_blkid() {
    let image = Image::empty(128 * MIB);
    image.write(16 << 10, &zfs_list());
    for slot in 0..8 {
        image.write((128 << 10) + slot * 1024, &[0x00ba_b10c_u64.to_le_bytes(), 5000_u64.to_le_bytes()].concat());
    }
    let content = named_as_by_blkid(&image);
    assert_eq!((content.label.as_deref(), content.uuid.as_deref()), (Some("tank"), Some("9876543210123456789")));
    assert_eq!(content.version.as_deref(), Some("5000"));
    // Lengths that lead nowhere.
    for (at, value) in [(12, 0_u32), (12, 19), (12, u32::MAX), (20, u32::MAX), (20, 200)] {
        image.write((16 << 10) + at, &value.to_be_bytes());
        assert_eq!(image.map().content.kind, "zfs_member");
        image.write(16 << 10, &zfs_list());
    }
}

#[test]
fn xfs_is_named_as_by_blkid() {
    assert_eq!(made(300 * MIB, "mkfs.xfs", &["-q", "-L", "twelve_chars"]).label.as_deref(), Some("twelve_chars"));
    made(300 * MIB, "mkfs.xfs", &["-q", "-m", "crc=0"]);
}

#[test]
fn btrfs_is_named_as_by_blkid() {
    let content = made(128 * MIB, "mkfs.btrfs", &["-q", "-f", "-L", "some label"]);
    assert_eq!((content.kind.as_str(), content.state.as_deref()), ("btrfs", Some("clean")));
}

type Marks = Vec<(u64, Vec<u8>)>;

/// Headers by hand: as little as the format's own identification says. 16 MiB each.
fn by_hand() -> Vec<(&'static str, Marks)> {
    let mark = |at: u64, bytes: &[u8]| (at, bytes.to_vec());
    let end = 16 * MIB;
    let mut label: Marks = (0..8).map(|slot| mark(131_072 + slot * 1024, &0x00ba_b10c_u64.to_le_bytes())).collect();
    label.push(mark(16384, b"\x01\x01\0\0"));
    let last_label = label.iter().map(|(at, bytes)| (at + end - 262_144, bytes.clone())).collect();
    vec![
        ("vdo", vec![mark(0, b"dmvdo001"), mark(40, b"sixteen bytes uu")]),
        (
            "ceph_bluestore",
            vec![mark(0, b"bluestore block device\n"), mark(23, b"11111111-2222-3333-4444-555555555555\n")],
        ),
        ("crypto_LUKS", vec![mark(0, b"LUKS\xba\xbe\0\x01"), mark(168, b"11111111-2222-3333-4444-555555555555")]),
        (
            "crypto_LUKS",
            vec![mark(0, b"LUKS\xba\xbe\0\x02"), mark(24, b"name"), mark(168, b"11111111-2222-3333-4444-555555555555")],
        ),
        ("BitLocker", vec![mark(0, b"\xeb\x58\x90-FVE-FS-")]),
        ("zfs_member", label),
        ("zfs_member", last_label),
        ("drbd", vec![mark(end - 4096 + 60, b"\x83\x74\x02\x6b")]),
        ("bcache", vec![mark(4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81")]),
        ("stratis", vec![mark(516, b"!Stra0tis\x86\xff\x02^\x41rh")]),
        ("DM_integrity", vec![mark(0, b"integrt\0")]),
        ("DM_verity_hash", vec![mark(0, b"verity\0\0")]),
        ("erofs", vec![mark(1024, b"\xe2\xe1\xf5\xe0")]),
        ("squashfs", vec![mark(0, b"hsqs"), mark(28, b"\x04\0\0\0")]),
        ("iso9660", vec![mark(32768, b"\x01CD001\x01"), mark(32808, b"CDROM"), mark(32768 + 830, b"2024010203040506")]),
        ("jfs", vec![mark(32768, b"JFS1\x01\0\0\0")]),
        ("nilfs2", vec![mark(1024, b"\x02\0\0\0\0\0\x34\x34\x18\x01")]),
        ("reiserfs", vec![mark(65536 + 52, b"ReIsEr2Fs")]),
        ("hfsplus", vec![mark(1024, b"H+\0\x04"), mark(1024 + 40, b"\0\0\x10\0")]),
        (
            "hfsplus",
            vec![
                mark(1024, b"HX\0\x05"),
                mark(1024 + 40, b"\0\0\x10\0"),
                mark(1024 + 104, b"eight by"),
                // The catalog in blocks 2 to 5, its first leaf in the second of its nodes.
                mark(1024 + 288, &[0, 0, 0, 2, 0, 0, 0, 4]),
                mark(8192 + 20, &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0]),
                mark(12288 + 8, &[0xff, 1, 0, 1]),
                mark(12288 + 16, b"\0\0\0\x01\0\x03\0M\0a\0c"),
            ],
        ),
        ("apfs", vec![mark(32, b"NXSB")]),
        ("ReFS", vec![mark(0, b"\0\0\0ReFS\0")]),
        ("bcachefs", vec![mark(4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef")]),
        ("udf", vec![mark(32768, b"\0BEA01\x01"), mark(34816, b"\0NSR02\x01"), mark(36864, b"\0TEA01\x01")]),
        ("ocfs2", vec![mark(8192, b"OCFSV2")]),
        ("gfs2", vec![mark(64 << 10, b"\x01\x16\x19\x70\0\0\0\x01")]),
        ("ufs", vec![mark(8192 + 0x55c, &[0x54, 0x19, 0x01, 0x00])]),
        ("ufs", vec![mark(65536 + 0x55c, &[0x19, 0x01, 0x54, 0x19])]),
        ("VMFS_volume_member", vec![mark(1 << 20, b"\x0d\xd0\x01\xc0")]),
        ("VMFS", vec![mark(2 << 20, b"\x5e\xf1\xab\x2f")]),
        ("isw_raid_member", vec![mark(end - 1024, b"Intel Raid ISM Cfg Sig. ")]),
        ("ddf_raid_member", vec![mark(end - 512, b"\xde\x11\xde\x11")]),
        ("lsi_mega_raid_member", vec![mark(end - 512, b"$XIDE$")]),
        ("nvidia_raid_member", vec![mark(end - 1024, b"NVIDIA  ")]),
        ("promise_fasttrack_raid_member", vec![mark(end - 63 * 512, b"Promise Technology, Inc.")]),
        ("hpt45x_raid_member", vec![mark(end - 11 * 512 + 32, b"\xf3\x16\x78\x5a")]),
        ("hpt37x_raid_member", vec![mark(9 * 512 + 32, b"\xf0\x16\x78\x5a")]),
        (
            "BitLocker",
            vec![mark(3, b"MSWIN4.1"), mark(424, b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01")],
        ),
    ]
}

#[test]
fn contents_without_a_reader_are_named_and_copied_whole() {
    let mut known_to_blkid = 0;
    for (kind, marks) in by_hand() {
        let image = Image::empty(16 * MIB);
        for (at, bytes) in &marks {
            image.write(*at, bytes);
        }
        let map = image.map();
        assert_eq!(map.content.kind, kind);
        assert!(map.whole && map.warnings.is_empty() && map.used_bytes == 16 * MIB, "{map:?}");
        // blkid wants more of some headers than their magic; where it does name one, it is the same name.
        if let Some(name) = blkid(&image).get("TYPE") {
            assert_eq!(name, kind);
            known_to_blkid += 1;
            let uuid = blkid(&image).get("UUID").cloned();
            // Ceph's own label has one that blkid does not look for.
            let uuid =
                if kind == "ceph_bluestore" { Some("11111111-2222-3333-4444-555555555555".to_owned()) } else { uuid };
            assert_eq!(map.content.label, blkid(&image).get("LABEL").cloned(), "{kind}");
            assert!(map.content.uuid.is_none() || map.content.uuid == uuid, "{kind}: {:?} {uuid:?}", map.content.uuid);
        }
    }
    assert!(known_to_blkid >= 8, "{known_to_blkid}");
}

#[test]
fn what_nobody_knows_is_unknown_and_whole() {
    for size in [0, 1, 511, 512, 1024, 4095, 100_000] {
        let map = map(Arc::new(vec![0_u8; size])).unwrap();
        assert_eq!((map.content, map.whole, map.used_bytes), (Content::unknown(), true, size as u64));
    }
}

#[test]
fn a_partition_can_be_declared_whole_for_a_reason() {
    let map = whole(Arc::new(vec![0_u8; 5000]), Content::of("ext4"), "mounted on /".to_owned());
    assert_eq!((map.whole, map.used_bytes, map.warnings), (true, 5000, vec!["mounted on /".to_owned()]));
}
