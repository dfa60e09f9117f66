//! What a disk was before must not come back.
//!
//! In: targets that held an older file system, a RAID member, a ZFS pool. Out: clones in which no tool finds it.
//! Promise: `e2fsck -b` restores no dead inode; `blkid -p` and `mdadm --examine` find nothing of the former life.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::{Loop, Mounted};
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB, Part};
use ramet_tests::old;
use ramet_tests::pattern::Pattern;
use ramet_tests::tool::{attempt, scratch};
use ramet_tests::tree::digest;
use std::fs;
use std::path::Path;

const UUID: &str = "9d3a7a55-5c2e-4b7e-9a55-0123456789ab";

/// Runs `e2fsck -b 32768 -fy` on a copy; what of the dead comes back?
fn raised(disk: &Disk, part: &Part) -> usize {
    let copy = disk.copy();
    let device = Loop::part_writable(&copy, part);
    let said = attempt("e2fsck", &["-f", "-y", "-b", "32768", "-B", "4096", device.name()]);
    assert!((0..4).contains(&said.status), "e2fsck -b 32768: {}", said.text);
    drop(device);
    let mounted = Mounted::writable(&copy, part);
    names(mounted.at()).iter().filter(|name| name.contains("dead")).count()
}

/// Names of all files below `folder`.
fn names(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        out.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            out.extend(names(&entry.path()));
        }
    }
    out
}

#[test]
fn e2fsck_with_a_backup_superblock_brings_nothing_back() {
    let table = ["-n", "1:0:0"];
    let size = 300 * MIB;
    let target = Disk::with_sgdisk(size, &table);
    let part = target.part(1);
    let old_args = ["-t", "ext4", "-b", "4096", "-U", UUID, "-N", "24000", "-E", "lazy_itable_init=0"];
    old::make_ext(&target, &part, &old_args, 6000);

    let source = Disk::with_sgdisk(size, &table);
    let new_args = ["-t", "ext4", "-b", "4096", "-U", UUID, "-N", "24000", "-E", "lazy_itable_init=1"];
    source.format(&part, Fs::Ext(&new_args));
    let mounted = Mounted::writable(&source, &part);
    fs::write(mounted.at().join("alive"), b"alive").unwrap();
    drop(mounted);

    // The trap is there: with only what the bitmaps call used, the dead return.
    let trap = target.copy();
    for range in ramet_tests::range::without(
        &ramet_tests::peer::used("extfs", &source, &part),
        &ramet_tests::peer::never_written(&source, &part),
    ) {
        trap.write(part.start + range.start, &source.read(part.start + range.start, range.end - range.start));
    }
    assert!(raised(&trap, &part) > 1000, "nothing would come back anyway: nothing is tested");

    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    agent.capture(&[&source.path], "new", &[]).done();
    agent.restore(&[&target.path], "new", &[]).done();
    check::ext_is_clean(&target, &part);
    assert_eq!(raised(&target, &part), 0);
    let wanted = digest(Mounted::read_only(&source, &part).at());
    digest(Mounted::read_only(&target, &part).at()).assert_same(&wanted);
}

fn small() -> Disk {
    let disk = Disk::with_sgdisk(144 * MIB, &["-n", "1:0:+68M", "-n", "2:0:0"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4"]));
    disk.format(&disk.part(2), Fs::Swap);
    disk
}

#[test]
fn nothing_of_md_or_zfs_is_found_after_a_restore() {
    let source = small();
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    agent.capture(&[&source.path], "new", &[]).done();
    type Make = fn(&Disk, &Part);
    let make: [(&str, Make); 2] = [("linux_raid_member", old::make_md_member), ("zfs_member", old::make_zfs_member)];
    for (name, make) in make {
        // Members: the whole disk, and both of its later partitions.
        let target = Disk::blank(source.size);
        let _ = Pattern::fill(&target, 21);
        let parts = [target.part(0), source.part(1), source.part(2)];
        for part in parts.iter().rev() {
            make(&target, part);
        }
        let plan = agent.restore(&[&target.path], "new", &["--dry-run"]).done();
        assert!(plan.stdout.contains(name), "the plan does not name {name}: {}", plan.stdout);
        agent.restore(&[&target.path], "new", &[]).done();
        for part in &parts {
            assert!(!old::is_md_member(&target, part), "partition {}", part.number);
            let (found, wanted) = (check::blkid(&target, part), check::blkid(&source, part));
            assert_eq!(found, wanted, "partition {}", part.number);
            assert!(!found.contains(name));
        }
    }
}
