//! Which disks there are, how their bytes are read, and whether they may be overwritten.
//!
//! In: paths to block devices or disk-image files, and the kernel's view of them. Out: size, sector sizes, identity,
//! open files, and refusals with reasons.
//! Promise: nothing here writes to a disk, except where `ioctl` is told to zero a range.

#[cfg(test)]
pub(crate) mod fake;
mod guard;
pub mod ioctl;
mod open;
mod place;
pub mod source;
mod sysfs;
#[cfg(test)]
pub(crate) mod testing;

pub use guard::{InUse, Reason, Refusal, check_sources, check_targets, open_targets, uses};
pub use open::{Direct, DiskId, DiskInfo, OpenError, Source, Target};
pub use sysfs::{Disks, Listed, PartitionDevice};
