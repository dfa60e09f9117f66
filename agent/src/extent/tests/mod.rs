//! Maps of real file systems, held against the tools that made them.
//!
//! In: images made by mkfs and written by the kernel. Out: the claims of design.md, "Extents", one test each.
//! Promise: the oracle is dumpe2fs, partclone or blkid, never this crate. Needs root for loop mounts.

mod btrfs;
mod btrfs_damage;
mod btrfs_dirty;
mod btrfs_images;
mod btrfs_pool;
mod btrfs_sample;
mod damage;
mod exfat;
mod exfat_damage;
mod ext_clean;
mod ext_dirty;
mod ext_replay;
mod f2fs;
mod f2fs_damage;
mod f2fs_kernel;
mod f2fs_volume;
mod fat;
mod fixtures;
mod grow;
mod images;
mod large;
mod lvm;
mod lvm_damage;
mod lvm_doubt;
mod md;
mod names;
mod ntfs;
mod ntfs_damage;
mod ntfs_dirty;
mod ntfs_volumes;
mod over;
mod room;
mod swap;
mod volumes;
mod xfs;
mod xfs_damage;
mod xfs_dirty;
mod xfs_sample;

pub(crate) use volumes::striped_rig;
