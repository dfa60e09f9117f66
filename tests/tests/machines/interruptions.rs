//! Rows of accidents in the middle.
//!
//! In: a disk that is pulled, hangs or has bad sectors; a server that goes away. Out: a clone, or a table that is blank.
//! Promise: half a clone never looks like a whole one.

use super::site::*;
use ramet_tests::check;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Powered};
use ramet_tests::proxy::{Proxy, Way};
use std::time::Duration;

#[test]
fn a_disk_with_read_errors_ends_a_capture_with_disk_partition_and_offset() {
    let site = Site::new();
    let copy = source().copy();
    let offset = copy.part(2).start + MIB;
    let rules = format!("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nsector = \"{}\"\n", offset / 512);
    let line = format!("{} clone.mode=capture clone.image=other", site.line);
    let said = ends(direct(&line).bad_disk(Bus::Virtio, &copy.path, &rules).start());
    says(&said, &["/dev/vda", "partition 2"]);
    site.server.ramet(&["image", "show", "other"]).expect_status(2);
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
    if line.contains("RAMET: restored") { is_restored(&target) } else { assert!(!check::has_table(&target), "{line}") }
}

/// A machine that restores through a network so slow that the server goes away in the middle.
fn slowly(site: &Site, proxy: &Proxy, target: &Disk, more: &str) -> Powered {
    proxy.slow_to(MIB / 32);
    let line = site.restore() + more;
    let mut machine = direct(&line).disk(Bus::Virtio, &target.path).start();
    let _ = machine.waits_for("restoring genet", LIMIT);
    let base = proxy.count(Way::Down);
    while proxy.count(Way::Down) < base + MIB / 8 {
        assert!(!machine.console().contains("RAMET: "), "{}", machine.console());
        std::thread::sleep(Duration::from_millis(50));
    }
    machine
}

#[test]
fn a_server_that_is_gone_for_a_minute_does_not_end_a_restore() {
    let (mut site, proxy) = Site::behind_a_proxy();
    let target = Disk::blank(64 * MIB);
    let mut machine = slowly(&site, &proxy, &target, "");
    site.server.kill();
    std::thread::sleep(Duration::from_secs(60));
    assert!(!check::has_table(&target), "it was over before the server was gone");
    site.server.start_again();
    proxy.slow_to(0);
    says(&machine.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    machine.goes_off(LIMIT);
    is_restored(&target);
}

#[test]
fn a_server_that_is_gone_for_good_ends_a_restore_without_a_table() {
    let (site, proxy) = Site::behind_a_proxy();
    let target = Disk::blank(64 * MIB);
    let mut machine = slowly(&site, &proxy, &target, " clone.timeout.server=5");
    proxy.refuse(true);
    says(&machine.waits_for("RAMET: ", LIMIT), &["no answer after", "left without a valid first sector"]);
    machine.goes_off(LIMIT);
    assert!(!check::has_table(&target));
}

/// A disk that takes a byte per second: the kernel waits for it for ever, and so would the agent.
#[test]
fn an_agent_that_hangs_is_ended_and_so_is_its_machine() {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let line = site.restore().replace("clone.then=poweroff", "clone.then=reboot") + " clone.timeout.stall=10";
    let mut machine = direct(&line).slow_disk(Bus::Virtio, &target.path, 1).with("-device i6300esb -no-reboot").start();
    let line = machine.waits_for("RAMET: ", LIMIT);
    says(&line, &["no progress for 10 s", "clone.timeout.stall"]);
    machine.goes_off(LIMIT);
    assert!(!check::has_table(&target));
}
