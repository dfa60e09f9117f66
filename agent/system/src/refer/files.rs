//! Which files of a system name ids.
//!
//! In: a clone's tree. Out: paths of what is there.
//! Promise: folders are listed, never walked without a limit; only regular files are named.

use crate::root::{Kind, Root, RootError};

/// Where an EFI system partition may be mounted.
pub(super) const ESP: [&str; 3] = ["/boot/efi", "/efi", "/boot"];
/// Where GRUB keeps its menu and its modules.
pub(super) const GRUB: [&str; 2] = ["/boot/grub", "/boot/grub2"];

/// Files that are there or not.
const SINGLE: [&str; 24] = [
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/etc/cmdline",
    "/etc/initramfs-tools/initramfs.conf",
    "/etc/initramfs-tools/crypttab",
    "/etc/dracut.conf",
    "/etc/mkinitcpio.conf",
    "/etc/mdadm.conf",
    "/etc/mdadm/mdadm.conf",
    "/etc/lilo.conf",
    "/etc/default/u-boot",
    "/etc/default/extlinux",
    "/etc/default/zramswap",
    "/etc/uswsusp.conf",
    "/etc/suspend.conf",
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
    "/boot/refind_linux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux.cfg",
    "/boot/loader/loader.conf",
    "/boot/boot.cmd",
];

/// Folders, and how the names of those of their files end that count.
const FOLDERS: [(&str, &[&str]); 19] = [
    ("/etc/default/grub.d", &[""]),
    ("/etc/grub.d", &[""]),
    ("/etc/kernel/cmdline.d", &[""]),
    ("/etc/cmdline.d", &[""]),
    ("/etc/initramfs-tools/conf.d", &[""]),
    ("/etc/dracut.conf.d", &[".conf"]),
    ("/etc/mkinitcpio.conf.d", &[".conf"]),
    ("/etc/mkinitcpio.d", &[".preset"]),
    ("/etc/mdadm.conf.d", &[".conf"]),
    ("/etc/udev/rules.d", &[".rules"]),
    ("/boot/grub", &[".cfg", ".lst", ".conf", "grubenv"]),
    ("/boot/grub2", &[".cfg", ".lst", ".conf", "grubenv"]),
    ("/boot/loader/entries", &[".conf"]),
    ("/boot/efi/loader/entries", &[".conf"]),
    ("/boot/efi/loader", &[".conf"]),
    ("/efi/loader/entries", &[".conf"]),
    ("/efi/loader", &[".conf"]),
    ("/boot/extlinux", &[".conf", ".cfg"]),
    ("/boot/syslinux", &[".conf", ".cfg"]),
];

/// Folders below which units lie.
pub(super) const UNITS: [&str; 2] = ["/etc/systemd/system", "/usr/local/lib/systemd/system"];

/// Files of text that name ids. A single file that is none, but a device or FIFO, is named too: reading it is an error.
pub(super) fn texts(root: &Root) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    for path in SINGLE {
        if root.stat(path)?.is_some() {
            found.push(path.to_owned());
        }
    }
    for (folder, ends) in FOLDERS {
        found.extend(of_folder(root, folder, ends)?);
    }
    for vendor in vendors(root)? {
        found.extend(of_folder(root, &vendor, &[".cfg", ".conf", "grubenv"])?);
    }
    unique(root, found)
}

/// Programs for UEFI firmware.
pub(super) fn programs(root: &Root) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    for vendor in vendors(root)? {
        found.extend(of_folder(root, &vendor, &[".efi", ".EFI"])?);
    }
    unique(root, found)
}

/// Images that a kernel unpacks before anything is mounted.
pub(super) fn initramfs(root: &Root) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    let mut folders: Vec<String> = ESP.map(str::to_owned).into();
    // systemd-boot: a folder by machine-id, in it one by kernel.
    for esp in ESP {
        for first in folders_of(root, esp)?.into_iter().filter(|path| token(path)) {
            folders.extend(folders_of(root, &first)?);
        }
    }
    for folder in folders {
        for path in of_folder(root, &folder, &[""])? {
            let name = path.rsplit('/').next().unwrap_or_default();
            if name.starts_with("initr") || name.starts_with("initramfs") {
                found.push(path);
            }
        }
    }
    unique(root, found)
}

fn token(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `EFI/NAME` of all places where the EFI system partition may be.
pub(super) fn vendors(root: &Root) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    for esp in ESP {
        for top in ["EFI", "efi"] {
            found.extend(folders_of(root, &format!("{esp}/{top}"))?);
        }
    }
    Ok(found)
}

fn folders_of(root: &Root, folder: &str) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    if root.is_dir(folder)? {
        for name in root.list(folder)? {
            let path = format!("{folder}/{name}");
            if root.lstat(&path)?.is_some_and(|stat| stat.kind == Kind::Dir) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Regular files in `folder` whose names end in one of `ends`.
pub(super) fn of_folder(root: &Root, folder: &str, ends: &[&str]) -> Result<Vec<String>, RootError> {
    let mut found = Vec::new();
    if root.is_dir(folder)? {
        for name in root.list(folder)? {
            let path = format!("{folder}/{name}");
            if ends.iter().any(|end| name.ends_with(end)) && root.is_file(&path)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Files that have several names here, over links or mounts with letters of any case, once.
fn unique(root: &Root, paths: Vec<String>) -> Result<Vec<String>, RootError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for path in paths {
        if seen.insert(root.real(&path)?) {
            found.push(path);
        }
    }
    Ok(found)
}
