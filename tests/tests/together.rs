//! Collect beside everything else, and how much memory it all takes.
//!
//! In: captures and restores under way while the store is collected; a disk of 200 GB. Out: whole images; peaks.
//! Promise: a collection harms no run; agent and server stay below 256 MiB however large the disk is.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::attach::Mounted;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::proxy::Proxy;
use ramet_tests::random::Random;
use ramet_tests::server::Server;
use ramet_tests::tree::{RandomTree, digest};

/// Some 64 MiB of which the second half is the seed's own.
fn disk(seed: u64) -> Disk {
    let disk = Disk::with_sgdisk(72 * MIB, &["-n", "1:0:+64M"]);
    let part = disk.part(1);
    for nr in 0..64 {
        let from = if nr < 32 { nr } else { seed * 1000 + nr };
        disk.write(part.start + nr * MIB, &Random::new(from).bytes(1 << 20));
    }
    disk
}

fn restored(agent: &Agent, image: &str, source: &Disk) {
    let target = Disk::blank(source.size);
    let _ = Pattern::fill(&target, 71);
    agent.restore(&[&target.path], image, &[]).done();
    assert_eq!(check::differences(source, &target, &source.part(1).range()), Vec::new());
}

#[test]
fn collect_runs_beside_a_capture_and_a_restore_without_harm() {
    let server = Server::start();
    let direct = Agent::of(&server);
    let (one, two, three) = (disk(1), disk(2), disk(3));
    direct.capture(&[&one.path], "one", &[]).done();
    direct.capture(&[&two.path], "two", &[]).done();
    // From here on half of the packs of `one` is garbage, half is shared with what is captured now.
    let proxy = Proxy::to(server.address());
    // Slow until it was collected twice while both ran, however slow this machine is.
    proxy.slow_to(MIB);
    let slow = Agent::through(&server, &proxy.url());
    let target = Disk::blank(two.size);
    let _ = Pattern::fill(&target, 72);
    server.ramet(&["image", "rm", "one"]).done();
    let mut capture = slow.start_capture(&[&three.path], "three", &["--json"]);
    let mut restore = slow.start_restore(&[&target.path], "two", &["--json"]);
    let mut collected = 0;
    while !(capture.has_ended() && restore.has_ended()) {
        server.ramet(&["store", "collect"]).done();
        collected += usize::from(!capture.has_ended() && !restore.has_ended());
        if collected == 2 {
            proxy.slow_to(12 * MIB);
        }
    }
    assert!(collected >= 2, "the runs were over before a collection was");
    capture.wait().done();
    restore.wait().done();
    assert_eq!(check::differences(&two, &target, &two.part(1).range()), Vec::new());
    server.ramet(&["store", "collect"]).done();
    restored(&direct, "three", &three);
    restored(&direct, "two", &two);
    server.ramet(&["store", "check"]).done();
    assert!(server.peak_kib() < 256 << 10, "the server took {} KiB", server.peak_kib());
}

#[test]
fn a_disk_of_200_gb_takes_no_more_than_256_mib_and_only_what_matters() {
    let size = 200_000_000_000 / MIB * MIB;
    let source = Disk::with_sgdisk(size, &["-n", "1:0:0"]);
    let part = source.part(1);
    source.format(&part, Fs::Ext(&["-t", "ext4", "-J", "size=64"]));
    let mounted = Mounted::writable(&source, &part);
    RandomTree::new(81).grow(mounted.at());
    drop(mounted);
    let server = Server::start();
    let agent = Agent::of(&server);
    let captured = agent.capture(&[&source.path], "large", &[]).done();
    assert!(captured.peak_kib > 4 << 10, "nothing was measured");
    assert!(captured.peak_kib <= 256 << 10, "capture took {} KiB", captured.peak_kib);
    let used = captured.figure("used_bytes");
    assert!(used < 400 * MIB, "{used} bytes matter, of which 64 MiB are the journal");
    let target = Disk::blank(size);
    let restored = agent.restore(&[&target.path], "large", &[]).done();
    assert!(restored.peak_kib <= 256 << 10, "restore took {} KiB", restored.peak_kib);
    assert!(server.peak_kib() <= 256 << 10, "the server took {} KiB", server.peak_kib());
    check::gpt_is_clean(&target);
    let wanted = digest(Mounted::read_only(&source, &part).at());
    digest(Mounted::read_only(&target, &part).at()).assert_same(&wanted);
}
