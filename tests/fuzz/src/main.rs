//! One libFuzzer binary for all targets, chosen by RAMET_FUZZ_TARGET: linking one takes long enough.
//!
//! In: bytes from libFuzzer. Out: nothing; a broken promise is a panic.
//! Promise: the bodies are the ones that `tests/tests/regressions.rs` replays.
#![no_main]

mod bodies;

use bodies::{Body, body};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static BODY: OnceLock<Body> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let run = BODY.get_or_init(|| {
        let name = std::env::var("RAMET_FUZZ_TARGET").expect("scripts/fuzz sets RAMET_FUZZ_TARGET");
        body(&name).unwrap_or_else(|| panic!("there is no target {name}"))
    });
    run(data);
});
