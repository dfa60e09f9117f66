//! The kernel's line of an agent that is started from the network.
//!
//! In: what a machine is armed with. Out: `clone.*` words, fit for iPXE and GRUB without quotes.
//! Promise: no token, no space, no quote, no `$`: nothing that a script would read otherwise.

use super::Urls;
use crate::db::netboot::ArmRow;
use ramet_wire::settings::{Mode, Then};

/// Consoles: the screen, and the first serial line.
const CONSOLES: &str = "console=tty0 console=ttyS0,115200n8";

/// The words for an armed machine; none armed: the agent's menu.
pub(super) fn words(urls: &Urls, row: Option<&ArmRow>) -> String {
    let mut words = vec![format!("clone.server={}", urls.server), format!("clone.key={}", urls.key)];
    let mode = row.map_or(Mode::Menu, |row| row.arm.mode);
    words.insert(0, format!("clone.mode={}", mode_word(mode)));
    if let Some(row) = row {
        words.extend(row.arm.image.as_ref().map(|image| format!("clone.image={image}")));
        words.extend(row.arm.then.map(|then| format!("clone.then={}", then_word(then))));
        // The order says it too, which has room for quotes and spaces.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '=' | ',' | '.' | '_' | '-');
        if !row.arm.disk.is_empty() && row.arm.disk.chars().all(plain) {
            words.push(format!("clone.disk={}", row.arm.disk));
        }
        if mode == Mode::Restore {
            // An operator confirmed it by arming the machine.
            words.push("clone.confirm=yes".to_owned());
        }
    }
    words.push(CONSOLES.to_owned());
    words.join(" ")
}

/// What an armed machine will do, for its screen: plain letters.
pub(super) fn title(row: &ArmRow) -> String {
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
