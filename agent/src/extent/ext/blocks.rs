//! Single blocks that often lie next to each other.
//!
//! In: block numbers, mostly ascending. Out: their bytes.
//! Promise: neighbours are read together, and reading ahead never makes an error of its own.

use super::super::ExtentError;
use super::super::bytes::in_memory;
use super::super::peek::read;
use crate::disk::source::ReadAt;

/// flex_bg puts the bitmaps of 16 groups side by side.
const AHEAD: u64 = 16;

pub(super) struct Blocks<'a> {
    part: &'a dyn ReadAt,
    block: u64,
    what: &'static str,
    first: u64,
    raw: Vec<u8>,
    last: Option<u64>,
}

impl<'a> Blocks<'a> {
    /// Blocks of `block` bytes; errors name `what`.
    pub const fn new(part: &'a dyn ReadAt, block: u64, what: &'static str) -> Self {
        Self { part, block, what, first: 0, raw: Vec::new(), last: None }
    }

    pub fn get(&mut self, number: u64) -> Result<&[u8], ExtentError> {
        let held = self.raw.len() as u64 / self.block;
        if number < self.first || number >= self.first + held {
            let near = self.last.is_some_and(|last| number > last && number - last <= AHEAD);
            let left = (self.part.size() / self.block).saturating_sub(number);
            let count = if near { AHEAD.min(left).max(1) } else { 1 };
            if count == 1 || self.load(number, count).is_err() {
                self.load(number, 1)?;
            }
        }
        self.last = Some(number);
        let at = in_memory((number - self.first) * self.block)?;
        Ok(&self.raw[at..at + in_memory(self.block)?])
    }

    fn load(&mut self, number: u64, count: u64) -> Result<(), ExtentError> {
        let mut raw = vec![0; in_memory(count * self.block)?];
        read(self.part, &mut raw, number * self.block, self.what)?;
        (self.first, self.raw) = (number, raw);
        Ok(())
    }
}
