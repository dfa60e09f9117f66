//! What is refused, and that a refusal has written nothing.
//!
//! In: wrong disks, names, keys, tokens and command lines. Out: exit status 2 or 3, and words that say why.
//! Promise: after every refusal the target is what it was, byte for byte.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::{Agent, Outcome};
use ramet_tests::attach::{Loop, Mounted};
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::proxy::{Proxy, Way};
use ramet_tests::server::{Server, operator};
use ramet_tests::tool::scratch;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn small() -> Disk {
    let disk = Disk::with_sgdisk(64 * MIB, &["-n", "1:0:+24M", "-n", "2:0:0"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4"]));
    disk.format(&disk.part(2), Fs::Swap);
    disk
}

fn captured() -> (tempfile::TempDir, Agent, Disk) {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = small();
    agent.capture(&[&source.path], "genet", &[]).done();
    (folder, agent, source)
}

fn noise(size: u64) -> Disk {
    let disk = Disk::blank(size);
    let _ = Pattern::fill(&disk, 31);
    disk
}

/// Restores onto `target`, which must be refused with `words` and stay as it is.
fn refused(agent: &Agent, target: &Disk, path: &Path, more: &[&str], words: &[&str]) -> Outcome {
    let before = target.hash();
    let outcome = agent.restore(&[path], "genet", more).expect_status(2);
    outcome.says(words);
    assert_eq!(target.hash(), before, "a refusal has written");
    outcome
}

#[test]
fn refuses_a_disk_smaller_than_the_last_partition_with_both_numbers() {
    let (_folder, agent, source) = captured();
    let target = noise(48 * MIB);
    let last = source.part(2).range().end;
    refused(&agent, &target, &target.path, &[], &[&(48 * MIB).to_string()]);
    assert!(last > target.size);
}

#[test]
fn refuses_another_sector_size_with_the_reason() {
    let (_folder, agent, _source) = captured();
    let target = noise(64 * MIB).sectors_of(4096);
    let device = Loop::disk(&target);
    refused(&agent, &target, &device.path, &[], &["512", "4096", "sectors"]);
}

#[test]
fn refuses_a_mounted_target_and_the_file_behind_it() {
    let (_folder, agent, _source) = captured();
    let target = Disk::blank(64 * MIB);
    target.format(&target.part(0), Fs::Ext(&["-t", "ext4"]));
    let mounted = Mounted::of(Loop::disk(&target), "ro,noatime");
    refused(&agent, &target, &mounted.device().path, &[], &["mounted", mounted.at().to_str().unwrap()]);
    refused(&agent, &target, &target.path, &[], &["loop"]);
}

#[test]
fn refuses_a_target_that_holds_the_store() {
    let disk = Disk::blank(96 * MIB);
    disk.format(&disk.part(0), Fs::Ext(&["-t", "ext4"]));
    let mounted = Mounted::writable(&disk, &disk.part(0));
    let agent = Agent::on_folder(&mounted.at().join("store"));
    let source = small();
    agent.capture(&[&source.path], "genet", &[]).done();
    agent.restore(&[&mounted.device().path], "genet", &[]).expect_status(2);
    assert!(mounted.at().join("store/packs").exists());
}

#[test]
fn refuses_a_target_that_is_not_there_or_no_disk() {
    let (folder, agent, _source) = captured();
    let missing = folder.path().join("missing");
    agent.restore(&[&missing], "genet", &[]).expect_status(2).says(&["missing"]);
    assert!(!missing.exists(), "a regular file must exist");
    agent.restore(&[folder.path()], "genet", &[]).expect_status(2);
    agent.restore(&[Path::new("/dev/null")], "genet", &[]).expect_status(2);
}

#[test]
fn refuses_the_same_disk_twice() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let (one, two) = (small(), small());
    agent.capture(&[&one.path, &two.path], "pair", &[]).done();
    agent.capture(&[&one.path, &one.path], "pair", &[]).expect_status(2).says(&["same disk"]);
    let target = noise(64 * MIB);
    let before = target.hash();
    agent.restore(&[&target.path, &target.path], "pair", &[]).expect_status(2).says(&["same disk"]);
    agent.restore(&[&target.path], "pair", &[]).expect_status(2);
    agent.restore(&[], "pair", &["--pair", &format!("0={}", target.name())]).expect_status(2);
    assert_eq!(target.hash(), before);
}

#[test]
fn refuses_without_yes_where_nobody_can_be_asked_and_a_dry_run_writes_nothing() {
    let (folder, agent, _source) = captured();
    let target = noise(64 * MIB);
    let before = target.hash();
    let store = folder.path().join("store");
    let args = ["restore", target.name(), "--image", "genet", "--store", store.to_str().unwrap()];
    Agent::plain(&args).expect_status(2).says(&["--yes"]);
    let plan = agent.restore(&[&target.path], "genet", &["--dry-run"]).done();
    assert_eq!(plan.json()["disks"][0]["size"], 64 * MIB);
    assert_eq!(target.hash(), before);
}

#[test]
fn refuses_a_mounted_source_unless_forced_which_makes_the_image_inconsistent_and_whole() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = Disk::blank(48 * MIB);
    source.format(&source.part(0), Fs::Ext(&["-t", "ext4"]));
    let mounted = Mounted::writable(&source, &source.part(0));
    for path in [&mounted.device().path, &source.path] {
        let outcome = agent.capture(&[path], "live", &[]).expect_status(2);
        outcome.says(&["mounted", "--force-mounted"]);
        let forced = agent.capture(&[path], "live", &["--force-mounted"]).done();
        assert!(forced.figure("used_bytes") >= source.size, "not copied whole");
        let target = noise(48 * MIB);
        let plan = agent.restore(&[&target.path], "live", &["--dry-run"]).done().json();
        assert_eq!(plan["inconsistent"], true);
    }
}

