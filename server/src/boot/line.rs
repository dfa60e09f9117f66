//! The kernel's line of an agent that is started from the network.
//!
//! In: what a machine is told. Out: `clone.*` words, fit for iPXE and GRUB without quotes.
//! Promise: no token, no space, no quote, no `$`: nothing that a script would read otherwise.

use super::Urls;
use crate::db::netboot::{ArmRow, Told};
use ramet_wire::jobs::JobKind;
use ramet_wire::settings::{Mode, Then};

/// Consoles: the screen, and the first serial line.
const CONSOLES: &str = "console=tty0 console=ttyS0,115200n8";

/// The words for a machine; where nothing is to be done: the agent's menu.
pub(super) fn words(urls: &Urls, told: &Told) -> String {
    let mut words = vec![format!("clone.server={}", urls.server), format!("clone.key={}", urls.key)];
    words.insert(0, format!("clone.mode={}", mode_word(mode(told))));
    match told {
        Told::Armed(row) => armed(row, &mut words),
        // A machine whose agent fails, or that was only looked at, goes back to its own disk.
        Told::Job(_, JobKind::Capture | JobKind::Inventory, _) | Told::Welcome => {
            words.push(format!("clone.then={}", then_word(Then::Reboot)));
        }
        Told::Job(..) | Told::Menu | Told::Disk => {}
    }
    words.push(CONSOLES.to_owned());
    words.join(" ")
}

fn mode(told: &Told) -> Mode {
    match told {
        Told::Armed(row) => row.arm.mode,
        Told::Job(_, JobKind::Inventory, _) => Mode::Inventory,
        Told::Job(..) | Told::Welcome => Mode::Job,
        Told::Menu | Told::Disk => Mode::Menu,
    }
}

/// What is started without asking a person; none for the menu.
pub(super) fn title(told: &Told) -> Option<String> {
    match told {
        Told::Armed(row) if row.arm.mode != Mode::Menu => Some(armed_title(row)),
        Told::Job(id, kind, name) => Some(format!("job {id}: {kind} of {name}")),
        Told::Welcome => Some("a machine that nobody knows yet".to_owned()),
        Told::Armed(_) | Told::Menu | Told::Disk => None,
    }
}

fn armed(row: &ArmRow, words: &mut Vec<String>) {
    words.extend(row.arm.image.as_ref().map(|image| format!("clone.image={image}")));
    words.extend(row.arm.then.map(|then| format!("clone.then={}", then_word(then))));
    // The order says it too, which has room for quotes and spaces.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '=' | ',' | '.' | '_' | '-');
    if !row.arm.disk.is_empty() && row.arm.disk.chars().all(plain) {
        words.push(format!("clone.disk={}", row.arm.disk));
    }
    if row.arm.mode == Mode::Restore {
        // An operator confirmed it by arming the machine.
        words.push("clone.confirm=yes".to_owned());
    }
}

/// What an armed machine will do, for its screen: plain letters.
fn armed_title(row: &ArmRow) -> String {
    let image = row.arm.image.as_ref().map(|image| format!(" {image}")).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
    let name: String = row.arm.name.chars().filter(|c| plain(*c)).collect();
    let name = if name.is_empty() { name } else { format!(" ({name})") };
    format!("{}{image} on {}{name}", mode_word(row.arm.mode), row.mac)
}

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Menu => "menu",
        Mode::Capture => "capture",
        Mode::Restore => "restore",
        Mode::Inventory => "inventory",
        Mode::Job => "job",
        Mode::Wait => "wait",
    }
}

const fn then_word(then: Then) -> &'static str {
    match then {
        Then::Reboot => "reboot",
        Then::Poweroff => "poweroff",
        Then::Wait => "wait",
    }
}
