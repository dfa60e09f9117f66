//! Cutting and packing: from extents to chunks in packs.
//!
//! In: extents of a partition. Out: packs on their way to a store, and records of what lies where.
//! Promise: memory is bounded by one pool of buffers and three packs, however large the disk is.

pub mod pack;
pub mod read;
pub mod split;
pub mod worker;
