//! Extents that are found some at a time: those of a group, of a piece of a bitmap.
//!
//! In: a step, which gives the next few extents, and `None` behind the last ones. Out: the extents one by one.
//! Promise: what one step gave is in memory, and no more; nothing follows an error.

use super::ExtentError;
use super::map::Extent;

pub(super) struct Steps<F> {
    step: F,
    ready: std::vec::IntoIter<Extent>,
    ended: bool,
}

impl<F: FnMut() -> Result<Option<Vec<Extent>>, ExtentError>> Steps<F> {
    pub fn new(step: F) -> Self {
        Self { step, ready: Vec::new().into_iter(), ended: false }
    }
}

impl<F: FnMut() -> Result<Option<Vec<Extent>>, ExtentError>> Iterator for Steps<F> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(extent) = self.ready.next() {
                return Some(Ok(extent));
            }
            if self.ended {
                return None;
            }
            match (self.step)() {
                Ok(Some(extents)) => self.ready = extents.into_iter(),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
