//! Disks captured and restored onto disks of random bytes, judged by the peers' tools.
//!
//! In: every kind of table and file system, both kinds of store. Out: clones, or failed tests.
//! Promise: a clone is clean for its checkers, equal in every file and every used block, and nothing beside it was
//! written.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::{Loop, Mounted};
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, GIB, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone, same_contents};
use ramet_tests::range::total;
use ramet_tests::server::Server;
use ramet_tests::tool::{arg, run, scratch};
use ramet_tests::tree::{RandomTree, digest};

const EXT4: Fs<'static> = Fs::Ext(&["-t", "ext4", "-b", "4096"]);

/// Makes an ext file system with a random tree in partition `number`.
fn ext(disk: &Disk, number: u32, args: &[&str]) {
    let part = disk.part(number);
    disk.format(&part, Fs::Ext(args));
    let mounted = Mounted::writable(disk, &part);
    RandomTree { files: 60, ..RandomTree::new(part.start) }.grow(mounted.at());
}

fn fat(disk: &Disk, number: u32, bits: u32) {
    let part = disk.part(number);
    disk.format(&part, Fs::Fat(bits));
    check::fill_fat(disk, &part, part.start);
}

const CLOUD: Contents<'static> = &[(1, Kind::Ext), (14, Kind::Noise), (15, Kind::Fat(32))];

fn cloud(size: u64) -> Disk {
    let disk = Disk::cloud(size);
    ext(&disk, 1, &["-t", "ext4", "-b", "4096"]);
    disk.format(&disk.part(14), Fs::Noise);
    fat(&disk, 15, 32);
    disk
}

/// A target of `size` bytes full of noise.
fn target(source: &Disk, size: u64, seed: u64) -> (Disk, Pattern) {
    let disk = Disk::blank(size).sectors_of(source.sector);
    let noise = Pattern::fill(&disk, seed);
    (disk, noise)
}

/// Captures `source`, restores it onto noise of the same size, and judges.
fn round_trip(agent: &Agent, source: &Disk, contents: Contents<'_>) -> Disk {
    let before = source.hash();
    agent.capture(&[&source.path], "genet", &[]).done();
    assert_eq!(source.hash(), before, "the source was written to");
    let (target, noise) = target(source, source.size, 99);
    let outcome = agent.restore(&[&target.path], "genet", &[]).done();
    assert_eq!(outcome.json()["proof"], "file");
    is_clone(source, &target, &noise, contents);
    target
}

fn folder() -> (tempfile::TempDir, Agent) {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    (folder, agent)
}

#[test]
fn a_cloud_disk_comes_back_through_a_folder() {
    let (_folder, agent) = folder();
    let source = cloud(192 * MIB);
    let target = round_trip(&agent, &source, CLOUD);
    check::gpt_is_clean(&target);
}

#[test]
fn a_cloud_disk_comes_back_through_a_server() {
    let server = Server::start();
    let source = cloud(192 * MIB);
    let target = round_trip(&Agent::of(&server), &source, CLOUD);
    check::gpt_is_clean(&target);
}

#[test]
fn a_cloud_disk_comes_back_between_block_devices() {
    let (_folder, agent) = folder();
    let source = cloud(160 * MIB);
    let (target, noise) = target(&source, source.size, 5);
    let from = Loop::disk(&source);
    agent.capture(&[&from.path], "genet", &[]).done();
    drop(from);
    let onto = Loop::disk(&target);
    let outcome = agent.restore(&[&onto.path], "genet", &[]).done();
    // Behind a loop device lies a file: more than that is not proven.
    assert_eq!(outcome.json()["proof"], "file");
    drop(onto);
    is_clone(&source, &target, &noise, CLOUD);
}

const BIG_SECTORS: Contents<'static> = &[(1, Kind::Ext), (2, Kind::Swap), (3, Kind::Fat(16)), (7, Kind::Ext)];

fn big_sectors() -> Disk {
    let disk = Disk::with_sgdisk_4k(
        224 * MIB,
        &["-n", "1:0:+64M", "-n", "2:0:+24M", "-n", "3:0:+64M", "-t", "3:ef00", "-n", "7:0:0"],
    );
    ext(&disk, 1, &["-t", "ext4", "-b", "4096"]);
    disk.format(&disk.part(2), Fs::Swap);
    fat(&disk, 3, 16);
    ext(&disk, 7, &["-t", "ext2", "-b", "4096"]);
    disk
}

