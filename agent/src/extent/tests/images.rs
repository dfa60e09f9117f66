//! Images, mounts and oracles for the tests of this folder.

use super::super::{Extent, ExtentKind, Map, map};
use crate::disk::source::{FileSource, ReadAt};
use ramet_wire::{BLOCK, ByteRange};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Runs a program to its end and gives its output; anything but success ends the test.
pub(super) fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {} {errors}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs a program until it succeeds, for at most five seconds.
pub(super) fn persist(program: &str, args: &[&str]) -> bool {
    (0..50).any(|_| {
        let done = Command::new(program).args(args).output().is_ok_and(|out| out.status.success());
        if !done {
            std::thread::sleep(Duration::from_millis(100));
        }
        done
    })
}

/// A sparse image file in a folder of its own.
pub(crate) struct Image {
    pub dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl Image {
    pub fn empty(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        File::create(&path).unwrap().set_len(size).unwrap();
        Self { dir, path }
    }

    /// Full of bytes that no file system wrote, so that nothing is right by being zero.
    pub fn garbage(size: u64) -> Self {
        let image = Self::empty(size);
        let mut seed = 1;
        let block: Vec<u8> = (0..1 << 20).map(|_| random(&mut seed).to_le_bytes()[0] | 1).collect();
        for at in (0..size).step_by(1 << 20) {
            let len = usize::try_from((size - at).min(1 << 20)).unwrap();
            image.write(at, &block[..len]);
        }
        image
    }

    pub fn ext(size: u64, options: &str) -> Self {
        let image = Self::empty(size);
        image.mke2fs(options);
        image
    }

    pub fn mke2fs(&self, options: &str) {
        let mut args: Vec<&str> = vec!["-q", "-F"];
        args.extend(options.split_whitespace());
        args.push(self.name());
        run("mke2fs", &args);
    }

    pub fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        File::options().write(true).open(&self.path).unwrap().write_all_at(bytes, at).unwrap();
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        File::open(&self.path).unwrap().read_exact_at(&mut buf, at).unwrap();
        buf
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub fn source(&self) -> Arc<dyn ReadAt> {
        source(&self.path)
    }

    pub fn map(&self) -> Map {
        map(self.source()).unwrap()
    }

    /// What a restore by these extents makes of a disk full of other bytes.
    pub fn clone_of(&self, extents: &[Extent]) -> Self {
        let clone = Self::garbage(self.source().size());
        self.restore_onto(&clone, extents);
        clone
    }

    pub fn restore_onto(&self, clone: &Self, extents: &[Extent]) {
        for extent in extents {
            for at in (extent.range.start()..extent.range.end()).step_by(1 << 20) {
                let len = usize::try_from((extent.range.end() - at).min(1 << 20)).unwrap();
                match extent.kind {
                    ExtentKind::Data => clone.write(at, &self.read(at, len)),
                    ExtentKind::Zero => clone.write(at, &vec![0; len]),
                }
            }
        }
    }

    pub fn mount(&self, options: &str) -> Mount {
        let dir = self.dir.path().join("mnt");
        fs::create_dir_all(&dir).unwrap();
        // Other tests take loop devices at the same time.
        let (options, target) = (format!("loop,{options}"), dir.to_str().unwrap());
        assert!(persist("mount", &["-o", &options, self.name(), target]), "mount {} {options}", self.name());
        Mount(dir)
    }
}

/// What comes of it, and the time that the processor worked for it: what else the machine does is left out.
pub(super) fn worked<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let so_far = || {
        let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    };
    let before = so_far();
    let out = work();
    (out, so_far() - before)
}

/// The map, and the time that the processor worked for it.
pub(super) fn mapped(image: &Image) -> (Map, Duration) {
    worked(|| image.map())
}

pub(super) fn source(path: &Path) -> Arc<dyn ReadAt> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Arc::new(FileSource::new(file, size))
}

/// A mounted image; unmounted when dropped.
pub(crate) struct Mount(pub PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let device = self.own_loop();
        // A program that another test starts just now holds our files until its exec.
        let done = persist("umount", &[self.0.to_str().unwrap()]);
        assert!(done || std::thread::panicking(), "umount {}", self.0.display());
        // One in a mount namespace of its own keeps what was mounted when it started, and the kernel goes on writing.
        let backed = |(device, file): &(PathBuf, String)| fs::read_to_string(device).is_ok_and(|now| now == *file);
        let gone = (0..600).any(|_| {
            let held = device.as_ref().is_some_and(backed);
            std::thread::sleep(Duration::from_millis(if held { 100 } else { 0 }));
            !held
        });
        assert!(gone || std::thread::panicking(), "{} is still mounted somewhere", self.0.display());
    }
}

