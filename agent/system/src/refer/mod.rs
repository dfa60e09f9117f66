//! Whatever names a file system, swap or partition by its id follows when that id changes.
//!
//! In: a clone's mounted tree, and old and new ids. Out: its files with the new ones, staged in [`Root`](crate::Root); before that, what
//! cannot follow.
//! Promise: only whole words change, and by others of the same length: no file gets another length, encoding or order.
//!
//! # What follows
//!
//! fstab, crypttab, the settings and menus of GRUB, systemd-boot, extlinux and rEFInd, kernel command lines, settings of
//! initramfs builders, `resume=`, systemd units (in their names, too), udev rules, and programs for UEFI firmware that
//! carry a menu or a command line and are not signed. Settings in an initramfs follow by a small archive behind it
//! (`search.rs`). Labels, device paths and names of volume groups stay.
//!
//! # What cannot follow, and keeps its id
//!
//! [`blockers`] looks before anything is written: an equal UUID is a nuisance, a clone that does not boot is worse.
//! It names an id that an initramfs (in names or programs of it), a signed program or GRUB's core image (by the `load.cfg` that went into it) embeds,
//! a file system that the image's GRUB or kernel could no longer read, and the partitions of a Windows.

mod blockers;
mod files;
mod follow;
mod map;
mod search;
#[cfg(test)]
mod tests;

pub use blockers::{Blocker, blockers};
pub use follow::{Left, follow};
pub use map::{Id, Needs, Of, Renamed};
