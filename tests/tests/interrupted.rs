//! Runs that are cut off, and the next run.
//!
//! In: kill -9 of agent and server, cut connections, full stores, targets that stop answering. Out: figures of the next
//! run, and clones.
//! Promise: the next run sends or writes only what is missing; a disk that is half restored has no table.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::{Agent, Running};
use ramet_tests::attach::{Loop, Mounted};
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone};
use ramet_tests::proxy::{Proxy, Way};
use ramet_tests::server::Server;
use ramet_tests::tool::scratch;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const CONTENTS: Contents<'static> = &[(1, Kind::Ext), (2, Kind::Noise)];

/// Some 130 MiB that do not compress: at least four packs.
fn source() -> Disk {
    let disk = Disk::with_sgdisk(160 * MIB, &["-n", "1:0:+24M", "-n", "2:0:+128M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    disk.format(&disk.part(2), Fs::Noise);
    disk
}

/// Bytes of finished packs in a store.
fn packed(store: &Path) -> u64 {
    let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
    let folders = list(&store.join("packs"));
    let files = folders.iter().flat_map(|folder| list(&folder.path()));
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|meta| meta.len()).sum()
}

/// A target with an older table, full of noise otherwise.
fn target(size: u64) -> (Disk, Pattern) {
    let disk = Disk::blank(size);
    let noise = Pattern::fill(&disk, 41);
    (disk, noise)
}

/// A target that looks whole: another table on a disk full of noise.
fn used_target(size: u64) -> Disk {
    let (disk, _) = target(size);
    disk.sgdisk(&["-Z"]);
    disk.sgdisk(&["-o", "-n", "3:0:0"]);
    assert!(check::has_table(&disk));
    disk
}

/// Restores onto a fresh target and judges.
fn comes_back(agent: &Agent, source: &Disk) {
    let (target, noise) = target(source.size);
    agent.restore(&[&target.path], "genet", &[]).done();
    is_clone(source, &target, &noise, CONTENTS);
}

/// Kills captures when so many bytes of packs are there; the next one has to send the rest only.
fn killed_captures(agent: &Agent, store: &Path, source: &Disk) {
    for limit in [30 * MIB, 90 * MIB] {
        let mut run = agent.start_capture(&[&source.path], "genet", &[]);
        if !run.runs_until(|| packed(store) >= limit) {
            panic!("the capture ended before it was killed: {}", run.stderr());
        }
        let _ = run.kill();
        let (target, _) = target(source.size);
        let before = target.hash();
        agent.restore(&[&target.path], "genet", &[]).expect_status(2);
        assert_eq!(target.hash(), before, "an image that was cut off was restored");
    }
    let sent = packed(store);
    let last = agent.capture(&[&source.path], "genet", &[]).done();
    let (present, new) = (last.figure("present_bytes"), last.figure("new_bytes"));
    assert!(present >= sent - MIB, "{sent} bytes were there, {present} of them were found");
    assert_eq!(present + new, last.figure("read_bytes"));
    comes_back(agent, source);
}

#[test]
fn a_killed_capture_into_a_folder_goes_on_where_it_was() {
    let folder = scratch();
    let store = folder.path().join("store");
    killed_captures(&Agent::on_folder(&store), &store, &source());
}

#[test]
fn a_killed_capture_to_a_server_goes_on_where_it_was() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.slow_to(40 * MIB);
    killed_captures(&Agent::through(&server, &proxy.url()), &server.store(), &source());
}

#[test]
fn a_capture_outlives_a_killed_server() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    proxy.slow_to(40 * MIB);
    let agent = Agent::through(&server, &proxy.url());
    let (source, store) = (source(), server.store());
    let mut run = agent.start_capture(&[&source.path], "genet", &["--json"]);
    assert!(run.runs_until(|| packed(&store) >= 30 * MIB), "{}", run.stderr());
    server.kill();
    std::thread::sleep(Duration::from_millis(300));
    server.start_again();
    let sent = packed(&store);
    let ended = run.wait();
    if ended.status != 0 {
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        let next = agent.capture(&[&source.path], "genet", &[]).done();
        assert!(next.figure("present_bytes") >= sent - MIB);
    }
    comes_back(&agent, &source);
}

