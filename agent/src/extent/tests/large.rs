//! Large file systems: what is read of them, how long mapping takes, and how much memory.

use super::super::ExtentKind;
use super::images::{Image, extents, mapped, of_kind, random, total};
use super::ntfs_volumes;
use super::xfs::xfs;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[test]
fn reads_at_most_1_25_gb_of_a_200_gb_ext4_with_150_mb_of_files() {
    let size = 200_000_000_000 / 4096 * 4096;
    let image = Image::ext(size, "-t ext4 -b 4096");
    {
        let mount = image.mount("noinit_itable");
        let mut seed = 3;
        for number in 0..150 {
            let noise: Vec<u8> = (0..1_000_000).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
            fs::File::create(mount.0.join(format!("file-{number}"))).unwrap().write_all(&noise).unwrap();
        }
    }
    let (map, took) = mapped(&image);
    assert!(!map.whole, "{:?}", map.warnings);
    let all = extents(&map, size);
    let zeros = total(&of_kind(&all, ExtentKind::Zero));
    println!("{} bytes to read, {zeros} to zero, {} extents, mapped in {took:?}", map.used_bytes, all.len());
    assert!(map.used_bytes <= 1_250_000_000, "{}", map.used_bytes);
    // Nearly all of 3 GB of inode tables was never used.
    assert!(zeros > 3_000_000_000, "{zeros}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The high-water mark of a process tells of all its threads, so the mapping runs in a process of its own: this very
/// test program, asked for the one test below.
pub(super) fn peak_kib_of_mapping(image: &Image) -> u64 {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "extent::tests::large::child_maps_and_prints_its_peak"])
        .env("RAMET_TEST_IMAGE", &image.path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split("VmHWM:").nth(1)).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "run by the tests beside it, in a process of its own"]
fn child_maps_and_prints_its_peak() {
    let path = std::env::var("RAMET_TEST_IMAGE").unwrap();
    let map = super::super::map(super::images::source(path.as_ref())).unwrap();
    assert!(!map.whole, "{:?}", map.warnings);
    let mut extents = 0;
    for extent in map.extents() {
        extent.unwrap();
        extents += 1;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{extents} extents, {} bytes", map.used_bytes);
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

#[test]
fn maps_a_file_system_of_15_tib_in_less_than_64_mib() {
    let image = Image::ext(15 << 40, "-t ext4 -b 4096 -O ^has_journal,sparse_super2,^resize_inode");
    let peak = peak_kib_of_mapping(&image);
    println!("peak {peak} KiB");
    assert!(peak < 64 << 10, "{peak} KiB");
}

/// 8 MiB per group and nothing side by side: as many groups as 2 TiB of 4 KiB blocks have.
#[test]
fn maps_16_000_groups_without_flex_bg_in_less_than_16_mib() {
    let image = Image::ext(128 << 30, "-t ext4 -b 1024 -O ^flex_bg -N 500000 -J size=4");
    let peak = peak_kib_of_mapping(&image);
    println!("peak {peak} KiB");
    assert!(peak < 16 << 10, "{peak} KiB");
}

#[test]
fn a_small_file_system_is_read_by_less_than_its_files_and_metadata() {
    let image = Image::ext(64 * MIB, "-t ext4 -b 4096 -O ^has_journal");
    assert!(image.map().used_bytes < MIB, "{}", image.map().used_bytes);
}

/// As few AGs as there may be, and many; the kernel has written into some.
#[test]
fn maps_an_xfs_of_1_tib_in_less_than_5_seconds_and_16_mib() {
    for options in ["-l size=64m", "-l size=64m -d agcount=2000"] {
        let image = xfs(1 << 40, options);
        {
            let mount = image.mount("nouuid");
            for number in 0..200 {
                let dir = mount.0.join(number.to_string());
                fs::create_dir(&dir).unwrap();
                fs::write(dir.join("file"), vec![1; 50_000]).unwrap();
            }
        }
        let (map, took) = mapped(&image);
        assert!(!map.whole, "{:?}", map.warnings);
        let peak = peak_kib_of_mapping(&image);
        println!("{options}: {} bytes to read, mapped in {took:?}, peak {peak} KiB", map.used_bytes);
        assert!(took < Duration::from_secs(5) && peak < 16 << 10, "{took:?} {peak} KiB");
    }
}

#[test]
fn maps_an_ntfs_of_1_tb_in_less_than_5_s_and_16_mib() {
    for options in ["-c 4096", "-c 2097152"] {
        let image = ntfs_volumes::made(1_000_000_000_000 / 4096 * 4096, options);
        let (map, took) = mapped(&image);
        let peak = peak_kib_of_mapping(&image);
        println!("{options}: {} bytes to read, mapped in {took:?}, peak {peak} KiB", map.used_bytes);
        assert!(!map.whole && map.used_bytes < 200 * MIB, "{map:?}");
        assert!(took < Duration::from_secs(5) && peak < 16 << 10, "{took:?}, {peak} KiB");
    }
}
