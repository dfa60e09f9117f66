//! The agent as PID 1 on virtual machines: every boot path, disk, card and accident in one row of a table.
//!
//! In: the builder's output (`RAMET_BOOT`, as `scripts/boot-files` makes it), a real server, QEMU. Out: lines of consoles.
//! Promise: a row is one machine and one line that must come; rows that restore are compared by tools that are not ours.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::Agent;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::machine::{Bus, Card, Firmware, Machine, Powered};
use ramet_tests::server::Server;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// Long enough for two emulated machines on two busy cores.
const LIMIT: Duration = Duration::from_secs(240);

/// The builder's output for virtual machines.
fn boot_files() -> PathBuf {
    let dir = std::env::var_os("RAMET_BOOT").expect("RAMET_BOOT names the output of scripts/boot-files");
    let dir = PathBuf::from(dir);
    assert!(dir.join("initramfs.zst").exists(), "{} holds no boot files", dir.display());
    dir
}

/// A disk with a table, a file system of 20 MiB and noise: 30 MiB to move.
fn source() -> &'static Disk {
    static SOURCE: OnceLock<Disk> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let disk = Disk::with_sgdisk(48 * MIB, &["-n", "1:0:+20M", "-n", "2:0:+8M"]);
        disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4"]));
        disk.format(&disk.part(2), Fs::Noise);
        disk
    })
}

/// A server that virtual machines reach as 10.0.2.2, with the image `genet`.
struct Site {
    server: Server,
    line: String,
    url: String,
    key: String,
}

impl Site {
    fn new() -> Self {
        let server = Server::for_guests();
        Agent::of(&server).capture(&[&source().path], "genet", &[]).done();
        let (url, key) = (server.guest_url(), server.key());
        let token = server.token(&["--scope", "capture,restore"]);
        let line =
            format!("clone.server={url} clone.key={key} clone.token={token} clone.then=poweroff clone.timeout.then=0");
        Self { server, line, url, key }
    }

    fn restore(&self) -> String {
        format!("{} clone.mode=restore clone.image=genet clone.confirm=yes", self.line)
    }
}

/// A machine that is started by QEMU itself, on the usual network.
fn direct(line: &str) -> Machine {
    Machine::new(Firmware::Bios).card(Card::Virtio, None).direct(&boot_files(), line)
}

/// The machine's last line; then it must go off by itself.
fn ends(mut machine: Powered) -> String {
    let line = machine.waits_for("RAMET: ", LIMIT);
    machine.goes_off(LIMIT);
    line
}

fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

/// What lies in the partitions of `target` is what lies in those of the source, and its table is clean.
fn is_restored(target: &Disk) {
    check::gpt_is_clean(target);
    for number in [1, 2] {
        let part = source().part(number);
        assert_eq!(target.part(number), part);
    }
    assert_eq!(check::differences(source(), target, &source().part(2).range()), Vec::new());
    check::ext_is_clean(target, &target.part(1));
}

/// Restores onto an empty disk on `bus`; the machine starts from `prepare`.
fn restores_on(bus: Bus, prepare: impl FnOnce(&Site) -> Machine) {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let machine = prepare(&site).disk(bus, &target.path);
    let line = ends(machine.start());
    says(&line, &["RAMET: restored genet@"]);
    is_restored(&target);
    let runs = site.server.ramet(&["run", "ls", "--json"]).done().json();
    assert!(runs.as_array().unwrap().iter().any(|run| run["action"] == "restore" && run["state"] == "done"), "{runs}");
}

mod disks {
    use super::*;

    #[test]
    fn virtio() {
        restores_on(Bus::Virtio, |site| direct(&site.restore()));
    }

    #[test]
    fn virtio_scsi_behind_an_e1000e() {
        restores_on(Bus::Scsi, |site| {
            Machine::new(Firmware::Bios).card(Card::E1000e, None).direct(&boot_files(), &site.restore())
        });
    }

