//! Jobs, from the operator's command to the confirmed clone: real agent, real server, a person for the power.
//!
//! In: a machine in the inventory, a disk-image file as its disk. Out: an image, a restored disk, jobs with their proof.
//! Promise: the operator's commands say the same as the database; the agent says how it leaves.

#![allow(clippy::unwrap_used)]

use ramet_agent::firstboot::{self, Ending, FirstBootError};
use ramet_agent::transfer::agents::Desk;
use ramet_agent::transfer::client::Limits;
use ramet_server::{Config, Running, start};
use ramet_system::first_boot;
use ramet_tests::booted::Boot;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone};
use ramet_tests::server::operator;
use ramet_tests::tool::{arg, scratch};
use ramet_wire::adapt::FirstBoot;
use ramet_wire::agents::{DiskSeen, Hello, Work};
use ramet_wire::manifest::Source;
use ramet_wire::settings::Mode;
use serde_json::Value;
use std::time::Duration;

const CONTENTS: Contents<'static> = &[(1, Kind::Ext)];

/// A server whose jobs are confirmed soon after their agents have left.
struct Server {
    running: Running,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = scratch();
        let mut config = Config::new(folder.path().join("state"));
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.limits.job_tick = Duration::from_millis(100);
        config.limits.settle = Duration::from_secs(1);
        Self { running: start(config).unwrap(), folder }
    }

    fn ramet(&self, line: &str) -> ramet_tests::agent::Outcome {
        let state = self.folder.path().join("state");
        let words: Vec<&str> = line.split_whitespace().chain(["--state", arg(&state)]).collect();
        operator(&words)
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ramet(&format!("{line} --json")).done().stdout).unwrap()
    }

    fn boot(&self, more: &str) -> Boot {
        let (url, key) = (self.running.url(), self.running.fingerprint());
        Boot::with(&format!("server={url}\nkey={key}\ntimeout.disk=2\n{more}\n"))
    }
}

/// The address of a card of this machine: the agent says it, and so the inventory must know it.
fn mac() -> String {
    let hardware = ramet_agent::hardware::report(&ramet_agent::hardware::tree::Tree::of_this_machine(), None);
    hardware.cards.first().expect("this machine has a network card").mac.to_string()
}

