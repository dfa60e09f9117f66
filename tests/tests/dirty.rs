//! File systems that were cut off in the middle.
//!
//! In: file systems in which each file was synced and nothing else, copied while they were mounted. Out: clones.
//! Promise: after restore and replay every synced file is there, although no bitmap on the disk knew of it, and what
//! the journal calls free is not written.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::{Loop, Mounted};
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB, Part};
use ramet_tests::pattern::Pattern;
use ramet_tests::random::Random;
use ramet_tests::server::Server;
use ramet_tests::tool::{run, scratch};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

type Synced = BTreeMap<String, Vec<u8>>;

/// A disk that was copied while its file system was mounted and had files that only the journal knows of.
fn cut_off(args: &[&str]) -> (Disk, Part, Synced) {
    let disk = Disk::with_sgdisk(128 * MIB, &["-n", "1:0:0"]);
    let part = disk.part(1);
    disk.format(&part, Fs::Ext(args));
    let mounted = Mounted::of(Loop::part_writable(&disk, &part), "rw,noatime,commit=600");
    let mut random = Random::new(3);
    let mut synced = Synced::new();
    for nr in 0..200 {
        let name = format!("synced {nr}");
        let len = usize::try_from(random.below(150_000)).unwrap();
        let bytes = random.bytes(len);
        let mut file = File::create(mounted.at().join(&name)).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        synced.insert(name, bytes);
    }
    File::open(mounted.at()).unwrap().sync_all().unwrap();
    let copy = disk.copy();
    drop(mounted);
    let device = Loop::part(&copy, &part);
    assert!(run("dumpe2fs", &["-h", device.name()]).contains("needs_recovery"), "the copy is clean: nothing is tested");
    drop(device);
    (copy, part, synced)
}

fn every_file_comes_back(agent: &Agent, args: &[&str]) {
    let (source, part, synced) = cut_off(args);
    let captured = agent.capture(&[&source.path], "dirty", &[]).done();
    captured.says(&["warning", "was replayed in memory"]);
    // The journal knows what is free: half of the disk was left out, and none of it is written.
    let used = captured.figure("used_bytes");
    assert!(used < part.size / 2, "{used} bytes of {}", part.size);
    let target = Disk::blank(source.size);
    let noise = Pattern::fill(&target, 17);
    agent.restore(&[&target.path], "dirty", &[]).done();
    let touched: u64 = noise.touched(&target).iter().map(|range| range.end - range.start).sum();
    assert!(touched < part.size / 2 + MIB, "{touched} bytes of {} were written, {used} are in use", part.size);
    let mounted = Mounted::replayed(&target, &part);
    for (name, bytes) in &synced {
        let found = fs::read(mounted.at().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found == *bytes, "{name} has other content");
    }
    drop(mounted);
    check::ext_is_clean(&target, &part);
}

#[test]
fn every_synced_file_of_a_mounted_ext4_comes_back_after_replay() {
    let folder = scratch();
    every_file_comes_back(&Agent::on_folder(&folder.path().join("store")), &["-t", "ext4", "-b", "4096"]);
}

#[test]
fn every_synced_file_of_a_mounted_ext3_comes_back_after_replay() {
    let folder = scratch();
    every_file_comes_back(&Agent::on_folder(&folder.path().join("store")), &["-t", "ext3", "-b", "1024"]);
}

#[test]
fn every_synced_file_comes_back_through_a_server() {
    let server = Server::start();
    every_file_comes_back(&Agent::of(&server), &["-t", "ext4", "-b", "4096"]);
}

/// Its processes ran on after its file systems had been synced: what they wrote then stands in no map.
#[test]
fn nothing_is_left_out_of_a_hibernated_machine() {
    let disk = Disk::with_sgdisk(64 * MIB, &["-n", "1:0:+40M", "-n", "2:0:0"]);
    let (root, swap) = (disk.part(1), disk.part(2));
    disk.format(&root, Fs::Ext(&["-t", "ext4"]));
    run("mkswap", &[Loop::part_writable(&disk, &swap).name()]);
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let awake = agent.capture(&[&disk.path], "awake", &[]).done();
    assert!(awake.figure("used_bytes") < root.size / 2, "{}", awake.figure("used_bytes"));
    let device = File::options().write(true).open(&disk.path).unwrap();
    device.write_all_at(b"S1SUSPEND\0", swap.range().start + 4086).unwrap();
    let asleep = agent.capture(&[&disk.path], "asleep", &[]).done();
    asleep.says(&["a hibernated system lies beside it", "every file system of this machine is in use by it"]);
    assert!(asleep.figure("used_bytes") >= root.size + swap.size, "{}", asleep.figure("used_bytes"));
}
