//! Which disks there are, and how their bytes are read.
//!
//! In: a path to a block device or a disk-image file. Out: size, sector size, identity, and bytes.
//! Promise: nothing here writes.

pub mod source;
