//! The kernel of the ship.
//!
//! In: a version installed here, a Debian package, or a `vmlinuz` and a folder of modules. Out: the kernel's bytes, its
//! version, where its modules lie.
//! Promise: a kernel that cannot unpack our initramfs, or modules of another kernel, are refused before anything is built.

use crate::error::{Doing, Result, refused};
use crate::modules::Modules;
use crate::tool::{command, run};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Longest kernel and longest configuration, in bytes; Debian's have 8 MiB and 260 KiB.
const KERNEL_MAX: u64 = 128 << 20;
const CONFIG_MAX: u64 = 4 << 20;

/// Where the kernel comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// A version, a `.deb`, or a path of a `vmlinuz`.
    pub kernel: String,
    /// `/lib/modules/VERSION`, for a `vmlinuz`.
    pub modules: Option<PathBuf>,
    /// The configuration that the kernel was built with, when it does not lie beside it.
    pub config: Option<PathBuf>,
}

/// A kernel that will do.
#[derive(Debug)]
pub struct Kernel {
    /// The bzImage.
    pub bytes: Vec<u8>,
    /// As `uname -r` says.
    pub version: String,
    /// When it was built, by its own banner, in seconds since 1970.
    pub built: Option<i64>,
    /// Its modules.
    pub modules: Modules,
    /// Where its package was unpacked; removed at the end.
    _unpacked: Option<TempDir>,
}

impl Kernel {
    /// Finds, reads and checks it.
    ///
    /// # Errors
    /// A refusal when it is no bzImage for x86-64, cannot unpack zstd, or the modules are of another one; those of the
    /// file system and of `dpkg-deb`.
    pub fn open(origin: &Origin) -> Result<Self> {
        let is_package = Path::new(&origin.kernel).extension().is_some_and(|ending| ending == "deb");
        let unpacked = if is_package { Some(unpack(Path::new(&origin.kernel))?) } else { None };
        let root = unpacked.as_ref().map_or(Path::new("/"), TempDir::path);
        let (image, modules) = match &origin.modules {
            Some(modules) if !is_package => (PathBuf::from(&origin.kernel), modules.clone()),
            _ if is_package || !origin.kernel.contains('/') => in_root(root, origin, is_package)?,
            _ => {
                let what = format!("reading kernel {}", origin.kernel);
                return Err(refused(what, "its modules are not named", "add --modules /lib/modules/VERSION"));
            }
        };
        let what = || format!("reading kernel {}", image.display());
        let bytes = read(&image, KERNEL_MAX)?;
        let banner =
            banner(&bytes).map_err(|found| refused(what(), found, "give the vmlinuz of a kernel for x86-64"))?;
        let version = banner.split(' ').next().unwrap_or_default().to_owned();
        check_config(origin, &image, root, &modules, &version)?;
        let modules = Modules::open(&modules, &version)?;
        Ok(Self { bytes, built: built(&banner), version, modules, _unpacked: unpacked })
    }
}

/// Unpacks a package; dpkg is on every Debian machine.
fn unpack(package: &Path) -> Result<TempDir> {
    let what = || format!("unpacking {}", package.display());
    std::fs::metadata(package).doing(what)?;
    let dir = TempDir::with_prefix("ramet-kernel.").doing(what)?;
    run(what, command("unpacking a package", "dpkg-deb")?.arg("-x").arg(package).arg(dir.path()))?;
    Ok(dir)
}

/// `boot/vmlinuz-VERSION` and `lib/modules/VERSION` below `root`. A package holds one version.
fn in_root(root: &Path, origin: &Origin, is_package: bool) -> Result<(PathBuf, PathBuf)> {
    let what = format!("looking for kernel {}", origin.kernel);
    let version = if is_package {
        let found = std::fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
        let mut names: Vec<String> = found.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| name.starts_with("vmlinuz-"));
        match names.as_slice() {
            [one] => one["vmlinuz-".len()..].to_owned(),
            _ => {
                let found = format!("{} files boot/vmlinuz-* are in it, one is wanted", names.len());
                let next = "give a package linux-image-VERSION; linux-image-amd64 only names the newest one";
                return Err(refused(what, found, next));
            }
        }
    } else {
        origin.kernel.clone()
    };
    let image = root.join("boot").join(format!("vmlinuz-{version}"));
    let folders = ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder).join(&version));
    let modules = folders.iter().find(|folder| folder.is_dir()).cloned();
    match modules {
        Some(modules) if image.is_file() => Ok((image, modules)),
        _ => {
            let found = format!("there is no boot/vmlinuz-{version} with lib/modules/{version}");
            Err(refused(what, found, "install it, or give its package: apt-get download linux-image-VERSION"))
        }
    }
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let what = || format!("reading {}", path.display());
    let length = std::fs::metadata(path).doing(what)?.len();
    if length > max {
        return Err(refused(what(), format!("it has {length} bytes, at most {max} are allowed"), "give another file"));
    }
    std::fs::read(path).doing(what)
}

