//! The menus of the medium, on VGA and serial line at once.
//!
//! In: the kernel's command line. Out: configurations of isolinux (BIOS) and GRUB (UEFI).
//! Promise: both offer the same entries in the same order; without a key the first one starts after some seconds.

use std::fmt::Write;

/// What the kernel is started with when nobody says otherwise: both consoles, no chatter over the menu, and a restart a
/// minute after a panic.
pub const CMDLINE: &str = "console=tty0 console=ttyS0,115200n8 loglevel=4 panic=60";
/// Seconds.
const WAIT: u32 = 5;
const KERNEL: &str = "/boot/vmlinuz";
const INITRAMFS: &str = "/boot/initramfs.zst";

/// Title and what is added to the command line; none is: start the machine's own disk.
const ENTRIES: [(&str, Option<&str>); 4] = [
    ("Ramet: clone this machine", Some("")),
    ("Ramet, this screen only (where the serial port hangs)", Some("console=tty0")),
    ("Ramet, with the kernel's messages", Some("loglevel=7")),
    ("Start from the disk", None),
];

fn line(cmdline: &str, more: &str) -> String {
    let serial = |word: &&str| !(more == "console=tty0" && word.starts_with("console="));
    let words: Vec<&str> = cmdline.split(' ').filter(serial).chain(more.split(' ')).collect();
    words.join(" ").trim().to_owned()
}

/// `isolinux.cfg` with menu.c32, which draws on both.
#[must_use]
pub fn isolinux(cmdline: &str) -> String {
    let mut text = format!(
        "SERIAL 0 115200\nUI menu.c32\nPROMPT 0\nTIMEOUT {}\nMENU TITLE Ramet\nMENU AUTOBOOT Starting in # seconds\n",
        WAIT * 10
    );
    for (index, (title, more)) in ENTRIES.iter().enumerate() {
        let _ = write!(text, "LABEL entry{index}\n  MENU LABEL {title}\n");
        let _ = match more {
            Some(more) => {
                write!(text, "  KERNEL {KERNEL}\n  INITRD {INITRAMFS}\n  APPEND {}\n", line(cmdline, more))
            }
            None => writeln!(text, "  LOCALBOOT 0x80"),
        };
    }
    text
}

/// `grub.cfg`.
#[must_use]
pub fn grub(cmdline: &str) -> String {
    let mut text = format!(
        "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n\
        set timeout={WAIT}\nset default=0\n"
    );
    for (title, more) in ENTRIES {
        let _ = writeln!(text, "menuentry \"{title}\" {{");
        let _ = match more {
            Some(more) => write!(text, "  linux {KERNEL} {}\n  initrd {INITRAMFS}\n", quoted(&line(cmdline, more))),
            // Back to the firmware, which goes on with its next entry.
            None => writeln!(text, "  exit 1"),
        };
        text.push_str("}\n");
    }
    text
}

/// Words for GRUB's shell: each in single quotes, so that `;`, `$` and `{` mean nothing.
fn quoted(cmdline: &str) -> String {
    let word = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    cmdline.split(' ').filter(|part| !part.is_empty()).map(word).collect::<Vec<_>>().join(" ")
}

/// The first `grub.cfg`, on the EFI system partition: it looks for the medium by a file that only this one has.
#[must_use]
pub fn grub_on_esp(marker: &str) -> String {
    format!(
        "search --no-floppy --file --set=root {marker}\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_menus_offer_the_same() {
        let (bios, efi) = (isolinux(CMDLINE), grub(CMDLINE));
        for (title, _) in ENTRIES {
            assert!(bios.contains(&format!("MENU LABEL {title}\n")) && efi.contains(&format!("menuentry \"{title}\"")));
        }
        assert!(bios.contains("APPEND console=tty0 console=ttyS0,115200n8 loglevel=4 panic=60\n"));
        assert!(efi.contains("linux /boot/vmlinuz 'console=tty0' 'console=ttyS0,115200n8' 'loglevel=4' 'panic=60'\n"));
        assert!(bios.contains("APPEND loglevel=4 panic=60 console=tty0\n"));
    }

    #[test]
    fn a_word_means_nothing_to_grub() {
        assert_eq!(quoted("a=$b  c='d;e'"), "'a=$b' 'c='\\''d;e'\\'''");
    }
}
