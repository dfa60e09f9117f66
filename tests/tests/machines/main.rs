//! The agent as PID 1 on virtual machines: every boot path, disk, card and accident in one row of a table.
//!
//! In: the builder's output (`RAMET_BOOT`, as `scripts/check` makes it), a real server, QEMU. Out: lines of consoles.
//! Promise: a row is one machine and one line that must come; rows that restore are compared by tools that are not ours.

#![allow(clippy::unwrap_used)]

mod accidents;
mod boots;
mod disks;
mod interruptions;
mod media;
mod netboot;
mod people;
mod site;
