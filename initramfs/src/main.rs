//! The builder of boot images as a command.
//!
//! In: the command line. Out: an exit status.
//! Promise: one exit for every ending.

use std::process::ExitCode;

fn main() -> ExitCode {
    ramet_initramfs::cli::run(std::env::args().skip(1).collect()).into()
}