impl Mount {
    /// Where the kernel names the file of the loop device that goes with the last mount, and that name.
    fn own_loop(&self) -> Option<(PathBuf, String)> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mut words = mounts.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>());
        let device = words.find(|words| words.get(1).copied() == self.0.to_str())?[0].strip_prefix("/dev/")?.to_owned();
        let folder = Path::new("/sys/block").join(device).join("loop");
        let own = fs::read_to_string(folder.join("autoclear")).is_ok_and(|value| value.trim() == "1");
        let name = folder.join("backing_file");
        let file = fs::read_to_string(&name).ok().filter(|_| own)?;
        Some((name, file))
    }
}

/// A small generator: the same tree in every run.
pub(super) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Folders, files of many sizes, holes and links; then a third of the files is deleted again.
pub(super) fn write_tree(root: &Path, files: usize, largest: u64) {
    let mut seed = 42;
    let noise: Vec<u8> = (0..1 << 16).map(|_| random(&mut seed).to_le_bytes()[0]).collect();
    for number in 0..files {
        let dir = root.join(format!("d{}", number % 7)).join(format!("e{}", number % 3));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("file-{number}"));
        let file = File::create(&path).unwrap();
        let size = random(&mut seed) % (1 << (random(&mut seed) % u64::from(largest.ilog2()) + 1));
        for at in (0..size).step_by(noise.len()) {
            let len = usize::try_from((size - at).min(noise.len() as u64)).unwrap();
            file.write_all_at(&noise[..len], at).unwrap();
        }
        if number % 11 == 0 {
            file.write_all_at(b"behind a hole", size + (1 << 20)).unwrap();
        }
        if number % 13 == 0 {
            std::os::unix::fs::symlink("x".repeat(100), dir.join(format!("link-{number}"))).unwrap();
        }
    }
    run("sync", &["-f", root.to_str().unwrap()]);
    for number in (0..files).step_by(3) {
        fs::remove_file(root.join(format!("d{}/e{}/file-{number}", number % 7, number % 3))).unwrap();
    }
}

/// All extents, after the rules that hold for every map were checked.
pub(super) fn extents(map: &Map, size: u64) -> Vec<Extent> {
    let all: Vec<Extent> = map.extents().map(Result::unwrap).collect();
    let mut last = 0;
    let mut data = 0;
    for extent in &all {
        let range = extent.range;
        assert!(!range.is_empty() && range.start() >= last && range.end() <= size, "{range} after {last} of {size}");
        assert!(range.start().is_multiple_of(BLOCK) && (range.end().is_multiple_of(BLOCK) || range.end() == size));
        last = range.end();
        data += if extent.kind == ExtentKind::Data { range.len() } else { 0 };
    }
    assert_eq!(data, map.used_bytes);
    all
}

pub(super) fn of_kind(extents: &[Extent], kind: ExtentKind) -> Vec<ByteRange> {
    extents.iter().filter(|extent| extent.kind == kind).map(|extent| extent.range).collect()
}

/// What remains of `ranges` without `other`; both ascending and disjoint.
pub(super) fn minus(ranges: &[ByteRange], other: &[ByteRange]) -> Vec<ByteRange> {
    let mut out = Vec::new();
    for range in ranges {
        let mut from = range.start();
        let first = other.partition_point(|cut| cut.end() <= range.start());
        for cut in other[first..].iter().take_while(|cut| cut.start() < range.end()) {
            out.push(ByteRange::between(from, cut.start()));
            from = cut.end();
        }
        out.push(ByteRange::between(from, range.end()));
    }
    out.retain(|range| !range.is_empty());
    out
}

pub(super) fn total(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(|range| range.len()).sum()
}

/// The ranges that partclone's domain map of `path` calls used.
pub(super) fn partclone(program: &str, image: &Image) -> Vec<ByteRange> {
    let (map, log) = (image.dir.path().join("domain"), image.dir.path().join("log"));
    let (map_name, log_name) = (map.to_str().unwrap(), log.to_str().unwrap());
    run(program, &["-D", "-s", image.name(), "-o", map_name, "--offset_domain=0", "-L", log_name]);
    let text = fs::read_to_string(map).unwrap();
    let number = |hex: &str| u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap();
    let mut used = Vec::new();
    for line in text.lines() {
        if let [start, len, "+"] = line.split_whitespace().collect::<Vec<_>>()[..] {
            used.push(ByteRange::new(number(start), number(len)).unwrap());
        }
    }
    assert!(!used.is_empty(), "partclone found nothing used: {text}");
    used
}

