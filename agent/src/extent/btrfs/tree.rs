//! A walk through one tree, in the order of its keys.
//!
//! In: a tree's root. Out: items from any key on.
//! Promise: every node is the one its parent meant and lies between its parent's keys, so no node comes twice; the
//! number of nodes that are read is bounded all the same. At most 8 nodes are in memory.

use super::super::ExtentError;
use super::super::error::believe;
use super::node::{Key, LEVELS, Link, Node};
use super::volume::Volume;

/// A node on the way down, and where in it the walk is.
struct Step {
    node: Node,
    index: usize,
    /// The first key that can not be below this node.
    end: Option<Key>,
}

impl Step {
    fn covers(&self, key: Key) -> bool {
        self.node.count() > 0 && self.node.key(0) <= key && self.end.is_none_or(|end| key < end)
    }
}

/// A place in a tree.
pub(super) struct Cursor<'a> {
    volume: &'a Volume,
    root: Link,
    /// From the root down; empty before the first look and after the last item.
    path: Vec<Step>,
    /// How many nodes may still be read.
    left: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(volume: &'a Volume, root: Link) -> Self {
        Self { volume, root, path: Vec::new(), left: volume.nodes_max() }
    }

    /// The next item is the first one whose key is `key` or follows it.
    ///
    /// # Errors
    /// A doubt about a node on the way; [`ExtentError::Read`] from a device.
    pub fn seek(&mut self, key: Key) -> Result<(), ExtentError> {
        while self.path.len() > 1 && self.path.last().is_some_and(|step| !step.covers(key)) {
            self.path.pop();
        }
        if self.path.is_empty() {
            let level = self.root.level;
            believe!(
                level < LEVELS,
                "root of the {} tree has level {level}, less than {LEVELS} expected",
                self.root.tree.0
            );
            let node = self.read(self.root)?;
            self.path.push(Step { node, index: 0, end: None });
        }
        while let Some(step) = self.path.last_mut() {
            if step.node.is_leaf() {
                step.index = step.node.partition_point(|other| other < key);
                break;
            }
            step.index = step.node.partition_point(|other| other <= key).saturating_sub(1);
            self.descend()?;
        }
        Ok(())
    }

    /// The next item, unless its key is `end` or follows it.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub fn next_before(&mut self, end: Key) -> Result<Option<(Key, &[u8])>, ExtentError> {
        loop {
            let Some(step) = self.path.last_mut() else { return Ok(None) };
            if step.node.is_leaf() && step.index < step.node.count() {
                break;
            }
            step.index += 1;
            if step.node.is_leaf() || step.index >= step.node.count() {
                self.path.pop();
            } else {
                self.descend()?;
            }
        }
        let Some(step) = self.path.last_mut() else { return Ok(None) };
        let key = step.node.key(step.index);
        if key >= end {
            return Ok(None);
        }
        step.index += 1;
        Ok(Some((key, step.node.item(step.index - 1))))
    }

    /// The item of exactly this key.
    ///
    /// # Errors
    /// As [`Self::seek`].
    pub fn find(&mut self, key: Key) -> Result<Option<&[u8]>, ExtentError> {
        self.seek(key)?;
        let end = Key { offset: key.offset.saturating_add(1), ..key };
        Ok(self.next_before(end)?.map(|(_, item)| item))
    }

    /// One level down, through the pointer where the last step is.
    fn descend(&mut self) -> Result<(), ExtentError> {
        let Some(step) = self.path.last() else { return Ok(()) };
        let link = step.node.child(step.index);
        let first = step.node.key(step.index);
        let next = step.index + 1;
        let end = if next < step.node.count() { Some(step.node.key(next)) } else { step.end };
        let parent = step.node.link();
        let node = self.read(link)?;
        believe!(node.count() > 0, "{link} has 0 keys, {parent} has one for it");
        let (found, last) = (node.key(0), node.key(node.count() - 1));
        believe!(found == first, "{link} begins with key {found}, {parent} says {first}");
        if let Some(end) = end {
            believe!(last < end, "{link} ends with key {last}, {parent} has {end} behind it");
        }
        self.path.push(Step { node, index: 0, end });
        Ok(())
    }

    fn read(&mut self, link: Link) -> Result<Node, ExtentError> {
        let Some(left) = self.left.checked_sub(1) else {
            let most = self.volume.nodes_max();
            return Err(ExtentError::doubt(format!("{link} is one more than {most} nodes that fit into its chunks")));
        };
        self.left = left;
        self.volume.node(link)
    }
}
