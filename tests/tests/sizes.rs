//! Clones on disks of another size, as far as this machine's kernel can.
//!
//! In: disks with real file systems, larger and smaller targets full of noise. Out: clones that fill their disks, and
//! refusals. Promise: a refusal leaves the target as it is; what was not asked for does not change a byte of the clone.
//!
//! What needs the device mapper or a privilege that containers lack is in `scripts/sizes`.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::Mounted;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::tool::scratch;
use ramet_tests::tree::{RandomTree, digest};
use std::fs;

fn folder() -> (tempfile::TempDir, Agent) {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    (folder, agent)
}

fn noise(size: u64) -> Disk {
    let disk = Disk::blank(size);
    let _ = Pattern::fill(&disk, 47);
    disk
}

/// A system's disk: something in front, the file system, swap behind it.
fn system(fs: Fs<'_>, size: u64, swap: &str) -> Disk {
    let disk =
        Disk::with_sgdisk(size, &["-n", "1:2048:+20M", "-n", "2:0:-60M", "-n", &format!("3:0:{swap}"), "-t", "3:8200"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4"]));
    disk.format(&disk.part(2), fs);
    disk.format(&disk.part(3), Fs::Swap);
    let mounted = Mounted::writable(&disk, &disk.part(2));
    RandomTree { files: 40, ..RandomTree::new(9) }.grow(mounted.at());
    drop(mounted);
    disk
}

fn bytes_of(mounted: &Mounted) -> u64 {
    let text =
        std::process::Command::new("stat").args(["-f", "-c", "%b %S"]).arg(mounted.at()).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    text.split_whitespace().map(|number| number.parse::<u64>().unwrap()).product()
}

#[test]
fn xfs_and_btrfs_fill_a_larger_disk_and_swap_moves_behind_them() {
    for fs in [Fs::By("mkfs.xfs", &["-q"]), Fs::By("mkfs.btrfs", &["-q"])] {
        let (_folder, agent) = folder();
        let source = system(fs, 600 * MIB, "+50M");
        agent.capture(&[&source.path], "genet", &[]).done();
        let target = noise(900 * MIB);
        let outcome = agent.restore(&[&target.path], "genet", &["--size", "fill"]).done().json();
        check::gpt_is_clean(&target);
        let (old, new) = (source.part(2), target.part(2));
        assert_eq!((new.range().start, new.range().end), (old.range().start, 849 * MIB));
        assert_eq!((target.part(3).range().start, target.part(3).range().end), (849 * MIB, 899 * MIB));
        let changes = outcome["receipt"]["adapted"]["changes"].as_array().unwrap().clone();
        let grown = format!(
            "resized from {} to {} bytes",
            old.range().end - old.range().start,
            new.range().end - new.range().start
        );
        assert!(
            changes.iter().any(|one| one["what"] == "disk 0 partition 2" && one["how"] == grown.as_str()),
            "{changes:?}"
        );
        // One after the other: the kernel mounts no two file systems with one UUID.
        let look = |disk: &Disk, part| {
            let mounted = Mounted::read_only(disk, part);
            (digest(mounted.at()), bytes_of(&mounted))
        };
        let ((was, before), (is, after)) = (look(&source, &old), look(&target, &new));
        was.assert_same(&is);
        assert!(after > before + 250 * MIB, "{before} and {after}");
        assert_eq!(check::blkid(&source, &source.part(3)), check::blkid(&target, &target.part(3)));
    }
}

#[test]
fn a_layout_makes_swap_anew_with_the_same_uuid() {
    let (folder, agent) = folder();
    let source = system(Fs::By("mkfs.btrfs", &["-q"]), 600 * MIB, "+50M");
    agent.capture(&[&source.path], "genet", &[]).done();
    let layout = folder.path().join("layout.toml");
    fs::write(&layout, "[[partitions]]\nnumber = 3\nsize = \"120MiB\"\n[[partitions]]\nnumber = 2\nsize = \"rest\"\n")
        .unwrap();
    let target = noise(900 * MIB);
    agent.restore(&[&target.path], "genet", &["--layout", layout.to_str().unwrap()]).done();
    let swap = target.part(3);
    assert_eq!(swap.range().end - swap.range().start, 120 * MIB);
    assert_eq!(check::blkid(&source, &source.part(3)), check::blkid(&target, &swap));
    // The last page, in units of 4096 bytes, as mkswap writes it.
    let last = target.read(swap.range().start + 1028, 4);
    assert_eq!(u32::from_le_bytes(last.try_into().unwrap()), 120 * 256 - 1);
}

#[test]
fn what_is_not_asked_for_is_the_image_byte_for_byte() {
    let (_folder, agent) = folder();
    let source = system(Fs::By("mkfs.xfs", &["-q"]), 600 * MIB, "0");
    agent.capture(&[&source.path], "genet", &[]).done();
    let (one, two) = (noise(600 * MIB), noise(600 * MIB));
    agent.restore(&[&one.path], "genet", &[]).done();
    let outcome = agent.restore(&[&two.path], "genet", &["--size", "fill"]).done().json();
    assert_eq!(one.hash(), two.hash());
    assert!(outcome["receipt"].get("adapted").is_none(), "{outcome}");
}

#[test]
fn refuses_sizes_that_do_not_do_and_writes_nothing() {
    let (folder, agent) = folder();
    let source = system(Fs::By("mkfs.xfs", &["-q"]), 600 * MIB, "+50M");
    agent.capture(&[&source.path], "genet", &[]).done();
    let layout = folder.path().join("layout.toml");
    fs::write(&layout, "[[partitions]]\nnumber = 2\nsize = \"rest\"\n").unwrap();
    let with_layout = |text: &str| {
        let own = tempfile::Builder::new().suffix(".toml").tempfile_in(folder.path()).unwrap().keep().unwrap().1;
        fs::write(&own, text).unwrap();
        vec!["--layout".to_owned(), own.to_str().unwrap().to_owned()]
    };
    let fill = || vec!["--size".to_owned(), "fill".to_owned()];
    let cases = [
        (500, fill(), vec!["shrink, which needs", "partition 2 (xfs) is XFS, which can grow and never shrink"]),
        (
            900,
            with_layout("[[partitions]]\nnumber = 2\nsize = \"2GiB\"\n"),
            vec!["would end at byte", "the target ends for them at"],
        ),
        (900, with_layout("[[partitions]]\nnumber = 9\nsize = \"rest\"\n"), vec!["partition 9 of disk 0"]),
        (900, with_layout("[[partitions]]\nnumber = 2\nsize = \"100MiB\"\n"), vec!["never shrink"]),
    ];
    for (mib, options, words) in cases {
        let target = noise(mib * MIB);
        let before = target.hash();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        agent.restore(&[&target.path], "genet", &options).expect_status(2).says(&words);
        assert_eq!(target.hash(), before, "a refusal has written: {options:?}");
    }
    for (options, words) in [
        (vec!["--size", "half"], "wanted keep or fill"),
        (vec!["--size", "fill", "--layout", layout.to_str().unwrap()], "exclude each other"),
        (vec!["--size", "fill", "--partition", "2"], "leave out --size"),
        (vec!["--layout", "/no/such/file"], "/no/such/file"),
    ] {
        let target = noise(64 * MIB);
        agent.restore(&[&target.path], "genet", &options).expect_status(3).says(&[words]);
    }
}
