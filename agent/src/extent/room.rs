//! How small a file system can become.
//!
//! In: what a format's own `room` reads from its superblock. Out: its size, and a size that is certainly enough.
//! Promise: conservative: no tool that shrinks it needs more.

/// What a file system takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that it uses now, from the start of the partition.
    pub size: u64,
    /// Bytes in which it certainly has room.
    pub least: u64,
    /// btrfs: which of its devices this is; else 0.
    pub device: u64,
}
