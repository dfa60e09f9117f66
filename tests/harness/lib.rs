//! Whole clones: what the tests need around the two programs.
//!
//! In: real file systems, tables and tools of the machine that runs the tests, as root. Out: disks with known contents,
//! the peers' views of them, and the two programs as operators start them.
//! Promise: what is expected never comes from the code under test; everything made here goes away with its value.
//!
//! `prove` says whether a target is a clone. `tool` runs programs, `attach` makes loop devices and mounts; `disk` makes disks, `tree` fills their file systems,
//! `old` puts traces of former lives on them, `pattern` fills targets; `peer` asks partclone and dumpe2fs, `check` the
//! checkers; `bins`, `agent` and `server` run what is tested, `booted` runs the agent as a booted machine does, `proxy` is
//! the bad network between them. `bmc` is the hand on the power button, `udp` the bad network before it. `net` is a network
//! of its own, `machine` a virtual machine, in it or not.

// A failed oracle is a failed test: every helper panics with what the tool said.
#![allow(clippy::unwrap_used)]

pub mod agent;
pub mod attach;
pub mod bins;
pub mod bmc;
pub mod booted;
pub mod check;
pub mod disk;
pub mod machine;
pub mod net;
pub mod old;
pub mod pattern;
pub mod peer;
pub mod prove;
pub mod proxy;
pub mod random;
pub mod range;
pub mod server;
pub mod tool;
pub mod tree;
pub mod udp;

/// Tests that take more than a minute, as `#[ignore]` marks them; `scripts/check` runs them unless it shall be quick.
pub const SLOW: &[&str] = &[];