/// The banner of a bzImage for x86-64: what `uname -r` says, who built it, when
/// (Documentation/arch/x86/boot.rst, protocol 2.12 and later).
fn banner(bytes: &[u8]) -> std::result::Result<String, String> {
    let u16_at = |at: usize| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes);
    if u16_at(0x1fe) != 0xaa55 || bytes.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it is no bzImage: the boot header is not there".to_owned());
    }
    let protocol = u16_at(0x206);
    if protocol < 0x20c || u16_at(0x236) & 1 == 0 {
        return Err(format!("it speaks boot protocol {}.{}, or not with 64 bits", protocol >> 8, protocol & 0xff));
    }
    let start = usize::from(u16_at(0x20e)) + 0x200;
    let text = bytes.get(start..).and_then(|rest| rest.get(..rest.iter().take(512).position(|byte| *byte == 0)?));
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    let text = text.filter(|text| !text.is_empty() && !text.contains(['/', '\n']) && !text.starts_with('.'));
    text.map(str::to_owned).ok_or_else(|| "its header names no version".to_owned())
}

/// The date in a banner: Debian writes "Debian 6.1.192-2 (2026-11-16)" instead of the clock of the building machine.
fn built(banner: &str) -> Option<i64> {
    let date = banner.rsplit_once('(')?.1.split_once(')')?.0;
    let date: jiff::civil::Date = date.parse().ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The kernel's configuration must say that it unpacks a zstd initramfs.
fn check_config(origin: &Origin, image: &Path, root: &Path, modules: &Path, version: &str) -> Result<()> {
    let what = format!("checking the configuration of kernel {version}");
    let beside = image.parent().unwrap_or(Path::new(".")).join(format!("config-{version}"));
    let boot = root.join("boot").join(format!("config-{version}"));
    let candidates = match &origin.config {
        Some(config) => vec![config.clone()],
        None => vec![beside, boot, modules.join("config"), modules.join("build/.config")],
    };
    let Some(config) = candidates.iter().find(|path| path.is_file()) else {
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        let found =
            format!("there is none, so nobody knows whether it unpacks zstd (looked for {})", looked.join(", "));
        return Err(refused(what, found, "name it with --kernel-config"));
    };
    let text = String::from_utf8_lossy(&read(config, CONFIG_MAX)?).into_owned();
    for (option, meaning) in [
        ("CONFIG_RD_ZSTD", "it cannot unpack an initramfs.zst"),
        ("CONFIG_BLK_DEV_INITRD", "it takes no initramfs"),
        ("CONFIG_DEVTMPFS", "it makes no device nodes"),
    ] {
        if !text.lines().any(|line| line.strip_prefix(option) == Some("=y")) {
            let found = format!("{} has no {option}=y: {meaning}", config.display());
            return Err(refused(what, found, "take Debian's kernel, 5.10 or newer, or build yours with it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_banner_has_a_date_and_others_have_none() {
        let debian =
            "6.1.0-56-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)";
        assert_eq!(built(debian), Some(1_794_787_200));
        assert_eq!(built("6.12.0 (me@here) #1 SMP Tue Nov 10 12:00:00 UTC 2026"), None);
    }

    /// The least that is taken for a bzImage.
    fn image(version: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x206..0x208].copy_from_slice(&[0x0f, 0x02]);
        bytes[0x20e..0x210].copy_from_slice(&[0x00, 0x01]);
        bytes[0x236] = 1;
        bytes[0x300..0x300 + version.len()].copy_from_slice(version);
        bytes
    }

    #[test]
    fn what_is_no_kernel_for_x86_64_is_said() {
        assert_eq!(banner(&image(b"6.1.0 (x)")).unwrap(), "6.1.0 (x)");
        let spoil = |at: usize, with: u8| {
            let mut bytes = image(b"6.1.0 (x)");
            bytes[at] = with;
            banner(&bytes).unwrap_err()
        };
        assert!(spoil(0x202, b'h').contains("no bzImage"));
        assert!(spoil(0x1fe, 0).contains("no bzImage"));
        assert!(spoil(0x236, 0).contains("64 bits"));
        assert!(spoil(0x207, 1).contains("protocol 1.15"));
        assert!(spoil(0x20f, 0xff).contains("no version"));
        assert!(banner(&image(b"../x")).unwrap_err().contains("no version"));
        assert!(banner(b"MZ").unwrap_err().contains("no bzImage"));
    }
}
