//! GRUB's configurations, for clients of Secure Boot: Debian's signed network GRUB, which speaks TFTP and no HTTP.
//!
//! In: what a card is armed with. Out: configurations.
//! Promise: paths are relative to where GRUB came from, so the same text does over TFTP and HTTP.

use super::{Urls, line};
use crate::db::netboot::Told;
use ramet_wire::settings::Mac;

/// Screen and first serial line, whichever there is.
const CONSOLES: &str = "\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
";

/// For a GRUB that asked for no card's configuration: it knows its card, and asks again.
pub(super) fn first() -> String {
    "# Ramet: GRUB asks again, for its own card.\n\
     if [ -n \"$net_default_mac\" ]; then configfile /grub/mac/$net_default_mac.cfg; fi\n\
     echo 'Ramet: GRUB does not know its network card'\n\
     sleep 5\n\
     exit 1\n"
        .to_owned()
}

/// For one card.
pub(super) fn machine(urls: &Urls, mac: Mac, told: &Told, ready: bool) -> String {
    let mut text = CONSOLES.to_owned();
    if *told == Told::Disk {
        text.push_str("echo 'Ramet: this machine starts from its local disk'\nexit 1\n");
        return text;
    }
    if !ready {
        text.push_str("echo 'Ramet: no boot files are installed; see ramet boot install'\nsleep 3\nexit 1\n");
        return text;
    }
    let clone = format!(
        "linux /vmlinuz {}\n\
         initrd /initramfs.zst\n",
        line::words(urls, told)
    );
    match line::title(told) {
        Some(title) => text.push_str(&format!(
            "echo 'Ramet: {title}'\n{clone}boot\necho 'Ramet: the agent cannot be started'\nsleep 3\nexit 1\n"
        )),
        None => text.push_str(&format!(
            "echo 'Ramet: nothing to do for {mac}'\n\
             set default=disk\n\
             set timeout=10\n\
             menuentry 'Start from the local disk' --id disk {{\n\
             exit 1\n\
             }}\n\
             menuentry 'Clone this machine' --id clone {{\n\
             {clone}}}\n"
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::Fingerprint;

    #[test]
    fn a_machine_with_nothing_to_do_gets_a_menu_that_chooses_its_disk() {
        let urls = Urls { boot: None, server: "https://h:1".into(), key: Fingerprint([1; 32]) };
        let text = machine(&urls, Mac([2; 6]), &Told::Menu, true);
        assert!(text.contains("set timeout=10") && text.contains("set default=disk"), "{text}");
        assert!(text.contains("linux /vmlinuz clone.mode=menu clone.server=https://h:1 clone.key=sha256:"), "{text}");
        assert!(!machine(&urls, Mac([2; 6]), &Told::Menu, false).contains("linux"));
    }
}
