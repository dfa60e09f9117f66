//! exFAT volumes written by exfat-fuse, held against partclone and fsck.exfat.

use super::super::{ExtentKind, Map};
use super::images::{Image, Mount, extents, mapped, minus, of_kind, partclone, persist, random, run, total};
use ramet_wire::ByteRange;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

pub(super) fn made(size: u64, options: &str) -> Image {
    let image = Image::empty(size);
    let mut args: Vec<&str> = options.split_whitespace().collect();
    args.push(image.name());
    run("mkfs.exfat", &args);
    image
}

pub(super) fn mount(image: &Image, options: &str) -> Mount {
    let dir = image.dir.path().join("mnt");
    fs::create_dir_all(&dir).unwrap();
    let (options, target) = (format!("loop,{options}"), dir.to_str().unwrap());
    let args = ["-t", "exfat-fuse", "-o", &options, image.name(), target];
    assert!(persist("mount", &args), "mount {}", image.name());
    Mount(dir)
}

fn noise(len: u64, seed: u64) -> Vec<u8> {
    let mut seed = seed;
    (0..len).map(|_| random(&mut seed).to_le_bytes()[0]).collect()
}

fn name(root: &Path, number: u64) -> std::path::PathBuf {
    root.join(format!("d{}/file number {number} with a long name", number % 5))
}

/// What is written into a fresh volume.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Nothing,
    Half,
    Full,
    /// Files that grow in turns, and every second one deleted again.
    Fragments,
    /// Nearly all of it was in use once.
    Deleted,
}

fn fill(root: &Path, size: u64, how: Fill) {
    for folder in 0..5 {
        fs::create_dir_all(root.join(format!("d{folder}"))).unwrap();
    }
    let write = |number: u64, len: u64| fs::write(name(root, number), noise(len, number));
    match how {
        Fill::Nothing => {}
        Fill::Half => (0..40).for_each(|number| write(number, size / 160 + number * 1000).unwrap()),
        Fill::Full => {
            let full = (0..1000).find_map(|number| write(number, size / 40).err());
            assert_eq!(full.and_then(|error| error.raw_os_error()), Some(28), "a full volume");
        }
        Fill::Fragments => {
            for turn in 0..40 {
                for number in 0..20 {
                    let mut file = File::options().create(true).append(true).open(name(root, number)).unwrap();
                    file.write_all(&noise(size / 2000, number + turn)).unwrap();
                }
            }
            (0..20).step_by(2).for_each(|number| fs::remove_file(name(root, number)).unwrap());
        }
        Fill::Deleted => {
            (0..60).for_each(|number| write(number, size / 80).unwrap());
            (0..60).filter(|number| number % 7 != 3).for_each(|number| fs::remove_file(name(root, number)).unwrap());
        }
    }
}

/// The map is believed, it is partclone's, and a clone by it is the same for fsck and for everyone who reads it.
fn agrees(image: &Image) -> Map {
    let size = image.source().size();
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("clean"));
    let all = extents(&map, size);
    let data = of_kind(&all, ExtentKind::Data);
    let used = partclone("partclone.exfat", image);
    assert_eq!(minus(&used, &data), [], "used for partclone and in no extent");
    // Each run may be rounded to 4 KiB at both ends, and what lies behind the last cluster is ours alone.
    let limit = total(&used) + total(&used) / 100 + 8192 * used.len() as u64 + 32768;
    assert!(map.used_bytes <= limit, "{} bytes, partclone has {}", map.used_bytes, total(&used));
    println!("{} bytes, partclone has {}, {} extents", map.used_bytes, total(&used), all.len());
    let clone = image.clone_of(&all);
    run("fsck.exfat", &["-n", clone.name()]);
    let (one, other) = (mount(image, "ro"), mount(&clone, "ro"));
    run("diff", &["-r", one.0.to_str().unwrap(), other.0.to_str().unwrap()]);
    map
}

fn case(size: u64, options: &str, how: Fill) {
    let image = made(size, options);
    {
        let mount = mount(&image, "rw");
        fill(&mount.0, size, how);
    }
    println!("{options} {how:?}:");
    let map = agrees(&image);
    if matches!(how, Fill::Nothing | Fill::Deleted) {
        assert!(map.used_bytes < size / 2, "{} of {size}", map.used_bytes);
    }
}

