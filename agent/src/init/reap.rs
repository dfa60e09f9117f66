//! Children, those of PID 1 and those that lost their parents.
//!
//! In: nothing. Out: who ended, and how.
//! Promise: no zombie stays; nobody else in PID 1 waits for children.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Collects all children that have ended.
pub fn all() -> Vec<WaitStatus> {
    let mut ended = Vec::new();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => break,
            status => ended.push(status),
        }
    }
    ended
}
