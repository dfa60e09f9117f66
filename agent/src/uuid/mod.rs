//! New UUIDs for partition tables, partitions and file systems of a restored disk (`--new-uuids`).
//!
//! In: disks that hold an image, logical volumes on them, and the seed of the run. Out: a plan; then other ids on them.
//! Promise: all changes are rehearsed in memory and read there as a capture would; what is not clean, not as the
//! manifest says, or not known here keeps its UUID byte for byte, and the plan says why.
//!
//! # The order of the steps
//!
//! 1. When the disks hold the image, are proven and sealed (and grown): activate volume groups, then [`plan`].
//! 2. Attach all file systems read-only, `ramet_system::refer::blockers(&root, &plan.renamed())`; for each of them
//!    [`Plan::keep`]. What is asked for without a possible answer is then known before a byte is written. Detach.
//! 3. [`write()`]: file systems, then the tables; let the kernel read the tables again (`Medium::announce`).
//! 4. Attach for writing, `ramet_system::refer::follow(&root, &plan.renamed())`: before identity, which adds files of its own.
//! 5. The firmware's entry names a partition by its GUID: `Nvram::add(&plan.manifest(&manifest))` instead of the image's
//!    manifest. It has to come after 3; the boot entries of the image itself are those of its source.
//!
//! Between 3 and 4 the clone does not boot. A run that ends there is repeated as a whole: a restore writes the image's
//! bytes again, and the same seed gives the same ids, so that what is new already stays.
//!
//! A volume group's copy of file systems is seen only through its logical volumes: they are given to [`plan`] as
//! [`Volume`]s over their device-mapper nodes.

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
