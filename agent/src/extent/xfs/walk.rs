//! A walk through all AGs of an XFS.
//!
//! In: a volume whose log is clean. Out: what is between the free extents of each AG, ascending, disjoint.
//! Promise: headers and trees are checked on every walk; without checksums both trees must have the same extents.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::map::Extent;
use super::Volume;
use super::ag::Ag;
use super::tree::{Digest, Order, Tree};
use crate::disk::source::ReadAt;
use std::sync::Arc;

pub(super) struct Walk<'a> {
    part: &'a dyn ReadAt,
    volume: &'a Volume,
    /// The AG that comes next.
    next: u64,
    current: Option<Current<'a>>,
}

/// The AG that is being walked through.
struct Current<'a> {
    ag: Arc<Ag>,
    tree: Tree<'a>,
    /// What the other tree had, where there are no checksums.
    other: Option<Digest>,
    /// All blocks before this one are done.
    from: u64,
}

impl<'a> Walk<'a> {
    pub const fn new(part: &'a dyn ReadAt, volume: &'a Volume) -> Self {
        Self { part, volume, next: 0, current: None }
    }

    fn enter(&self, number: u64) -> Result<Current<'a>, ExtentError> {
        let ag = Arc::new(Ag::read(self.part, self.volume, number)?);
        let mut other = None;
        if self.volume.geometry.sums.is_none() {
            let mut tree = Tree::new(self.part, self.volume, Arc::clone(&ag), Order::Length);
            while tree.next()?.is_some() {}
            other = Some(tree.digest());
        }
        let tree = Tree::new(self.part, self.volume, Arc::clone(&ag), Order::Place);
        Ok(Current { ag, tree, other, from: 0 })
    }

    /// The next used blocks; `None` when there are no more.
    fn step(&mut self) -> Result<Option<Extent>, ExtentError> {
        loop {
            let Some(current) = &mut self.current else {
                if self.next == self.volume.geometry.ags {
                    return Ok(None);
                }
                self.current = Some(self.enter(self.next)?);
                self.next += 1;
                continue;
            };
            let (from, ag) = (current.from, current.ag.number);
            let end = match current.tree.next()? {
                Some(free) => {
                    current.from = free.start + free.count;
                    free.start
                }
                None => {
                    current.check_other()?;
                    let end = current.ag.blocks;
                    self.current = None;
                    end
                }
            };
            if from < end {
                let geometry = &self.volume.geometry;
                return Ok(Some(Extent::data(geometry.at(ag, from), geometry.at(ag, end))));
            }
        }
    }
}

impl Current<'_> {
    fn check_other(&self) -> Result<(), ExtentError> {
        let Some(other) = self.other else { return Ok(()) };
        let this = self.tree.digest();
        believe!(
            this == other,
            "bnobt of AG {} has {} free extents ({:#x}), its cntbt has {} ({:#x})",
            self.ag.number,
            this.extents,
            this.mixed,
            other.extents,
            other.mixed
        );
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.current = None;
            self.next = self.volume.geometry.ags;
        }
        step.transpose()
    }
}
