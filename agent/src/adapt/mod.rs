//! What a destination becomes beyond the copy.
//!
//! In: an order, disks that hold or are about to hold an image. Out: the same disks, changed, and what was changed.
//! Promise: everything that can be refused is refused before the first write; the default is nothing at all.

pub mod ability;
pub mod grow;
pub mod joined;
pub mod layout;
pub mod overflow;
pub mod programs;
pub mod shrink;
pub mod size;
pub mod swap;
#[cfg(test)]
mod tests;
