//! iPXE's scripts.
//!
//! In: URLs, what a card is armed with. Out: scripts.
//! Promise: whatever goes wrong, the machine goes on to its own disk within a minute; the menu does so after 10 s.

use super::{Urls, line};
use crate::db::netboot::Told;
use ramet_wire::settings::Mac;

/// Seconds until a server that does not answer is given up, and until the menu chooses the disk.
const PATIENCE: u32 = 10;

/// The way to the local disk. BIOS: its first disk; EFI firmware goes on to its next entry. An iPXE that was loaded
/// over PXE by a BIOS returns to it with `exit`, if there is no disk.
const DISK: &str = "\
:disk
iseq ${platform} efi && goto next ||
sanboot --no-describe --drive 0x80 ||
:next
exit 1
";

/// The first script. It is the same for all machines, so that it can lie anywhere, also on another server's TFTP.
pub(super) fn first(boot: &str) -> String {
    let wait = PATIENCE * 1000;
    format!(
        "#!ipxe
# Ramet's first script: asks the server what this machine shall do; without an answer the local disk is started.
# netX is the card that was used last: the one that this script came over.
set card netX
isset ${{netX/mac}} || set card net0
echo Ramet: asking {boot} about ${{${{card}}/mac}}
chain --autofree --timeout {wait} {boot}/mac/${{${{card}}/mac:hexhyp}}.ipxe || echo Ramet: starting from the local disk
{DISK}"
    )
}

