//! The system's clock, never the machine's.
//!
//! In: the build's time, then the server's. Out: a clock that is good enough for logs and receipts.
//! Promise: the real-time clock of the machine is not written; nothing but the pinned server moves the clock back.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use serde::Deserialize;
use std::time::Duration;

/// What the builder knew.
const BUILD: &str = "/etc/ramet/build.json";
/// Seconds that the server's clock may differ from ours before ours follows.
const CLOSE: u64 = 2;
/// 9999-12-31: certificates are valid no longer, and nobody is helped by a clock beyond.
const LATEST: u64 = 253_402_300_799;

/// What stands in `/etc/ramet/build.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Build {
    /// The agent's version.
    #[serde(default)]
    pub version: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub built: u64,
    /// The kernel's version.
    #[serde(default)]
    pub kernel: String,
}

/// Reads `/etc/ramet/build.json`; empty where there is none.
#[must_use]
pub fn build() -> Build {
    std::fs::read(BUILD).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// Sets the clock to `built` where it is behind: bare machines often start in 1970. Returns whether it was.
pub fn at_least(built: u64) -> bool {
    now() < built && set(built)
}

/// Follows the server's clock (`time` of `GET /v1/version`, seconds since 1970). Returns by how many seconds ours was
/// wrong, if it was moved.
pub fn follow(server: u64) -> Option<i64> {
    let off = server.abs_diff(now());
    let behind = server >= now();
    if off <= CLOSE || !set(server) {
        return None;
    }
    let off = i64::try_from(off).ok()?;
    Some(if behind { off } else { -off })
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `clock_settime` alone: the kernel writes the RTC only for a clock that claims to be synchronized, or when told to.
fn set(seconds: u64) -> bool {
    let Some(seconds) = i64::try_from(seconds.min(LATEST)).ok() else { return false };
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)).is_ok()
}

/// Time since the kernel started, with all time asleep (`CLOCK_BOOTTIME`).
#[must_use]
pub fn since_start() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_of_the_build_stays() {
        assert!(!at_least(1));
    }

    #[test]
    fn a_server_with_nearly_our_time_moves_nothing() {
        assert_eq!(follow(now()), None);
    }

    #[test]
    fn the_kernel_runs_for_some_time_already() {
        assert!(since_start() > Duration::from_secs(1));
    }
}
