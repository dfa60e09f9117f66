//! Packings, members one behind the other, and what is wrong with some.

use super::super::cpio::walk;
use super::super::initramfs;
use super::{All, SMALL, all};
use crate::testing::run;
use proptest::prelude::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What `program` makes of `input`.
fn piped(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} {args:?}");
        output.stdout
    })
}

/// An archive of `files`, made by cpio.
fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let script = format!("cd {} && find . -mindepth 1 | sort | cpio --quiet -o -H newc", folder.path().display());
    piped("sh", &["-c", &script], b"")
}

const PACKERS: [(&str, &[&str]); 7] = [
    ("cat", &[]),
    ("gzip", &["-9n"]),
    ("xz", &["--check=crc32", "-0"]),
    ("xz", &["-1"]),
    ("zstd", &["-q", "-3"]),
    ("lz4", &["-l", "-9", "-c"]),
    ("zstd", &["-q", "--ultra", "-22", "--single-thread"]),
];

/// Incompressible, larger than buffers and than a block of LZ4.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

#[test]
fn every_packing_gives_the_files_that_cpio_packed() {
    // One file that is larger than a block of LZ4.
    let noise = noise(9 << 20);
    let plain = cpio(&[("a/b.txt", b"text"), ("big", &noise), ("c.txt", b""), ("d/e/f", &[0; 100_000])]);
    let listed = piped("cpio", &["--quiet", "-t"], &plain);
    for (program, args) in PACKERS {
        let found = all(&piped(program, args, &plain)).unwrap_or_else(|why| panic!("{program} {args:?}: {why}"));
        let listed = String::from_utf8_lossy(&listed);
        let names: Vec<&str> = listed.lines().filter(|name| found.files.contains_key(*name)).collect();
        assert_eq!(names.len(), found.files.len(), "{program}");
        assert_eq!((found.files["big"], found.files["d/e/f"]), (9 << 20, 100_000), "{program} {args:?}");
        assert_eq!(found.texts["a/b.txt"], b"text");
        assert_eq!(found.texts["c.txt"], b"");
    }
}

#[test]
fn members_follow_each_other_in_every_order_with_zeros_between() {
    let (early, main, late) = (cpio(&[("early", b"1")]), cpio(&[("main.txt", b"2")]), cpio(&[("late", b"3")]));
    for (program, args) in PACKERS {
        for zeros in [0, 4, 512 - early.len() % 512] {
            let mut whole = [early.clone(), vec![0; zeros]].concat();
            whole.extend(piped(program, args, &main));
            // The kernel sees zeros behind a legacy LZ4 frame as its end, and so must whoever writes one.
            whole.extend(vec![0; if program == "lz4" { 4 } else { zeros }]);
            whole.extend(piped("gzip", &[], &late));
            whole.extend(&early);
            let found = all(&whole).unwrap_or_else(|why| panic!("{program} {args:?} {zeros}: {why}"));
            let names: Vec<&str> = found.files.keys().map(String::as_str).collect();
            assert_eq!(names, ["early", "late", "main.txt"], "{program} {args:?} {zeros}");
            assert_eq!(found.texts["main.txt"], b"2");
        }
    }
}

#[test]
fn two_archives_in_one_packed_member_are_both_read() {
    let both = [cpio(&[("one", b"1")]), vec![0; 512], cpio(&[("two", b"2")])].concat();
    assert_eq!(all(&piped("zstd", &["-q"], &both)).unwrap().files.len(), 2);
}

#[test]
fn what_is_not_supported_or_no_archive_is_named() {
    let plain = cpio(&[("a", b"1")]);
    let lzma = all(&piped("xz", &["--format=lzma"], &plain)).err().unwrap();
    assert!(lzma.contains("lzma"), "{lzma}");
    let bzip2 = all(&piped("bzip2", &[], &plain)).err().unwrap();
    assert!(bzip2.contains("bzip2"), "{bzip2}");
    let lzop = all(&piped("lzop", &["-c"], &plain)).err().unwrap();
    assert!(lzop.contains("lzo"), "{lzop}");
    let frame = all(&piped("lz4", &["-c"], &plain)).err().unwrap();
    assert!(frame.contains("newer frame"), "{frame}");
    let behind = [plain.clone(), b"junk".to_vec()].concat();
    assert_eq!(
        all(&behind).err().unwrap(),
        format!("at byte {} is neither an archive nor anything packed that is known", plain.len())
    );
    assert_eq!(all(b"").err().unwrap(), "it holds no file");
    assert_eq!(all(&[0; 4096]).err().unwrap(), "it holds no file");
    assert!(all(b"#!/bin/sh").err().unwrap().contains("at byte 0"));
    let inside = piped("gzip", &[], &[plain, b"junk".to_vec()].concat());
    assert!(all(&inside).err().unwrap().contains("neither an archive"));
}

#[test]
fn an_archive_that_is_cut_short_says_so_wherever_it_is_cut() {
    let plain = cpio(&[("a.txt", &noise(3000)), ("b", b"1")]);
    for (program, args) in PACKERS {
        let whole = piped(program, args, &plain);
        for cut in [1, whole.len() / 4, whole.len() / 2] {
            let found = all(&whole[..whole.len() - cut]);
            // cpio pads its archive to 512 bytes behind the trailer.
            assert!(found.is_err() || program == "cat" && cut == 1, "{program} {args:?} without {cut} bytes");
        }
    }
}

