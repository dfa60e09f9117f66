//! Rows of disks and cards.
//!
//! In: a machine with one kind of disk behind one kind of card. Out: a clone, or a capture that is the disk.
//! Promise: a disk that is not meant stays as it was.

use super::site::*;
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::machine::{Bus, Card, Firmware, Machine};

#[test]
fn virtio() {
    restores_on(Bus::Virtio, |site| direct(&site.restore()));
}

#[test]
fn virtio_scsi_behind_an_e1000e() {
    restores_on(Bus::Scsi, |site| {
        Machine::new(Firmware::Bios).card(Card::E1000e).direct(&boot_files(), &site.restore())
    });
}

#[test]
fn nvme_beside_a_dead_card() {
    restores_on(Bus::Nvme, |site| {
        let line = format!("{} clone.timeout.link=5 clone.timeout.lease=10", site.restore());
        let machine = Machine::new(Firmware::Bios).card(Card::Deaf).card(Card::Virtio);
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
    is_untouched(&target);
}

/// A disk with sectors of 4096 bytes, behind an address that no DHCP server gave.
#[test]
fn nvme_with_sectors_of_4096_behind_a_static_address() {
    let source = Disk::with_sgdisk_4k(48 * MIB, &["-n", "1:0:+20M"]);
    source.format(&source.part(1), Fs::Ext(&["-t", "ext4"]));
    let site = Site::with(&source.path);
    let target = Disk::blank(64 * MIB).sectors_of(4096);
    let line = format!("{} clone.ip=10.0.2.77/24,10.0.2.2,10.0.2.3", site.restore());
    let mut machine = direct(&line).disk(Bus::Nvme4k, &target.path).start();
    says(&machine.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    machine.goes_off(LIMIT);
    assert!(machine.console().contains("10.0.2.77/24"), "{}", machine.console());
    check::gpt_is_clean(&target);
    check::ext_is_clean(&target, &target.part(1));
    assert_eq!(check::differences(&source, &target, &source.part(1).range()), Vec::new());
}

/// An ESP without the fallback loader: firmware would not find the clone by itself.
#[test]
fn uefi_gets_an_entry_for_a_loader_that_it_would_not_find_and_bios_a_refusal_or_a_warning() {
    let source = Disk::with_sgdisk(64 * MIB, &["-n", "1:0:+40M", "-t", "1:ef00"]);
    source.format(&source.part(1), Fs::Fat(16));
    put_into_fat(&source, &source.part(1), &[("EFI/debian/shimx64.efi", b"a loader")]);
    let site = Site::with(&source.path);
    let target = Disk::blank(64 * MIB);
    let words = "the image starts by UEFI and the target by BIOS";
    says(&ends(direct(&site.restore()).disk(Bus::Virtio, &target.path).start()), &[words, "clone.ignore=boot-check"]);
    is_untouched(&target);
    let line = format!("{} clone.ignore=boot-check", site.restore());
    let mut bios = direct(&line).disk(Bus::Virtio, &target.path).start();
    let _ = bios.waits_for(words, LIMIT);
    says(&bios.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    drop(bios);
    let target = Disk::blank(64 * MIB);
    let uefi = Machine::new(Firmware::Uefi).card(Card::Virtio).direct(&boot_files(), &site.restore());
    let line = ends(uefi.disk(Bus::Virtio, &target.path).start());
    says(&line, &["RAMET: restored genet@"]);
    let runs = site.server.ramet(&["run", "ls", "--json"]).done().json();
    let run = site.server.ramet(&["run", "show", runs[0]["run"].as_str().unwrap()]).done().json();
    let receipt: serde_json::Value = serde_json::from_str(run["receipt"]["receipt"].as_str().unwrap()).unwrap();
    let note = receipt["notes"][0].as_str().unwrap_or_default();
    says(note, &["added Boot", r"EFI\debian\shimx64.efi"]);
}

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