#[test]
fn agrees_with_partclone_on_small_clusters() {
    case(16 * MIB, "-c 512", Fill::Fragments);
    case(16 * MIB, "-c 512", Fill::Deleted);
}

#[test]
fn agrees_with_partclone_on_clusters_of_4_kib() {
    for how in [Fill::Nothing, Fill::Half, Fill::Full, Fill::Fragments, Fill::Deleted] {
        case(24 * MIB, "-c 4K -L label", how);
    }
}

#[test]
fn agrees_with_partclone_on_sectors_of_4_kib() {
    let image = Image::empty(32 * MIB);
    let device = run("losetup", &["-f", "--show", "-b", "4096", image.name()]);
    run("mkfs.exfat", &["-c", "32K", device.trim()]);
    run("losetup", &["-d", device.trim()]);
    assert_eq!(image.read(108, 1), [12]);
    {
        let mount = mount(&image, "rw");
        fill(&mount.0, 32 * MIB, Fill::Half);
    }
    agrees(&image);
}

#[test]
fn agrees_with_partclone_on_odd_places() {
    // Clusters that start at no multiple of 4 KiB, and a volume that ends before its partition.
    case(20 * MIB + 512, "-c 1K -b 1K", Fill::Half);
}

#[test]
fn agrees_with_partclone_on_the_largest_clusters() {
    let image = made(512 * MIB, "-c 32M");
    {
        let mount = mount(&image, "rw");
        fs::write(mount.0.join("file"), noise(MIB, 1)).unwrap();
    }
    let map = image.map();
    assert!(!map.whole && map.warnings.is_empty(), "{map:?}");
    let data = of_kind(&extents(&map, 512 * MIB), ExtentKind::Data);
    let used = partclone("partclone.exfat", &image);
    // Less than a cluster is left behind the last one.
    assert_eq!(minus(&used, &data), []);
    assert!(total(&minus(&data, &used)) < 32 * MIB);
}

/// exfat-fuse marks the volume when it mounts it, and again when it lets it go.
#[test]
fn a_mounted_volume_is_copied_whole_with_all_its_files() {
    let image = made(16 * MIB, "-c 4K");
    let copy = Image::empty(16 * MIB);
    {
        let mount = mount(&image, "rw");
        for number in 0..20 {
            let file = File::create(mount.0.join(format!("file{number}"))).unwrap();
            file.write_all_at(&noise(20_000, number), 0).unwrap();
            file.sync_all().unwrap();
        }
        fs::copy(&image.path, &copy.path).unwrap();
    }
    let map = copy.map();
    assert!(map.whole && map.warnings[0].contains("the volume is dirty"), "{map:?}");
    assert_eq!(map.content.state.as_deref(), Some("dirty"));
    let clone = copy.clone_of(&extents(&map, 16 * MIB));
    let mount = mount(&clone, "ro");
    for number in 0..20 {
        assert_eq!(fs::read(mount.0.join(format!("file{number}"))).unwrap(), noise(20_000, number));
    }
}

#[test]
fn all_before_the_first_and_after_the_last_cluster_is_an_extent() {
    let image = made(16 * MIB, "-c 4K");
    let longer = 17 * MIB + 1000;
    File::options().write(true).open(&image.path).unwrap().set_len(longer).unwrap();
    let map = image.map();
    assert!(!map.whole, "{map:?}");
    let data = of_kind(&extents(&map, longer), ExtentKind::Data);
    let heap = u64::from(u32::from_le_bytes(image.read(88, 4).try_into().unwrap())) * 512;
    assert_eq!(minus(&[ByteRange::between(0, heap), ByteRange::between(16 * MIB, longer)], &data), []);
}

#[test]
fn maps_a_volume_of_1_tb_in_less_than_5_seconds() {
    for options in ["-c 32K", ""] {
        let image = made(1_000_000_000_000, options);
        let (map, took) = mapped(&image);
        println!("{options:?}: {} bytes, mapped in {took:?}", map.used_bytes);
        assert!(!map.whole, "{map:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        let peak = super::large::peak_kib_of_mapping(&image);
        println!("peak {peak} KiB");
        assert!(peak < 16 << 10, "{peak} KiB");
    }
}
