//! The file systems of a clone, for as long as something is done to them: loop devices, device mapper, mounts.
//!
//! In: a disk that this process holds, and which part of it. Out: block devices over that part; file systems mounted where
//! nobody else sees them.
//! Promise: everything is undone in reverse order, also after an error; nothing of the clone is run, no device node or
//! set-user-id bit of it has a meaning.
//!
//! The disk stays held with `O_EXCL` from the first look to the last write. The device mapper and mounts claim their
//! device for themselves, and so fail with `EBUSY` on such a disk (tried with Linux 6.1). A loop device does not claim what
//! it shows: it lies below everything here, and whoever needs a claim claims the loop device.

mod error;
mod loops;
mod lvm;
mod mapper;
mod mount;
mod namespace;
#[cfg(test)]
mod tests;
mod volumes;

pub use error::AttachError;
pub use loops::LoopDevice;
pub use lvm::{Attached, logical_volumes};
pub use mapper::{Mapped, Row};
pub use mount::Mount;
pub use namespace::{Namespace, within};
pub use volumes::{DiskAt, DiskVolumes};
