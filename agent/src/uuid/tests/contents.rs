//! FAT, exFAT, NTFS, F2FS and swap with a new id, as their own tools see them.
//!
//! In: volumes from their formatters. Out: nothing.
//! Promise: only the bytes of the id and of checksums over it change.

use super::*;

/// How many bytes differ.
fn changed(before: &[u8], image: &Image) -> usize {
    before.iter().zip(image.bytes()).filter(|(one, other)| *one != other).count()
}

#[test]
fn every_fat_gets_a_serial_number_in_both_boot_sectors() {
    for (size, options) in [(4, "-F 12 -n ESP"), (64, "-F 16"), (64, "-F 32 -s 1 -n ESP")] {
        let image = made(size * MIB, "mkfs.vfat", options);
        let before = image.bytes();
        renew_one(&image, 1);
        assert!(changed(&before, &image) <= 8, "{options}");
        run("fsck.vfat", &["-n", image.path.to_str().unwrap()]);
        assert_eq!(blkid(&image.path, "LABEL"), if options.contains("ESP") { "ESP" } else { "" });
    }
}

#[test]
fn exfat_gets_a_serial_number_in_both_boot_regions() {
    for options in ["", "-c 64K -L data"] {
        let image = made(64 * MIB, "mkfs.exfat", options);
        renew_one(&image, 1);
        run("fsck.exfat", &["-n", image.path.to_str().unwrap()]);
        let serial = run("tune.exfat", &["-i", image.path.to_str().unwrap()]).to_lowercase();
        let digits = blkid(&image.path, "UUID").replace('-', "").to_lowercase();
        assert!(serial.contains(digits.trim_start_matches('0')), "{serial}: {digits}");
    }
}

#[test]
fn ntfs_gets_a_serial_number_in_both_boot_sectors() {
    let image = made(64 * MIB, "mkntfs", "-q -F -Q -L data");
    let before = image.bytes();
    renew_one(&image, 1);
    assert!(changed(&before, &image) <= 16);
    let path = image.path.to_str().unwrap();
    let info = run("ntfsinfo", &["-m", path]);
    assert!(info.contains("Volume Name: data"), "{info}");
    run("ntfsfix", &["-n", path]);
    assert_eq!(image.read(64 * MIB - 512, 512), image.read(0, 512));
}

#[test]
fn f2fs_gets_a_uuid_in_both_superblocks() {
    for options in ["-q -l data", "-q -O extra_attr,sb_checksum"] {
        let image = made(128 * MIB, "mkfs.f2fs", options);
        let before = image.bytes();
        renew_one(&image, 1);
        assert!(changed(&before, &image) <= 2 * (16 + 4), "{options}");
        run("fsck.f2fs", &["--dry-run", image.path.to_str().unwrap()]);
    }
}

#[test]
fn swap_gets_a_uuid() {
    let image = made(16 * MIB, "mkswap", "-q -L sleep");
    let before = image.bytes();
    let plan = renew_one(&image, 1);
    assert!(changed(&before, &image) <= 16);
    let label = run("swaplabel", &[image.path.to_str().unwrap()]);
    assert!(label.contains("sleep") && label.contains(&plan.ids[0].new), "{label}");
}
