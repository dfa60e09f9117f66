//! What the checkers say about a clone, and where it differs from its source.
//!
//! In: disks. Out: panics that name tool, partition and bytes.
//! Promise: e2fsck, fsck.vfat, sgdisk, sfdisk and comparison of bytes are the judges.

use crate::attach::Loop;
use crate::disk::{Disk, MIB, Part};
use crate::range::{Ranges, without};
use crate::tool::{attempt, run, scratch};
use crate::tree::{Digest, plain_digest};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// `e2fsck -fn` finds nothing.
///
/// # Panics
/// With what it found.
pub fn ext_is_clean(disk: &Disk, part: &Part) {
    let device = Loop::part(disk, part);
    let said = attempt("e2fsck", &["-f", "-n", device.name()]);
    assert_eq!(said.status, 0, "e2fsck of partition {}: {}", part.number, said.text);
}

/// `fsck.vfat -n` finds nothing.
///
/// # Panics
/// With what it found.
pub fn fat_is_clean(disk: &Disk, part: &Part) {
    let device = Loop::part(disk, part);
    let said = attempt("fsck.vfat", &["-n", device.name()]);
    assert_eq!(said.status, 0, "fsck.vfat of partition {}: {}", part.number, said.text);
}

/// `program` with `args` before the device finds nothing.
///
/// # Panics
/// With what it found.
pub fn finds_nothing(program: &str, args: &[&str], disk: &Disk, part: &Part) {
    let device = Loop::part(disk, part);
    let said = attempt(program, &[args, &[device.name()]].concat());
    assert!(said.status == 0 && !said.text.contains("[Fail]"), "{program} of partition {}: {}", part.number, said.text);
}

/// `sgdisk -v` and `sfdisk --verify` find nothing.
///
/// # Panics
/// With what they found.
pub fn gpt_is_clean(disk: &Disk) {
    let said = disk.sgdisk(&["-v"]);
    assert!(said.contains("No problems found"), "sgdisk -v: {said}");
    table_is_clean(disk);
}

/// `sfdisk --verify` finds nothing.
///
/// # Panics
/// With what it found.
pub fn table_is_clean(disk: &Disk) {
    let said = disk.on_device(|name| attempt("sfdisk", &["--verify", name]));
    assert_eq!(said.status, 0, "sfdisk --verify: {}", said.text);
    assert!(said.text.contains("No errors detected"), "sfdisk --verify: {}", said.text);
}

/// `sfdisk -d` without what names the file or depends on the disk's size.
#[must_use]
pub fn dump(disk: &Disk) -> Vec<String> {
    let kept = |line: &&str| !line.starts_with("device:") && !line.starts_with("last-lba:") && !line.contains("GPT ");
    let text = disk.on_device(|name| run("sfdisk", &["-d", name]).replace(name, "disk"));
    text.lines().filter(kept).map(str::to_owned).collect()
}

/// Whether `blkid -p` sees a partition table.
#[must_use]
pub fn has_table(disk: &Disk) -> bool {
    let said = disk.on_device(|name| attempt("blkid", &["-p", "-o", "export", name]));
    said.text.contains("PTTYPE=")
}

/// What `blkid -p` sees, `KEY=value` by line, names of devices left out.
#[must_use]
pub fn blkid(disk: &Disk, part: &Part) -> String {
    let device = Loop::part(disk, part);
    attempt("blkid", &["-p", "-o", "export", device.name()])
        .text
        .lines()
        .filter(|line| !line.starts_with("DEVNAME"))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The files of a FAT file system, copied out by mtools.
#[must_use]
pub fn fat_digest(disk: &Disk, part: &Part) -> Digest {
    let device = Loop::part(disk, part);
    let folder = scratch();
    run("mcopy", &["-s", "-n", "-m", "-i", device.name(), "::/", crate::tool::arg(folder.path())]);
    plain_digest(folder.path())
}

/// Copies a tree into a FAT file system with mtools, then deletes some of it.
pub fn fill_fat(disk: &Disk, part: &Part, seed: u64) {
    let folder = scratch();
    let mut random = crate::random::Random::new(seed);
    let names: Vec<String> = (0..24).map(|nr| format!("A longer name {nr}.txt")).collect();
    let device = Loop::part_writable(disk, part);
    run("mmd", &["-i", device.name(), "::/EFI", "::/EFI/BOOT"]);
    for (nr, name) in names.iter().enumerate() {
        let path = folder.path().join(name);
        let len = usize::try_from(random.below(60_000)).unwrap();
        std::fs::write(&path, random.text(len)).unwrap();
        let to = if nr % 2 == 0 { "::/EFI/BOOT" } else { "::/" };
        run("mcopy", &["-i", device.name(), crate::tool::arg(&path), to]);
    }
    for name in names.iter().step_by(6) {
        run("mdel", &["-i", device.name(), &format!("::/EFI/BOOT/{name}")]);
    }
}

/// Where two disks differ inside `range` of both, told in units of 4 KiB.
#[must_use]
pub fn differences(left: &Disk, right: &Disk, range: &Range<u64>) -> Ranges {
    let (one, two) = (File::open(&left.path).unwrap(), File::open(&right.path).unwrap());
    let mut out = Ranges::new();
    let mut at = range.start;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    while at < range.end {
        let len = usize::try_from(MIB.min(range.end - at)).unwrap();
        first.resize(len, 0);
        second.resize(len, 0);
        one.read_exact_at(&mut first, at).unwrap();
        two.read_exact_at(&mut second, at).unwrap();
        if first != second {
            for (nr, (a, b)) in (0..).zip(first.chunks(4096).zip(second.chunks(4096))) {
                if a != b {
                    out.push(at + nr * 4096..at + nr * 4096 + a.len() as u64);
                }
            }
        }
        at += len as u64;
    }
    crate::range::merged(out, 0)
}

/// `part` has the same bytes on both disks wherever `used` (counted from its start) says; `except` is left out.
///
/// # Panics
/// With the first bytes that differ.
pub fn same_bytes(source: &Disk, target: &Disk, part: &Part, used: &[Range<u64>], except: &[Range<u64>]) {
    let mut differ = Ranges::new();
    for range in without(used, except) {
        differ.extend(differences(source, target, &(part.start + range.start..part.start + range.end)));
    }
    assert!(
        differ.is_empty(),
        "partition {}: {} ranges differ, the first are {:?}",
        part.number,
        differ.len(),
        &differ[..differ.len().min(4)]
    );
}
