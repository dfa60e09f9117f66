//! What the peers say about a partition.
//!
//! In: a partition. Out: the bytes that partclone would copy, and those of them that dumpe2fs says were never written.
//! Promise: nothing of it comes from the code under test.

use crate::attach::Loop;
use crate::disk::{Disk, Part};
use crate::range::{Ranges, merged};
use crate::tool::{arg, run};
use std::fs;
use std::ops::Range;

/// The bytes of `part`, counted from its start, that `partclone.<program>`'s domain map calls used.
#[must_use]
pub fn used(program: &str, disk: &Disk, part: &Part) -> Ranges {
    let device = Loop::part(disk, part);
    let folder = crate::tool::scratch();
    let (map, log) = (folder.path().join("domain"), folder.path().join("log"));
    let program = format!("partclone.{program}");
    run(&program, &["-D", "-s", device.name(), "-o", arg(&map), "--offset_domain=0", "-L", arg(&log)]);
    let text = fs::read_to_string(map).unwrap();
    let number = |hex: &str| u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap();
    let mut used = Ranges::new();
    for line in text.lines() {
        if let [start, len, "+"] = line.split_whitespace().collect::<Vec<_>>()[..] {
            used.push(number(start)..(number(start) + number(len)).min(part.size));
        }
    }
    assert!(!used.is_empty(), "{program} found nothing used: {text}");
    merged(used, 0)
}

/// The bytes of an ext file system that nobody ever wrote although they are metadata: bitmaps of groups marked
/// uninitialised, and ends of inode tables that no inode reached.
#[must_use]
pub fn never_written(disk: &Disk, part: &Part) -> Ranges {
    let device = Loop::part(disk, part);
    let text = run("dumpe2fs", &[device.name()]);
    let field = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let header = |key: &str| field(key).unwrap();
    let block = header("Block size:");
    // Revision 0 has inodes of 128 bytes and does not say so.
    let inode = field("Inode size:").unwrap_or(128);
    let per_group = header("Inodes per group:");
    let blocks = |text: &str| -> Range<u64> {
        let mut ends = text.trim_end_matches(',').split('-').map(|number| number.parse::<u64>().unwrap());
        let first = ends.next().unwrap();
        first * block..(ends.next().unwrap_or(first) + 1) * block
    };
    let mut out = Ranges::new();
    let mut flags = "";
    let mut table = 0..0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Group", number, ..] if number.ends_with(':') => flags = line,
            ["Block", "bitmap", "at", at, ..] if flags.contains("BLOCK_UNINIT") => out.push(blocks(at)),
            ["Inode", "bitmap", "at", at, ..] if flags.contains("INODE_UNINIT") => out.push(blocks(at)),
            ["Inode", "table", "at", at, ..] => table = blocks(at),
            [_, "free", what, ..] if what.starts_with("blocks") || what.starts_with("clusters") => {
                if let Some(at) = words.iter().position(|word| *word == "unused") {
                    let unused: u64 = words[at - 1].parse().unwrap();
                    out.push(table.start + (per_group - unused) * inode..table.end);
                }
            }
            _ => {}
        }
    }
    merged(out, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Fs, MIB};
    use crate::range::total;

    #[test]
    fn partclone_and_dumpe2fs_are_understood() {
        let disk = Disk::cloud(600 * MIB);
        let (ext, fat) = (disk.part(1), disk.part(15));
        disk.format(&ext, Fs::Ext(&["-t", "ext4"]));
        disk.format(&fat, Fs::Fat(32));
        assert!((8 * MIB..64 * MIB).contains(&total(&used("ext4", &disk, &ext))));
        assert!((1..2 * MIB).contains(&total(&used("fat32", &disk, &fat))));
        assert!(total(&never_written(&disk, &ext)) > MIB);
    }
}
