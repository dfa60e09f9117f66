//! The last line of a run, where the worker could not say it itself.
//!
//! In: an accident. Out: one line `RAMET: …` on all consoles and in `/run/ramet/outcome`, and what follows.
//! Promise: it is one line, whatever stands in it; it is in the file before it is on the screen.

use super::console::Consoles;
use super::mounts;
use ramet_wire::settings::Then;
use std::path::Path;

/// File below `/run/ramet`: the last line.
pub const OUTCOME: &str = "outcome";
/// File below `/run/ramet`: what follows.
pub const THEN: &str = "then";
/// File below `/run/ramet`: what a panic said.
pub const PANIC: &str = "panic";
/// Longest line, in bytes: it must fit a serial console's scroll-back and a log.
const LINE_MAX: usize = 1000;

/// Says how it ended, for the worker, and what shall follow where it knows.
pub fn say(consoles: &Consoles, line: &str, then: Option<Then>) {
    say_in(Path::new(mounts::RUN), line, then);
    consoles.write(format!("\r\nRAMET: {}\r\n", clean(line)).as_bytes());
}

fn say_in(run: &Path, line: &str, then: Option<Then>) {
    if let Some(then) = then {
        let word = match then {
            Then::Reboot => "reboot",
            Then::Poweroff => "poweroff",
            Then::Wait => "wait",
        };
        let _ = std::fs::write(run.join(THEN), word);
    }
    let _ = std::fs::write(run.join(OUTCOME), format!("RAMET: {}\n", clean(line)));
}

/// One line without control characters, not too long.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > LINE_MAX {
        line.truncate(line.floor_char_boundary(LINE_MAX));
        line.push('…');
    }
    line
}

/// From now on a panic leaves its message where the keeper finds it.
pub fn keep_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let _ = std::fs::write(Path::new(mounts::RUN).join(PANIC), clean(&info.to_string()));
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_one_clean_line() {
        let folder = tempfile::tempdir().unwrap();
        say_in(folder.path(), "failed:\n\x1b[31mred\r", Some(Then::Poweroff));
        assert_eq!(std::fs::read_to_string(folder.path().join(OUTCOME)).unwrap(), "RAMET: failed:  [31mred\n");
        assert_eq!(std::fs::read_to_string(folder.path().join(THEN)).unwrap(), "poweroff");
        assert!(clean(&"ä".repeat(2000)).len() <= LINE_MAX + "…".len());
    }
}
