//! The map of the builder: agent + kernel + modules + firmware → initramfs → UKI, ISO → output folder.
//!
//! In: a static agent and a kernel package. Out: what boots a machine into the agent.
//! Promise: the same input gives the same bytes; what would not boot is refused here, not found out there.

#[macro_use]
mod say;
pub mod agent;
pub mod cli;
pub mod compress;
pub mod conf;
pub mod cpio;
pub mod elf;
pub mod error;
pub mod firmware;
pub mod image;
pub mod iso;
pub mod kernel;
pub mod menu;
pub mod modules;
pub mod netboot;
pub mod output;
pub mod pe;
pub mod programs;
pub mod ship;
mod tool;
pub mod uki;
pub mod yard;
