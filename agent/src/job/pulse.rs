//! Signs of life to the supervisor.
//!
//! In: a meter, waits that are meant, and the pipe that the supervisor handed down. Out: a byte a second.
//! Promise: a byte is written only while something moves or waits as designed; a worker that hangs falls silent.

use crate::progress::{Meter, Snapshot, signs};
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Between two looks.
const BEAT: Duration = Duration::from_secs(1);
/// Environment variable with the number of the inherited pipe descriptor.
pub const PULSE_ENV: &str = "RAMET_PULSE";

/// Counts the waits that are meant.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicUsize>);

/// A wait that is meant, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    /// Looks at `meter` from now on, on a thread of its own, and writes to the pipe of [`PULSE_ENV`]. Without one nobody
    /// listens.
    #[must_use]
    pub fn start(meter: &Arc<Meter>) -> Self {
        let pulse = Self::default();
        // Opened anew by its name in procfs: a number alone is no file that safe code may own.
        let number = std::env::var(PULSE_ENV).ok().and_then(|text| text.parse::<u32>().ok());
        let pipe = number.and_then(|number| File::options().write(true).open(format!("/proc/self/fd/{number}")).ok());
        if let Some(mut pipe) = pipe {
            let (meter, waits) = (Arc::clone(meter), Arc::clone(&pulse.0));
            std::thread::spawn(move || {
                let mut watch = Watch::default();
                loop {
                    if waits.load(Ordering::Relaxed) > 0 || watch.moved(meter.snapshot(), signs()) {
                        let _ = pipe.write_all(b".");
                    }
                    std::thread::sleep(BEAT);
                }
            });
        }
        pulse
    }

    /// What follows is a wait for a person, or for the server's word.
    pub fn waiting(&self) -> Waiting {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(&self.0))
    }
}

/// What was seen last.
#[derive(Debug, Default)]
struct Watch(Option<(Snapshot, u64)>);

impl Watch {
    fn moved(&mut self, now: Snapshot, signs: u64) -> bool {
        let now = Some((now, signs));
        let moved = self.0 != now;
        self.0 = now;
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_that_stands_still_gives_no_pulse_and_one_that_moves_does() {
        let (meter, mut watch) = (Meter::default(), Watch::default());
        assert!(watch.moved(meter.snapshot(), 1));
        assert!(!watch.moved(meter.snapshot(), 1));
        meter.done(1);
        assert!(watch.moved(meter.snapshot(), 1));
        meter.begin("publishing", 0);
        assert!(watch.moved(meter.snapshot(), 1));
        assert!(!watch.moved(meter.snapshot(), 1));
        assert!(watch.moved(meter.snapshot(), 2));
    }

    #[test]
    fn a_meant_wait_lasts_as_long_as_its_value() {
        let pulse = Pulse::default();
        let wait = pulse.waiting();
        assert_eq!(pulse.0.load(Ordering::Relaxed), 1);
        drop(wait);
        assert_eq!(pulse.0.load(Ordering::Relaxed), 0);
    }
}