#[test]
fn a_capture_outlives_cut_connections() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    let mut run = agent.start_capture(&[&source.path], "genet", &["--json"]);
    for cut in 0..3 {
        proxy.cut_after(Way::Up, 20 * MIB);
        assert!(run.runs_until(|| proxy.cut_count() > cut), "{}", run.stderr());
    }
    run.wait().done();
    comes_back(&agent, &source);
}

#[test]
fn a_restore_outlives_cut_connections() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = target(source.size);
    let mut run = agent.start_restore(&[&target.path], "genet", &["--json"]);
    for cut in 0..3 {
        proxy.cut_after(Way::Down, 20 * MIB);
        assert!(run.runs_until(|| proxy.cut_count() > cut), "{}", run.stderr());
    }
    run.wait().done();
    is_clone(&source, &target, &noise, CONTENTS);
}

#[test]
fn a_restore_outlives_a_killed_server() {
    let mut server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    proxy.slow_to(20 * MIB);
    let target = used_target(source.size);
    let before = target.copy();
    let mut run = agent.start_restore(&[&target.path], "genet", &["--json"]);
    let base = proxy.count(Way::Down);
    assert!(run.runs_until(|| proxy.count(Way::Down) > base + 30 * MIB), "{}", run.stderr());
    server.kill();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!check::has_table(&target), "half restored, and it has a table");
    assert!(check::differences(&before, &target, &(0..source.size)).len() > 1);
    server.start_again();
    let ended = run.wait();
    if ended.status != 0 {
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        assert!(!check::has_table(&target));
        agent.restore(&[&target.path], "genet", &[]).done();
    }
    ramet_tests::prove::same_contents(&source, &target, CONTENTS);
    check::gpt_is_clean(&target);
}

/// How much of the noise partition is already the source's, in samples of 4 KiB per MiB.
fn samples(source: &Disk, target: &Disk) -> usize {
    let part = source.part(2);
    let starts = (part.start..part.range().end).step_by(1 << 20);
    starts.filter(|at| source.read(*at, 4096) == target.read(*at, 4096)).count()
}

fn killed_restores(agent: &Agent, source: &Disk) {
    let target = used_target(source.size);
    for limit in [20, 80] {
        let mut run = agent.start_restore(&[&target.path], "genet", &[]);
        assert!(run.runs_until(|| samples(source, &target) >= limit), "{}", run.stderr());
        let _ = run.kill();
        assert!(!check::has_table(&target), "half restored, and it has a table");
        assert_eq!(target.read(0, 512), vec![0; 512], "LBA 0 is the last write");
    }
    let there = samples(source, &target) as u64;
    let last = agent.restore(&[&target.path], "genet", &[]).done();
    let (kept, written) = (last.figure("kept_bytes"), last.figure("written_bytes"));
    assert!(kept + 8 * MIB >= there * MIB, "about {there} MiB were there, {kept} bytes were kept");
    assert!(written <= (160 - there + 8) * MIB, "about {there} MiB were there, {written} bytes were written");
    assert!(last.figure("fetched_bytes") <= (160 - there + 8) * MIB);
    ramet_tests::prove::same_contents(source, &target, CONTENTS);
    check::gpt_is_clean(&target);
    assert_eq!(check::dump(&target), check::dump(source));
}

#[test]
fn a_killed_restore_from_a_folder_goes_on_where_it_was_and_left_no_table() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    killed_restores(&agent, &source);
}

#[test]
fn a_killed_restore_from_a_server_goes_on_where_it_was_and_left_no_table() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    proxy.slow_to(40 * MIB);
    killed_restores(&agent, &source);
}

/// A small file system with a ballast, which can be taken away.
fn small_file_system(ballast: u64) -> (Disk, Mounted) {
    let disk = Disk::blank(224 * MIB);
    disk.format(&disk.part(0), Fs::Ext(&["-t", "ext4", "-b", "4096", "-m", "0"]));
    let mounted = Mounted::writable(&disk, &disk.part(0));
    fs::write(mounted.at().join("ballast"), vec![1; usize::try_from(ballast).unwrap()]).unwrap();
    (disk, mounted)
}

