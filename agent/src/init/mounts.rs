//! The file systems that a process expects, and their end.
//!
//! In: an initramfs with empty folders. Out: /proc, /sys, /dev, /run, /tmp, and efivarfs on UEFI machines.
//! Promise: what is mounted already stays; nothing is mounted from a disk.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::Path;

/// Where boot's own files lie.
pub const RUN: &str = "/run/ramet";
const EFIVARS: &str = "/sys/firmware/efi/efivars";

/// A mount that did not come to be.
#[derive(Debug, thiserror::Error)]
#[error("mounting {kind} on {place}: {source}")]
pub struct MountError {
    kind: &'static str,
    place: &'static str,
    source: Errno,
}

/// Mounts all; the ones that can not be are returned, because there is nobody else to tell yet.
#[must_use]
pub fn all() -> Vec<MountError> {
    let still = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let files = still | MsFlags::MS_NODEV;
    let mut errors = Vec::new();
    let wanted = [
        ("proc", "/proc", files, None),
        ("sysfs", "/sys", files, None),
        // The kernel mounts devtmpfs itself only over a real root (DEVTMPFS_MOUNT).
        ("devtmpfs", "/dev", still, Some("mode=0755")),
        ("tmpfs", "/run", files, Some("mode=0755")),
        ("tmpfs", "/tmp", files, Some("mode=1777")),
    ];
    for (kind, place, flags, data) in wanted {
        let _ = std::fs::create_dir_all(place);
        if let Err(source) = mount(Some(kind), place, Some(kind), flags, data)
            && source != Errno::EBUSY
        {
            errors.push(MountError { kind, place, source });
        }
    }
    // The folder is made by the kernel even where it has no driver for it.
    let _ = std::fs::create_dir_all(RUN);
    errors
}

/// Mounts the firmware's variables; only on UEFI machines, and only once modules can be loaded.
///
/// # Errors
/// [`MountError`]: the file system is a module of its own.
pub fn firmware_variables() -> Result<(), MountError> {
    if !Path::new(EFIVARS).is_dir() {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    match mount(Some("efivarfs"), EFIVARS, Some("efivarfs"), flags, None::<&str>) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(source) => Err(MountError { kind: "efivarfs", place: EFIVARS, source }),
    }
}

/// Unmounts everything that was mounted from a device, deepest first; lazily where it is busy.
pub fn devices_off() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in from_devices(&mounts) {
        if umount2(place.as_str(), MntFlags::empty()).is_err() {
            let _ = umount2(place.as_str(), MntFlags::MNT_DETACH);
        }
    }
}

fn from_devices(mounts: &str) -> Vec<String> {
    let mut places: Vec<String> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let device = words.next()?;
            let place = words.next()?;
            // Spaces and backslashes are written in octal (proc_pid_mounts(5)).
            device.starts_with("/dev/").then(|| place.replace("\\040", " ").replace("\\134", "\\"))
        })
        .collect();
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_on_devices_is_unmounted_and_the_last_first() {
        let mounts = "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/sr0 /run/ramet/medium iso9660 ro 0 0\n\
                      /dev/sda1 /run/ramet/medium/in\\040side vfat rw 0 0\n";
        assert_eq!(from_devices(mounts), ["/run/ramet/medium/in side", "/run/ramet/medium"]);
    }
}