/// The script of one card.
pub(super) fn machine(boot: &str, urls: &Urls, mac: Mac, told: &Told, ready: bool) -> String {
    let mut script = "#!ipxe\n".to_owned();
    if *told == Told::Disk {
        script.push_str("echo Ramet: this machine starts from its local disk\n");
        return script + DISK;
    }
    match (ready, line::title(told)) {
        (false, _) => {
            script.push_str("echo Ramet: no boot files are installed; see ramet boot install\nsleep 3\ngoto disk\n")
        }
        (true, Some(title)) => script.push_str(&format!("echo Ramet: {title}\ngoto clone\n")),
        (true, None) => {
            let wait = PATIENCE * 1000;
            script.push_str(&format!(
                "menu Ramet: nothing to do for {mac}\n\
                 item disk Start from the local disk\n\
                 item clone Clone this machine\n\
                 choose --default disk --timeout {wait} target && goto ${{target}} || goto disk\n"
            ));
        }
    }
    if ready {
        let words = line::words(urls, told);
        script.push_str(&format!(
            ":clone\n\
             kernel {boot}/vmlinuz initrd=initramfs.zst {words} || goto failed\n\
             initrd {boot}/initramfs.zst || goto failed\n\
             boot || goto failed\n\
             :failed\n\
             echo Ramet: the agent cannot be started\n\
             sleep 3\n"
        ));
    }
    script + DISK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::netboot::{self, ArmRow};
    use ramet_wire::agents::Arm;
    use ramet_wire::jobs::JobKind;
    use ramet_wire::settings::{Mode, Then, from_cmdline};
    use ramet_wire::{Fingerprint, settings::Settings};

    fn urls() -> Urls {
        let server = "https://10.0.0.1:4433".to_owned();
        Urls { boot: Some("http://10.0.0.1:4480".into()), server, key: Fingerprint([7; 32]) }
    }

    fn row(arm: Arm) -> Box<ArmRow> {
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
        crate::db::testing(&mut db);
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        assert!(netboot::put(&mut db, mac, &arm, 0, 9).unwrap());
        Box::new(netboot::find(&db, mac, 0).unwrap().unwrap())
    }

    fn arm(mode: Mode, disk: &str) -> Arm {
        Arm {
            mode,
            image: Some("web".parse().unwrap()),
            once: true,
            expires: None,
            then: Some(Then::Poweroff),
            disk: disk.into(),
            name: "rack ${x} \" 7".into(),
        }
    }

    #[test]
    fn the_kernels_line_of_an_armed_machine_is_understood_by_an_agent() {
        let row = row(arm(Mode::Restore, "0:serial=a-b"));
        let script = machine("http://b", &urls(), row.mac, &Told::Armed(row.clone()), true);
        let line = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
        let settings = Settings::of(&from_cmdline(line).unwrap()).unwrap();
        assert_eq!((settings.mode, settings.then, settings.confirm), (Mode::Restore, Some(Then::Poweroff), true));
        assert_eq!(
            (settings.server.as_deref(), settings.key),
            (Some("https://10.0.0.1:4433"), Some(Fingerprint([7; 32])))
        );
        assert_eq!(settings.image.unwrap().to_string(), "web");
        assert!(settings.disk.len() == 1 && settings.token.is_none());
        assert!(!script.contains("menu Ramet") && !script.contains("token") && !script.contains("${x}"), "{script}");
        assert!(script.contains("(rack x  7)"), "{script}");
    }

    #[test]
    fn a_disk_that_would_need_quotes_is_left_to_the_order() {
        let row = row(arm(Mode::Capture, "0:serial=a b"));
        let script = machine("http://b", &urls(), row.mac, &Told::Armed(row.clone()), true);
        assert!(!script.contains("clone.disk") && script.contains("clone.mode=capture"), "{script}");
        assert!(!script.contains("clone.confirm"));
    }

    #[test]
    fn a_machine_with_nothing_to_do_gets_a_menu_that_chooses_its_disk() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let menu = row(Arm { image: None, ..arm(Mode::Menu, "") });
        for told in [Told::Menu, Told::Armed(menu)] {
            let script = machine("http://b", &urls(), mac, &told, true);
            assert!(script.contains("choose --default disk --timeout 10000"), "{script}");
            assert!(script.contains("Clone this machine") && script.contains("clone.mode=menu"), "{script}");
            assert!(script.ends_with("sanboot --no-describe --drive 0x80 ||\n:next\nexit 1\n"), "{script}");
        }
        let script = machine("http://b", &urls(), mac, &Told::Menu, false);
        assert!(!script.contains("kernel") && script.contains("boot install"), "{script}");
    }

    #[test]
    fn a_machine_with_a_job_is_offered_the_agent_without_asking_and_else_its_disk_alone() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        for (kind, mode) in
            [(JobKind::Restore, Mode::Job), (JobKind::Capture, Mode::Job), (JobKind::Inventory, Mode::Inventory)]
        {
            let script = machine("http://b", &urls(), mac, &Told::Job(7, kind, "web01".into()), true);
            assert!(!script.contains("menu Ramet") && script.contains("job 7"), "{script}");
            let line = script.lines().find(|line| line.starts_with("kernel ")).unwrap();
            let settings = Settings::of(&from_cmdline(line).unwrap()).unwrap();
            assert_eq!((settings.mode, settings.image, settings.token), (mode, None, None));
        }
        let script = machine("http://b", &urls(), mac, &Told::Disk, true);
        assert!(!script.contains("kernel") && !script.contains("menu") && script.contains("sanboot"), "{script}");
    }

    #[test]
    fn every_label_that_is_gone_to_is_there() {
        let row = row(arm(Mode::Restore, ""));
        let scripts = [
            first("http://b"),
            machine("http://b", &urls(), row.mac, &Told::Armed(row.clone()), true),
            machine("http://b", &urls(), row.mac, &Told::Armed(row.clone()), false),
            machine("http://b", &urls(), row.mac, &Told::Menu, true),
        ];
        for script in scripts {
            for label in script.split("goto ").skip(1).map(|rest| rest.split_whitespace().next().unwrap()) {
                let found = script.lines().any(|line| line.strip_prefix(':') == Some(label));
                assert!(found || label == "${target}", "{label}: {script}");
            }
            assert!(script.starts_with("#!ipxe\n"));
        }
    }
}
