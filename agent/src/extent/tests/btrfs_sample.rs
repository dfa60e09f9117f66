//! A btrfs of which every block can be changed, with its checksum mended or not.

use super::super::map;
use super::btrfs_images::{MIB, Pool};
use super::images::{extents, run};
use crate::disk::source::ReadAt;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Arc, LazyLock};

pub(super) const NODE: usize = 4096;
pub(super) const HEADER: usize = 0x65;
pub(super) const COPIES: [u64; 2] = [64 << 10, 64 << 20];

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(super) fn le32(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A file system of which single blocks were changed.
#[derive(Clone)]
pub(super) struct Damaged {
    pub base: Arc<Vec<u8>>,
    pub changed: BTreeMap<u64, Vec<u8>>,
}

impl Damaged {
    pub fn block(&self, at: u64) -> Vec<u8> {
        let start = usize::try_from(at).unwrap();
        self.changed.get(&at).cloned().unwrap_or_else(|| self.base[start..start + NODE].to_vec())
    }

    /// Changes a block, without its checksum.
    pub fn raw(&mut self, at: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut block = self.block(at);
        change(&mut block);
        self.changed.insert(at, block);
    }

    /// Changes a block and mends its checksum.
    pub fn mended(&mut self, at: u64, change: impl FnOnce(&mut Vec<u8>)) {
        self.raw(at, |block| {
            change(block);
            let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
            block[..4].copy_from_slice(&sum);
        });
    }

    pub fn superblocks(&mut self, change: impl Fn(&mut Vec<u8>)) {
        COPIES.into_iter().for_each(|at| self.mended(at, &change));
    }
}

impl ReadAt for Damaged {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.base.read_exact_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (at, block) in self.changed.range(offset.saturating_sub(NODE as u64)..end) {
            for (byte, place) in block.iter().zip(*at..) {
                if (offset..end).contains(&place) {
                    buf[usize::try_from(place - offset).unwrap()] = *byte;
                }
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.base.len() as u64
    }
}

/// A file system in which logical addresses are places on the disk: its chunks are those that mkfs makes.
pub(super) struct Sample {
    pub sound: Damaged,
    /// Where each tree begins.
    pub roots: BTreeMap<String, u64>,
}

impl Sample {
    pub fn make(options: &str) -> Self {
        let pool = Pool::make(1, 128 * MIB, &format!("-d single -m single -n 4096 {options}"));
        {
            // Without a free-space tree the kernel would write one of its older caches.
            let mounted = pool.mount(if options.is_empty() { "rw" } else { "nospace_cache" });
            let name = |number: usize| mounted.mount.0.join(format!("file-{number}"));
            (0..700).for_each(|number| fs::write(name(number), [7; 5000]).unwrap());
            run("sync", &["-f", mounted.mount.0.to_str().unwrap()]);
            (0..700).step_by(2).for_each(|number| fs::remove_file(name(number)).unwrap());
        }
        let text = run("btrfs", &["inspect-internal", "dump-tree", "-r", pool.0[0].name()]);
        let mut roots = BTreeMap::new();
        for line in text.lines().filter(|line| line.contains(" level ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = line.split(" tree").next().unwrap().to_owned();
            roots.insert(name, words[words.len() - 3].parse().unwrap());
        }
        let sample = Self { sound: Damaged { base: Arc::new(pool.0[0].bytes()), changed: BTreeMap::new() }, roots };
        let sound = map(Arc::new(sample.sound.clone())).unwrap();
        assert!(!sound.whole, "{sound:?}");
        sample
    }

    pub fn root(&self, tree: &str) -> u64 {
        self.roots[tree]
    }

    /// The leaf with the first item that `wanted` is true for, and the item's index.
    pub fn item(&self, tree: &str, wanted: impl Fn(u64, u8, u64) -> bool) -> (u64, usize) {
        self.item_behind(tree, 0, wanted)
    }

    /// As [`Self::item`], with so many items before it in its leaf: the first key of a leaf stands in its parent, too.
    pub fn item_behind(&self, tree: &str, before: usize, wanted: impl Fn(u64, u8, u64) -> bool) -> (u64, usize) {
        let mut nodes = vec![self.root(tree)];
        while let Some(at) = nodes.pop() {
            let node = self.sound.block(at);
            let count = le32(&node, 0x60);
            if node[0x64] > 0 {
                nodes.extend((0..count).rev().map(|index| le64(&node, HEADER + index * 33 + 17)));
                continue;
            }
            let key = |index: usize| {
                let at = HEADER + index * 25;
                wanted(le64(&node, at), node[at + 8], le64(&node, at + 9))
            };
            if let Some(index) = (before..count).find(|index| key(*index)) {
                return (at, index);
            }
        }
        panic!("no such item in the {tree} tree");
    }
}

pub(super) static FREE: LazyLock<Sample> = LazyLock::new(|| Sample::make(""));
pub(super) static EXTENTS: LazyLock<Sample> = LazyLock::new(|| Sample::make("-R ^free-space-tree"));

pub(super) fn is_whole(damaged: Damaged, warning: &str, case: &str) {
    let size = damaged.size();
    let map = map(Arc::new(damaged)).unwrap();
    assert!(map.whole, "{case}: believed");
    assert!(map.warnings.len() == 1 && map.warnings[0].contains(warning), "{case}: {:?}", map.warnings);
    assert_eq!(extents(&map, size).len(), 1);
}

pub(super) fn put(block: &mut [u8], at: usize, value: &[u8]) {
    block[at..at + value.len()].copy_from_slice(value);
}

/// Where the bytes of an item begin.
pub(super) fn place(block: &[u8], index: usize) -> usize {
    HEADER + le32(block, HEADER + index * 25 + 17)
}

pub(super) type Field = (usize, u64, usize);

pub(super) fn set(block: &mut [u8], (at, value, len): Field) {
    put(block, at, &value.to_le_bytes()[..len]);
}

pub(super) fn add(block: &mut [u8], at: usize, value: u64) {
    let sum = le64(block, at) + value;
    set(block, (at, sum, 8));
}