fn disk() -> Disk {
    let disk = Disk::with_sgdisk(48 * MIB, &["-n", "1:0:+40M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    disk
}

#[test]
fn a_machine_is_captured_and_restored_by_jobs_and_the_inventory_says_what_runs_on_it() {
    let server = Server::start();
    let disk = disk();
    server.ramet(&format!("machine add genet --mac {} --tag web", mac())).done();
    let asked = server.ramet("capture genet --image genet").expect_status(2);
    assert!(asked.stderr.contains("There is no terminal to ask; give --yes"), "{}", asked.stderr);
    let plan = server.json("capture genet --image genet --dry-run");
    assert_eq!((plan["machines"][0]["machine"].as_str(), plan["jobs"].as_array().unwrap().len()), (Some("genet"), 0));
    let begun = server.json("capture genet --image genet --yes");
    let capture = begun["jobs"][0].as_u64().unwrap();

    let boot = server.boot("mode=job");
    let ended = boot.end(&[&disk.path]).done();
    assert!(boot.file("outcome").contains("captured genet@"), "{}", ended.stdout);
    assert_eq!(boot.file("then"), "reboot");
    let watched = server.ramet(&format!("job watch {capture} --timeout 60s")).done();
    assert!(watched.stdout.contains("genet capture genet"), "{}", watched.stdout);
    let job = server.json(&format!("job show {capture}"));
    assert_eq!((job["job"]["state"].as_str(), job["job"]["seen"].as_str()), (Some("confirmed"), Some("left")), "{job}");

    let machine = server.json("machine show genet");
    assert_eq!(machine["disks"][0]["serial"], "disk", "{machine}");
    assert_eq!(machine["disks"][0]["holds"], "gpt");
    assert!(machine["hardware"]["memory"].as_u64().unwrap() > 0);

    let (target, before) = (Disk::blank(disk.size), disk.hash());
    let noise = Pattern::fill(&target, 7);
    let begun = server.json("restore genet --to genet --yes");
    let restore = begun["jobs"][0].as_u64().unwrap();
    let boot = server.boot("mode=job");
    boot.end(&[&target.path]).done();
    assert!(boot.file("outcome").contains("receipt signed by the server"), "{}", boot.file("outcome"));
    is_clone(&disk, &target, &noise, CONTENTS);
    assert_eq!(disk.hash(), before);
    server.ramet(&format!("job watch {restore} --timeout 60s")).done();
    let listed = server.ramet("machine ls --tag web").done().stdout;
    assert!(listed.contains("genet@"), "{listed}");
    // An agent that comes without work goes home.
    let boot = server.boot("mode=job");
    boot.end(&[&target.path]).done();
    assert_eq!(boot.file("then"), "reboot");
    let audit = server.ramet("audit").done().stdout;
    assert!(audit.contains("do=restore image=genet") && audit.contains("POST /v1/machines"), "{audit}");
}

#[test]
fn a_refused_restore_leaves_the_disk_alone_and_says_why_in_the_job() {
    let server = Server::start();
    let disk = disk();
    server.ramet(&format!("machine add genet --mac {}", mac())).done();
    server.ramet("capture genet --image genet --yes").done();
    server.boot("mode=job").end(&[&disk.path]).done();
    server.ramet("job watch --timeout 60s").done();
    let refused = server.ramet("restore genet --to genet --blank-only --yes").expect_status(2);
    assert!(refused.stderr.contains("holds gpt"), "{}", refused.stderr);
    // The inventory sees an empty disk; the one that is there when the job comes is not.
    server.ramet("inventory genet --yes").done();
    let boot = server.boot("mode=job");
    boot.end(&[&Disk::blank(disk.size).path]).done();
    assert!(boot.file("outcome").contains("the server has noted this machine"), "{}", boot.file("outcome"));
    server.ramet("job watch --timeout 60s").done();
    assert_eq!(server.json("machine show genet")["disks"][0]["holds"], "");
    let begun = server.json("restore genet --to genet --blank-only --tries 1 --yes");
    let job = begun["jobs"][0].as_u64().unwrap();
    let before = disk.hash();
    let boot = server.boot("mode=job");
    boot.end(&[&disk.path]).done();
    assert!(boot.file("outcome").contains("holds gpt"), "{}", boot.file("outcome"));
    // What is as it was goes back to where it was.
    assert_eq!((boot.file("then").as_str(), disk.hash()), ("reboot", before));
    let watched = server.ramet(&format!("job watch {job} --timeout 60s")).expect_status(1);
    assert!(watched.stderr.contains(&format!("job {job} ended failed")), "{}", watched.stderr);
    let shown = server.ramet(&format!("job show {job}")).done().stdout;
    assert!(shown.contains("holds gpt") && shown.contains("disk-not-empty"), "{shown}");
    assert!(check::has_table(&disk));
}

#[test]
fn a_job_that_is_cancelled_gives_its_agent_nothing_and_machines_that_nobody_knows_are_refused() {
    let server = Server::start();
    let disk = disk();
    server.ramet(&format!("machine add genet --mac {}", mac())).done();
    let refused = server.ramet("capture nobody --image genet --yes").expect_status(2);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    let job = server.json("capture genet --image genet --yes")["jobs"][0].as_u64().unwrap();
    server.ramet(&format!("job cancel {job}")).done();
    server.boot("mode=job").end(&[&disk.path]).done();
    assert!(server.json("image ls").as_array().unwrap().is_empty());
    assert!(server.ramet("job ls").done().stdout.lines().count() == 1);
    assert!(server.ramet("job ls --all").done().stdout.contains("cancelled"));
}

/// A machine whose disk was captured by a job, as `genet`.
fn captured(server: &Server) -> Disk {
    let disk = disk();
    server.ramet(&format!("machine add genet --mac {} --tag web", mac())).done();
    server.ramet("capture genet --image genet --yes").done();
    server.boot("mode=job").end(&[&disk.path]).done();
    server.ramet("job watch --timeout 60s").done();
    disk
}

#[test]
fn an_identity_is_declared_shown_and_ordered_and_a_plain_copy_in_its_place_is_a_failure() {
    let server = Server::start();
    let disk = captured(&server);
    let file = server.folder.path().join("web.toml");
    std::fs::write(&file, "hostname = \"{{ name }}-{{ tags[0] }}\"\n").unwrap();
    let nothing = server.ramet("machine identity genet").expect_status(1);
    assert!(nothing.stderr.contains("no identity is declared"), "{}", nothing.stderr);
    server.ramet(&format!("tag set web --identity {}", arg(&file))).done();
    assert!(server.ramet("tag ls").done().stdout.contains("declared"));
    assert!(server.ramet("tag show web").done().stdout.contains("{{ name }}"));
    let shown = server.ramet("machine identity genet").done().stdout;
    assert!(shown.contains("hostname = \"genet-web\"") && shown.contains("tag web"), "{shown}");
    std::fs::write(&file, "hostnmae = \"x\"\n").unwrap();
    let refused = server.ramet(&format!("machine set genet --identity {}", arg(&file))).expect_status(2);
    assert!(refused.stderr.contains("hostnmae"), "{}", refused.stderr);
    std::fs::write(&file, "hostname = \"own\"\n").unwrap();
    server.ramet(&format!("machine set genet --identity {}", arg(&file))).done();
    assert!(server.ramet("machine show genet").done().stdout.contains("declared by operator local"));
    let plan = server.ramet("restore genet --to genet --dry-run --expect boot --new-uuids").done().stdout;
    assert!(plan.contains("own, new UUIDs, calls"), "{plan}");
    let plain = server.json("restore genet --to genet --dry-run --no-identity");
    assert!(plain["machines"][0]["becomes"].is_null(), "{plain}");

    // Nothing on this disk is a system that has an identity.
    let job = server.json("restore genet --to genet --yes")["jobs"][0].as_u64().unwrap();
    let boot = server.boot("mode=job");
    boot.end(&[&disk.path]).expect_status(1);
    assert!(boot.file("outcome").contains("without identity"), "{}", boot.file("outcome"));
    assert_eq!(boot.file("then"), "wait", "it would start as its source's double");
    server.ramet(&format!("job watch {job} --timeout 60s")).expect_status(1);
    let shown = server.json(&format!("job show {job}"));
    assert_eq!((shown["job"]["cause"].as_str(), shown["job"]["try_now"].as_u64()), (Some("without-identity"), Some(1)));
    let machine = server.ramet("machine show genet").done().stdout;
    assert!(machine.contains(", without identity"), "{machine}");
}

/// The work of a job, as its agent gets it.
fn work(server: &Server, disk: &Disk, nonce: u8) -> Work {
    let limits = Limits { tries: 1, ..Limits::default() };
    let (url, key) = (server.running.url(), server.running.fingerprint());
    let desk = Desk::connect(url, Some(key), &|_| false, limits).unwrap();
    let serial = Some("disk".to_owned());
    let seen = DiskSeen { name: "disk".into(), size: disk.size, sector: 512, serial, ..DiskSeen::default() };
    let hello = Hello {
        agent: ramet_server::http::VERSION.to_owned(),
        nonce: format!("{nonce:032x}"),
        mode: Mode::Job,
        machine: Source::default(),
        macs: vec![mac().parse().unwrap()],
        disks: vec![seen],
        hardware: None,
    };
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let orders = desk.hello(&hello).unwrap();
        if let Some(work) = orders.work {
            return work;
        }
        assert!(std::time::Instant::now() < until, "{}", orders.message);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_clone_calls_once_removes_what_it_needed_for_that_and_stays_while_the_server_is_away() {
    let server = Server::start();
    let disk = captured(&server);
    let job = server.json("restore genet --to genet --first-boot --yes")["jobs"][0].as_u64().unwrap();
    let call = work(&server, &disk, 7).adapt.unwrap().first_boot.unwrap();
    let root = server.folder.path().join("clone");
    let file = |path: &str, text: &[u8]| {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    file("etc/hostname", b"web02\n");
    file("etc/os-release", b"PRETTY_NAME=\"Genet 1\"\n");
    file("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    let conf = file(first_boot::ORDER, &serde_json::to_vec(&call).unwrap());
    let unit = file(&format!("/etc/systemd/system/{}", first_boot::UNIT), b"unit");
    let program = file(first_boot::PROGRAM, b"program");
    let limits = Limits { tries: 1, pause: Duration::from_millis(10), ..Limits::default() };
    let run = |conf: &std::path::Path| firstboot::run_within(limits, conf, &root);
    // A server that is away, or another one, is not told, and the next start tries again.
    let away = FirstBoot { server: "https://127.0.0.1:1".into(), ..call.clone() };
    let other = FirstBoot { key: ramet_wire::Fingerprint([1; 32]), ..call.clone() };
    for wrong in [away, other] {
        let wrong = file("etc/wrong.json", &serde_json::to_vec(&wrong).unwrap());
        assert!(matches!(run(&wrong), Err(FirstBootError::Call(_))));
        assert!(conf.exists() && unit.exists() && program.exists());
    }
    assert_eq!(run(&conf).unwrap(), Ending::Heard);
    assert!(!conf.exists() && !unit.exists() && !program.exists() && root.join("etc/hostname").exists());
    let shown = server.json(&format!("job show {job}"));
    assert_eq!((shown["job"]["booted"].as_str(), shown["job"]["seen"].as_str()), (Some("web02"), Some("booted")));
    let booted = &shown["booted"]["booted"];
    assert_eq!((booted["os"].as_str(), booted["kernel"].is_string()), (Some("Genet 1"), true), "{booted}");
    let machine = server.ramet("machine show genet").done().stdout;
    assert!(machine.contains("as web02 at") && machine.contains("0123456789abcdef"), "{machine}");
    assert!(server.ramet("job ls --all").done().stdout.contains("booted as web02"));
    // A token that had its call, and one that nobody gave, end the caller as well: no later try would be heard.
    let strange = FirstBoot { token: format!("rmt_00000000_{}", "0".repeat(64)), ..call.clone() };
    for (again, words) in [(call, "had it"), (strange, "unknown")] {
        let conf = file(first_boot::ORDER, &serde_json::to_vec(&again).unwrap());
        let Ending::Void(why) = run(&conf).unwrap() else { panic!("it was heard twice") };
        assert!(why.contains(words) && !conf.exists(), "{why}");
    }
}
