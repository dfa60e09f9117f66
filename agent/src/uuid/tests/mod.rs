//! New UUIDs, seen by the tools that made the old ones.
//!
//! In: images from real formatters. Out: nothing; the oracles are `blkid`, every `fsck`, and mounts by this kernel.
//! Promise: where a UUID is kept, not one byte of the image changes.

mod contents;
mod ext;
mod kept;
mod kernel;
mod tables;

use super::{Device, Disk, FileBytes, Plan, Seed, plan, write};
use crate::disk::source::FileSource;
use crate::extent;
use crate::partition::testing::{Image, run};
use ramet_wire::manifest::{DiskImage, PartitionImage, Stored};
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

/// A formatter's work in a file.
fn made(size: u64, program: &str, options: &str) -> Image {
    let image = Image::new(size);
    let mut args: Vec<&str> = options.split_whitespace().collect();
    args.push(image.path.to_str().unwrap());
    run(program, &args);
    image
}

/// What a capture would say of the disk in `path`.
fn described(path: &Path, ordinal: u32) -> DiskImage {
    let file = std::fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let source = FileSource::new(file, size);
    let scan = extent::table(&source, 512).unwrap();
    let stored = || Stored { data_bytes: 0, zero_bytes: 0, segments: Vec::new(), digest: Stored::digest_of(&[]) };
    let part = |entry: ramet_wire::Entry| {
        let window = crate::disk::source::Window::new(&source, entry.range).unwrap();
        PartitionImage {
            number: entry.number,
            range: entry.range,
            content: extent::probe(&window).unwrap(),
            whole: false,
            used_bytes: 0,
            stored: stored(),
        }
    };
    let partitions = scan.entries(size).into_iter().filter(|entry| !entry.extended).map(part).collect();
    DiskImage {
        ordinal,
        size,
        logical_sector: 512,
        physical_sector: 512,
        model: None,
        serial: None,
        wwn: None,
        table: scan.table,
        partitions,
        gaps: stored(),
    }
}

fn bytes(path: &Path) -> FileBytes {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    FileBytes::new(file, size)
}

/// Plans new ids for disks of which the manifest says `said`.
fn planned(paths: &[&Path], said: &[DiskImage], seed: u8) -> Plan {
    let disk = |(path, image): (&&Path, _)| Disk { image, sector: 512, bytes: Arc::new(bytes(path)) };
    let disks: Vec<Disk<'_>> = paths.iter().zip(said).map(disk).collect();
    plan(&disks, &[], Seed::new([seed; 32])).unwrap()
}

fn written(plan: &Plan, paths: &[&Path]) {
    let devices: Vec<FileBytes> = paths.iter().map(|path| bytes(path)).collect();
    let devices: Vec<Device<'_>> =
        devices.iter().zip(0..).map(|(bytes, ordinal)| Device::Disk(ordinal, bytes)).collect();
    write(plan, &devices).unwrap();
}

/// Gives all of `paths` new ids; each must get exactly one.
fn renew(paths: &[&Path], seed: u8) -> Plan {
    let said: Vec<DiskImage> = paths.iter().zip(0..).map(|(path, ordinal)| described(path, ordinal)).collect();
    let plan = planned(paths, &said, seed);
    written(&plan, paths);
    // The same seed again: everything is there, and no byte changes.
    let before: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let again = planned(paths, &said, seed);
    assert!(again.ids.iter().all(|id| id.there), "{again:?}");
    let pairs = |plan: &Plan| plan.ids.iter().map(|id| (id.old.clone(), id.new.clone())).collect::<Vec<_>>();
    assert_eq!(pairs(&again), pairs(&plan));
    written(&again, paths);
    assert!(paths.iter().zip(before).all(|(path, before)| std::fs::read(path).unwrap() == before));
    plan
}

/// One id changed, from what `blkid` said to what it says.
fn renew_one(image: &Image, seed: u8) -> Plan {
    let before = blkid(&image.path, "UUID");
    let plan = renew(&[&image.path], seed);
    assert!(plan.ids.len() == 1 && plan.kept.is_empty(), "{plan:?}");
    assert_eq!(plan.ids[0].old, before);
    assert_ne!(plan.ids[0].new, before);
    assert_eq!(blkid(&image.path, "UUID"), plan.ids[0].new);
    plan
}

fn blkid(path: &Path, tag: &str) -> String {
    run("blkid", &["-p", "-s", tag, "-o", "value", path.to_str().unwrap()]).trim().to_owned()
}

/// Everything keeps its id for a reason that contains `reason`, and no byte changes.
fn keeps(image: &Image, said: &DiskImage, reason: &str) {
    let before = image.bytes();
    let plan = planned(&[&image.path], std::slice::from_ref(said), 9);
    assert!(plan.ids.is_empty(), "{reason}: {plan:?}");
    assert!(plan.kept.len() == 1 && plan.kept[0].how.contains(reason), "{reason}: {:?}", plan.kept);
    written(&plan, &[&image.path]);
    assert!(image.bytes() == before, "{reason}");
}

/// A folder with files of several sizes, and what `diff -r` says of a copy.
fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..40_usize {
        let dir = folder.path().join(format!("d{}", number % 5));
        std::fs::create_dir_all(&dir).unwrap();
        let byte = u8::try_from(number).unwrap();
        std::fs::write(dir.join(format!("file-{number}")), vec![byte; number * number * 37]).unwrap();
    }
    folder
}

fn same_tree(one: &Path, other: &Path) {
    run("diff", &["-r", "--exclude=lost+found", one.to_str().unwrap(), other.to_str().unwrap()]);
}
