//! Which bytes of a partition matter.
//!
//! In: a partition (a window of the disk). Out: extents, ascending, disjoint, whole blocks; all else may be skipped.
//! Promise: a byte that a file system can read back is never outside an extent. When in doubt: all of it.

mod bitruns;
mod btrfs;
mod bytes;
mod error;
mod exfat;
mod ext;
mod f2fs;
mod fat;
mod formats;
mod frame;
mod hfsplus;
mod lvm;
mod map;
mod md;
mod ntfs;
mod peek;
mod room;
mod rounded;
mod signatures;
mod steps;
mod swap;
mod table;
#[cfg(test)]
mod tests;
mod xfs;
pub(crate) use btrfs::sum as btrfs_sum;
pub(crate) use bytes::Fields;
pub(crate) use exfat::add_to_sum as exfat_sum;
pub(crate) use ext::{Places as ExtPlaces, crc16 as ext_crc16, crc32c as ext_crc32c, places as ext_places};
pub(crate) use f2fs::sum as f2fs_sum;
pub use room::Room;
pub use signatures::firmware_raid_at_end;
pub use table::table;
#[cfg(test)]
pub(crate) use tests::striped_rig;

pub use btrfs::room as btrfs_room;
pub(crate) use xfs::{renamed_log as xfs_renamed_log, sum as xfs_sum};

pub use error::ExtentError;
pub use ext::room as ext_room;
pub use fat::{efi_file, efi_loaders};
pub use lvm::{Growth, LogicalVolume, VolumeStretch, growth, growth_of, volumes_of};
pub use map::{
    Content, Extent, ExtentKind, Inside, Map, Others, doubt_beside_hibernation, map, map_beside, map_typed, others,
    probe, whole,
};
