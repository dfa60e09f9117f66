//! New UUIDs for partition tables, partitions and file systems of a restored disk (`--new-uuids`).
//!
//! In: disks that hold an image, logical volumes on them, and the seed of the run. Out: a plan; then other ids on them.
//! Promise: all changes are rehearsed in memory and read there as a capture would; what is not clean, not as the
//! manifest says, or not known here keeps its UUID byte for byte, and the plan says why.
//!
//! # The order of the steps
//!
//! 1. When the disks hold the image, are proven and sealed (and grown): make devices of logical volumes
//!    (`extent::volumes_of`), then [`plan`]. The seed is kept with the run.
//! 2. Assemble the tree read-only. Where `/boot`, `/boot/efi` or `/efi` is among what could not be mounted, stop: what names
//!    ids may lie there. `refer::blockers(&root, &plan.renamed())`, and for each of them [`Plan::keep`]. Finish the tree.
//!    All that can be refused has been refused, and not a byte was written.
//! 3. [`write()`]: contents, then tables; let the kernel read the tables again (`Medium::announce`).
//! 4. Assemble the tree for writing, with `Renamed::put_back` on each volume: its fstab still names the old ids. Then
//!    `refer::follow(&mut root, &plan.renamed())` and `Root::commit`, alone or together with the identity.
//! 5. The firmware's entry names a partition by its GUID: `Nvram::add(&plan.manifest(&manifest))` instead of the image's
//!    manifest, after 3. [`Plan::changes`] and those of the commit go into the receipt.
//!
//! Between 3 and 4 the clone does not boot: an error there is a failed restore, not one without an identity. A run that
//! ends there is repeated as a whole: a restore writes the image's bytes again, and the same seed gives the same ids.

mod btrfs;
mod content;
mod error;
mod exfat;
mod ext;
mod f2fs;
mod fat;
mod format;
mod ntfs;
mod patch;
mod plan;
mod seed;
mod swap;
mod table;
#[cfg(test)]
mod tests;
mod xfs;

pub use error::UuidError;
pub use patch::{FileBytes, MediumBytes, WriteAt};
pub use plan::{Device, Disk, NewId, Plan, Volume, What, plan, write};
pub use seed::Seed;