    #[test]
    fn nvme_beside_a_dead_card() {
        restores_on(Bus::Nvme, |site| {
            let line = format!("{} clone.timeout.link=5 clone.timeout.lease=10", site.restore());
            let machine = Machine::new(Firmware::Bios).card(Card::Deaf, None).card(Card::Virtio, None);
            machine.direct(&boot_files(), &line)
        });
    }

    #[test]
    fn ahci_in_512_mib() {
        restores_on(Bus::Sata, |site| direct(&site.restore()).memory(512));
    }

    /// A USB disk is a candidate only when it is named.
    #[test]
    fn usb_when_it_is_named_and_not_otherwise() {
        restores_on(Bus::Usb, |site| direct(&format!("{} clone.disk=0:serial=DISK0", site.restore())));
        let site = Site::new();
        let target = Disk::blank(64 * MIB);
        let line = format!("{} clone.timeout.disk=3", site.restore());
        says(&ends(direct(&line).disk(Bus::Usb, &target.path).start()), &["DISK0", "clone.disk"]);
        assert!(!check::has_table(&target));
    }

    #[test]
    fn an_image_for_another_sector_size_is_refused_untouched() {
        let site = Site::new();
        let target = Disk::blank(64 * MIB);
        let line = ends(direct(&site.restore()).disk(Bus::Virtio4k, &target.path).start());
        says(&line, &["512", "4096"]);
        assert_eq!(std::fs::read(&target.path).unwrap().iter().position(|byte| *byte != 0), None);
    }
}

mod captures {
    use super::*;

    #[test]
    fn an_unattended_capture_publishes_an_image_that_is_the_disk() {
        let site = Site::new();
        let copy = source().copy();
        let line = format!("{} clone.mode=capture clone.image=other", site.line);
        says(&ends(direct(&line).disk(Bus::Nvme, &copy.path).start()), &["RAMET: captured other@"]);
        assert_eq!(copy.hash(), source().hash(), "a capture changes nothing");
        let target = Disk::blank(48 * MIB);
        let line = site.restore().replace("clone.image=genet", "clone.image=other");
        says(&ends(direct(&line).disk(Bus::Sata, &target.path).start()), &["RAMET: restored other@"]);
        is_restored(&target);
    }
}

mod accidents {
    use super::*;

    fn refused(line: impl FnOnce(&Site) -> String, words: &[&str]) {
        let site = Site::new();
        let target = Disk::blank(64 * MIB);
        says(&ends(direct(&line(&site)).disk(Bus::Virtio, &target.path).start()), words);
        assert_eq!(
            std::fs::read(&target.path).unwrap().iter().position(|byte| *byte != 0),
            None,
            "something was written"
        );
    }

    #[test]
    fn an_unknown_argument_is_named_with_the_nearest_known_one() {
        refused(|site| site.restore() + " clone.imge=genet", &["clone.imge", "clone.image"]);
    }

    #[test]
    fn a_server_with_another_key_is_refused_before_it_hears_the_token() {
        let other = format!("sha256:{}", "ab".repeat(32));
        refused(|site| site.restore().replace(&site.key, &other), &["sha256:abab"]);
    }

    #[test]
    fn a_server_that_does_not_answer_is_said_with_its_address() {
        let away = "https://10.0.2.2:9";
        refused(|site| site.restore().replace(&site.url, away) + " clone.timeout.server=5", &["10.0.2.2"]);
    }

    #[test]
    fn an_unattended_restore_needs_a_confirmation() {
        refused(|site| site.restore().replace("clone.confirm=yes", ""), &["clone.confirm"]);
    }

    #[test]
    fn no_disk_and_two_disks_that_match_are_said() {
        let site = Site::new();
        let line = site.restore() + " clone.timeout.disk=3";
        says(&ends(direct(&line).start()), &["no disk"]);
        let (one, two) = (Disk::blank(64 * MIB), Disk::blank(64 * MIB));
        let machine = direct(&line).disk(Bus::Virtio, &one.path).disk(Bus::Nvme, &two.path);
        says(&ends(machine.start()), &["DISK0", "DISK1", "clone.disk"]);
        assert!(!check::has_table(&one) && !check::has_table(&two));
    }

