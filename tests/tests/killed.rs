//! A server that is killed at random moments while machines are cloned.
//!
//! In: real agents, a real server, `kill -9` at moments that a seed makes; RAMET_KILLS says how many (default 20).
//! Out: jobs that all end, disks that are the image. Promise: an image is never damaged, a boot file is always there.

#![allow(clippy::unwrap_used)]

use ramet_tests::booted::Boot;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone};
use ramet_tests::random::Random;
use ramet_tests::server::{Server, operator};
use ramet_tests::tool::arg;
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONTENTS: Contents<'static> = &[(1, Kind::Ext)];
/// A job that has not ended by then never will.
const JOB: Duration = Duration::from_secs(180);

/// The address of a card of this machine: the agent says it, and so the inventory must know it.
fn mac() -> String {
    let hardware = ramet_agent::hardware::report(&ramet_agent::hardware::tree::Tree::of_this_machine(), None);
    hardware.cards.first().expect("this machine has a network card").mac.to_string()
}

/// What an operator does when the server is away: the same again.
fn insist(state: &Path, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().chain(["--state", arg(state)]).collect();
    let start = Instant::now();
    loop {
        let outcome = operator(&words);
        if outcome.status == 0 {
            return outcome.stdout;
        }
        assert!(start.elapsed() < JOB, "{line}: {}", outcome.stderr);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn json(state: &Path, line: &str) -> Value {
    serde_json::from_str(&insist(state, &format!("{line} --json"))).unwrap()
}

/// The job of this kind that is under way, made if there is none: an answer that was lost has made one all the same.
fn job(state: &Path, line: &str) -> u64 {
    let words: Vec<&str> = line.split_whitespace().chain(["--state", arg(state)]).collect();
    let start = Instant::now();
    loop {
        if let Some(job) = json(state, "job ls").as_array().unwrap().first() {
            return job["id"].as_u64().unwrap();
        }
        let _ = operator(&words);
        assert!(start.elapsed() < JOB, "{line}: no job comes of it");
    }
}

/// Boots the machine as long as the job is not over, as a person would who switches it; the job's last state.
fn carry_out(state: &Path, id: u64, disk: &Disk, conf: &str) -> String {
    let start = Instant::now();
    loop {
        let shown = json(state, &format!("job show {id}"))["job"]["state"].as_str().unwrap().to_owned();
        match shown.as_str() {
            "confirmed" | "failed" | "cancelled" | "lost" => return shown,
            "boot" => drop(Boot::with(conf).end(&[&disk.path])),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
        assert!(start.elapsed() < JOB, "job {id} does not end: {}", insist(state, &format!("job show {id}")));
    }
}

#[test]
fn a_server_that_is_killed_at_random_moments_loses_no_job_no_image_and_no_boot_file() {
    let wanted: usize = std::env::var("RAMET_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let (mut server, boot) = Server::with_boot_files(&["--settle", "1s"]);
    let (url, key) = (server.url().to_owned(), server.key());
    let conf = format!("mode=job\nserver={url}\nkey={key}\ntimeout.disk=2\n");
    let disk = Disk::with_sgdisk(48 * MIB, &["-n", "1:0:+40M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    let before = disk.hash();
    let state = server.state().to_owned();
    insist(&state, &format!("machine add genet --mac {}", mac()));
    let (kills, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let script = format!("http://{boot}/mac/{}.ipxe", mac().replace(':', "-"));
    let missing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut random = Random::new(7);
            while kills.load(Ordering::Relaxed) < wanted && !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50 + random.below(1500)));
                server.kill();
                server.start_again();
                // A machine that starts right now gets an answer: the agent, or its own disk.
                if !ureq::get(&script).call().is_ok_and(|answer| answer.status() == 200) {
                    missing.lock().unwrap().push(kills.load(Ordering::Relaxed));
                }
                kills.fetch_add(1, Ordering::Relaxed);
            }
            server
        });
        let (mut jobs, mut confirmed) = (0, 0);
        while kills.load(Ordering::Relaxed) < wanted {
            let capture = job(&state, "capture genet --image genet --tries 10 --yes");
            confirmed += usize::from(carry_out(&state, capture, &disk, &conf) == "confirmed");
            let (target, noise) = {
                let target = Disk::blank(disk.size);
                let noise = Pattern::fill(&target, 7);
                (target, noise)
            };
            let restore = job(&state, "restore genet --to genet --then poweroff --tries 10 --yes");
            if carry_out(&state, restore, &target, &conf) == "confirmed" {
                confirmed += 1;
                is_clone(&disk, &target, &noise, CONTENTS);
            }
            jobs += 2;
        }
        over.store(true, Ordering::Relaxed);
        let _server = killer.join().unwrap();
        eprintln!("{} kills, {jobs} jobs, {confirmed} confirmed", kills.load(Ordering::Relaxed));
        assert_eq!(disk.hash(), before, "the captured disk was changed");
        insist(&state, "image check genet");
        insist(&state, "store check");
        assert!(missing.lock().unwrap().is_empty(), "a boot file was missing after a kill");
        assert!(confirmed == jobs, "{confirmed} of {jobs} jobs were confirmed: {}", insist(&state, "job ls --all"));
    });
}
