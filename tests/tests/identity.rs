//! Clones that become machines of their own, by the agent's commands.
//!
//! In: disks with a small system of real file systems; declarations in TOML. Out: clones with names, keys and UUIDs of their
//! own, and refusals. Promise: a refusal leaves the target as it is; what cannot be given is said, and the copy is whole.
//!
//! Whole systems that boot afterwards are in `scripts/demo`; every family's files are in `agent/system`.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::Mounted;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::tool::scratch;
use ramet_tests::tree::digest;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const WHO: &str = "hostname = \"{{ name }}\"\n[hosts]\n\"192.0.2.1\" = [\"door\"]\n";

fn noise(size: u64) -> Disk {
    let disk = Disk::blank(size);
    let _ = Pattern::fill(&disk, 53);
    disk
}

/// Root on partition 1, swap on 2; fstab names both by UUID. `more` is done in the root.
fn system(fs: Fs<'_>, id: &str, more: impl FnOnce(&Path)) -> Disk {
    let disk = Disk::with_sgdisk(420 * MIB, &["-n", "1:2048:+380M", "-n", "2:0:+20M", "-t", "2:8200"]);
    disk.format(&disk.part(1), fs);
    disk.format(&disk.part(2), Fs::Swap);
    let uuid = |number| uuid_of(&disk, number);
    let (root, swap) = (uuid(1), uuid(2));
    let mounted = Mounted::writable(&disk, &disk.part(1));
    let put = |path: &str, text: &str| {
        let path = mounted.at().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("etc/os-release", &format!("ID={id}\nNAME={id}\n"));
    put("etc/hostname", "source\n");
    put("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 source\n");
    put("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    put("etc/fstab", &format!("UUID={root} / ext4 defaults 0 1\nUUID={swap} none swap sw 0 0\n"));
    put("etc/default/grub", &format!("GRUB_CMDLINE_LINUX=\"resume=UUID={swap}\"\n"));
    put("root/kept", "kept\n");
    more(mounted.at());
    drop(mounted);
    disk
}

fn uuid_of(disk: &Disk, number: u32) -> String {
    let said = check::blkid(disk, &disk.part(number));
    said.lines().find_map(|line| line.strip_prefix("UUID=")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn captured(disk: &Disk) -> (tempfile::TempDir, Agent, PathBuf) {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    agent.capture(&[&disk.path], "genet", &[]).done();
    let who = folder.path().join("who.toml");
    fs::write(&who, WHO).unwrap();
    (folder, agent, who)
}

#[test]
fn a_clone_has_its_own_name_and_uuids_and_everything_that_names_them_follows() {
    let features = &["-t", "ext4"][..];
    for (fs, checker, args) in [
        (Fs::Ext(features), "e2fsck", &["-fn"][..]),
        (Fs::By("mkfs.xfs", &["-q"]), "xfs_repair", &["-n"][..]),
        (Fs::By("mkfs.btrfs", &["-q"]), "btrfs", &["check", "--readonly"][..]),
    ] {
        let source = system(fs, "debian", |_| ());
        let (_folder, agent, who) = captured(&source);
        let target = noise(420 * MIB);
        let who = who.to_str().unwrap();
        let options = ["--identity", who, "--name", "web02", "--mac", "52:54:00:52:00:02", "--new-uuids"];
        let outcome = agent.restore(&[&target.path], "genet", &options).done().json();
        assert_eq!(outcome["receipt"]["adapted"]["identity"], true, "{outcome}");
        check::gpt_is_clean(&target);
        check::finds_nothing(checker, args, &target, &target.part(1));
        for number in [1, 2] {
            assert_ne!(uuid_of(&target, number), uuid_of(&source, number), "partition {number}");
        }
        let mounted = Mounted::read_only(&target, &target.part(1));
        let text = |path: &str| fs::read_to_string(mounted.at().join(path)).unwrap();
        assert_eq!(text("etc/hostname"), "web02\n");
        assert!(text("etc/hosts").contains("192.0.2.1") && text("etc/hosts").contains("web02"));
        assert_ne!(text("etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
        let (root, swap) = (uuid_of(&target, 1), uuid_of(&target, 2));
        assert!(text("etc/fstab").contains(&root) && text("etc/fstab").contains(&swap), "{}", text("etc/fstab"));
        assert!(text("etc/default/grub").contains(&swap));
        assert_eq!(text("root/kept"), "kept\n");
    }
}

#[test]
fn an_identity_that_cannot_be_given_leaves_a_whole_copy_that_says_so() {
    let source = system(Fs::Ext(&["-t", "ext4"]), "debian", |_| ());
    let (folder, agent, _) = captured(&source);
    let who = folder.path().join("nobody.toml");
    fs::write(&who, "hostname = \"web02\"\n[users.nobody-of-them]\nauthorized-keys = []\n").unwrap();
    let target = noise(420 * MIB);
    let receipt = folder.path().join("receipt.json");
    let options = ["--identity", who.to_str().unwrap(), "--receipt", receipt.to_str().unwrap()];
    let outcome = agent.restore(&[&target.path], "genet", &options).expect_status(5);
    outcome.says(&["plain copy", "nobody-of-them"]);
    assert!(fs::read_to_string(receipt).unwrap().contains("without"));
    let (was, is) = (Mounted::read_only(&source, &source.part(1)), Mounted::read_only(&target, &target.part(1)));
    digest(was.at()).assert_same(&digest(is.at()));
}

#[test]
fn what_can_never_be_is_refused_before_a_byte_is_written() {
    let plain = || system(Fs::Ext(&["-t", "ext4"]), "debian", |_| ());
    let asleep = plain();
    let swap = asleep.part(2).range().start;
    OpenOptions::new().write(true).open(&asleep.path).unwrap().write_all_at(b"S1SUSPEND\0", swap + 4086).unwrap();
    let empty = Disk::with_sgdisk(60 * MIB, &["-n", "1:2048:+40M"]);
    empty.format(&empty.part(1), Fs::Noise);
    let whole: &[&str] = &[];
    for (source, more, words) in [
        (asleep, whole, "hibernated"),
        (empty, whole, "no partition of the image holds a system"),
        (plain(), &["--partition", "1"][..], "leave out --partition"),
    ] {
        let (_folder, agent, who) = captured(&source);
        let target = if more.is_empty() { noise(source_size(&source)) } else { source.copy() };
        let before = target.hash();
        let options = [&["--identity", who.to_str().unwrap(), "--name", "web02"], more].concat();
        agent.restore(&[&target.path], "genet", &options).expect_status(2).says(&[words]);
        assert_eq!(target.hash(), before, "{words}");
    }
}

fn source_size(disk: &Disk) -> u64 {
    fs::metadata(&disk.path).unwrap().len()
}

#[test]
fn a_dry_run_on_a_clone_shows_a_diff_and_changes_nothing() {
    let disk = system(Fs::Ext(&["-t", "ext4"]), "debian", |_| ());
    let folder = scratch();
    let who = folder.path().join("who.toml");
    fs::write(&who, WHO).unwrap();
    let path = disk.path.to_str().unwrap();
    let call = |more: &[&str]| {
        let args = ["identity", path, "--identity", who.to_str().unwrap(), "--name", "web02"];
        Agent::plain(&[&args, more].concat())
    };
    let before = disk.hash();
    let diff = call(&["--dry-run"]).done().stdout;
    assert!(diff.contains("-source\n") && diff.contains("+web02\n"), "{diff}");
    assert_eq!(disk.hash(), before);
    call(&[]).expect_status(2).says(&["--yes"]);
    assert_eq!(disk.hash(), before);
    call(&["--yes"]).done();
    let mounted = Mounted::read_only(&disk, &disk.part(1));
    assert_eq!(fs::read_to_string(mounted.at().join("etc/hostname")).unwrap(), "web02\n");
    drop(mounted);
    // Nothing is new a second time.
    let again = call(&["--yes", "--json"]).done();
    assert_eq!(again.json(), serde_json::json!([]));
}

#[test]
fn a_declaration_with_an_unknown_key_or_variable_is_wrong_usage_and_touches_nothing() {
    let disk = system(Fs::Ext(&["-t", "ext4"]), "debian", |_| ());
    let (folder, agent, _) = captured(&disk);
    let target = noise(420 * MIB);
    let before = target.hash();
    for (text, words) in [("hostnam = \"a\"\n", "hostnam"), ("hostname = \"{{ nam }}\"\n", "hostname")] {
        let who = folder.path().join("wrong.toml");
        fs::write(&who, text).unwrap();
        let outcome = agent.restore(&[&target.path], "genet", &["--identity", who.to_str().unwrap()]);
        outcome.expect_status(3).says(&[words]);
    }
    assert_eq!(target.hash(), before);
}