#[test]
fn sectors_of_4096_bytes_come_back_through_a_folder() {
    let (_folder, agent) = folder();
    let target = round_trip(&agent, &big_sectors(), BIG_SECTORS);
    check::gpt_is_clean(&target);
}

#[test]
fn sectors_of_4096_bytes_come_back_between_block_devices_through_a_server() {
    let server = Server::start();
    let agent = Agent::of(&server);
    let source = big_sectors();
    let (target, noise) = target(&source, source.size, 6);
    let from = Loop::disk(&source);
    agent.capture(&[&from.path], "genet", &[]).done();
    drop(from);
    let onto = Loop::disk(&target);
    agent.restore(&[&onto.path], "genet", &[]).done();
    drop(onto);
    is_clone(&source, &target, &noise, BIG_SECTORS);
    check::gpt_is_clean(&target);
}

const TEN: Contents<'static> = &[
    (1, Kind::Ext),
    (2, Kind::Swap),
    (3, Kind::Fat(16)),
    (5, Kind::Ext),
    (6, Kind::Ext),
    (7, Kind::Swap),
    (8, Kind::Ext),
    (9, Kind::Noise),
    (10, Kind::Fat(16)),
];

fn ten() -> Disk {
    let disk = Disk::ten_partitions();
    ext(&disk, 1, &["-t", "ext4", "-b", "4096"]);
    disk.format(&disk.part(2), Fs::Swap);
    fat(&disk, 3, 16);
    disk.format(&disk.part(5), Fs::Ext(&["-t", "ext3", "-b", "1024"]));
    ext(&disk, 6, &["-t", "ext4", "-b", "1024"]);
    disk.format(&disk.part(7), Fs::Swap);
    disk.format(&disk.part(8), Fs::Ext(&["-t", "ext2", "-b", "2048"]));
    disk.format(&disk.part(9), Fs::Noise);
    fat(&disk, 10, 16);
    disk.write(0, &[0xeb; 440]); // boot code
    disk
}

/// A target of more than 4 GiB: noise only where something is, and nothing elsewhere.
fn large_target(source: &Disk, size: u64) -> (Disk, Pattern) {
    let target = Disk::blank(size);
    let mut ranges = vec![0..2 * MIB, size - 2 * MIB..size];
    ranges.extend(source.parts().iter().map(|part| part.start - MIB..part.range().end + MIB / 2));
    let noise = Pattern::fill_ranges(&target, &ranges, 11);
    (target, noise)
}

fn ten_come_back(agent: &Agent) {
    let source = ten();
    assert!(source.parts().iter().filter(|part| part.start > 4 * GIB).count() == 6);
    agent.capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = large_target(&source, source.size);
    agent.restore(&[&target.path], "genet", &[]).done();
    is_clone(&source, &target, &noise, TEN);
    assert_eq!(target.read(0, 512), source.read(0, 512), "boot code and MBR, byte for byte");
}

#[test]
fn ten_mbr_partitions_beyond_4_gib_come_back_through_a_folder() {
    ten_come_back(&folder().1);
}

#[test]
fn ten_mbr_partitions_beyond_4_gib_come_back_through_a_server() {
    let server = Server::start();
    ten_come_back(&Agent::of(&server));
}

#[test]
fn a_hybrid_mbr_comes_back_byte_for_byte() {
    let (_folder, agent) = folder();
    let source = Disk::with_sgdisk(128 * MIB, &["-n", "1:0:+40M", "-n", "2:0:0", "-h", "1:2:EE"]);
    ext(&source, 1, &["-t", "ext4", "-b", "4096"]);
    source.format(&source.part(2), Fs::Swap);
    let target = round_trip(&agent, &source, &[(1, Kind::Ext), (2, Kind::Swap)]);
    assert_eq!(target.read(0, 512), source.read(0, 512));
}

#[test]
fn a_disk_without_a_table_comes_back() {
    for (fs, kind) in [(EXT4, Kind::Ext), (Fs::Fat(16), Kind::Fat(16)), (Fs::Swap, Kind::Swap)] {
        let (_folder, agent) = folder();
        let source = Disk::blank(64 * MIB);
        match kind {
            Kind::Ext => ext(&source, 0, &["-t", "ext4", "-b", "4096"]),
            Kind::Fat(bits) => fat(&source, 0, bits),
            _ => source.format(&source.part(0), fs),
        }
        round_trip(&agent, &source, &[(0, kind)]);
    }
}

