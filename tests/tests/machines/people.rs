//! Rows of machines with somebody in front of them.
//!
//! In: keys of a USB keyboard, keys of a serial line, an operator elsewhere. Out: what the menu was told to do.
//! Promise: nothing of the store is shown before an operator or a PIN lets the machine in.

use super::site::*;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Card, Firmware, Machine, Powered};

/// A machine in its menu, without a token.
fn menu(site: &Site, more: &str) -> Machine {
    let Site { url, key, .. } = site;
    let line = format!("console=tty0 clone.server={url} clone.key={key} clone.timeout.then=3 {more}");
    Machine::new(Firmware::Bios).card(Card::Virtio).direct(&boot_files(), &line)
}

/// The code on the screen.
fn code(machine: &mut Powered) -> String {
    let line = machine.waits_for("ramet agent approve ", LIMIT);
    line.split("ramet agent approve ").nth(1).unwrap()[..9].to_owned()
}

#[test]
fn a_usb_keyboard_alone_can_switch_the_machine_off() {
    let site = Site::new();
    let keyboard = "-machine i8042=off -device qemu-xhci -device usb-kbd";
    let mut machine = menu(&site, "").with(keyboard).start();
    let _ = code(&mut machine);
    machine.presses(&["7"]);
    let _ = machine.waits_for("Power this machine off?", LIMIT);
    machine.presses(&["y"]);
    machine.goes_off(LIMIT);
}

#[test]
fn a_pin_on_a_serial_line_opens_the_images_and_the_word_erase_restores_one() {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let pin = site.server.ramet(&["pin", "add", "--scope", "restore", "--expires", "1h"]).done().stdout;
    let mut machine = menu(&site, "").disk(Bus::Virtio, &target.path).start();
    let _ = code(&mut machine);
    assert!(!machine.console().contains("genet"), "the menu shows what is in the store");
    machine.types("2");
    let _ = machine.waits_for("or a PIN is typed here", LIMIT);
    machine.types(&format!("{}\r", pin.trim()));
    let _ = machine.waits_for("genet", LIMIT);
    machine.types("\r");
    let _ = machine.waits_for("DISK0", LIMIT);
    machine.types("\r");
    let _ = machine.waits_for("erase", LIMIT);
    is_untouched(&target);
    machine.types("erase\r");
    says(&machine.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    let _ = machine.waits_for("p: ", LIMIT);
    machine.types("p");
    machine.goes_off(LIMIT);
    is_restored(&target);
}

#[test]
fn an_operator_elsewhere_approves_a_code_and_nobody_touches_the_machine() {
    let site = Site::new();
    let target = Disk::blank(64 * MIB);
    let mut machine = menu(&site, "clone.then=poweroff").disk(Bus::Scsi, &target.path).start();
    let code = code(&mut machine);
    site.server.ramet(&["agent", "approve", &code, "--restore", "genet"]).done();
    says(&machine.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    machine.goes_off(LIMIT);
    is_restored(&target);
}
