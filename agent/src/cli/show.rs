//! What people see while a run is under way, and how errors are told.
//!
//! In: a meter. Out: a moving line on a terminal, a line every few seconds elsewhere, heartbeats to the server.
//! Promise: all of it goes to standard error; standard output holds only the outcome.

use crate::progress::{Meter, Snapshot};
pub use crate::say::chain;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Between two looks at the meter.
const TICK: Duration = Duration::from_millis(200);
/// Between two lines where no terminal is.
const LINE: Duration = Duration::from_secs(5);
/// Between two heartbeats.
const BEAT: Duration = Duration::from_secs(10);

/// Runs `work` while a second thread shows `meter` and calls `beat` now and then.
pub fn during<T>(meter: &Meter, beat: &(dyn Fn(&Snapshot) + Sync), work: impl FnOnce() -> T) -> T {
    let (stop, stopped) = channel::<()>();
    let stopped = Mutex::new(stopped);
    std::thread::scope(|scope| {
        let ticker = scope.spawn(|| {
            let Ok(stopped) = stopped.lock() else { return };
            let mut line = Line::new();
            let mut beaten = Instant::now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let now = meter.snapshot();
                line.show(&now);
                if beaten.elapsed() >= BEAT {
                    beat(&now);
                    beaten = Instant::now();
                }
            }
            line.end();
        });
        let done = work();
        drop(stop);
        let _ = ticker.join();
        done
    })
}

struct Line {
    terminal: bool,
    shown: Instant,
    step: String,
    since: Instant,
}

impl Line {
    fn new() -> Self {
        let now = Instant::now();
        Self { terminal: std::io::stderr().is_terminal(), shown: now, step: String::new(), since: now }
    }

    fn show(&mut self, now: &Snapshot) {
        if now.step != self.step {
            self.step.clone_from(&now.step);
            self.since = Instant::now();
        }
        let mut err = std::io::stderr().lock();
        let text = describe(now, self.since.elapsed());
        if self.terminal {
            // Return, the line, erase to its end: works on every console and serial line.
            let _ = write!(err, "\r{text}\x1b[K");
        } else if self.shown.elapsed() >= LINE {
            self.shown = Instant::now();
            let _ = writeln!(err, "{text}");
        }
        let _ = err.flush();
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// One line: step, share, bytes, rate, time left, and what was already present.
#[must_use]
pub fn describe(now: &Snapshot, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    if now.total == 0 {
        return format!("{} …", now.step);
    }
    let (done, total) = (now.done.min(now.total), now.total);
    let rate = ratio(now.done, 1) / seconds;
    let left = if rate > 0.0 { ratio(total - done, 1) / rate } else { f64::INFINITY };
    let left = if left.is_finite() { format!("{} left", minutes(left)) } else { "waiting".to_owned() };
    let present = 100.0 * ratio(now.present, done.max(1));
    let percent = 100.0 * ratio(done, total);
    let (done, total, rate) = (bytes(done), bytes(total), bytes_f(rate));
    format!("{} {percent:3.0}%  {done} of {total}, {rate}/s, {left}, {present:.0}% already present", now.step)
}

#[allow(clippy::cast_precision_loss)] // for people: three digits are shown
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Seconds for people: `H:MM:SS` or `M:SS`.
#[must_use]
pub fn minutes(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    if whole >= 3600 {
        return format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
    }
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// A number of bytes for people: binary units, three digits.
#[must_use]
pub fn bytes(count: u64) -> String {
    bytes_f(ratio(count, 1))
}

fn bytes_f(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_binary_units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(10 << 30), "10.0 GiB");
        assert_eq!(bytes(500 << 30), "500 GiB");
    }

    #[test]
    fn progress_shows_bytes_rate_time_left_and_the_share_already_present() {
        let now = Snapshot {
            step: "reading".to_owned(),
            total: 4 << 30,
            done: 1 << 30,
            present: 1 << 29,
            moved: 0,
            parts: Vec::new(),
        };
        let text = describe(&now, Duration::from_secs(2));
        assert_eq!(text, "reading  25%  1.00 GiB of 4.00 GiB, 512 MiB/s, 0:06 left, 50% already present");
    }
}
