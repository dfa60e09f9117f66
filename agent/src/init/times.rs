//! How long the start took.
//!
//! In: names of steps, as they end. Out: `/run/ramet/times`, one `seconds name` per line, since the kernel's start.
//! Promise: the numbers are the kernel's boot clock; setting the date does not change them.

use super::clock;
use std::io::Write as _;
use std::time::Duration;

/// Where they are written.
pub const TIMES: &str = "/run/ramet/times";

/// Notes that `step` ends now, and returns the time since the kernel's start.
pub fn mark(step: &str) -> Duration {
    let at = clock::since_start();
    let file = std::fs::OpenOptions::new().append(true).create(true).open(TIMES);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{:.3} {step}\n", at.as_secs_f64()).as_bytes());
    }
    at
}
