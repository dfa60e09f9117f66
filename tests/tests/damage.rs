//! Damage in the store and on the wire.
//!
//! In: flipped bits and truncated files, everywhere. Out: errors, never a disk with other content; and healed stores.
//! Promise: `ramet store check` finds any flipped bit in any file of the store and names the images it touches;
//! capturing the healthy source again heals it.

#![allow(clippy::unwrap_used)]

use ramet_tests::agent::{Agent, Outcome};
use ramet_tests::check;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::proxy::{Proxy, Way};
use ramet_tests::random::Random;
use ramet_tests::server::{Server, operator};
use ramet_tests::tool::{arg, run, scratch};
use std::fs;
use std::path::{Path, PathBuf};

fn source() -> Disk {
    let disk = Disk::with_sgdisk(64 * MIB, &["-n", "1:0:+24M", "-n", "2:0:+24M"]);
    disk.format(&disk.part(1), Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    disk.format(&disk.part(2), Fs::Noise);
    disk
}

fn noise(source: &Disk) -> Disk {
    let disk = Disk::blank(source.size);
    let _ = Pattern::fill(&disk, 51);
    disk
}

/// All files below `folder` that have content.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            out.extend(files(&entry));
        } else if entry.metadata().unwrap().len() > 0 {
            out.push(entry);
        }
    }
    out.sort();
    out
}

fn flip(path: &Path, offset: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x04], offset).unwrap();
}

