//! The agent as a booted machine runs it: by its settings alone, or by its menu.
//!
//! In: arguments `clone.*`, disk-image files, a server, a medium, a bad network. Out: run folders, screens, clones.
//! Promise: every ending is one line; whatever is found before the first write has written nothing.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::booted::Boot;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone};
use ramet_tests::proxy::{Proxy, Way};
use ramet_tests::server::Server;
use ramet_tests::tool::{arg, run};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const CONTENTS: Contents<'static> = &[(1, Kind::Ext), (2, Kind::Noise)];

fn source() -> Disk {
    let disk = Disk::with_sgdisk(128 * MIB, &["-n", "1:0:+24M", "-n", "2:0:+90M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    disk.format(&disk.part(2), Fs::Noise);
    disk
}

fn small() -> Disk {
    let disk = Disk::with_sgdisk(32 * MIB, &["-n", "1:0:+24M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    disk
}

fn target(size: u64) -> (Disk, Pattern) {
    let disk = Disk::blank(size);
    let noise = Pattern::fill(&disk, 43);
    (disk, noise)
}

/// Settings for a server, with a token on the boot line.
fn by_hand(server: &Server, url: &str, more: &str) -> String {
    let token = server.token(&["--scope", "capture,restore"]);
    format!("server={url}\nkey={}\ntoken={token}\ntimeout.disk=2\nimage=genet\n{more}\n", server.key())
}

/// The last line of the console is the outcome, and it has these words.
#[track_caller]
fn says(boot: &Boot, ended: &ramet_tests::agent::Outcome, words: &[&str]) {
    let outcome = boot.file("outcome");
    assert!(outcome.starts_with("RAMET: "), "{outcome}");
    assert_eq!(ended.stdout.lines().last().unwrap_or_default(), outcome, "{}", ended.stderr);
    for word in words {
        assert!(outcome.contains(word), "{word:?} is not in {outcome}");
    }
}

#[test]
fn a_boot_line_captures_and_another_one_restores() {
    let server = Server::start();
    let source = source();
    let boot = Boot::with(&by_hand(&server, server.url(), "mode=capture\nthen=poweroff"));
    let ended = boot.end(&[&source.path]).done();
    says(&boot, &ended, &["captured genet@", "sent"]);
    assert_eq!(boot.file("then"), "poweroff");
    let (target, noise) = target(source.size);
    let untouched = target.hash();
    let boot = Boot::with(&by_hand(&server, server.url(), "mode=restore"));
    let ended = boot.end(&[&target.path]).expect_status(2);
    says(&boot, &ended, &["needs clone.confirm=yes", "nothing was written"]);
    assert_eq!((boot.file("then").as_str(), target.hash()), ("wait", untouched));
    boot.set(&by_hand(&server, server.url(), "mode=restore\nconfirm=yes"));
    let ended = boot.end(&[&target.path]).done();
    says(&boot, &ended, &["restored genet@", "read back", "receipt signed by the server"]);
    assert_eq!(boot.file("then"), "reboot");
    is_clone(&source, &target, &noise, CONTENTS);
}

#[test]
fn disks_that_can_not_be_told_apart_or_found_are_refused_and_the_server_hears_it() {
    let server = Server::start();
    let source = small();
    let conf = |more: &str| by_hand(&server, server.url(), &format!("mode=restore\nconfirm=yes\n{more}"));
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    let (one, two) = (Disk::blank(source.size), Disk::blank(source.size));
    let other = two.folder().join("other.img");
    fs::rename(&two.path, &other).unwrap();
    let boot = Boot::with(&conf(""));
    let both: [&Path; 2] = [&one.path, &other];
    let ended = boot.end(&both).expect_status(2);
    says(&boot, &ended, &["2 disks could be meant: disk.img", "name one with clone.disk"]);
    let ended = boot.end(&[Path::new("/nowhere.img")]).expect_status(2);
    says(&boot, &ended, &["no disk was found", "check its cable"]);
    boot.set(&conf("disk=0:serial=elsewhere"));
    let start = Instant::now();
    let ended = boot.end(&both).expect_status(2);
    assert!(start.elapsed() >= Duration::from_secs(2), "it was not waited for");
    says(&boot, &ended, &["no disk with serial elsewhere is there, found were: disk.img", "correct clone.disk"]);
    let runs = server.ramet(&["run", "ls"]).done().stdout;
    for words in ["2 disks could be meant", "no disk was found", "no disk with serial elsewhere"] {
        assert!(runs.contains(words), "{words}: {runs}");
    }
    boot.set(&conf("disk=0:serial=other"));
    boot.end(&both).done();
    assert_eq!(fs::read(&other).unwrap()[..512], fs::read(&source.path).unwrap()[..512]);
    assert!(!check::has_table(&one));
}

#[test]
fn a_disk_that_appears_late_is_waited_for() {
    let server = Server::start();
    let source = small();
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    let boot = Boot::with(&by_hand(&server, server.url(), "mode=restore\nconfirm=yes\ntimeout.disk=30"));
    let target = Disk::blank(source.size);
    let late = target.folder().join("late.img");
    let mut run = boot.start(&[&late]);
    assert!(run.runs_until(|| run_ls(&server).contains("waiting for disks") || run_ls(&server).contains("running")));
    std::thread::sleep(Duration::from_secs(2));
    fs::rename(&target.path, &late).unwrap();
    run.wait().done();
}

fn run_ls(server: &Server) -> String {
    server.ramet(&["run", "ls"]).done().stdout
}

#[test]
fn a_server_that_is_gone_for_a_while_does_not_end_a_restore_and_one_that_stays_away_does() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let source = source();
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    let conf =
        |seconds: u32| by_hand(&server, &proxy.url(), &format!("mode=restore\nconfirm=yes\ntimeout.server={seconds}"));
    proxy.slow_to(10 * MIB);
    let (target, noise) = target(source.size);
    let boot = Boot::with(&conf(5));
    let mut run = boot.start(&[&target.path]);
    let base = proxy.count(Way::Down);
    assert!(run.runs_until(|| proxy.count(Way::Down) > base + 30 * MIB), "{}", run.stdout());
    proxy.refuse(true);
    let ended = run.wait().expect_status(1);
    says(&boot, &ended, &["no answer after", "see that `ramet serve` runs", "without a valid first sector"]);
    assert_eq!(boot.file("then"), "wait");
    assert!(!check::has_table(&target));
    proxy.refuse(false);
    boot.set(&conf(120));
    let mut run = boot.start(&[&target.path]);
    let base = proxy.count(Way::Down);
    assert!(run.runs_until(|| proxy.count(Way::Down) > base + 20 * MIB), "{}", run.stdout());
    proxy.refuse(true);
    // Longer than all tries of an operator's command.
    std::thread::sleep(Duration::from_secs(15));
    assert!(!run.has_ended(), "{}", run.stdout());
    proxy.refuse(false);
    proxy.slow_to(0);
    run.wait().done();
    is_clone(&source, &target, &noise, CONTENTS);
}

#[test]
fn another_server_than_the_pinned_one_is_told_nothing() {
    let (server, other) = (Server::start(), Server::start());
    let boot = Boot::with(&by_hand(&server, other.url(), "mode=capture"));
    let source = small();
    let ended = boot.end(&[&source.path]).expect_status(2);
    says(&boot, &ended, &["pinned is", "compare clone.key"]);
    assert!(!run_ls(&other).contains("genet"));
}

/// A medium with one image in its store, and the store's key.
fn medium(boot: &Boot, source: &Disk) -> String {
    let store = boot.run().join("medium/ramet/store");
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    let agent = Agent::on_folder(&store);
    agent.capture(&[&source.path], "genet", &[]).done();
    let said = Agent::on_folder(&store).restore(&[&source.path], "genet", &["--dry-run"]).stdout;
    let key = said.split("sha256:").nth(1).unwrap();
    format!("sha256:{}", &key[..64])
}

#[test]
fn a_medium_restores_offline_and_a_damaged_one_writes_nothing() {
    let source = source();
    let boot = Boot::with("");
    let key = medium(&boot, &source);
    let (target, noise) = target(source.size);
    let before = target.hash();
    boot.set("mode=restore\nsource=media\nconfirm=yes\ntimeout.disk=2");
    says(&boot, &boot.end(&[&target.path]).expect_status(2), &["clone.key is missing"]);
    let other = format!("sha256:{}", "ab".repeat(32));
    let conf = |key: &str| format!("mode=restore\nsource=media\nconfirm=yes\ntimeout.disk=2\nkey={key}");
    boot.set(&conf(&other));
    says(&boot, &boot.end(&[&target.path]).expect_status(2), &["its key is sha256:", "pinned is sha256:abab"]);
    boot.set(&conf(&key));
    let packs = run("find", &[arg(&boot.run().join("medium/ramet/store/packs")), "-type", "f", "-size", "+1M"]);
    let pack = packs.lines().next().unwrap();
    let healthy = fs::read(pack).unwrap();
    let mut damaged = healthy.clone();
    damaged[healthy.len() / 2] ^= 1;
    fs::write(pack, &damaged).unwrap();
    says(&boot, &boot.end(&[&target.path]).expect_status(2), &["the medium is damaged: packs/", "nothing was written"]);
    assert_eq!(target.hash(), before);
    fs::write(pack, &healthy).unwrap();
    let ended = boot.end(&[&target.path]).done();
    says(&boot, &ended, &["restored genet@", "read back"]);
    is_clone(&source, &target, &noise, CONTENTS);
}

#[test]
fn the_menu_restores_from_a_medium_without_any_server() {
    let source = source();
    let boot = Boot::with("");
    let key = medium(&boot, &source);
    boot.set(&format!("key={key}"));
    let (target, noise) = target(source.size);
    let before = target.hash();
    let screen = boot.screen(&[&target.path]);
    screen.waits_for("This boot medium carries an image.");
    screen.press(&["3"]);
    screen.waits_for("disk.img: 0.125 GiB");
    screen.press(&["Escape"]);
    screen.waits_for("1  Capture this machine");
    screen.press(&["Down", "Enter"]);
    screen.waits_for("genet  ");
    screen.press(&["Enter"]);
    screen.waits_for("disk.img (128 MiB");
    screen.press(&["Enter"]);
    let plan = screen.waits_for("Everything on it will be lost.");
    assert!(plan.contains("(disk)") && plan.contains("the word erase"), "{plan}");
    screen.enter("yes");
    screen.waits_for("neither the disk's serial number nor the word erase");
    assert_eq!(target.hash(), before);
    screen.press(&["BSpace", "BSpace", "BSpace"]);
    screen.enter("erase");
    let ended = screen.waits_for("Done");
    assert!(ended.contains("restored genet@"), "{ended}");
    assert!(boot.file("outcome").starts_with("RAMET: restored genet@"));
    screen.press(&["p"]);
    let last = screen.waits_for("status=0");
    assert!(last.starts_with("RAMET: restored genet@"), "{last}");
    assert_eq!(boot.file("then"), "poweroff");
    is_clone(&source, &target, &noise, CONTENTS);
}

#[test]
fn the_menu_captures_with_a_token_of_the_boot_line() {
    let server = Server::start();
    let source = source();
    let boot = Boot::with(&by_hand(&server, server.url(), ""));
    let screen = boot.screen(&[&source.path]);
    screen.waits_for(server.url());
    screen.press(&["1"]);
    screen.waits_for("Name of the image");
    screen.enter("2");
    screen.waits_for("Capture into genet2: which disk?");
    screen.waits_for("disk.img (128 MiB");
    screen.press(&["Enter"]);
    let ended = screen.waits_for("Done");
    assert!(ended.contains("captured genet2@"), "{ended}");
    screen.press(&["Enter"]);
    screen.waits_for("1  Capture this machine");
    screen.press(&["C-c"]);
    screen.waits_for("Leave the menu?");
    screen.press(&["y"]);
    screen.waits_for("status=0");
    let (target, noise) = target(source.size);
    Agent::of(&server).restore(&[&target.path], "genet2", &[]).done();
    is_clone(&source, &target, &noise, CONTENTS);
}

/// The code that a console shows.
fn code_in(text: &str) -> String {
    let like = |word: &&str| word.len() == 9 && word.as_bytes()[4] == b'-';
    text.split_whitespace().find(like).unwrap_or_else(|| panic!("no code in {text}")).to_owned()
}

#[test]
fn a_boot_line_without_a_token_waits_for_an_operator_and_then_does_what_is_approved() {
    let server = Server::start();
    let source = small();
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    let (target, noise) = target(source.size);
    let conf = format!("mode=restore\nimage=genet\nserver={}\nkey={}\n", server.url(), server.key());
    let boot = Boot::with(&conf);
    let mut run = boot.start(&[&target.path]);
    let asked = |run: &ramet_tests::agent::Running| run.stdout().contains("ramet agent approve");
    assert!(run.runs_until(|| boot.file("nonce").len() == 32));
    let start = Instant::now();
    while !asked(&run) {
        assert!(start.elapsed() < Duration::from_secs(60) && !run.has_ended(), "{}", run.stdout());
        std::thread::sleep(Duration::from_millis(50));
    }
    let code = code_in(&run.stdout());
    server.ramet(&["agent", "approve", &code, "--restore", "genet"]).done();
    let ended = run.wait().done();
    says(&boot, &ended, &["restored genet@", "receipt signed by the server"]);
    is_clone(&source, &target, &noise, &[(1, Kind::Ext)]);
}

#[test]
fn a_job_for_which_there_is_nothing_lets_the_machine_start_from_its_disk() {
    let server = Server::start();
    let conf = |mode: &str| format!("mode={mode}\nserver={}\nkey={}\n", server.url(), server.key());
    let boot = Boot::with(&conf("job"));
    let disk = Disk::blank(MIB);
    let ended = boot.end(&[&disk.path]).done();
    says(&boot, &ended, &["nothing to do: "]);
    assert_eq!(boot.file("then"), "reboot");
    boot.set(&conf("inventory"));
    let ended = boot.end(&[&disk.path]).done();
    says(&boot, &ended, &["inventory of 1 disks"]);
    let seen = server.ramet(&["agent", "ls", "--json"]).done().stdout;
    assert!(seen.contains("\"disk.img\""), "{seen}");
}

#[test]
fn an_operator_approves_what_a_menu_shows_and_the_machine_ends_by_itself() {
    let server = Server::start();
    let source = small();
    let conf = format!("server={}\nkey={}\ntimeout.then=3\n", server.url(), server.key());
    let boot = Boot::with(&conf);
    let screen = boot.screen(&[&source.path]);
    let shown = screen.waits_for("ramet agent approve");
    assert!(shown.contains(&server.key()) && !shown.contains("genet"), "{shown}");
    server.ramet(&["agent", "approve", &code_in(&shown), "--capture", "genet"]).done();
    screen.waits_for("captured genet@");
    let last = screen.waits_for("status=0");
    assert!(last.starts_with("RAMET: captured genet@"), "{last}");
    assert_eq!(boot.file("then"), "reboot");
}

#[test]
fn a_pin_opens_the_images_that_it_is_for() {
    let server = Server::start();
    let source = small();
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    Agent::of(&server).capture(&[&source.path], "secret", &[]).done();
    let said = server.ramet(&["pin", "add", "--scope", "restore", "--images", "gen*", "--expires", "1h"]).done().stdout;
    let digits = |word: &&str| word.len() == 8 && word.bytes().all(|c| c.is_ascii_digit());
    let pin = said.split_whitespace().find(digits).unwrap_or_else(|| panic!("no PIN in {said}"));
    // Nobody pinned the identity: a person compares it.
    let boot = Boot::with(&format!("server={}\n", server.url()));
    let (target, noise) = target(source.size);
    let screen = boot.screen(&[&target.path]);
    let shown = screen.waits_for("Is it the same?");
    assert!(shown.contains(&server.key()), "{shown}");
    screen.press(&["y"]);
    screen.waits_for("ramet agent approve");
    screen.press(&["2"]);
    screen.waits_for("or a PIN is typed here");
    let wrong = if pin == "00000000" { "00000001" } else { "00000000" };
    screen.enter(wrong);
    screen.waits_for("checking the PIN");
    screen.enter(pin);
    let images = screen.waits_for("genet  ");
    assert!(!images.contains("secret"), "{images}");
    screen.press(&["Enter"]);
    screen.waits_for("disk.img (32.0 MiB");
    screen.press(&["Enter"]);
    screen.waits_for("Everything on it will be lost.");
    screen.enter("disk");
    screen.waits_for("restored genet@");
    is_clone(&source, &target, &noise, &[(1, Kind::Ext)]);
}

#[test]
fn a_worker_that_waits_or_works_gives_a_pulse() {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    let (mut heard, pipe) = std::io::pipe().unwrap();
    // Handed down: the standard library's pipes are closed on exec.
    let pipe = nix::unistd::dup(&pipe).unwrap();
    let boot = Boot::with("");
    let _key = medium(&boot, &small());
    let mut command = boot.command(&[]);
    command.env("RAMET_PULSE", pipe.as_raw_fd().to_string());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut menu = command.spawn().unwrap();
    drop(pipe);
    let start = Instant::now();
    heard.read_exact(&mut [0; 3]).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(menu.stdin.take());
    assert!(menu.wait().unwrap().success());
}
