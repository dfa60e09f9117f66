//! The one end of every life.
//!
//! In: what shall follow. Out: a restart, a machine that is off, or one that stays up for a person.
//! Promise: what was written is synced first, for at most 30 s; PID 1 never returns, so the kernel never panics.

use super::console::Consoles;
use super::watchdog::Watchdog;
use super::{mounts, reap};
use nix::sys::reboot::{RebootMode, reboot};
use ramet_wire::settings::Then;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long unwritten data may take to reach the disks.
const SYNC: Duration = Duration::from_secs(30);

/// What follows: the worker's word, then `clone.then`, then a restart after success and nothing else.
#[must_use]
pub fn what_follows(worker: Option<Then>, settings: Option<Then>, success: bool) -> Then {
    worker.or(settings).unwrap_or(if success { Then::Reboot } else { Then::Wait })
}

/// The worker's word: `reboot`, `poweroff` or `wait`, in its file.
#[must_use]
pub fn told(path: &Path) -> Option<Then> {
    let text = std::fs::read_to_string(path).ok()?;
    serde_json::from_value(serde_json::Value::String(text.trim().to_owned())).ok()
}

/// Ends this life. `pause` is for a person to read the screen.
pub fn end(consoles: &Consoles, watchdog: &mut Watchdog, then: Then, pause: Duration) -> ! {
    let word = match then {
        Then::Reboot => "restarting",
        Then::Poweroff => "switching off",
        Then::Wait => {
            consoles.line("The machine stays as it is; nothing more is written. Ctrl-Alt-Delete restarts it.");
            sync(consoles, watchdog);
            hold(watchdog);
        }
    };
    count_down(consoles, watchdog, word, pause);
    sync(consoles, watchdog);
    mounts::devices_off();
    watchdog.stop();
    let mode = if then == Then::Reboot { RebootMode::RB_AUTOBOOT } else { RebootMode::RB_POWER_OFF };
    let error = reboot(mode).unwrap_err();
    consoles.line(&format!("{word}: {error}; use the power button"));
    hold(&mut Watchdog::default());
}

fn count_down(consoles: &Consoles, watchdog: &mut Watchdog, word: &str, pause: Duration) {
    if !pause.is_zero() {
        consoles.line(&format!("{word} in {} s", pause.as_secs()));
    }
    let steps = pause.as_millis() / 100;
    for _ in 0..steps {
        watchdog.feed();
        reap::all();
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A disk that does not answer must not keep the machine from its restart.
fn sync(consoles: &Consoles, watchdog: &mut Watchdog) {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        nix::unistd::sync();
        let _ = done.send(());
    });
    for second in 0..SYNC.as_secs() {
        watchdog.feed();
        match wait.recv_timeout(Duration::from_secs(1)) {
            Err(mpsc::RecvTimeoutError::Timeout) if second % 5 == 4 => {
                consoles.line(&format!("still writing to the disks; {} s left", SYNC.as_secs() - second - 1));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
    consoles.line("writing to the disks: no end after 30 s; going on without");
}

/// Stays up for ever: reaps, and keeps the watchdog quiet.
fn hold(watchdog: &mut Watchdog) -> ! {
    loop {
        watchdog.feed();
        reap::all();
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_decides_then_the_arguments_then_success() {
        assert_eq!(what_follows(Some(Then::Poweroff), Some(Then::Wait), true), Then::Poweroff);
        assert_eq!(what_follows(None, Some(Then::Reboot), false), Then::Reboot);
        assert_eq!(what_follows(None, None, true), Then::Reboot);
        assert_eq!(what_follows(None, None, false), Then::Wait);
    }

    #[test]
    fn a_word_that_is_none_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("then");
        assert_eq!(told(&file), None);
        std::fs::write(&file, "poweroff\n").unwrap();
        assert_eq!(told(&file), Some(Then::Poweroff));
        std::fs::write(&file, "explode\n").unwrap();
        assert_eq!(told(&file), None);
    }
}
