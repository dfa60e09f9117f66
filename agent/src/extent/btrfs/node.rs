//! A node of a tree: keys with pointers, or, in a leaf, keys with items.
//!
//! In: the bytes at a node's place. Out: its keys, pointers and items.
//! Promise: it is the node that was meant (sum, place, file system, tree, level, generation), and its keys ascend.
//!
//! | offset | field | | in an array from 0x65 | |
//! |---|---|---|---|---|
//! | 0x00 | checksum | | pointer, 33 bytes: | 0 key, 17 node's address, 25 its generation |
//! | 0x20 | file system's UUID | | item, 25 bytes: | 0 key, 17 offset behind 0x65, 21 length |
//! | 0x30 | its own logical address | | key, 17 bytes: | 0 object, 8 type, 9 offset |
//! | 0x50, 0x58 | generation, tree | | | |
//! | 0x60, 0x64 | number of keys, level | | | |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h and fs/btrfs/tree-checker.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::volume::Format;
use std::fmt;

const HEADER: usize = 0x65;
const POINTER: usize = 33;
const ITEM: usize = 25;
/// Levels of a tree, the leaves' included.
pub(super) const LEVELS: u8 = 8;

/// What a tree is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub object: u64,
    pub kind: u8,
    pub offset: u64,
}

impl Key {
    pub const fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    pub fn read(fields: Fields<'_>, at: usize) -> Self {
        Self::new(fields.le64(at), fields.u8(at + 8), fields.le64(at + 9))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.object, self.kind, self.offset)
    }
}

/// What is known of a node before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The tree's name and number.
    pub tree: (&'static str, u64),
    /// Logical address in bytes.
    pub at: u64,
    pub generation: u64,
    pub level: u8,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node of the {} tree at {}", self.tree.0, self.at)
    }
}

/// A checked node.
pub(super) struct Node {
    raw: Vec<u8>,
    link: Link,
    count: usize,
}

impl Node {
    /// # Errors
    /// A doubt as in the promise above.
    pub fn new(raw: Vec<u8>, link: Link, format: &Format) -> Result<Self, ExtentError> {
        format.sum.check(&raw, link)?;
        let fields = Fields(&raw);
        let (uuid, at, generation, tree, level) =
            (fields.bytes(0x20, 16), fields.le64(0x30), fields.le64(0x50), fields.le64(0x58), fields.u8(0x64));
        believe!(uuid == format.uuid, "{link} belongs to file system {uuid:02x?}, {:02x?} expected", format.uuid);
        believe!(at == link.at, "{link} says that it lies at {at}");
        believe!(generation == link.generation, "{link} has generation {generation}, {} expected", link.generation);
        believe!(tree == link.tree.1, "{link} belongs to tree {tree}, {} expected", link.tree.1);
        believe!(level == link.level, "{link} has level {level}, {} expected", link.level);
        let count = usize::try_from(fields.le32(0x60)).unwrap_or(usize::MAX);
        let each = if level == 0 { ITEM } else { POINTER };
        let room = (raw.len() - HEADER) / each;
        believe!(count <= room, "{link} has {count} keys, there is room for {room}");
        let node = Self { raw, link, count };
        node.check_keys()?;
        if level == 0 { node.check_items() } else { node.check_pointers(format) }?;
        Ok(node)
    }

    fn check_keys(&self) -> Result<(), ExtentError> {
        for index in 1..self.count {
            let (before, key) = (self.key(index - 1), self.key(index));
            believe!(before < key, "{}: key {key} follows {before}", self.link);
        }
        Ok(())
    }

    /// Items lie without gaps from the end of the leaf towards its keys.
    fn check_items(&self) -> Result<(), ExtentError> {
        let mut end = self.raw.len() - HEADER;
        for index in 0..self.count {
            let (start, len) = self.item_place(index);
            let item_end = start.saturating_add(len);
            believe!(item_end == end, "{}: item {index} ends at {item_end}, {end} expected", self.link);
            end = start;
        }
        let keys = self.count * ITEM;
        believe!(end >= keys, "{}: items begin at {end}, its keys end at {keys}", self.link);
        Ok(())
    }

    fn check_pointers(&self, format: &Format) -> Result<(), ExtentError> {
        believe!(self.count > 0, "{} has level {} and 0 keys", self.link, self.link.level);
        for index in 0..self.count {
            let child = self.child(index);
            let generation = self.link.generation;
            believe!(
                child.at.is_multiple_of(format.sector),
                "{}: pointer {index} is {}, no multiple of {}",
                self.link,
                child.at,
                format.sector
            );
            believe!(
                child.generation <= generation,
                "{}: pointer {index} has generation {}, the node itself {generation}",
                self.link,
                child.generation
            );
        }
        Ok(())
    }

    pub const fn link(&self) -> Link {
        self.link
    }

    pub const fn is_leaf(&self) -> bool {
        self.link.level == 0
    }

    /// Number of keys.
    pub const fn count(&self) -> usize {
        self.count
    }

    pub fn key(&self, index: usize) -> Key {
        let each = if self.is_leaf() { ITEM } else { POINTER };
        Key::read(Fields(&self.raw), HEADER + index * each)
    }

    /// How many keys lie before the first that `before` is false for.
    pub fn partition_point(&self, before: impl Fn(Key) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if before(self.key(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The node that pointer `index` leads to; for nodes that are no leaves.
    pub fn child(&self, index: usize) -> Link {
        let (fields, at) = (Fields(&self.raw), HEADER + index * POINTER);
        let level = self.link.level.saturating_sub(1);
        Link { tree: self.link.tree, at: fields.le64(at + 17), generation: fields.le64(at + 25), level }
    }

    fn item_place(&self, index: usize) -> (usize, usize) {
        let (fields, at) = (Fields(&self.raw), HEADER + index * ITEM);
        let number = |at| usize::try_from(fields.le32(at)).unwrap_or(usize::MAX);
        (number(at + 17), number(at + 21))
    }

    /// The bytes of item `index`; for leaves.
    pub fn item(&self, index: usize) -> &[u8] {
        let (start, len) = self.item_place(index);
        Fields(&self.raw).bytes(HEADER.saturating_add(start), len)
    }
}
