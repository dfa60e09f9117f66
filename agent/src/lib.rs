//! The map of the agent: disk → partition → extent → chunk → transfer → write.
//!
//! In: the disks of a machine, or an image in a store. Out: an image in a store, or disks that hold it.
//! Promise: `capture.rs` and `restore.rs` show each direction on one screen; the folders follow the data.

#[macro_use]
mod say;
pub mod adapt;
pub mod attach;
pub mod capture;
pub mod chunk;
pub mod cli;
pub mod disk;
pub mod extent;
pub mod hardware;
pub mod init;
pub mod inspect;
pub mod job;
mod memory;
pub mod menu;
pub mod nvram;
pub mod partition;
pub mod progress;
pub mod restore;
pub mod transfer;
pub mod uuid;
pub mod write;
