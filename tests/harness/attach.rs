//! Loop devices and mounts that go away with their value.
//!
//! In: files and parts of them. Out: devices, mounted folders.
//! Promise: after the drop the kernel has let go of the file (the guard refuses files behind loop devices).

use crate::disk::{Disk, Part};
use crate::tool::{arg, run, scratch};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// An attached loop device.
#[derive(Debug)]
pub struct Loop {
    /// `/dev/loopN`
    pub path: PathBuf,
}

impl Loop {
    /// Attaches `file` with further `losetup` options.
    #[must_use]
    pub fn new(file: &Path, options: &[&str]) -> Self {
        let mut args = options.to_vec();
        args.extend(["-f", "--show", arg(file)]);
        let mut said = String::new();
        // Other tests take free devices at the same time.
        for _ in 0..200 {
            let output = Command::new("losetup").args(&args).output().unwrap();
            if output.status.success() {
                return Self { path: String::from_utf8(output.stdout).unwrap().trim().into() };
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("attaching {}: {said}", file.display());
    }

    /// The whole disk as a block device with the disk's sector size.
    #[must_use]
    pub fn disk(disk: &Disk) -> Self {
        Self::new(&disk.path, &["-b", &disk.sector.to_string()])
    }

    /// One partition, read-only.
    #[must_use]
    pub fn part(disk: &Disk, part: &Part) -> Self {
        Self::window(disk, part, &["-r"])
    }

    /// One partition, writable.
    #[must_use]
    pub fn part_writable(disk: &Disk, part: &Part) -> Self {
        Self::window(disk, part, &[])
    }

    fn window(disk: &Disk, part: &Part, options: &[&str]) -> Self {
        let (start, size, sector) = (part.start.to_string(), part.size.to_string(), disk.sector.to_string());
        let mut args = options.to_vec();
        args.extend(["-o", &start, "--sizelimit", &size, "-b", &sector]);
        Self::new(&disk.path, &args)
    }

    /// As an argument.
    #[must_use]
    pub fn name(&self) -> &str {
        arg(&self.path)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let name = self.path.file_name().unwrap_or_default();
        let shown = Path::new("/sys/block").join(name).join("loop/backing_file");
        let file = || std::fs::read(&shown).ok();
        let before = file();
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
        // The kernel lets go of the file when the last descriptor is closed, which may be in another process.
        for _ in 0..300 {
            if before.is_none() || file() != before {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A mounted partition.
#[derive(Debug)]
pub struct Mounted {
    folder: tempfile::TempDir,
    // Dropped after the unmount.
    device: Loop,
}

impl Mounted {
    /// Mounts `part` for writing.
    #[must_use]
    pub fn writable(disk: &Disk, part: &Part) -> Self {
        Self::of(Loop::part_writable(disk, part), "rw,noatime")
    }

    /// Mounts `part` to be looked at; a journal is replayed into the disk.
    #[must_use]
    pub fn replayed(disk: &Disk, part: &Part) -> Self {
        Self::of(Loop::part_writable(disk, part), "ro,noatime")
    }

    /// Mounts `part` to be looked at, on a device that takes no writes.
    #[must_use]
    pub fn read_only(disk: &Disk, part: &Part) -> Self {
        Self::of(Loop::part(disk, part), "ro,noatime")
    }

    /// Mounts `device` with `options`.
    #[must_use]
    pub fn of(device: Loop, options: &str) -> Self {
        let folder = scratch();
        run("mount", &["-o", options, device.name(), arg(folder.path())]);
        Self { folder, device }
    }

    /// Mounts `part` by the driver `kind`, where the kernel has none of its own.
    #[must_use]
    pub fn by(kind: &str, disk: &Disk, part: &Part, options: &str) -> Self {
        let folder = scratch();
        let device = if options == "ro" { Loop::part(disk, part) } else { Loop::part_writable(disk, part) };
        run("mount", &["-t", kind, "-o", options, device.name(), arg(folder.path())]);
        Self { folder, device }
    }

    /// Where.
    #[must_use]
    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    /// The loop device that is mounted.
    #[must_use]
    pub const fn device(&self) -> &Loop {
        &self.device
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::disk::{Fs, MIB};
    use crate::tree::{RandomTree, digest};

    #[test]
    fn a_tree_is_seen_again_and_a_change_is_noticed() {
        let disk = Disk::cloud(128 * MIB);
        let part = disk.part(1);
        disk.format(&part, Fs::Ext(&["-t", "ext4"]));
        let mounted = Mounted::writable(&disk, &part);
        RandomTree::new(1).grow(mounted.at());
        drop(mounted);
        check::ext_is_clean(&disk, &part);
        let first = digest(Mounted::read_only(&disk, &part).at());
        assert!(first.len() > 600, "{}", first.len());
        let copy = disk.copy();
        digest(Mounted::read_only(&copy, &part).at()).assert_same(&first);
        let mounted = Mounted::writable(&copy, &part);
        std::fs::remove_file(mounted.at().join("fifo")).unwrap();
        assert_ne!(digest(mounted.at()), first);
    }
}
