//! Maps of real file systems, held against the tools that made them.
//!
//! In: images made by mkfs and written by the kernel. Out: the claims of design.md, "Extents", one test each.
//! Promise: the oracle is dumpe2fs, partclone or blkid, never this crate. Needs root for loop mounts.

mod damage;
mod ext_clean;
mod ext_dirty;
mod fat;
mod fixtures;
mod images;
mod large;
mod lvm;
mod lvm_damage;
mod lvm_doubt;
mod md;
mod names;
mod swap;
mod volumes;

pub(crate) use volumes::striped_rig;
