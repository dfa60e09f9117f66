//! An image on a boot medium: a folder store with exactly one image, restored without a network.
//!
//! In: a folder store with two images, the builder's copy of one of them. Out: clones, or failed tests.
//! Promise: the copy restores from a file system that cannot be written, with the signature it always had.

#![allow(clippy::unwrap_used)]

use ramet_initramfs::image::Image;
use ramet_tests::agent::Agent;
use ramet_tests::attach::Mounted;
use ramet_tests::disk::{Disk, Fs, MIB};
use ramet_tests::pattern::Pattern;
use ramet_tests::prove::{Contents, Kind, is_clone};
use ramet_tests::tool::{arg, attempt, run, scratch};
use ramet_tests::tree::RandomTree;
use std::path::{Path, PathBuf};

const TIME: u64 = 1_770_076_800;
const CONTENTS: Contents<'static> = &[(1, Kind::Ext)];

fn disk(seed: u64) -> Disk {
    let disk = Disk::with_sgdisk(96 * MIB, &["-n", "1:0:0"]);
    let part = disk.part(1);
    disk.format(&part, Fs::Ext(&["-t", "ext4", "-b", "4096"]));
    let mounted = Mounted::writable(&disk, &part);
    RandomTree { files: 60, ..RandomTree::new(seed) }.grow(mounted.at());
    drop(mounted);
    disk
}

/// A store with the images `genet` and `other`, and the disk of `genet`.
fn store(folder: &Path) -> (PathBuf, Agent, Disk) {
    let store = folder.join("store");
    let agent = Agent::on_folder(&store);
    let source = disk(1);
    // In one pack with the other image's chunks: what a store does when machines share packages.
    agent.capture(&[&disk(2).path], "other", &[]).done();
    agent.capture(&[&source.path], "genet", &[]).done();
    (store, agent, source)
}

/// A folder that cannot be written, as a CD.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn of(folder: &'a Path) -> Self {
        run("mount", &["--bind", arg(folder), arg(folder)]);
        run("mount", &["-o", "remount,bind,ro", arg(folder)]);
        Self(folder)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _ = attempt("umount", &[arg(self.0)]);
    }
}

#[test]
fn an_image_restores_from_a_medium_that_cannot_be_written_and_brings_nothing_of_others() {
    let folder = scratch();
    let (store, _keys, source) = store(folder.path());
    let image = Image::open(&store, "genet").unwrap();
    let (copy, again) = (folder.path().join("copy"), folder.path().join("again"));
    image.copy_to(&copy, TIME).unwrap();
    image.copy_to(&again, TIME).unwrap();
    run("diff", &["-r", arg(&copy), arg(&again)]);

    let chunks = |dir: &Path| {
        let store = ramet_store::Store::open(dir, ramet_store::Access::Read).unwrap();
        (store.stats().unwrap().chunks, store.images().unwrap().len())
    };
    let ((all, two), (some, one)) = (chunks(&store), chunks(&copy));
    assert_eq!((two, one), (2, 1));
    assert!(some < all, "{some} of {all} chunks were copied");

    let medium = ReadOnly::of(&copy);
    // Somebody else's home: the private key of the store is not needed.
    let elsewhere = Agent::on_folder(&copy);
    let target = Disk::blank(source.size);
    let noise = Pattern::fill(&target, 7);
    let key = image.key.to_string();
    let outcome = elsewhere.restore(&[&target.path], &image.image.to_string(), &["--key", &key]).done();
    assert_eq!(outcome.json()["proof"], "file");
    is_clone(&source, &target, &noise, CONTENTS);
    let wrong = format!("sha256:{}", "ab".repeat(32));
    elsewhere.restore(&[&target.path], "genet", &["--key", &wrong]).expect_status(2).says(&[&key, &wrong]);
    elsewhere.restore(&[&target.path], "other", &["--key", &key]).expect_status(2).says(&["other"]);
    drop(medium);
}

#[test]
fn a_damaged_or_unknown_image_does_not_go_aboard() {
    let folder = scratch();
    let (store, _keys, _source) = store(folder.path());
    for name in ["nobody", "genet@0123456789abcdef", "../genet"] {
        assert!(Image::open(&store, name).is_err(), "{name}");
    }
    let image = Image::open(&store, "genet").unwrap();
    let packs = run("find", &[arg(&store.join("packs")), "-type", "f"]);
    for pack in packs.lines() {
        let mut bytes = std::fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(pack, bytes).unwrap();
    }
    let error = image.copy_to(&folder.path().join("copy"), TIME).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("chunk "), "{error}");
}
