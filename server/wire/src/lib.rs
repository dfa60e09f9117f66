//! The words that both sides of a wire must agree on, bit for bit: `FORMAT.md` in code.
//!
//! In: bytes from disks, files and peers. Out: checked values, and bytes again.
//! Promise: no I/O, no clock, no environment; every length has bounds before it is used.

pub mod adapt;
pub mod agents;
pub mod api;
pub mod boot;
pub mod build;
pub mod cutting;
pub mod firmware;
pub mod frame;
pub mod hardware;
pub mod id;
pub mod identity;
pub mod jobs;
pub mod layout;
pub mod machines;
pub mod manifest;
pub mod name;
pub mod pack;
pub mod power;
pub mod range;
pub mod receipt;
pub mod segment;
pub mod settings;
pub mod sign;
pub mod table;
pub mod tags;

pub use id::{ChunkId, Fingerprint, ImageId, PackName, SegmentsDigest};
pub use name::{ImageGlob, ImageName, ImageRef};
pub use range::{BLOCK, ByteRange, GIB, KIB, MIB};
pub use table::{Entry, Table, TableKind};
