//! What the rows share: a disk to clone, a server, and what is said at the end.
//!
//! In: the builder's output. Out: a site with an image, machines that start from it, and proofs.
//! Promise: a restored disk is compared by sgdisk, e2fsck and cmp; our own word for it is not enough.

use ramet_tests::agent::Agent;
use ramet_tests::attach::Loop;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB, Part};
use ramet_tests::machine::{Bus, Card, Firmware, Machine, Powered};
use ramet_tests::proxy::Proxy;
use ramet_tests::server::Server;
use ramet_tests::tool::{arg, run, scratch};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Long enough for two emulated machines on two busy cores.
pub const LIMIT: Duration = Duration::from_secs(240);

/// The builder's output for virtual machines.
pub fn boot_files() -> PathBuf {
    let dir = std::env::var_os("RAMET_BOOT").expect("RAMET_BOOT names the output of scripts/boot-files");
    let dir = PathBuf::from(dir);
    assert!(dir.join("initramfs.zst").exists(), "{} holds no boot files", dir.display());
    dir
}

/// A disk with a table, a file system of 20 MiB and noise: 30 MiB to move.
pub fn source() -> &'static Disk {
    static SOURCE: OnceLock<Disk> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let disk = Disk::with_sgdisk(48 * MIB, &["-n", "1:0:+20M", "-n", "2:0:+8M"]);
        disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4"]));
        disk.format(&disk.part(2), Fs::Noise);
        disk
    })
}

/// A server that virtual machines reach as 10.0.2.2, with the image `genet`.
pub struct Site {
    /// It names itself by `url`.
    pub server: Server,
    /// Arguments of a machine that ends by switching itself off.
    pub line: String,
    /// Its URL inside the machine.
    pub url: String,
    /// Its fingerprint.
    pub key: String,
}

impl Site {
    /// A server with the usual image.
    pub fn new() -> Self {
        Self::with(&source().path)
    }

    /// A server with an image of this disk.
    pub fn with(disk: &Path) -> Self {
        Self::on(Server::for_guests(), disk)
    }

    /// The usual image, and a bad network on the way to it.
    pub fn behind_a_proxy() -> (Self, Proxy) {
        let (server, proxy) = Server::for_guests_behind_a_proxy();
        (Self::on(server, &source().path), proxy)
    }

    fn on(server: Server, disk: &Path) -> Self {
        Agent::of(&server).capture(&[disk], "genet", &[]).done();
        let (url, key) = (server.guest_url(), server.key());
        let token = server.token(&["--scope", "capture,restore"]);
        let line =
            format!("clone.server={url} clone.key={key} clone.token={token} clone.then=poweroff clone.timeout.then=0");
        Self { server, line, url, key }
    }

    /// What restores the image.
    pub fn restore(&self) -> String {
        format!("{} clone.mode=restore clone.image=genet clone.confirm=yes", self.line)
    }
}

/// A machine that is started by QEMU itself, on the usual network.
pub fn direct(line: &str) -> Machine {
    Machine::new(Firmware::Bios).card(Card::Virtio).direct(&boot_files(), line)
}

/// The machine's last line; then it must go off by itself.
pub fn ends(mut machine: Powered) -> String {
    let line = machine.waits_for("RAMET: ", LIMIT);
    machine.goes_off(LIMIT);
    line
}

/// All of `words` are in `line`.
#[track_caller]
pub fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

/// Not one byte was written.
#[track_caller]
pub fn is_untouched(disk: &Disk) {
    let written = std::fs::read(&disk.path).unwrap().iter().position(|byte| *byte != 0);
    assert_eq!(written, None, "something was written");
}

/// What lies in the partitions of `target` is what lies in those of the source, and its table is clean.
pub fn is_restored(target: &Disk) {
    check::gpt_is_clean(target);
    for number in [1, 2] {
        let part = source().part(number);
        assert_eq!(target.part(number), part);
    }
    assert_eq!(check::differences(source(), target, &source().part(2).range()), Vec::new());
    check::ext_is_clean(target, &target.part(1));
}

/// Restores onto an empty disk on `bus`; the machine starts from `prepare`.
pub fn restores_on(bus: Bus, prepare: impl FnOnce(&Site) -> Machine) {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let machine = prepare(&site).disk(bus, &target.path);
    let line = ends(machine.start());
    says(&line, &["RAMET: restored genet@"]);
    is_restored(&target);
    let runs = site.server.ramet(&["run", "ls", "--json"]).done().json();
    assert!(runs.as_array().unwrap().iter().any(|run| run["action"] == "restore" && run["state"] == "done"), "{runs}");
}

/// A file system labelled so, with these files and folders of the host in it.
pub fn fill_fat_with(disk: &Disk, part: &Part, label: &str, from: &[&str]) {
    let device = Loop::part_writable(disk, part);
    run("mkfs.vfat", &["-F", "32", "-n", label, device.name()]);
    run("mcopy", &[&["-s", "-i", device.name()], from, &["::/"]].concat());
}

/// Files of a FAT file system, with the folders above them.
pub fn put_into_fat(disk: &Disk, part: &Part, files: &[(&str, &[u8])]) {
    let device = Loop::part_writable(disk, part);
    let folder = scratch();
    for (name, bytes) in files {
        let mut above = String::new();
        for piece in name.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
            above = format!("{above}/{piece}");
            run("mmd", &["-D", "s", "-i", device.name(), &format!("::{above}")]);
        }
        let file = folder.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        run("mcopy", &["-i", device.name(), arg(&file), &format!("::/{name}")]);
    }
}
