//! Mounts that lie nowhere until they are attached.
//!
//! In: a device, its kind, options of a fixed list. Out: a descriptor of the mount's top.
//! Promise: `nosuid`, `nodev`, `noexec`, set before anything in it can be reached.

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// How a volume is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Nothing is written; where even a journal cannot be replayed, it is left as it is.
    pub read_only: bool,
    /// `subvol=…` or `subvolid=…` of btrfs; none: its default.
    pub subvolume: Option<&'a str>,
}

/// Why a volume is not mounted.
#[derive(Debug, thiserror::Error)]
#[error("mounting {name} as {kind}")]
pub struct MountError {
    /// The volume.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The kernel's reason; `ENODEV`: no driver.
    #[source]
    pub source: std::io::Error,
}

/// Mounts the block device at `device`, attached nowhere.
///
/// # Errors
/// [`MountError`] with the kernel's reason.
pub fn detached(device: &Path, kind: &str, options: &Options<'_>) -> Result<OwnedFd, MountError> {
    let failed = |error: rustix::io::Errno| MountError {
        name: device.display().to_string(),
        kind: kind.to_owned(),
        source: error.into(),
    };
    match mount(device, kind, options, None) {
        // A device that cannot be written, and a journal that would have to be replayed.
        Err(rustix::io::Errno::ROFS | rustix::io::Errno::ACCESS) if options.read_only => {
            let as_it_is = match kind {
                "ext3" | "ext4" => "noload",
                "xfs" => "norecovery",
                "btrfs" => "rescue=nologreplay",
                _ => return Err(failed(rustix::io::Errno::ROFS)),
            };
            mount(device, kind, options, Some(as_it_is)).map_err(failed)
        }
        other => other.map_err(failed),
    }
}

fn mount(device: &Path, kind: &str, options: &Options<'_>, further: Option<&str>) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", device)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    if options.read_only {
        fsconfig_set_flag(&fs, "ro")?;
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if kind == "xfs" {
        // A clone beside its source has the same UUID.
        fsconfig_set_flag(&fs, "nouuid")?;
    }
    for option in options.subvolume.into_iter().chain(further) {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&fs, key, value)?,
            None => fsconfig_set_flag(&fs, option)?,
        }
    }
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Lets a detached mount appear over the folder that `at` is.
pub(super) fn attach(mount: &OwnedFd, at: impl AsFd) -> std::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", at, "", flags)?)
}

pub(super) fn unmount(at: &Path, lazily: bool) -> std::io::Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    Ok(rustix::mount::unmount(at, flags | UnmountFlags::NOFOLLOW)?)
}
