//! NTFS volumes that something still uses or has to replay: whole, with the cause; and what only looks like it.
//!
//! ntfs-3g refuses to write to such volumes (ntfslabel mounts them so); it is the oracle where it looks at all.

use super::super::{ExtentKind, map};
use super::images::{Image, extents, of_kind, run};
use super::ntfs_volumes::{Fuse, MIB, made, mount, places, record};
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

/// What ntfs-3g says to a mount that writes; empty when it agrees.
fn refused(image: &Image) -> String {
    let copy = Image::empty(0);
    fs::copy(&image.path, &copy.path).unwrap();
    let out = Command::new("ntfslabel").args([copy.name(), "written"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { String::new() } else { said + "refused" }
}

fn is_whole(image: &Image, state: &str, warning: &str) {
    let map = image.map();
    assert!(map.whole && map.warnings.len() == 1 && map.warnings[0].contains(warning), "{warning}: {map:?}");
    assert_eq!(map.content.state.as_deref(), Some(state), "{warning}");
}

fn is_believed(image: &Image, case: &str) {
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{case}: {map:?}");
    assert_eq!(map.content.state.as_deref(), Some("clean"), "{case}");
}

#[test]
fn flags_in_volume_that_speak_against_the_map_make_it_whole() {
    let image = made(8 * MIB, "");
    for bit in 0..16_u32 {
        let flags = 1_u16 << bit;
        record::change(&image, 3, |bytes| {
            let at = record::resident(bytes, 0x70);
            bytes[at + 10..at + 12].copy_from_slice(&flags.to_le_bytes());
        });
        let harmless = [0x2, 0x4, 0x8, 0x10, 0x20, 0x80].contains(&flags);
        if harmless {
            is_believed(&image, &format!("{flags:#x}"));
        } else {
            is_whole(&image, "dirty", &format!("the volume is dirty (flags {flags:#06x} in $Volume)"));
        }
        // partclone knows the first one only.
        if flags == 1 {
            let args = ["-D", "-s", image.name(), "-o", "/dev/null", "-L", "/dev/null"];
            assert!(!Command::new("partclone.ntfs").args(args).output().unwrap().status.success());
        }
    }
}

/// One restart page of 4 KiB as `logfile.h` describes it, update sequence and all.
fn restart_page(version: (u8, u8), client: u16, flags: u16, lsn: u64, log_len: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RSTR");
    put(4, &[30, 0, 9, 0]);
    put(16, &4096_u32.to_le_bytes());
    put(20, &4096_u32.to_le_bytes());
    put(24, &[48, 0, version.1, 0, version.0, 0]);
    put(48, &lsn.to_le_bytes());
    put(56, &[1, 0, 0xff, 0xff]);
    put(60, &client.to_le_bytes());
    put(62, &flags.to_le_bytes());
    put(64, &(67 - (64 - log_len.leading_zeros())).to_le_bytes());
    put(68, &[0xe0, 0, 0x40, 0]);
    put(72, &log_len.to_le_bytes());
    put(84, &[0x30, 0, 0x40, 0]);
    put(48 + 64 + 16, &[0xff; 4]);
    put(48 + 64 + 28, &[8, 0, 0, 0]);
    put(48 + 64 + 32, b"N\0T\0F\0S\0");
    record::protect(&mut page);
    page
}

#[test]
fn an_open_log_makes_it_whole() {
    const NONE: u16 = 0xffff;
    let image = made(8 * MIB, "");
    let (at, len) = record::runs(&image, 2)[0];
    let page = |version, client, flags| restart_page(version, client, flags, 1000, len);
    let open = "$LogFile is to be replayed (client 0 in use, flags 0x0 in restart page";
    // The second page lies behind the first. Where only one of two is closed, or right, ntfs-3g goes by the other.
    for (first, second, warning, state, oracle) in [
        (page((1, 1), 0, 2), page((1, 1), 0, 2), "", "clean", ""),
        (page((1, 1), 0, 3), page((1, 1), 0, 3), "", "clean", ""),
        (page((1, 1), NONE, 0), page((1, 1), NONE, 0), "", "clean", ""),
        (page((1, 1), 0, 0), page((1, 1), 0, 0), open, "dirty", "unclean"),
        (page((1, 1), 0, 1), page((1, 1), 0, 1), "flags 0x1", "dirty", "unclean"),
        (page((1, 1), 0, 0), page((1, 1), 0, 2), open, "dirty", "unclean"),
        (page((1, 1), 0, 2), page((1, 1), 0, 0), open, "dirty", ""),
        (page((2, 0), 0, 0), page((2, 0), 0, 0), "version 2.0", "dirty", "Metadata kept in Windows cache"),
        (page((2, 0), 0, 2), page((2, 0), 0, 2), "version 2.0", "dirty", "Metadata kept in Windows cache"),
        (page((1, 1), 0, 2), page((2, 0), 0, 2), "version 2.0", "dirty", ""),
        (page((3, 0), 0, 2), page((3, 0), 0, 2), "has version 3.0", "damaged", "refused"),
    ] {
        image.write(at, &first);
        image.write(at + 4096, &second);
        if warning.is_empty() {
            is_believed(&image, "a closed log");
        } else {
            is_whole(&image, state, warning);
        }
        let said = refused(&image);
        assert!(said.contains(oracle) && said.is_empty() == oracle.is_empty(), "{warning}: {said}");
    }
}

#[test]
fn a_log_that_contradicts_itself_makes_it_whole() {
    let image = made(8 * MIB, "");
    let (at, len) = record::runs(&image, 2)[0];
    let clean = restart_page((1, 1), 0, 2, 1000, len);
    type Change = fn(&mut Vec<u8>);
    let cases: &[(Change, &str)] = &[
        (|page| page[..4].copy_from_slice(b"CHKD"), "given up by chkdsk"),
        (|page| page[..4].copy_from_slice(b"RCRD"), "starts with RCRD, RSTR expected"),
        (|page| page.fill(0), "in pages of 0"),
        (|page| page[16] = 1, "in pages of 4097"),
        (|page| page[18] = 2, "in pages of 135168"),
        (|page| page[1022] ^= 1, "was torn: sector 1"),
        (|page| page[6] = 8, "update sequence of 16 bytes"),
        (|page| page[5] = 2, "update sequence of 18 bytes at byte 542"),
        (|page| page[24] = 44, "restart area of"),
        (|page| page[25] = 0xff, "restart area of"),
        (|page| page[69] = 0xff, "restart area of 65504 bytes"),
        (|page| page[60] = 1, "client 1 in use, of 1"),
        (|page| page[26] = 9, "has version 1.9"),
    ];
    for (change, warning) in cases {
        let mut page = clean.clone();
        change(&mut page);
        image.write(at, &page);
        image.write(at + 4096, &clean);
        let map = image.map();
        assert!(map.whole && map.warnings[0].contains(warning), "{warning}: {map:?}");
    }
    image.write(at, &clean);
    for (offset, bytes, warning) in [
        (4096, &[0xff_u8; 4][..], "restart page 1 of $LogFile starts with"),
        (4096 + 17, &[8], "restart page 1 of $LogFile says pages of 2048 bytes"),
    ] {
        image.write(at + 4096, &clean);
        image.write(at + offset, bytes);
        is_whole(&image, "damaged", warning);
    }
}

#[test]
fn an_emptied_log_is_clean_and_one_that_is_nearly_empty_is_not() {
    let image = made(8 * MIB, "");
    let (at, _) = record::runs(&image, 2)[0];
    is_believed(&image, "as mkntfs leaves it");
    image.write(at + 40_000, &[0xfe]);
    is_whole(&image, "damaged", "$LogFile has");
}

/// A volume with a file \hiberfil.sys that starts with `magic`.
fn hibernated(file: &str, content: &[u8], others: usize) -> Image {
    let image = made(16 * MIB, "-c 512");
    let mount = mount(&image, "rw");
    for number in 0..others {
        fs::write(mount.dir.join(format!("{}-file-{number}", if number % 2 == 0 { "a" } else { "z" })), b"").unwrap();
    }
    fs::write(mount.dir.join(file), content).unwrap();
    drop(mount);
    image
}

fn header(magic: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 100_000];
    header[..magic.len()].copy_from_slice(magic);
    header
}

#[test]
fn a_hibernated_windows_makes_it_whole() {
    for (file, content, others, warning, oracle) in [
        ("hiberfil.sys", header(b"hibr"), 0, "hiberfil.sys starts with hibr", "hibernated"),
        (
            "hiberfil.sys",
            header(b"HIBR"),
            500,
            "Windows is hibernated on it (hiberfil.sys starts with HIBR)",
            "hibernated",
        ),
        // ntfs-3g tells upper case from lower, Windows does not.
        ("HiberFil.SYS", header(b"HIBR"), 500, "starts with HIBR", ""),
        ("hiberfil.sys", header(b"RSTR"), 0, "starts with RSTR", ""),
        ("hiberfil.sys", header(b"link"), 0, "starts with link", ""),
        ("hiberfil.sys", header(b"\x01\x02"), 0, r"starts with \x01\x02", ""),
        ("hiberfil.sys", vec![0; 100], 0, "has 100 bytes: Windows is hibernated on another volume", "ibernated"),
        ("hiberfil.sys", vec![], 0, "has 0 bytes: Windows is hibernated on another volume", "ibernated"),
        ("hiberfil.sys", header(b""), 500, "", ""),
        ("hiberfil.sys", header(b"wake"), 0, "", ""),
        ("hiberfil.sys", header(b"WAKE"), 0, "", ""),
        ("hiberfil.sys2", header(b"HIBR"), 500, "", ""),
    ] {
        let image = hibernated(file, &content, others);
        if warning.is_empty() {
            is_believed(&image, file);
        } else {
            is_whole(&image, "hibernated", warning);
        }
        let said = refused(&image);
        assert!(said.contains(oracle) && said.is_empty() == oracle.is_empty(), "{file} {warning}: {said}");
    }
}

/// ntfs-3g lets them stand side by side; either may be the one that Windows takes.
#[test]
fn every_file_of_that_name_is_looked_at() {
    for (first, second) in [("hiberfil.sys", "HIBERFIL.SYS"), ("HIBERFIL.SYS", "hiberfil.sys")] {
        let image = made(8 * MIB, "");
        let mount = mount(&image, "rw");
        fs::write(mount.dir.join(first), header(b"HIBR")).unwrap();
        fs::write(mount.dir.join(second), header(b"wake")).unwrap();
        drop(mount);
        is_whole(&image, "hibernated", "starts with HIBR");
    }
    let image = hibernated("hiberfil.sys", &header(b""), 0);
    let mount = mount(&image, "rw");
    for bits in 0..9_u32 {
        let spelled = "hiberfil.sys".chars().enumerate();
        let spelled = spelled.map(|(at, c)| if bits >> at & 1 == 1 { c.to_ascii_uppercase() } else { c });
        fs::write(mount.dir.join(spelled.collect::<String>()), header(b"")).unwrap();
    }
    drop(mount);
    is_whole(&image, "damaged", "more than 8 files called hiberfil.sys");
}

/// In so many pieces that its record needs an attribute list.
#[test]
fn a_fragmented_image_of_a_hibernated_windows_is_seen() {
    let image = made(2 * MIB, "-c 512");
    {
        let mount = mount(&image, "rw");
        // In turn, opened anew for each piece, with little room: else ntfs-3g finds ways to keep them apart.
        for piece in header(b"HIBR").repeat(2).chunks(512) {
            for name in ["hiberfil.sys", "other"] {
                let path = mount.dir.join(name);
                let mut file = File::options().create(true).append(true).open(path).unwrap();
                file.write_all(piece).unwrap();
            }
        }
    }
    let said = run("ntfsinfo", &["-f", "-F", "/hiberfil.sys", image.name()]);
    assert!(said.contains("$ATTRIBUTE_LIST"), "{said}");
    is_whole(&image, "hibernated", "starts with HIBR");
}

/// Files that were fsynced, whose volume was copied while mounted, and those of an ntfs-3g that was killed.
fn fsynced(image: &Image) -> (Fuse, Vec<(String, Vec<u8>)>) {
    let mount = mount(image, "rw");
    let mut files = Vec::new();
    for number in 0..60_usize {
        let content: Vec<u8> = (0..number * 997).map(|at| (at * 7 + number).to_le_bytes()[0]).collect();
        let path = format!("fsynced-{number}");
        let mut file = File::create(mount.dir.join(&path)).unwrap();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        files.push((path, content));
        if number % 4 == 3 {
            fs::remove_file(mount.dir.join(format!("fsynced-{}", number - 2))).unwrap();
            files.remove(files.len() - 3);
        }
    }
    (mount, files)
}

/// ntfs-3g leaves no mark on a mounted volume; it writes through, allocation first, so the map holds at any time.
#[test]
fn fsynced_files_are_there_after_a_restore_of_what_ntfs_3g_had_mounted() {
    for killed in [false, true] {
        let image = made(24 * MIB, "");
        let (fuse, files) = fsynced(&image);
        let pulled = Image::empty(0);
        if killed {
            fuse.kill();
            fs::copy(&image.path, &pulled.path).unwrap();
        } else {
            fs::copy(&image.path, &pulled.path).unwrap();
            drop(fuse);
        }
        let map = pulled.map();
        assert!(!map.whole, "{map:?}");
        let clone = pulled.clone_of(&extents(&map, 24 * MIB));
        run("ntfsfix", &["-n", clone.name()]);
        let mount = mount(&clone, "ro");
        for (path, content) in files {
            assert!(fs::read(mount.dir.join(&path)).unwrap() == content, "{path}, killed: {killed}");
        }
    }
}

#[test]
fn a_volume_with_shadow_copies_is_believed_with_a_warning() {
    let image = made(8 * MIB, "");
    let mut header = b"\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52\x01\0\0\0\x01\0\0\0".to_vec();
    header.resize(128, 0);
    image.write(0x1e00, &header);
    is_believed(&image, "a header that names no catalog");
    image.write(0x1e00 + 48, &[0, 0, 0x10]);
    let map = image.map();
    assert!(!map.whole && map.warnings.len() == 1 && map.warnings[0].contains("shadow copies"), "{map:?}");
}

#[test]
fn a_copy_of_the_boot_sector_that_is_of_bitlocker_makes_it_whole() {
    let image = made(8 * MIB, "");
    image.write(8 * MIB - 512 + 3, b"-FVE-FS-");
    is_whole(&image, "clean", "its copy at byte 8388096 of BitLocker");
    // The first boot sector is what is gone by.
    image.write(3, b"-FVE-FS-");
    assert_eq!(image.map().content.kind, "BitLocker");
}

/// A partition may be larger than its volume; what lies behind is copied, and the copy of the boot sector is in it.
#[test]
fn all_behind_the_last_cluster_is_an_extent() {
    let image = made(8 * MIB, "-c 65536");
    let end = places(&image.read(0, 512));
    let end = (end.clusters * end.cluster) as u64;
    assert!(end < 8 * MIB);
    File::options().write(true).open(&image.path).unwrap().set_len(10 * MIB).unwrap();
    let data = of_kind(&extents(&image.map(), 10 * MIB), ExtentKind::Data);
    assert_eq!(data.last().map(|last| (last.start() <= end, last.end())), Some((true, 10 * MIB)));
    let bytes = image.bytes();
    assert!(!map(Arc::new(bytes)).unwrap().whole);
}
