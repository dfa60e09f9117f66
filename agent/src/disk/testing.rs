//! Loop devices and mounts that go away with their value, for tests.

use crate::partition::testing::run;
use std::path::{Path, PathBuf};

/// An attached loop device.
pub(crate) struct Loop {
    pub path: PathBuf,
}

impl Loop {
    pub fn new(file: &Path, options: &[&str]) -> Self {
        let mut args = options.to_vec();
        args.extend(["-f", "--show", file.to_str().unwrap()]);
        // Other tests take free devices at the same time.
        for _ in 0..20 {
            let output = std::process::Command::new("losetup").args(&args).output().unwrap();
            if output.status.success() {
                return Self { path: String::from_utf8(output.stdout).unwrap().trim().into() };
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("no loop device for {}", file.display());
    }

    pub fn name(&self) -> &str {
        self.path.file_name().unwrap().to_str().unwrap()
    }
}

impl Loop {
    /// Lets the kernel see a partition on it, from `start` with `sectors` of 512 bytes; none where it will not.
    pub fn partition(&self, number: u32, start: u64, sectors: u64) -> Option<Partition> {
        let numbers = [u64::from(number), start, sectors].map(|value| value.to_string());
        let status = std::process::Command::new("addpart").arg(&self.path).args(numbers).status();
        let path = PathBuf::from(format!("{}p{number}", self.path.display()));
        (status.is_ok_and(|status| status.success()) && path.exists()).then(|| Partition {
            disk: self.path.clone(),
            number,
            path,
        })
    }
}

/// A partition of a loop device.
pub(crate) struct Partition {
    disk: PathBuf,
    number: u32,
    pub path: PathBuf,
}

impl Drop for Partition {
    fn drop(&mut self) {
        let number = self.number.to_string();
        let _ = std::process::Command::new("delpart").arg(&self.disk).arg(number).status();
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").arg("-d").arg(&self.path).status();
        // The kernel lets go of the file when the last descriptor is closed, which may be in another process.
        let shown = format!("/sys/block/{}/loop/backing_file", self.name());
        let file = || std::fs::read(&shown).ok();
        let before = file();
        for _ in 0..200 {
            if before.is_none() || file() != before {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// A mounted file system.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    pub fn new(device: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run("mount", &[device.to_str().unwrap(), folder.path().to_str().unwrap()]);
        Self { folder }
    }

    pub fn at(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.folder.path()).status();
    }
}
