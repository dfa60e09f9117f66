//! Every input that fuzzing once broke something with, and every fixture, through the bodies of the fuzz targets.
//!
//! In: `tests/fuzz/regressions/TARGET/*`, `tests/fixtures/TARGET*.zst`. Out: tests.
//! Promise: a found input stays found: it is replayed by every ordinary test run.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

#[path = "../fuzz/src/bodies.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The blocks that are not zero, each behind its number: what that target takes.
fn scattered(image: &[u8]) -> Vec<u8> {
    let blocks = (0_u32..).zip(image.chunks(4096)).filter(|(_, block)| block.iter().any(|byte| *byte != 0));
    blocks.flat_map(|(number, block)| [&number.to_le_bytes(), block].concat()).collect()
}

#[test]
fn every_found_input_keeps_its_promise_now() {
    let targets: BTreeSet<String> = bodies::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in files(&folder("fuzz/regressions")).into_iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(targets.contains(&name), "{name} is no target");
        let body = bodies::body(&name).unwrap();
        for file in files(&folder) {
            println!("{}", file.display());
            body(&std::fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_fixture_keeps_the_promises_of_its_target() {
    let mut replayed = 0;
    for file in files(&folder("fixtures")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "zst")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let names = bodies::TARGETS.iter().map(|(target, _)| *target);
        let Some(target) = names.filter(|target| name.starts_with(target)).max_by_key(|target| target.len()) else {
            panic!("{name}: no target of that name")
        };
        let body = bodies::body(target).unwrap();
        let image = zstd::decode_all(std::fs::File::open(&file).unwrap()).unwrap();
        let image = if target == "f2fs" { scattered(&image) } else { image };
        let size = if target == "f2fs" { 27 } else { 0 };
        let sector = if name.ends_with("-4k") { 0x80 } else { 0 };
        for flags in [size | sector, size | sector | 0x40] {
            println!("{name} with flags {flags:#x}");
            body(&[&[flags], image.as_slice()].concat());
        }
        replayed += 1;
    }
    assert!(replayed >= 20, "only {replayed} fixtures found");
}
