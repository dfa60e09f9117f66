//! The machine's watchdog: it resets a machine that hangs.
//!
//! In: `/dev/watchdog`, once a module offers one, and word that all is well. Out: nothing; a reset without that word.
//! Promise: 60 s where the device can; never started where the worker is not watched; stopped before a wanted restart.

use super::sys;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Patience of the device, in seconds.
const PATIENCE: i32 = 60;
/// How often it is fed.
const FEED: Duration = Duration::from_secs(5);
/// How often it is looked for, while there is none.
const LOOK: Duration = Duration::from_secs(2);

/// The watchdog, if the machine has one.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<File>,
    last: Option<Instant>,
    stays: bool,
}

impl Watchdog {
    /// All is well: feeds the device when it is time to. Returns the patience in seconds when a device was just found.
    pub fn feed(&mut self) -> Option<i32> {
        let pause = if self.device.is_some() { FEED } else { LOOK };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return None;
        }
        self.last = Some(Instant::now());
        if let Some(device) = &mut self.device {
            // Any byte but `V`.
            let _ = device.write_all(b"\0");
            return None;
        }
        // Opening it starts it.
        let device = OpenOptions::new().write(true).open("/dev/watchdog").ok()?;
        let patience = sys::watchdog_timeout(&device, PATIENCE).unwrap_or(PATIENCE);
        self.device = Some(device);
        Some(patience)
    }

    /// Whether it shall go on when it is told to stop, and reset a machine that does not come to its end.
    pub const fn stays_on(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Stops it (`V` is the word for it); a device that can not be stopped resets the machine in its time.
    pub fn stop(&mut self) {
        if self.stays {
            return;
        }
        if let Some(mut device) = self.device.take() {
            let _ = device.write_all(b"V");
        }
    }
}
