//! The builder of boot images: an empty shell until its issue.
//!
//! In: nothing. Out: what it will do, on standard error, and status 3.
//! Promise: it never pretends to have built something.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "ramet-initramfs: not built yet; it will make the initramfs, UKI, ISO and USB image that carry the agent"
    );
    ExitCode::from(3)
}