#[test]
fn a_disk_that_nobody_knows_comes_back_whole() {
    let (_folder, agent) = folder();
    let source = Disk::blank(24 * MIB);
    source.format(&source.part(0), Fs::Noise);
    round_trip(&agent, &source, &[(0, Kind::Noise)]);
}

#[test]
fn a_table_of_256_entries_comes_back() {
    let (_folder, agent) = folder();
    let source = Disk::with_sgdisk(96 * MIB, &["-S", "256", "-n", "200:0:+32M", "-n", "3:0:0", "-c", "200:späť"]);
    ext(&source, 200, &["-t", "ext4"]);
    source.format(&source.part(3), Fs::Swap);
    let target = round_trip(&agent, &source, &[(200, Kind::Ext), (3, Kind::Swap)]);
    check::gpt_is_clean(&target);
}

/// One layout of ext after the other on one disk.
const LAYOUTS: &[&[&str]] = &[
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "2048", "-O", "^has_journal"],
    &["-t", "ext4", "-b", "4096", "-O", "64bit,metadata_csum", "-g", "1024"],
    &["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "16384"],
    &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    &["-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"],
    &["-t", "ext4", "-b", "1024", "-O", "uninit_bg,^metadata_csum"],
    &["-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "256"],
    &["-t", "ext3", "-b", "4096"],
    &["-t", "ext2", "-b", "1024", "-r", "0"],
];

#[test]
fn every_layout_of_ext_comes_back() {
    let (_folder, agent) = folder();
    let names: Vec<String> = (1..=LAYOUTS.len()).map(|number| format!("{number}:0:+26M")).collect();
    let args: Vec<&str> = names.iter().flat_map(|name| ["-n", name]).collect();
    let source = Disk::with_sgdisk(280 * MIB, &args);
    let mut contents = Vec::new();
    for (number, layout) in (1..).zip(LAYOUTS) {
        let part = source.part(number);
        source.format(&part, Fs::Ext(layout));
        // Revision 0 has neither large files nor attributes.
        let old = layout.contains(&"-r");
        let mounted = Mounted::writable(&source, &part);
        RandomTree { files: 30, unix: !old, seed: u64::from(number) }.grow(mounted.at());
        drop(mounted);
        contents.push((number, if layout.contains(&"bigalloc") { Kind::Bigalloc } else { Kind::Ext }));
    }
    round_trip(&agent, &source, &contents);
}

const OTHERS: Contents<'static> =
    &[(1, Kind::Xfs), (2, Kind::Btrfs), (3, Kind::Ntfs), (4, Kind::Exfat), (5, Kind::F2fs)];

/// What else administrators have, each with files: by the kernel, by its FUSE driver, or by its own tools.
fn others() -> Disk {
    let sizes = ["1:0:+320M", "2:0:+160M", "3:0:+64M", "4:0:+160M", "5:0:+160M"];
    let args: Vec<&str> = sizes.iter().flat_map(|size| ["-n", size]).collect();
    let disk = Disk::with_sgdisk(880 * MIB, &args);
    let made: [(&str, &[&str]); 5] = [
        ("mkfs.xfs", &["-q", "-f"]),
        ("mkfs.btrfs", &["-q", "-f"]),
        ("mkntfs", &["-F", "-Q", "-q"]),
        ("mkfs.exfat", &[]),
        ("mkfs.f2fs", &["-q", "-f"]),
    ];
    for (number, (program, args)) in (1..).zip(made) {
        disk.format(&disk.part(number), Fs::By(program, args));
    }
    for number in [1, 2] {
        RandomTree::new(u64::from(number)).grow(Mounted::writable(&disk, &disk.part(number)).at());
    }
    // exFAT has no holes; what puts files into F2FS fills them, and there is no room for that.
    let few = RandomTree { unix: false, files: 24, seed: 3 };
    for (number, driver) in [(3, "ntfs-3g"), (4, "exfat-fuse")] {
        few.grow(Mounted::by(driver, &disk, &disk.part(number), "rw").at());
    }
    let folder = scratch();
    few.grow(folder.path());
    run("find", &[arg(folder.path()), "-size", "+8M", "-delete"]);
    run("sload.f2fs", &["-f", arg(folder.path()), Loop::part_writable(&disk, &disk.part(5)).name()]);
    disk
}

#[test]
fn xfs_btrfs_ntfs_exfat_and_f2fs_come_back_through_a_server() {
    let server = Server::start();
    let source = others();
    let target = round_trip(&Agent::of(&server), &source, OTHERS);
    check::gpt_is_clean(&target);
}

#[test]
fn a_larger_target_gets_its_backup_header_at_its_end() {
    let (_folder, agent) = folder();
    let source = cloud(160 * MIB);
    agent.capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = target(&source, 200 * MIB + 512, 8);
    agent.restore(&[&target.path], "genet", &[]).done();
    is_clone(&source, &target, &noise, CLOUD);
    check::gpt_is_clean(&target);
    assert_eq!(&target.read(target.size - 512, 8), b"EFI PART");
    // The gain is usable: the last sector before the backup's entries.
    let said = target.sgdisk(&["-p"]);
    assert!(said.contains(&format!("last usable sector is {}", target.size / 512 - 34)), "{said}");
}

#[test]
fn a_smaller_target_is_taken_if_every_partition_fits() {
    let (_folder, agent) = folder();
    let source = Disk::with_sgdisk(160 * MIB, &["-n", "1:0:+64M", "-n", "2:0:+16M"]);
    ext(&source, 1, &["-t", "ext4", "-b", "4096"]);
    source.format(&source.part(2), Fs::Swap);
    agent.capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = target(&source, 96 * MIB, 9);
    agent.restore(&[&target.path], "genet", &[]).done();
    is_clone(&source, &target, &noise, &[(1, Kind::Ext), (2, Kind::Swap)]);
    check::gpt_is_clean(&target);
}

#[test]
fn a_damaged_gpt_copy_is_replaced_by_the_intact_one() {
    for damaged in ["primary", "backup"] {
        let (_folder, agent) = folder();
        let source = Disk::with_sgdisk(96 * MIB, &["-n", "1:0:+32M", "-n", "5:0:0"]);
        ext(&source, 1, &["-t", "ext4", "-b", "4096"]);
        source.format(&source.part(5), Fs::Swap);
        let wanted = check::dump(&source);
        let healthy = source.copy();
        source.write(if damaged == "primary" { 512 + 40 } else { source.size - 512 + 40 }, &[0xa5; 8]);
        agent.capture(&[&source.path], "genet", &[]).done();
        let (target, _) = target(&source, source.size, 10);
        agent.restore(&[&target.path], "genet", &[]).done();
        check::gpt_is_clean(&target);
        assert_eq!(check::dump(&target), wanted, "{damaged} header damaged");
        same_contents(&healthy, &target, &[(1, Kind::Ext), (5, Kind::Swap)]);
    }
}

#[test]
fn one_partition_comes_back_alone() {
    let (_folder, agent) = folder();
    let source = cloud(160 * MIB);
    agent.capture(&[&source.path], "genet", &[]).done();
    let target = source.copy();
    // The same table; all partitions full of other bytes.
    let ranges: Vec<_> = source.parts().iter().map(ramet_tests::disk::Part::range).collect();
    let noise = Pattern::fill_ranges(&target, &ranges, 12);
    let head = target.read(0, MIB);
    agent.restore(&[&target.path], "genet", &["--partition", "15"]).done();
    assert_eq!(target.read(0, MIB), head, "the table is left alone");
    check::gpt_is_clean(&target);
    same_contents(&source, &target, &[(15, Kind::Fat(32))]);
    let esp = source.part(15).range();
    let table = [0..ranges.iter().map(|range| range.start).min().unwrap(), source.size - MIB..source.size];
    let touched = ramet_tests::range::without(&noise.touched(&target), &[table[0].clone(), esp, table[1].clone()]);
    assert!(touched.is_empty(), "bytes of other partitions were written: {touched:x?}");
}

#[test]
fn two_disks_come_back_in_their_order_and_as_pairs() {
    let (_folder, agent) = folder();
    let first = Disk::with_sgdisk(64 * MIB, &["-n", "1:0:0"]);
    ext(&first, 1, &["-t", "ext4", "-b", "4096"]);
    let second = Disk::with_sfdisk(64 * MIB, "label: dos\ntype=83\n");
    ext(&second, 1, &["-t", "ext3", "-b", "4096"]);
    agent.capture(&[&first.path, &second.path], "pair", &[]).done();
    let (one, noise_one) = target(&first, first.size, 1);
    let (two, noise_two) = target(&second, second.size, 2);
    agent.restore(&[&one.path, &two.path], "pair", &[]).done();
    is_clone(&first, &one, &noise_one, &[(1, Kind::Ext)]);
    is_clone(&second, &two, &noise_two, &[(1, Kind::Ext)]);
    let (one, two) = (target(&first, first.size, 3).0, target(&second, second.size, 4).0);
    let pairs = [format!("1={}", two.name()), format!("0={}", one.name())];
    agent.restore(&[], "pair", &["--pair", &pairs[0], "--pair", &pairs[1]]).done();
    same_contents(&first, &one, &[(1, Kind::Ext)]);
    same_contents(&second, &two, &[(1, Kind::Ext)]);
}

/// The btrfs on the first partitions of both disks, mounted.
fn pool(disks: &[Disk; 2], options: &str) -> (Mounted, Loop) {
    let [one, two] = disks.each_ref().map(|disk| Loop::part_writable(disk, &disk.part(1)));
    (Mounted::of(one, &format!("{options},device={}", two.name())), two)
}

#[test]
fn a_btrfs_over_two_disks_comes_back() {
    let (_folder, agent) = folder();
    let disks = [0, 1].map(|_| Disk::with_sgdisk(200 * MIB, &["-n", "1:0:0"]));
    {
        let loops = disks.each_ref().map(|disk| Loop::part_writable(disk, &disk.part(1)));
        run("mkfs.btrfs", &["-q", "-f", "-d", "raid0", "-m", "raid1", loops[0].name(), loops[1].name()]);
    }
    RandomTree::new(21).grow(pool(&disks, "rw,noatime").0.at());
    let wanted = digest(pool(&disks, "ro").0.at());
    let captured = agent.capture(&[&disks[0].path, &disks[1].path], "pool", &[]).done();
    let used = captured.figure("used_bytes");
    assert!(used < 100 * MIB, "{used} bytes");
    let [one, two] = [target(&disks[0], disks[0].size, 22), target(&disks[1], disks[1].size, 23)];
    agent.restore(&[&one.0.path, &two.0.path], "pool", &[]).done();
    // Of each disk its first and last MiB, and those of its partition, are blanked.
    let touched = |(disk, noise): &(Disk, Pattern)| total(&noise.touched(disk));
    let written = touched(&one) + touched(&two);
    assert!(written < used + 8 * MIB, "{written} bytes were written, {used} are in use");
    let clones = [one.0, two.0];
    digest(pool(&clones, "ro").0.at()).assert_same(&wanted);
    let loops = clones.each_ref().map(|disk| Loop::part(disk, &disk.part(1)));
    run("btrfs", &["device", "scan", loops[0].name(), loops[1].name()]);
    run("btrfs", &["check", loops[0].name()]);
}

#[test]
fn what_was_captured_twice_is_sent_once_and_what_is_there_is_not_written() {
    let server = Server::start();
    let agent = Agent::of(&server);
    let source = cloud(160 * MIB);
    let first = agent.capture(&[&source.path], "genet", &[]).done();
    let again = agent.capture(&[&source.path], "genet", &[]).done();
    assert!(first.figure("new_bytes") > 2 * MIB);
    assert_eq!(again.figure("new_bytes"), 0);
    assert!(again.figure("stored_bytes") < first.figure("stored_bytes") / 200);
    let (target, _) = target(&source, source.size, 7);
    let restored = agent.restore(&[&target.path], "genet", &[]).done();
    assert!(restored.figure("written_bytes") > 8 * MIB);
    let hash = target.hash();
    let repeated = agent.restore(&[&target.path], "genet", &[]).done();
    assert_eq!(repeated.figure("written_bytes"), 0);
    assert!(repeated.figure("fetched_bytes") * 100 < restored.figure("fetched_bytes").max(1) + 100 * 65_536);
    assert_eq!(repeated.json()["proof"], "file");
    assert_eq!(target.hash(), hash);
    let unread = agent.restore(&[&target.path], "genet", &["--no-read-back"]).expect_status(4);
    assert_eq!(unread.json()["proof"], "none");
}
