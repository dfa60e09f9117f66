//! ext file systems whose journal waits: as their replay leaves them.
//!
//! In: copies of mounted file systems, as after a power cut. Out: maps like those of what e2fsck and the kernel replay.
//! Promise: every block of the replay is e2fsck's; every file that was on the disk is on the clone.

use super::super::{ExtentKind, ext, map};
use super::ext_clean::{agrees, map_agrees};
use super::images::{Image, Mount, extents, is_whole, minus, of_kind, random, run, total};
use crate::disk::source::ReadAt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};

const MIB: u64 = 1 << 20;
const JOURNAL_MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

/// An image of the same size with other content.
fn copy(image: &Image) -> Image {
    let copy = Image::empty(0);
    run("cp", &["--sparse=always", image.name(), copy.name()]);
    copy
}

/// Replays the journal, removes orphans, and more with further options.
fn e2fsck(image: &Image, options: &[&str]) {
    let out = Command::new("e2fsck").arg("-y").args(options).arg(image.name()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(matches!(out.status.code(), Some(0 | 1)), "{}: {text}", out.status);
}

/// Files as they are on the disk, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Writes, appends, cuts, renames and removes, then brings every file to the disk.
fn work(root: &Path, files: &mut Files, seed: &mut u64) {
    for _ in 0..60 {
        let name = format!("d{}/f{}", random(seed) % 5, random(seed) % 40);
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match random(seed) % 8 {
            0 | 1 => {
                if files.remove(&name).is_some() {
                    fs::remove_file(&path).unwrap();
                }
            }
            2 => {
                if let Some(content) = files.get_mut(&name) {
                    content.truncate(content.len() / 3);
                    File::options().write(true).open(&path).unwrap().set_len(content.len() as u64).unwrap();
                }
            }
            3 => {
                if let Some(content) = files.remove(&name) {
                    let to = format!("d{}/g{}", random(seed) % 5, random(seed) % 40);
                    fs::create_dir_all(root.join(&to).parent().unwrap()).unwrap();
                    fs::rename(&path, root.join(&to)).unwrap();
                    files.insert(to, content);
                }
            }
            _ => {
                let content = files.entry(name).or_default();
                let (from, len) = (content.len(), usize::try_from(random(seed) % 60_000).unwrap());
                // Blocks that look like the journal's own must be escaped in it.
                content.extend(JOURNAL_MAGIC.iter().cycle().take(len));
                let file = File::options().create(true).append(true).open(&path).unwrap();
                (&file).write_all(&content[from..]).unwrap();
            }
        }
    }
    for name in files.keys() {
        File::open(root.join(name)).unwrap().sync_all().unwrap();
    }
    for dir in fs::read_dir(root).unwrap() {
        File::open(dir.unwrap().path()).unwrap().sync_all().unwrap();
    }
}

/// Files that are removed while they are open: the next mount must free what belongs to them.
fn orphans(root: &Path) -> Vec<File> {
    let remove = |number: u64| {
        let path = root.join(format!("orphan-{number}"));
        let file = File::create(&path).unwrap();
        file.write_all_at(&[7; 9000], number * 3000).unwrap();
        file.sync_all().unwrap();
        fs::remove_file(path).unwrap();
        file
    };
    let files = (0..20).map(remove).collect();
    File::open(root).unwrap().sync_all().unwrap();
    files
}

/// What nobody waits for: it may be on the disk or not.
fn late(root: &Path) {
    fs::create_dir_all(root.join("late")).unwrap();
    for number in 0..10 {
        fs::write(root.join(format!("late/{number}")), [8; 5000]).unwrap();
    }
}

fn holds(mount: &Mount, files: &Files, case: &str) {
    for (name, content) in files {
        assert!(fs::read(mount.0.join(name)).is_ok_and(|found| found == *content), "{case}: {name}");
    }
}

/// The whole of what is read through the journal, held against what e2fsck made of a copy without orphans, which it would
/// remove; the superblock, and that of the journal, have counters of their own.
fn replays_like_e2fsck(image: &Image, case: &str) -> Image {
    let other = copy(image);
    e2fsck(&other, &["-E", "journal_only"]);
    let ours = ext::replayed(&image.source()).unwrap_or_else(|error| panic!("{case}: {error}"));
    let (block, journal) = (block_size(image), journal_start(&other));
    for at in (0..ours.size()).step_by(1 << 16) {
        let mut found = vec![0; usize::try_from((ours.size() - at).min(1 << 16)).unwrap()];
        ours.read_exact_at(&mut found, at).unwrap();
        let expected = other.read(at, found.len());
        for (index, (found, expected)) in found.chunks(block).zip(expected.chunks(block)).enumerate() {
            let number = at / block as u64 + index as u64;
            let changes = number == 1024 / block as u64 || number == journal;
            if found != expected && !changes {
                let differ: Vec<usize> = (0..block).filter(|at| found[*at] != expected[*at]).collect();
                panic!("{case}: block {number} (journal at {journal}) differs at {differ:?}");
            }
        }
    }
    other
}

/// What the next mount removes is in use until then: with it, all that e2fsck leaves in use.
fn removed(image: &Image, case: &str) {
    let other = copy(image);
    e2fsck(&other, &["-f"]);
    agrees(&other);
    let data = of_kind(&extents(&image.map(), image.source().size()), ExtentKind::Data);
    let left = of_kind(&extents(&other.map(), image.source().size()), ExtentKind::Data);
    assert_eq!(minus(&left, &data), [], "{case}");
    assert!(total(&data) > total(&left), "{case}: no orphan was in use");
}

fn field(image: &Image, name: &str) -> u64 {
    let header = run("dumpe2fs", &["-h", image.name()]);
    let line = header.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn block_size(image: &Image) -> usize {
    usize::try_from(field(image, "Block size:")).unwrap()
}

/// The first block of the journal.
fn journal_start(image: &Image) -> u64 {
    let blocks = run("debugfs", &["-R", "blocks <8>", image.name()]);
    blocks.split_whitespace().next().unwrap().parse().unwrap()
}

/// Uses a file system in rounds, and looks at it after each as if the power had gone.
fn is_mapped_behind_its_journal(size: u64, options: &str, mount_options: &str) {
    let image = Image::garbage(size);
    image.mke2fs(options);
    let mount = image.mount(&format!("commit=600,{mount_options}"));
    let (mut files, mut seed) = (Files::new(), 7);
    for round in 0..4 {
        let case = format!("{options} {mount_options}, round {round}");
        work(&mount.0, &mut files, &mut seed);
        let open = if round % 2 == 1 { orphans(&mount.0) } else { Vec::new() };
        late(&mount.0);
        let cut = copy(&image);
        let map = cut.map();
        assert!(!map.whole, "{case}: {map:?}");
        assert_eq!(map.content.state.as_deref(), Some("needs recovery"), "{case}");
        assert!(map.warnings.len() == 1 && map.warnings[0].contains("was replayed in memory"), "{case}: {map:?}");
        if open.is_empty() {
            map_agrees(&map, &replays_like_e2fsck(&cut, &case), false);
        } else {
            removed(&cut, &case);
        }
        let clone = cut.clone_of(&extents(&map, size));
        holds(&clone.mount("rw"), &files, &case);
        run("e2fsck", &["-fn", clone.name()]);
    }
    drop(mount);
    assert!(image.map().warnings.is_empty());
}

#[test]
fn with_checksums_and_64_bits() {
    is_mapped_behind_its_journal(64 * MIB, "-t ext4 -b 4096", "noinit_itable");
    is_mapped_behind_its_journal(48 * MIB, "-t ext4 -b 1024 -N 8000", "data=journal");
}

#[test]
fn without_checksums() {
    is_mapped_behind_its_journal(48 * MIB, "-t ext3 -b 1024 -N 8000", "noinit_itable");
    is_mapped_behind_its_journal(48 * MIB, "-t ext4 -b 1024 -N 8000 -O ^metadata_csum", "data=journal");
    is_mapped_behind_its_journal(64 * MIB, "-t ext4 -b 4096 -O ^metadata_csum,^64bit,^flex_bg", "data=writeback");
}

#[test]
fn with_a_journal_that_goes_round() {
    is_mapped_behind_its_journal(48 * MIB, "-t ext4 -b 1024 -N 8000 -J size=1", "noinit_itable");
    is_mapped_behind_its_journal(48 * MIB, "-t ext3 -b 1024 -N 8000 -J size=1", "data=journal");
}

#[test]
fn with_clusters_and_with_an_orphan_file() {
    is_mapped_behind_its_journal(128 * MIB, "-t ext4 -b 4096 -O bigalloc -C 16384", "noinit_itable");
    is_mapped_behind_its_journal(64 * MIB, "-t ext4 -b 4096 -O orphan_file", "noinit_itable");
}

/// A small file system with some transactions in its journal.
struct Sample {
    image: Image,
    block: usize,
    /// First byte of the journal, which lies in one piece, and its length.
    journal: usize,
    len: usize,
}

fn sample(options: &str) -> Sample {
    let image = Image::ext(24 * MIB, options);
    let mount = image.mount("commit=600,noinit_itable");
    let mut files = Files::new();
    (0..3).for_each(|round| work(&mount.0, &mut files, &mut (round + 1)));
    let image = copy(&image);
    drop(mount);
    let blocks = run("debugfs", &["-R", "blocks <8>", image.name()]);
    let blocks: Vec<usize> = blocks.split_whitespace().map(|block| block.parse().unwrap()).collect();
    assert!(blocks.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{blocks:?}");
    let block = block_size(&image);
    Sample { block, journal: blocks[0] * block, len: blocks.len() * block, image }
}

static SUMMED: LazyLock<Sample> = LazyLock::new(|| sample("-t ext4 -b 1024 -N 2000 -J size=1"));
static PLAIN: LazyLock<Sample> =
    LazyLock::new(|| sample("-t ext4 -b 1024 -N 2000 -J size=1 -O ^extent,^64bit,^metadata_csum,^huge_file"));

impl Sample {
    /// Blocks of the journal of this type, in bytes, in the order of the log.
    fn blocks(&self, bytes: &[u8], kind: u8) -> Vec<usize> {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let first = word(self.journal + 0x18);
        let all = (self.journal + self.block..self.journal + self.len).step_by(self.block);
        let mut found: Vec<usize> = all
            .filter(|&at| {
                bytes[at..at + 4] == JOURNAL_MAGIC && word(at + 4) == u32::from(kind) && word(at + 8) >= first
            })
            .collect();
        found.sort_by_key(|&at| word(at + 8));
        found
    }
}

/// Wherever the power goes: what lies behind is gone or was never there.
#[test]
fn a_log_that_ends_in_the_middle_ends_where_e2fsck_says() {
    for sample in [&*SUMMED, &*PLAIN] {
        let bytes = sample.image.bytes();
        let commits = sample.blocks(&bytes, 2);
        assert!(commits.len() > 20, "{}", commits.len());
        for (number, &commit) in commits.iter().enumerate().step_by(7) {
            for blocks in [0, 1, 2] {
                let cut = copy(&sample.image);
                cut.write((commit - blocks * sample.block) as u64, &vec![0x5a; (blocks + 1) * sample.block]);
                let case = format!("commit {number}, {blocks} blocks before");
                map_agrees(&cut.map(), &replays_like_e2fsck(&cut, &case), false);
            }
        }
    }
}

#[test]
fn what_the_kernel_would_stumble_over_makes_it_whole() {
    let bytes = SUMMED.image.bytes();
    let (descriptors, commits) = (SUMMED.blocks(&bytes, 1), SUMMED.blocks(&bytes, 2));
    let (descriptor, commit) = (descriptors[2], commits[2]);
    for (at, warning) in [
        (descriptor + SUMMED.block + 77, "checksum of the copy of block"),
        (descriptor + 500, "of the journal is"),
        (commit + 60, "checksum of the commit in block"),
        (commit + 7, "has the unknown type"),
        (SUMMED.journal + 0x1b, "checksum of the journal superblock"),
        (SUMMED.journal, "journal superblock in block"),
        (SUMMED.journal + 7, "journal superblock has type"),
        (SUMMED.journal + 0x2b, "journal has flags"),
        (SUMMED.journal + 0x50, "journal has checksum type"),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        is_whole(bytes, warning);
    }
}

#[test]
fn a_journal_that_contradicts_itself_makes_it_whole() {
    let bytes = PLAIN.image.bytes();
    let head = PLAIN.journal;
    let tag = PLAIN.blocks(&bytes, 1)[0] + 12;
    let cases: &[(usize, &[u8], &str)] = &[
        (head + 0x0c, &[0, 0, 8, 0], "journal has blocks of 2048 bytes"),
        (head + 0x10, &[0, 1, 0, 0], "journal has 65536 blocks, its file"),
        (head + 0x14, &[0, 0, 0, 0], "log begins at block 0"),
        (head + 0x1c, &[0, 1, 0, 0], "replay begins at block 65536"),
        (head + 0x23, &[5], "its journal ended with error 5"),
        (tag, &[0, 0xff, 0, 0], "journal has a copy of block 16711680"),
        (tag + 7, &[0x80], "has flags 0x8"),
    ];
    for (at, value, warning) in cases {
        let mut bytes = bytes.clone();
        bytes[*at..at + value.len()].copy_from_slice(value);
        is_whole(bytes, warning);
    }
}

#[test]
fn a_superblock_in_the_journal_that_says_something_else_makes_it_whole() {
    let base = PLAIN.image.bytes();
    let descriptor = *PLAIN.blocks(&base, 1).last().unwrap();
    for (at, value, warning) in [
        (0x38, [0, 0, 0, 0], "superblock without magic"),
        (0x3a, [3, 0, 0, 0], "found errors"),
        (0x4, [0xff, 0x5f, 0, 0], "its journal changes its geometry"),
    ] {
        let mut bytes = base.clone();
        bytes.copy_within(1024..2048, descriptor + PLAIN.block);
        bytes[descriptor + PLAIN.block + at..][..4].copy_from_slice(&value);
        bytes[descriptor + 12..descriptor + 16].copy_from_slice(&[0, 0, 0, 1]);
        is_whole(bytes, warning);
    }
}

/// Where the blocks of the journal lie is itself read from the disk.
#[test]
fn a_journal_whose_places_make_no_sense_makes_it_whole() {
    let inode = |sample: &Sample| {
        let said = run("debugfs", &["-R", "imap <8>", sample.image.name()]);
        let words: Vec<&str> = said.split_whitespace().collect();
        let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let at = words.iter().rposition(|word| *word == "block").unwrap();
        words[at + 1].trim_end_matches(',').parse::<usize>().unwrap() * sample.block + number(words[at + 3])
    };
    for (sample, at, value, warning) in [
        (&SUMMED, 0x28, &[0, 0][..], "extent tree of the journal has magic"),
        (&SUMMED, 0x2a, &[9, 0], "has 9 entries and depth 0"),
        (&SUMMED, 0x2e, &[9, 0], "entries and depth 9"),
        (&SUMMED, 0x2e, &[1, 0], "extent tree of the journal"),
        (&SUMMED, 0x34, &[3, 0, 0, 0], "goes on at block 3 of the file, 0 expected"),
        (&SUMMED, 0x38, &[0, 0x90], "extent of the journal has 36864 blocks"),
        (&SUMMED, 0x38, &[2, 0], "2 of them have a place"),
        (&SUMMED, 0x3c, &[0, 0, 0, 0x7f], "journal is at block 2130706432"),
        (&SUMMED, 0x04, &[0, 0, 0, 0], "journal has 0 blocks"),
        (&PLAIN, 0x28, &[0, 0, 0, 0], "journal is at block 0+1"),
        (&PLAIN, 0x58, &[0, 0, 0, 0x7f], "list of the journal's blocks is at block 2130706432"),
    ] {
        let mut bytes = sample.image.bytes();
        let place = inode(sample) + at;
        bytes[place..place + value.len()].copy_from_slice(value);
        is_whole(bytes, warning);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Without checksums, so that all of it is read.
    #[test]
    fn any_journal_is_mapped_or_doubted(changes in proptest::collection::vec((0_usize..600_000, any::<u8>()), 1..20)) {
        let mut bytes = PLAIN.image.bytes();
        for (at, value) in changes {
            bytes[PLAIN.journal + at % PLAIN.len] = value;
        }
        let size = bytes.len() as u64;
        let map = map(Arc::new(bytes)).unwrap();
        let all = extents(&map, size);
        prop_assert!(!map.whole || all.len() == 1);
    }
}
