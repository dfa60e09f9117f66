//! Rows of boot media.
//!
//! In: the ISO as CD and as stick, a UKI on an ESP. Out: a disk restored without any network.
//! Promise: each firmware starts it as a machine is sold: BIOS, UEFI, Secure Boot with Microsoft's and with own keys.

use super::site::*;
use ramet_tests::check;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Firmware, Machine};
use ramet_tests::tool::{arg, run};

/// A stick or a CD that restores what it holds, without any network.
fn offline(firmware: Firmware, bus: Bus) {
    let iso = boot_files().join("offline.iso");
    let target = Disk::blank(64 * MIB);
    let machine = Machine::new(firmware).medium(bus, &iso).disk(Bus::Virtio, &target.path);
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

/// A stick as people make it by hand: an ESP with the UKI, and the folder that stands on the ISO too.
fn stick(uki: &str) -> Disk {
    let disk = Disk::with_sgdisk(80 * MIB, &["-n", "1:0:0", "-t", "1:ef00"]);
    let part = disk.part(1);
    let folder = ramet_tests::tool::scratch();
    let out = arg(&folder.path().join("ramet")).to_owned();
    run("xorriso", &["-osirrox", "on", "-indev", arg(&boot_files().join("offline.iso")), "-extract", "/ramet", &out]);
    fill_fat_with(&disk, &part, "RAMET", &[&out]);
    let uki = std::fs::read(boot_files().join(uki)).unwrap();
    put_into_fat(&disk, &part, &[("EFI/BOOT/BOOTX64.EFI", &uki)]);
    disk
}

#[test]
fn uki_on_an_esp() {
    let (stick, target) = (stick("signed.efi"), Disk::blank(64 * MIB));
    let machine = Machine::new(Firmware::Uefi).medium(Bus::Usb, &stick.path).disk(Bus::Nvme, &target.path);
    says(&ends(machine.start()), &["RAMET: restored"]);
    check::gpt_is_clean(&target);
}

#[test]
fn uki_signed_with_own_keys_under_secure_boot_and_an_unsigned_one_is_refused() {
    let (own, target) = (stick("signed.efi"), Disk::blank(64 * MIB));
    let machine = Machine::new(Firmware::OwnKeys).medium(Bus::Usb, &own.path).disk(Bus::Nvme, &target.path);
    says(&ends(machine.start()), &["RAMET: restored"]);
    check::gpt_is_clean(&target);
    let (stranger, target) = (stick("ramet.efi"), Disk::blank(64 * MIB));
    let machine = Machine::new(Firmware::OwnKeys).medium(Bus::Usb, &stranger.path).disk(Bus::Nvme, &target.path);
    let _ = machine.start().waits_for("Access Denied", LIMIT);
    is_untouched(&target);
}

/// One flipped bit in the pack that the medium carries.
#[test]
fn a_damaged_medium_writes_nothing() {
    let folder = ramet_tests::tool::scratch();
    let (packs, iso) = (folder.path().join("packs"), folder.path().join("damaged.iso"));
    let whole = boot_files().join("offline.iso");
    run("xorriso", &["-osirrox", "on", "-indev", arg(&whole), "-extract", "/ramet/store/packs", arg(&packs)]);
    let pack = run("find", &[arg(&packs), "-type", "f", "-size", "+1"]);
    let pack = std::fs::read(pack.lines().next().unwrap()).unwrap();
    let mut bytes = std::fs::read(&whole).unwrap();
    let at = bytes.windows(256).position(|window| window == &pack[..256]).unwrap();
    bytes[at + pack.len() / 2] ^= 1;
    std::fs::write(&iso, bytes).unwrap();
    let target = Disk::blank(64 * MIB);
    let machine = Machine::new(Firmware::Bios).medium(Bus::Cd, &iso).disk(Bus::Virtio, &target.path);
    says(&ends(machine.start()), &["damaged"]);
    assert!(!check::has_table(&target));
}