/// These bytes are copied whole, for a reason that contains `warning`.
pub(super) fn is_whole(bytes: Vec<u8>, warning: &str) {
    let size = bytes.len() as u64;
    let map = map(Arc::new(bytes)).unwrap();
    assert!(map.whole, "{warning}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{warning}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}

/// One group as dumpe2fs describes it, in bytes.
#[derive(Debug)]
pub(super) struct Group {
    pub block_bitmap: ByteRange,
    pub inode_bitmap: ByteRange,
    /// The part of the inode table that was never used.
    pub unused: ByteRange,
    pub flags: String,
    /// Blocks beside a superblock copy that wait for descriptors of groups to come (not those of group 0).
    pub reserved: ByteRange,
    /// What its block bitmap calls free.
    pub free: Vec<ByteRange>,
    /// All of its metadata: superblock copy, descriptors, reserved ones, bitmaps, the used part of the inode table.
    pub metadata: Vec<ByteRange>,
}

/// `dumpe2fs`, group by group.
pub(super) fn dumpe2fs(image: &Image) -> Vec<Group> {
    let text = run("dumpe2fs", &[image.name()]);
    let header = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let block = header("Block size:");
    let inode_size = if text.contains("Inode size:") { header("Inode size:") } else { 128 };
    let per_group = header("Inodes per group:");
    let cluster = if text.contains("Cluster size:") { header("Cluster size:") } else { block };
    let blocks = |text: &str| {
        let mut ends = text.trim_end_matches(',').split('-').map(|n| n.parse::<u64>().unwrap());
        let first = ends.next().unwrap();
        ByteRange::between(first * block, (ends.next().unwrap_or(first) + 1) * block)
    };
    let mut groups: Vec<Group> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with("Group ") && line.as_bytes()[6].is_ascii_digit() {
            let flags = line.split('[').nth(1).unwrap_or("").to_owned();
            let none = ByteRange::between(0, 0);
            groups.push(Group {
                block_bitmap: none,
                inode_bitmap: none,
                unused: none,
                reserved: none,
                flags,
                free: Vec::new(),
                metadata: Vec::new(),
            });
            continue;
        }
        let first = groups.len() == 1;
        let Some(group) = groups.last_mut() else { continue };
        match words[..] {
            [_, "superblock", "at", at, ..] => {
                group.metadata.push(blocks(at));
                if let Some(at) = words.iter().position(|word| *word == "descriptors" || *word == "descriptor") {
                    group.metadata.push(blocks(words[at + 2]));
                }
            }
            ["Free", "blocks:", ..] => {
                // With bigalloc both ends are the first blocks of clusters.
                let ends = words[2..].iter().map(|word| blocks(word));
                group.free =
                    ends.map(|range| ByteRange::between(range.start(), range.end() + cluster - block)).collect();
            }
            ["Reserved", "GDT", "blocks", "at", at] if !first => group.reserved = blocks(at),
            ["Reserved", "GDT", "blocks", "at", at] | ["Group", "descriptor", "at", at] => {
                group.metadata.push(blocks(at))
            }
            ["Block", "bitmap", "at", at, ..] => group.block_bitmap = blocks(at),
            ["Inode", "bitmap", "at", at, ..] => group.inode_bitmap = blocks(at),
            ["Inode", "table", "at", at, ..] => group.unused = blocks(at),
            [_, "free", what, ..] if what.starts_with("blocks") || what.starts_with("clusters") => {
                let unused =
                    words.iter().position(|word| *word == "unused").map_or(0, |at| words[at - 1].parse().unwrap());
                let table = group.unused;
                let used_end = table.start() + (per_group - unused) * inode_size;
                group.metadata.push(ByteRange::between(table.start(), used_end));
                group.unused = ByteRange::between(used_end, table.end());
                for (bitmap, flag) in [(group.block_bitmap, "BLOCK_UNINIT"), (group.inode_bitmap, "INODE_UNINIT")] {
                    if !group.flags.contains(flag) {
                        group.metadata.push(bitmap);
                    }
                }
            }
            _ => {}
        }
    }
    groups
}