#[test]
fn a_full_folder_fails_and_the_next_capture_sends_the_rest() {
    let (_disk, mounted) = small_file_system(110 * MIB);
    let agent = Agent::on_folder(&mounted.at().join("store"));
    let source = source();
    let full = agent.capture(&[&source.path], "genet", &[]).expect_status(1);
    full.says(&["No space left"]);
    let sent = packed(&mounted.at().join("store"));
    fs::remove_file(mounted.at().join("ballast")).unwrap();
    let next = agent.capture(&[&source.path], "genet", &[]).done();
    assert!(sent > 20 * MIB);
    assert!(next.figure("present_bytes") >= sent - MIB, "{sent} bytes were there");
    comes_back(&agent, &source);
}

#[test]
fn a_full_server_fails_and_the_next_capture_sends_the_rest() {
    let (_disk, mounted) = small_file_system(110 * MIB);
    let state = mounted.at().join("state");
    let server = Server::on(&state);
    let agent = Agent::of(&server);
    let source = source();
    let full = agent.capture(&[&source.path], "genet", &[]).expect_status(1);
    full.says(&["disk is full"]);
    let sent = packed(&server.store());
    fs::remove_file(mounted.at().join("ballast")).unwrap();
    let next = agent.capture(&[&source.path], "genet", &[]).done();
    assert!(sent > 20 * MIB);
    assert!(next.figure("present_bytes") >= sent - MIB, "{sent} bytes were there");
    comes_back(&agent, &source);
    drop(server);
}

#[test]
fn a_source_whose_end_is_unreadable_ends_without_an_image() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = source();
    let device = Loop::disk(&source);
    // Behind the end of its file a loop device answers with EIO.
    let end = source.part(2).start + 64 * MIB;
    File::options().write(true).open(&source.path).unwrap().set_len(end).unwrap();
    let outcome = agent.capture(&[&device.path], "genet", &[]);
    assert!(matches!(outcome.status, 1 | 2), "{}", outcome.stderr);
    outcome.says(&[device.name(), "offset", "error"]);
    let (target, _) = target(source.size);
    let before = target.hash();
    agent.restore(&[&target.path], "genet", &[]).expect_status(2);
    assert_eq!(target.hash(), before);
}

#[test]
fn a_target_that_answers_with_eio_fails_and_has_no_table() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    // A sparse file in a file system that is too small for it: writes behind the loop device fail.
    let (_disk, mounted) = small_file_system(130 * MIB);
    let file = mounted.at().join("target.img");
    File::create_new(&file).unwrap().set_len(source.size).unwrap();
    let device = Loop::new(&file, &[]);
    let outcome = agent.restore(&[&device.path], "genet", &[]).expect_status(1);
    outcome.says(&[device.name()]);
    assert_eq!(&fs::read(&file).unwrap()[..512], [0; 512]);
    drop(device);
}

#[test]
fn a_target_that_vanishes_in_the_middle_fails() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    proxy.slow_to(40 * MIB);
    let target = used_target(source.size);
    let device = Loop::disk(&target);
    let mut run = agent.start_restore(&[&device.path], "genet", &[]);
    let base = proxy.count(Way::Down);
    assert!(run.runs_until(|| proxy.count(Way::Down) > base + 20 * MIB), "{}", run.stderr());
    // All that lies behind the device is gone; reading it back must notice.
    File::options().write(true).open(&target.path).unwrap().set_len(4 * MIB).unwrap();
    let outcome = run.wait().expect_status(1);
    outcome.says(&[device.name()]);
}

#[test]
fn the_agent_does_not_wait_for_ever_for_a_server_that_is_gone() {
    let mut server = Server::start();
    let agent = Agent::of(&server);
    let source = source();
    server.kill();
    let run: Running = agent.start_capture(&[&source.path], "genet", &[]);
    let outcome = run.wait();
    assert!(matches!(outcome.status, 1 | 2), "{}", outcome.stderr);
    outcome.says(&["127.0.0.1"]);
}

#[test]
fn a_reader_that_went_away_ends_no_restore() {
    let folder = scratch();
    let agent = Agent::on_folder(&folder.path().join("store"));
    let source = Disk::with_sgdisk(32 * MIB, &["-n", "1:0:+24M"]);
    source.format(&source.part(1), Fs::Ext(&["-t", "ext4"]));
    agent.capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = target(source.size);
    assert_eq!(agent.restore_unheard(&target.path, "genet"), Some(0));
    is_clone(&source, &target, &noise, &[(1, Kind::Ext)]);
}
