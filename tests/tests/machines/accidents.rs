//! Rows of accidents before the first byte.
//!
//! In: a wrong line, a missing cable, a stranger's server, a clock of another century. Out: one sentence each.
//! Promise: whatever is found before the first write writes nothing.

use super::site::*;
use ramet_tests::check;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Card, Firmware, Machine};
use ramet_tests::net::Net;

fn refused(line: impl FnOnce(&Site) -> String, words: &[&str]) {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    says(&ends(direct(&line(&site)).disk(Bus::Virtio, &target.path).start()), words);
    is_untouched(&target);
}

#[test]
fn an_unknown_argument_is_named_with_the_nearest_known_one() {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    // A line that was not understood is not obeyed in part either: the machine waits for a person.
    let line = site.restore() + " clone.imge=genet";
    let mut machine = direct(&line).disk(Bus::Virtio, &target.path).start();
    says(&machine.waits_for("RAMET: ", LIMIT), &["clone.imge", "clone.image"]);
    let _ = machine.waits_for("The machine stays as it is", LIMIT);
    drop(machine);
    is_untouched(&target);
}

#[test]
fn a_server_with_another_key_is_refused_before_it_hears_the_token() {
    let other = format!("sha256:{}", "ab".repeat(32));
    refused(|site| site.restore().replace(&site.key, &other), &["sha256:abab"]);
}

#[test]
fn a_server_that_does_not_answer_is_said_with_its_address() {
    let away = "https://10.0.2.2:9";
    refused(
        |site| {
            site.restore().replace(&site.url, away)
                + " clone.timeout.server=3 clone.timeout.link=3 clone.timeout.lease=6"
        },
        &["10.0.2.2"],
    );
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
    let dead =
        |card| Machine::new(Firmware::Bios).card(card).disk(Bus::Virtio, &target.path).direct(&boot_files(), &line);
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
    let machine = Machine::new(Firmware::Bios).direct(
        &boot_files(),
        &(site.restore() + " clone.timeout.server=3 clone.timeout.link=3 clone.timeout.lease=3"),
    );
    says(&ends(machine.start()), &["network card"]);
}

/// The server is stopped; nothing else is wrong.
#[test]
fn a_stopped_server_ends_the_run_and_then_the_machine() {
    let mut site = Site::new();
    let line = site.restore() + " clone.timeout.server=3 clone.timeout.link=3 clone.timeout.lease=6";
    site.server.kill();
    says(&ends(direct(&line).start()), &["10.0.2.2"]);
}

#[test]
fn clocks_at_1970_and_2099_do_not_keep_an_agent_from_its_server() {
    for base in ["1970-01-01T00:00:00", "2099-12-31T23:59:00"] {
        restores_on(Bus::Virtio, |site| direct(&site.restore()).with(&format!("-rtc base={base}")));
    }
}

#[test]
fn a_machine_with_too_little_memory_is_told_both_numbers() {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let line = ends(direct(&site.restore()).memory(144).disk(Bus::Virtio, &target.path).start());
    says(&line, &["MiB are free", "MiB are needed", "more memory"]);
    is_untouched(&target);
}

/// The lease names no router, and the server is on another network.
#[test]
fn a_lease_without_a_route_to_the_server_is_said() {
    let net = Net::new();
    let leases = "interface=br0\nbind-interfaces\nport=0\ndhcp-range=10.77.0.100,10.77.0.150,1h\ndhcp-option=3\n";
    let _dhcp = net.dnsmasq(leases);
    let line = "clone.mode=job clone.server=https://10.99.0.1:4433 clone.then=poweroff clone.timeout.then=0 \
        clone.timeout.server=3 clone.timeout.lease=15 clone.key=sha256:";
    let line = format!("{line}{}", "ab".repeat(32));
    let machine = Machine::new(Firmware::Bios).tap(&net, false).direct(&boot_files(), &line);
    says(&ends(machine.start()), &["10.99.0.1", "names no router"]);
}
