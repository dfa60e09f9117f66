//! The medium that the agent was booted from: a CD or a stick with the label RAMET.
//!
//! In: all block devices. Out: the file system, read-only, at `/run/ramet/medium`.
//! Promise: found by what stands on it, read without the kernel's help; nothing else is ever mounted.

use super::mounts;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The label.
const LABEL: &[u8] = b"RAMET";
/// The word on the kernel's command line that tells there is a medium: wait for it. `ramet.medium=ID` for one alone.
pub const WORD: &str = "ramet.medium";
/// Largest `medium.json`, in bytes.
const JSON_MAX: u64 = 64 << 10;

/// `/ramet/medium.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Medium {
    /// Which build it is.
    pub id: String,
    /// The block device, such as `sr0`.
    #[serde(skip)]
    pub device: String,
}

/// Where the medium is, once it is found.
#[must_use]
pub fn mounted_at() -> PathBuf {
    Path::new(mounts::RUN).join("medium")
}

/// What is mounted there, for the worker.
#[must_use]
pub fn mounted() -> Option<Medium> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let place = mounted_at();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == place.to_str())?;
    let device = line.split(' ').next()?.rsplit('/').next()?.to_owned();
    Some(Medium { device, ..describe(&place)? })
}

/// Looks at all block devices until the medium is there, at most for `limit`; one look if `limit` is zero.
#[must_use]
pub fn find(id: Option<&str>, limit: Duration) -> Option<Medium> {
    let start = Instant::now();
    loop {
        let found = block_devices().into_iter().find_map(|device| try_mount(&device, id));
        if found.is_some() || start.elapsed() >= limit {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What `words` of the command line say: `None` without the word, else the id that may stand behind it.
#[must_use]
pub fn wanted(words: &[String]) -> Option<Option<String>> {
    words.iter().find_map(|word| match word.strip_prefix(WORD)?.strip_prefix('=') {
        Some(id) => Some(Some(id.to_owned())),
        None if word == WORD => Some(None),
        None => None,
    })
}

/// Devices that are never a boot medium, and of which a floppy drive without a disk takes seconds to say so.
const NEVER: [&str; 5] = ["fd", "loop", "ram", "zram", "md"];

/// Partitions after their disks: a hybrid image shows the same file system on both, and a CD has no partitions.
fn block_devices() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let never = |name: &str| NEVER.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()));
    names.retain(|name| !never(name));
    names.sort();
    names
}

fn try_mount(device: &str, id: Option<&str>) -> Option<Medium> {
    let path = Path::new("/dev").join(device.replace('!', "/"));
    let kind = labelled(&File::open(&path).ok()?)?;
    let place = mounted_at();
    std::fs::create_dir_all(&place).ok()?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounted = mount(Some(&path), &place, Some(kind), flags, None::<&str>).is_ok();
    let medium = describe(&place).filter(|medium| id.is_none_or(|id| id == medium.id));
    if medium.is_none() {
        if mounted {
            let _ = umount2(&place, MntFlags::MNT_DETACH);
        }
        // The worker takes the folder for a medium that is there.
        let _ = std::fs::remove_dir(&place);
    }
    medium.map(|medium| Medium { device: device.to_owned(), ..medium })
}

fn describe(place: &Path) -> Option<Medium> {
    #[derive(Deserialize)]
    struct Json {
        id: String,
    }
    let mut json = Vec::new();
    File::open(place.join("ramet/medium.json")).ok()?.take(JSON_MAX).read_to_end(&mut json).ok()?;
    let Json { id } = serde_json::from_slice(&json).ok()?;
    Some(Medium { id, device: String::new() })
}

/// The kernel's name of the file system, if `device` holds one with our label.
fn labelled(device: &File) -> Option<&'static str> {
    if iso_label(device).ok()?.as_deref() == Some(LABEL) {
        return Some("iso9660");
    }
    (fat_label(device).ok()?.as_deref() == Some(LABEL)).then_some("vfat")
}

/// ECMA-119 8.4: the primary volume descriptor is sector 16 of 2,048 bytes; its name is 32 bytes at 40.
fn iso_label(device: &File) -> io::Result<Option<Vec<u8>>> {
    let mut sector = [0; 72];
    match device.read_exact_at(&mut sector, 16 * 2048) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok((sector[..6] == *b"\x01CD001").then(|| trimmed(&sector[40..72])))
}

/// The label in a FAT's boot sector: 11 bytes at 43 (FAT12 and FAT16) or 71 (FAT32), where the format stands behind it.
fn fat_label(device: &File) -> io::Result<Option<Vec<u8>>> {
    let mut sector = [0; 512];
    device.read_exact_at(&mut sector, 0)?;
    if sector[510..] != [0x55, 0xaa] {
        return Ok(None);
    }
    let old = sector[54..59] == *b"FAT12" || sector[54..59] == *b"FAT16";
    let new = sector[82..87] == *b"FAT32";
    Ok(match (old, new) {
        (_, true) => Some(trimmed(&sector[71..82])),
        (true, false) => Some(trimmed(&sector[43..54])),
        _ => None,
    })
}

fn trimmed(label: &[u8]) -> Vec<u8> {
    label.trim_ascii_end().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run(program: &str, args: &[&str]) {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn a_fat_with_the_label_is_found_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (bits, size, label, wanted) in [
            ("12", "1M", "RAMET", Some("vfat")),
            ("16", "16M", "RAMET", Some("vfat")),
            ("32", "64M", "RAMET", Some("vfat")),
            ("32", "64M", "RAMETS", None),
        ] {
            let path = folder.path().join("fat");
            let _ = std::fs::remove_file(&path);
            let image = path.to_str().unwrap();
            run("truncate", &["-s", size, image]);
            run("/usr/sbin/mkfs.vfat", &["-F", bits, "-n", label, image]);
            assert_eq!(labelled(&File::open(&path).unwrap()), wanted, "{bits} {label}");
        }
    }

    #[test]
    fn an_iso_with_the_label_is_found_and_short_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let image = folder.path().join("iso");
        let (image_name, tree) = (image.to_str().unwrap(), tree.to_str().unwrap());
        run("xorriso", &["-as", "mkisofs", "-quiet", "-V", "RAMET", "-o", image_name, tree]);
        assert_eq!(labelled(&File::open(&image).unwrap()), Some("iso9660"));
        std::fs::write(&image, [0; 100]).unwrap();
        assert_eq!(labelled(&File::open(&image).unwrap()), None);
    }

    #[test]
    fn the_command_line_tells_whether_to_wait_for_a_medium() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(wanted(&words("quiet ramet.medium=ab12")), Some(Some("ab12".to_owned())));
        assert_eq!(wanted(&words("ramet.medium quiet")), Some(None));
        assert_eq!(wanted(&words("quiet ramet.mediums")), None);
    }
}