    #[test]
    fn no_cable_and_no_lease_are_told_apart() {
        let site = Site::new();
        let line = site.restore() + " clone.timeout.link=3 clone.timeout.lease=8 clone.timeout.server=3";
        let target = Disk::blank(64 * MIB);
        let dead = |card| {
            Machine::new(Firmware::Bios).card(card, None).disk(Bus::Virtio, &target.path).direct(&boot_files(), &line)
        };
        says(&ends(dead(Card::Deaf).start()), &["lease"]);
        let mut unplugged = dead(Card::Unplugged).with("-S").start();
        unplugged.monitor("set_link card0 off");
        unplugged.monitor("cont");
        let line = unplugged.waits_for("RAMET: ", LIMIT);
        says(&line, &["link"]);
    }

    #[test]
    fn a_machine_without_a_card_says_so() {
        let site = Site::new();
        let machine = Machine::new(Firmware::Bios).direct(&boot_files(), &(site.restore() + " clone.timeout.server=3"));
        says(&ends(machine.start()), &["network card"]);
    }

    /// The server is stopped; nothing else is wrong.
    #[test]
    fn a_stopped_server_ends_the_run_and_then_the_machine() {
        let mut site = Site::new();
        let line = site.restore() + " clone.timeout.server=5";
        site.server.kill();
        says(&ends(direct(&line).start()), &["10.0.2.2"]);
    }

    #[test]
    fn a_disk_with_read_errors_ends_a_capture_with_disk_partition_and_offset() {
        let site = Site::new();
        let copy = source().copy();
        let offset = copy.part(2).start + MIB;
        let rules = format!("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nsector = \"{}\"\n", offset / 512);
        let line = format!("{} clone.mode=capture clone.image=other", site.line);
        let said = ends(direct(&line).bad_disk(Bus::Virtio, &copy.path, &rules).start());
        says(&said, &["/dev/vda", "partition 2"]);
        site.server.ramet(&["image", "show", "other"]).expect_status(1);
    }

    #[test]
    fn a_disk_that_is_pulled_ends_the_restore_and_has_no_table() {
        let site = Site::new();
        let target = Disk::blank(64 * MIB);
        let mut machine = direct(&site.restore()).disk(Bus::Virtio, &target.path).start();
        let _ = machine.waits_for("restoring genet", LIMIT);
        machine.monitor("device_del dev0");
        let line = machine.waits_for("RAMET: ", LIMIT);
        // Emulated disks are fast: where everything was written before the plug came out, it is a clone.
        if line.contains("RAMET: restored") {
            is_restored(&target)
        } else {
            assert!(!check::has_table(&target), "{line}")
        }
    }

    #[test]
    fn clocks_at_1970_and_2099_do_not_keep_an_agent_from_its_server() {
        for base in ["1970-01-01T00:00:00", "2099-12-31T23:59:00"] {
            restores_on(Bus::Virtio, |site| direct(&site.restore()).with(&format!("-rtc base={base}")));
        }
    }
}

mod paths {
    use super::*;

    /// A stick or a CD that restores what it holds, without any network.
    fn offline(firmware: Firmware, bus: Bus) {
        let iso = boot_files().join("offline.iso");
        let target = Disk::blank(64 * MIB);
        let machine = Machine::new(firmware).disk(bus, &iso).disk(Bus::Virtio, &target.path);
        let line = ends(machine.start());
        says(&line, &["RAMET: restored"]);
        check::gpt_is_clean(&target);
    }

    #[test]
    fn iso_as_cd_under_bios() {
        offline(Firmware::Bios, Bus::Cd);
    }

    #[test]
    fn iso_as_stick_under_bios() {
        offline(Firmware::Bios, Bus::Usb);
    }

    #[test]
    fn iso_as_cd_under_uefi() {
        offline(Firmware::Uefi, Bus::Cd);
    }

    #[test]
    fn iso_as_stick_under_uefi() {
        offline(Firmware::Uefi, Bus::Usb);
    }

    #[test]
    fn iso_as_cd_under_secure_boot() {
        offline(Firmware::Secure, Bus::Cd);
    }
}
