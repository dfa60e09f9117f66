//! Disks as files: real tables, real file systems.
//!
//! In: sizes, what sfdisk and sgdisk shall write, what mkfs shall make. Out: disk-image files in folders of their own.
//! Promise: tables come from sfdisk and sgdisk, file systems from their own mkfs; nothing of it from the code under test.

use crate::attach::Loop;
use crate::random::Random;
use crate::tool::{arg, feed, run, scratch};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes.
pub const MIB: u64 = 1 << 20;
/// Bytes.
pub const GIB: u64 = 1 << 30;

/// A disk-image file.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
    /// The file.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Bytes per logical sector.
    pub sector: u32,
}

/// A partition as sfdisk sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Part {
    /// Its bytes on the disk.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start..self.start + self.size
    }
}

/// What mkfs shall make in a partition.
#[derive(Clone, Copy, Debug)]
pub enum Fs<'a> {
    /// `mke2fs` with these arguments.
    Ext(&'a [&'a str]),
    /// `mkfs.vfat -F` 12, 16 or 32.
    Fat(u32),
    /// `mkswap`.
    Swap,
    /// Another program that makes one, with its arguments before the device.
    By(&'a str, &'a [&'a str]),
    /// Random bytes: nothing anybody knows.
    Noise,
}

impl Disk {
    /// A sparse file of `size` bytes.
    #[must_use]
    pub fn blank(size: u64) -> Self {
        let folder = scratch();
        let path = folder.path().join("disk.img");
        File::create_new(&path).unwrap().set_len(size).unwrap();
        Self { folder, path, size, sector: 512 }
    }

    /// The same with another sector size, which only tools that ask a device see.
    #[must_use]
    pub const fn sectors_of(mut self, bytes: u32) -> Self {
        self.sector = bytes;
        self
    }

    /// A disk partitioned by `sfdisk`.
    #[must_use]
    pub fn with_sfdisk(size: u64, script: &str) -> Self {
        let disk = Self::blank(size);
        feed("sfdisk", &["--no-reread", "--no-tell-kernel", "-q", "--wipe=never", disk.name()], script);
        disk
    }

    /// A disk partitioned by `sgdisk`.
    #[must_use]
    pub fn with_sgdisk(size: u64, args: &[&str]) -> Self {
        let disk = Self::blank(size);
        disk.sgdisk(args);
        disk
    }

    /// The same with sectors of 4096 bytes.
    #[must_use]
    pub fn with_sgdisk_4k(size: u64, args: &[&str]) -> Self {
        let disk = Self::blank(size).sectors_of(4096);
        disk.sgdisk(args);
        disk
    }

    /// As cloud images are: partition 1 behind 14 (BIOS boot) and 15 (ESP).
    #[must_use]
    pub fn cloud(size: u64) -> Self {
        Self::with_sgdisk(size, &["-n", "14:0:+4M", "-t", "14:ef02", "-n", "15:0:+34M", "-t", "15:ef00", "-n", "1:0:0"])
    }

    /// An MBR with ten partitions of which six are logical and lie beyond 4 GiB.
    #[must_use]
    pub fn ten_partitions() -> Self {
        let mut script = String::from("label: dos\nsize=32M, type=83, bootable\nsize=40M, type=82\nsize=16M, type=c\n");
        // 4 GiB are 8388608 sectors.
        script += "start=8400896, type=f\n";
        for size in [8, 24, 8, 16, 12] {
            script += &format!("size={size}M, type=83\n");
        }
        script += "size=20M, type=c\n";
        Self::with_sfdisk(4 * GIB + 256 * MIB, &script)
    }

    /// A copy of the file, holes kept.
    #[must_use]
    pub fn copy(&self) -> Self {
        let folder = scratch();
        let path = folder.path().join("disk.img");
        run("cp", &["--sparse=always", self.name(), arg(&path)]);
        Self { folder, path, size: self.size, sector: self.sector }
    }

    /// As an argument.
    #[must_use]
    pub fn name(&self) -> &str {
        arg(&self.path)
    }

    /// A folder that lives as long as the disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `sgdisk` on it, on a loop device where sectors are not 512 bytes long.
    pub fn sgdisk(&self, args: &[&str]) -> String {
        self.on_device(|name| {
            let mut all = args.to_vec();
            all.push(name);
            run("sgdisk", &all)
        })
    }

    /// The name by which tools that ask the device see the right sector size.
    pub fn on_device<T>(&self, ask: impl FnOnce(&str) -> T) -> T {
        if self.sector == 512 {
            return ask(self.name());
        }
        let device = Loop::disk(self);
        let answer = ask(device.name());
        run("sync", &[device.name()]);
        answer
    }

    /// The partitions that hold something, by `sfdisk --json`; none without a table.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let text = self.on_device(|name| crate::tool::attempt("sfdisk", &["--json", name]).text);
        let Some(json) = text.find('{').map(|at| &text[at..]) else { return Vec::new() };
        let json: Value = serde_json::Deserializer::from_str(json).into_iter().next().unwrap().unwrap();
        let table = &json["partitiontable"];
        let unit = u64::from(self.sector);
        let mut parts = Vec::new();
        for entry in table["partitions"].as_array().into_iter().flatten() {
            let node = entry["node"].as_str().unwrap();
            let digits = node.rfind(|c: char| !c.is_ascii_digit()).map_or(node, |at| &node[at + 1..]);
            if matches!(entry["type"].as_str(), Some("5" | "f" | "85")) {
                continue;
            }
            let (start, size) = (entry["start"].as_u64().unwrap() * unit, entry["size"].as_u64().unwrap() * unit);
            parts.push(Part { number: digits.parse().unwrap(), start, size });
        }
        parts
    }

    /// Partition `number`; 0 is the whole disk.
    #[must_use]
    pub fn part(&self, number: u32) -> Part {
        if number == 0 {
            return Part { number, start: 0, size: self.size };
        }
        self.parts().into_iter().find(|part| part.number == number).unwrap()
    }

    /// Makes a file system in `part`.
    pub fn format(&self, part: &Part, fs: Fs<'_>) {
        match fs {
            Fs::Ext(args) => {
                let device = Loop::part_writable(self, part);
                let mut all = vec!["-q", "-F", "-E", "nodiscard"];
                all.extend(args);
                all.push(device.name());
                run("mke2fs", &all);
            }
            Fs::Fat(bits) => {
                let device = Loop::part_writable(self, part);
                run("mkfs.vfat", &["-F", &bits.to_string(), "-n", "GENET", device.name()]);
            }
            Fs::Swap => {
                let device = Loop::part_writable(self, part);
                run("mkswap", &["-q", "-L", "swap", device.name()]);
            }
            Fs::By(program, args) => {
                let device = Loop::part_writable(self, part);
                run(program, &[args, &[device.name()]].concat());
            }
            Fs::Noise => {
                let mut random = Random::new(part.start ^ part.size);
                let mut at = part.start;
                while at < part.range().end {
                    let len = MIB.min(part.range().end - at);
                    self.write(at, &random.bytes(usize::try_from(len).unwrap()));
                    at += len;
                }
            }
        }
    }

    /// Overwrites bytes.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(bytes, offset).unwrap();
    }

    /// Reads bytes.
    #[must_use]
    pub fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        File::open(&self.path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    /// A hash over all bytes, for "nothing was written". Holes and zeros are the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let file = File::open(&self.path).unwrap();
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut bytes = vec![0; 1 << 20];
        for range in crate::pattern::data(&file, self.size) {
            let mut at = range.start;
            while at < range.end {
                let len = usize::try_from(MIB.min(range.end - at)).unwrap();
                file.read_exact_at(&mut bytes[..len], at).unwrap();
                for (nr, block) in (0..).zip(bytes[..len].chunks(512)) {
                    if block.iter().any(|byte| *byte != 0) {
                        hasher.update(&(at + nr * 512).to_le_bytes());
                        hasher.update(block);
                    }
                }
                at += len as u64;
            }
        }
        hasher.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_back() {
        let numbers = |disk: &Disk| disk.parts().iter().map(|part| part.number).collect::<Vec<_>>();
        assert_eq!(numbers(&Disk::cloud(128 * MIB)), [1, 14, 15]);
        let mbr = Disk::ten_partitions();
        assert_eq!(numbers(&mbr), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
        assert!(mbr.part(5).start > 4 * GIB);
        let big = Disk::with_sgdisk_4k(64 * MIB, &["-n", "1:0:+8M", "-n", "3:0:0"]);
        assert_eq!(numbers(&big), [1, 3]);
        assert_eq!(big.part(1).start, MIB);
        assert!(Disk::blank(MIB).parts().is_empty());
    }
}