/// A header as cpio makes it, with fields of ours.
fn header(mode: &str, size: &str, name: &[u8]) -> Vec<u8> {
    let mut header = format!("07070100000001{mode}000000000000000000000001000000{:02x}{size}", 0).into_bytes();
    header.extend(b"00000000000000000000000000000000");
    header.extend(format!("{:08x}00000000", name.len() + 1).as_bytes());
    header.extend(name);
    header.push(0);
    header.resize(header.len().next_multiple_of(4), 0);
    header
}

#[test]
fn refuses_headers_that_are_none() {
    let good = header("000081a4", "00000000", b"abc");
    assert_eq!(good.len() % 4, 0);
    let digits = header("0000zzzz", "00000000", b"abc");
    assert!(all(&digits).err().unwrap().contains("hex digits"));
    let plus = header("000081a4", "+0000001", b"abc");
    assert!(all(&plus).err().unwrap().contains("hex digits"), "a sign is no digit");
    let mut long = good.clone();
    long[94..102].copy_from_slice(b"7fffffff");
    assert!(all(&long).err().unwrap().contains("2147483647"));
    let mut none = good.clone();
    none[94..102].copy_from_slice(b"00000000");
    assert!(all(&none).err().unwrap().contains("0 bytes"));
    let huge = header("000081a4", "ffffffff", b"abc");
    assert!(all(&huge).err().unwrap().contains("33554432 bytes when unpacked"));
}

#[test]
fn a_bomb_ends_at_the_limit_with_both_numbers() {
    let one = header("000081a4", "00ffffff", b"abc");
    let zeros = vec![0; 1 << 24];
    let raw = [one.clone(), zeros.clone(), one.clone(), zeros.clone(), one, zeros].concat();
    let bomb = piped("zstd", &["-q", "-1"], &raw);
    assert!(bomb.len() < 1 << 16, "{}", bomb.len());
    assert_eq!(all(&bomb).err().unwrap(), "it has more than 33554432 bytes when unpacked");
    let only_zeros = piped("xz", &["-0"], &vec![0; 33 << 20]);
    assert_eq!(all(&only_zeros).err().unwrap(), "it has more than 33554432 bytes when unpacked");
    assert_eq!(all(&vec![0; 17 << 20]).err().unwrap(), "it has more than 16777216 bytes");
}

#[test]
fn a_dictionary_beyond_the_limit_is_refused_before_it_is_allocated() {
    let plain = cpio(&[("a", &noise(1000))]);
    let xz = piped("xz", &["--lzma2=dict=512MiB"], &plain);
    assert!(all(&xz).err().unwrap().contains("memory"));
    let long = piped("zstd", &["-q", "--ultra", "-22", "--long=31", "--no-content-size"], &[0; 1 << 10]);
    assert!(all(&long).is_err());
}

#[test]
fn names_lead_nowhere_and_links_are_not_followed() {
    let release = "6.1.0-57-amd64";
    let file = |name: &str| header("000081a4", "00000000", name.as_bytes());
    let mut whole = Vec::new();
    for name in [
        "usr/lib/modules/6.1.0-57-amd64/kernel/drivers/ata/ahci.ko.zst",
        "./lib/modules/6.1.0-57-amd64/kernel/drivers/block/virtio_blk.ko",
        "/lib/modules/6.1.0-57-amd64/updates/vendor-raid.ko.xz",
        "lib/modules/6.1.0-57-amd64/../../../../etc/shadow.ko",
        "lib/modules/6.1.0-57-amd64//kernel/x.ko",
        "../lib/modules/6.1.0-57-amd64/kernel/y.ko",
        "lib/modules/5.10.0/kernel/drivers/ata/ahci.ko",
        "lib/modules/6.1.0-57-amd64/kernel/not-a-module.kobject",
    ] {
        whole.extend(file(name));
    }
    // A link that leads to itself: its data is its target.
    whole.extend(header("0000a1ff", "00000004", b"lib"));
    whole.extend(b"lib\0");
    whole.extend(header("000041ed", "00000000", b"TRAILER!!!"));
    let found = initramfs::read(&whole[..], release).unwrap();
    let modules: Vec<&str> = found.modules.iter().map(String::as_str).collect();
    let wanted = ["kernel/drivers/ata/ahci.ko.zst", "kernel/drivers/block/virtio_blk.ko", "updates/vendor-raid.ko.xz"];
    assert_eq!(modules, wanted);
    assert_eq!(found.others.into_iter().collect::<Vec<_>>(), ["5.10.0"]);
}

#[test]
fn as_many_names_as_the_limit_and_no_more() {
    let one = header("000081a4", "00000000", b"abc");
    let many = one.repeat((1 << 10) + 1);
    assert!(all(&many).err().unwrap().contains("1024 files"));
}

#[test]
fn tools_are_those_that_were_installed() {
    for tool in ["cpio", "gzip", "xz", "zstd", "lz4", "bzip2", "lzop"] {
        run("sh", &["-c", &format!("command -v {tool}")]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000), head in 0_usize..6) {
        let magics: [&[u8]; 6] = [b"070701", b"\x1f\x8b\x08\0", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x5d\0\0"];
        let _ = walk(&[magics[head], &bytes].concat()[..], SMALL, &mut All::default());
    }
}