#[test]
fn refuses_an_image_that_does_not_exist() {
    let (_folder, agent, _source) = captured();
    let target = noise(64 * MIB);
    let before = target.hash();
    agent.restore(&[&target.path], "stolon", &[]).expect_status(2).says(&["stolon"]);
    agent.restore(&[&target.path], "genet@0123456789abcdef", &[]).expect_status(2).says(&["0123456789abcdef"]);
    let server = Server::start();
    Agent::of(&server).restore(&[&target.path], "stolon", &[]).expect_status(2).says(&["stolon"]);
    let nowhere = Agent::on_folder(Path::new("/nonexistent/store"));
    nowhere.restore(&[&target.path], "genet", &[]).expect_status(2);
    assert_eq!(target.hash(), before);
}

#[test]
fn wrong_usage_is_status_3() {
    let (folder, agent, source) = captured();
    let long = "x".repeat(300);
    for name in ["../genet", "a/b", "", ".hidden", "a b", "-x", "ä", "a\nb", &long] {
        let image = format!("--image={name}");
        let args = ["capture", source.name(), &image, "--store", folder.path().to_str().unwrap()];
        Agent::plain(&args).expect_status(3);
        agent.restore(&[&source.path], name, &[]).expect_status(3);
        operator(&["image", "rm", name, "--state", "/nonexistent"]).expect_status(3);
    }
    let disk = source.name();
    let wrong: [&[&str]; 9] = [
        &[],
        &["capture", disk],
        &["capture", "--image", "a", "--store", "/nonexistent"],
        &["capture", disk, "--image", "a", "--store", "/x", "--server", "https://x"],
        &["capture", disk, "--image", "a"],
        &["restore", disk, "--image", "a", "--store", "/x", "--pair", "0=x"],
        &["restore", disk, "--image", "a", "--store", "/x", "--partition", "x"],
        &["inspect"],
        &["destroy", disk],
    ];
    for args in wrong {
        Agent::plain(args).expect_status(3);
    }
    operator(&["token", "add", "--scope", "everything", "--state", "/nonexistent"]).expect_status(3);
    operator(&["frobnicate"]).expect_status(3);
}