/// The largest pack, which holds content and not segments.
fn content_pack(store: &Path) -> PathBuf {
    files(&store.join("packs")).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

fn segment_pack(store: &Path) -> PathBuf {
    files(&store.join("packs")).into_iter().min_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// The state of a stopped server with one image, and the image's source.
fn state_with_image() -> (tempfile::TempDir, PathBuf, Disk) {
    let folder = scratch();
    let state = folder.path().join("state");
    let server = Server::on(&state);
    let source = source();
    Agent::of(&server).capture(&[&source.path], "genet", &[]).done();
    drop(server);
    (folder, state, source)
}

fn store_check(state: &Path) -> Outcome {
    operator(&["store", "check", "--state", arg(state)])
}

#[test]
fn store_check_finds_a_flipped_bit_in_any_file_and_names_the_image() {
    let (folder, state, _source) = state_with_image();
    store_check(&state).done();
    let copy = folder.path().join("copy");
    let mut random = Random::new(61);
    let (mut tried, mut unseen) = (0, Vec::new());
    for file in files(&state.join("store")) {
        let name = file.strip_prefix(&state).unwrap();
        let first = name.iter().nth(1).unwrap().to_str().unwrap();
        // Who holds the store, and files without a name yet, are not part of it.
        if matches!(first, "lock" | "leases" | "tmp") {
            continue;
        }
        let len = file.metadata().unwrap().len();
        for offset in [0, random.below(len), len - 1] {
            let _ = fs::remove_dir_all(&copy);
            run("cp", &["-a", arg(&state), arg(&copy)]);
            flip(&copy.join(name), offset);
            let said = store_check(&copy);
            let text = format!("{}{}", said.stdout, said.stderr);
            let named = !matches!(first, "packs" | "images") || text.contains("genet");
            if !matches!(said.status, 1 | 2) || !named {
                unseen.push(format!("bit {offset} of {}: status {}: {text}", name.display(), said.status));
            }
            tried += 1;
        }
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
    assert!(tried >= 24, "only {tried} bits were tried");
}

#[test]
fn capturing_the_healthy_source_again_heals_damaged_packs() {
    let (_folder, state, source) = state_with_image();
    let store = state.join("store");
    for pack in [content_pack(&store), segment_pack(&store)] {
        flip(&pack, pack.metadata().unwrap().len() / 3);
    }
    let said = store_check(&state).expect_status(1);
    assert!(format!("{}{}", said.stdout, said.stderr).contains("genet"));
    let server = Server::on(&state);
    let agent = Agent::of(&server);
    let target = noise(&source);
    let before = target.hash();
    agent.restore(&[&target.path], "genet", &[]).expect_status(2).says(&["genet"]);
    assert_eq!(target.hash(), before);
    let healed = agent.capture(&[&source.path], "genet", &[]).done();
    let new = healed.figure("new_bytes");
    assert!(new > 0 && new < 4 * MIB, "{new} bytes were sent to heal two chunks");
    agent.restore(&[&target.path], "genet", &[]).done();
    assert_eq!(check::differences(&source, &target, &source.part(2).range()), Vec::new());
    server.ramet(&["store", "check"]).done();
}

#[test]
fn a_missing_pack_is_found_and_healed() {
    let (_folder, state, source) = state_with_image();
    fs::remove_file(content_pack(&state.join("store"))).unwrap();
    let said = store_check(&state).expect_status(1);
    assert!(format!("{}{}", said.stdout, said.stderr).contains("genet"));
    let server = Server::on(&state);
    let agent = Agent::of(&server);
    let target = noise(&source);
    let before = target.hash();
    agent.restore(&[&target.path], "genet", &[]).expect_status(2);
    assert_eq!(target.hash(), before);
    agent.capture(&[&source.path], "genet", &[]).done();
    agent.restore(&[&target.path], "genet", &[]).done();
    assert_eq!(check::differences(&source, &target, &source.part(2).range()), Vec::new());
}

/// A folder store with one image.
fn folder_with_image() -> (tempfile::TempDir, PathBuf, Agent, Disk) {
    let folder = scratch();
    let store = folder.path().join("store");
    let agent = Agent::on_folder(&store);
    let source = source();
    agent.capture(&[&source.path], "genet", &[]).done();
    (folder, store, agent, source)
}

/// A restore must not succeed; what was written of it never has a table.
fn fails(agent: &Agent, source: &Disk, what: &str) {
    let target = noise(source);
    let outcome = agent.restore(&[&target.path], "genet", &[]);
    assert!(matches!(outcome.status, 1 | 2), "{what}: status {}: {}", outcome.status, outcome.stderr);
    outcome.says(&[]);
    assert!(!check::has_table(&target), "{what}: a damaged image left a table");
}

#[test]
fn no_damage_of_a_folder_is_restored() {
    let (folder, store, agent, source) = folder_with_image();
    let image = files(&store.join("images")).into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    let signature = image.with_file_name("manifest.sig");
    let saved = folder.path().join("saved");
    run("cp", &["-a", arg(&store), arg(&saved)]);
    let heal = || {
        fs::remove_dir_all(&store).unwrap();
        run("cp", &["-a", arg(&saved), arg(&store)]);
    };
    for file in [content_pack(&store), segment_pack(&store), image.clone(), signature] {
        let len = file.metadata().unwrap().len();
        let name = file.strip_prefix(&store).unwrap().display().to_string();
        flip(&file, len / 3);
        fails(&agent, &source, &format!("a flipped bit in {name}"));
        heal();
        fs::File::options().write(true).open(&file).unwrap().set_len(len / 2).unwrap();
        fails(&agent, &source, &format!("half of {name}"));
        heal();
    }
    // Somebody edits the manifest, with everything else as it was.
    let text = fs::read_to_string(&image).unwrap();
    for (from, to) in [("\"format\":1", "\"format\":2"), ("    \"boot\"\n", "    \"later\"\n"), ("genet", "other")] {
        let edited = text.replace(from, to).replace(&from.replace(':', ": "), &to.replace(':', ": "));
        assert_ne!(edited, text, "{from} is not in the manifest");
        fs::write(&image, edited).unwrap();
        fails(&agent, &source, &format!("a manifest with {to}"));
        heal();
    }
    agent.restore(&[&noise(&source).path], "genet", &[]).done();
}

#[test]
fn flipped_bits_on_the_wire_change_nothing() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let agent = Agent::through(&server, &proxy.url());
    let source = source();
    for offset in [100, 3000, 9000, 5 * MIB, 20 * MIB] {
        proxy.flip_after(Way::Up, offset);
        let first = agent.capture(&[&source.path], "genet", &[]);
        assert!(matches!(first.status, 0..=2), "{}", first.stderr);
        if first.status != 0 {
            agent.capture(&[&source.path], "genet", &[]).done();
        }
        let _ = server.ramet(&["image", "rm", "genet"]).done();
        let name = format!("genet{offset}");
        agent.capture(&[&source.path], &name, &[]).done();
        proxy.flip_after(Way::Down, offset);
        let target = noise(&source);
        let restored = agent.restore(&[&target.path], &name, &[]);
        if restored.status != 0 {
            assert!(!check::has_table(&target));
            agent.restore(&[&target.path], &name, &[]).done();
        }
        assert_eq!(check::differences(&source, &target, &source.part(2).range()), Vec::new());
    }
    server.ramet(&["store", "check"]).done();
}