#[test]
fn refuses_a_server_with_another_key_before_it_hears_the_token() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let token = server.token(&["--scope", "capture,restore"]);
    let wrong = format!("sha256:{}", "5a".repeat(32));
    let source = small();
    let agent = Agent::with(&proxy.url(), &wrong, &token);
    let outcome = agent.capture(&[&source.path], "genet", &[]).expect_status(2);
    outcome.says(&[&wrong, &server.key()]);
    let target = noise(64 * MIB);
    let before = target.hash();
    agent.restore(&[&target.path], "genet", &[]).expect_status(2).says(&[&wrong]);
    assert_eq!(target.hash(), before);
    // A TLS handshake, and nothing behind it.
    assert!(proxy.count(Way::Up) < 2 * 2048, "{} bytes were sent", proxy.count(Way::Up));
}

#[test]
fn refuses_tokens_that_are_wrong_expired_used_up_or_for_something_else() {
    let server = Server::start();
    let (source, target) = (small(), noise(64 * MIB));
    let (url, key) = (server.url().to_owned(), server.key());
    let agent = |token: &str| Agent::with(&url, &key, token);
    let before = target.hash();
    agent("nonsense").capture(&[&source.path], "genet", &[]).expect_status(2);
    let capture_only = agent(&server.token(&["--scope", "capture"]));
    capture_only.capture(&[&source.path], "genet", &[]).done();
    capture_only.restore(&[&target.path], "genet", &[]).expect_status(2);
    let restore_only = agent(&server.token(&["--scope", "restore"]));
    restore_only.capture(&[&source.path], "genet", &[]).expect_status(2);
    let lab = agent(&server.token(&["--scope", "capture,restore", "--image", "lab-*"]));
    lab.capture(&[&source.path], "genet", &[]).expect_status(2);
    lab.restore(&[&target.path], "genet", &[]).expect_status(2);
    lab.capture(&[&source.path], "lab-1", &[]).done();
    let once = agent(&server.token(&["--scope", "capture", "--once"]));
    once.capture(&[&source.path], "genet", &[]).done();
    once.capture(&[&source.path], "genet", &[]).expect_status(2);
    let short = agent(&server.token(&["--scope", "restore", "--expires", "1s"]));
    std::thread::sleep(Duration::from_millis(2100));
    short.restore(&[&target.path], "genet", &[]).expect_status(2);
    assert_eq!(target.hash(), before);
    let token = server.token(&["--scope", "restore"]);
    agent(&token).restore(&[&target.path], "genet", &[]).done();
    assert!(token.len() > 20 && !server.log().contains(&token), "a token is in the log");
}

#[test]
fn a_store_of_a_running_server_is_refused_as_a_folder() {
    let server = Server::start();
    let source = small();
    let agent = Agent::on_folder(&server.store());
    agent.capture(&[&source.path], "genet", &[]).expect_status(2);
}

#[test]
fn a_pinned_folder_key_is_checked_and_an_unpinned_one_is_said() {
    let (folder, agent, source) = captured();
    let target = noise(64 * MIB);
    let wrong = format!("sha256:{}", "5a".repeat(32));
    refused(&agent, &target, &target.path, &["--key", &wrong], &[&wrong]);
    let outcome = agent.restore(&[&target.path], "genet", &[]).done();
    let origin = outcome.json()["receipt"]["origin"].clone();
    let key = origin["integrity-only"].as_str().unwrap_or_else(|| panic!("{origin}")).to_owned();
    let pinned = agent.restore(&[&target.path], "genet", &["--key", &key]).done();
    assert_eq!(pinned.json()["receipt"]["origin"]["pinned"], key.as_str());
    // Another person has no key for this folder: reading goes, capturing does not.
    let other = Agent::on_folder(&folder.path().join("store"));
    other.restore(&[&target.path], "genet", &[]).done();
    other.capture(&[&source.path], "genet", &[]).expect_status(2);
}

#[test]
fn a_receipt_lies_where_it_was_asked_for() {
    let (folder, agent, _source) = captured();
    let target = noise(64 * MIB);
    let file = folder.path().join("receipt.json");
    agent.restore(&[&target.path], "genet", &["--receipt", file.to_str().unwrap()]).done();
    let receipt: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(receipt["disks"][0]["proof"], "file");
    assert_eq!(receipt["image"], "genet");
}
