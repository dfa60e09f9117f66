//! A made-up machine: a folder with `sys/` and `proc/`, for tests.

use super::Disks;
use std::path::{Path, PathBuf};

/// The folder.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
}

/// A device in it.
pub(crate) struct Device<'a> {
    machine: &'a Machine,
    path: PathBuf,
}

impl Machine {
    pub fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["sys/block", "sys/class/block", "proc/self"] {
            std::fs::create_dir_all(machine.root().join(folder)).unwrap();
        }
        machine.write("proc/self/mountinfo", b"");
        machine
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn disks(&self) -> Disks {
        Disks::in_directory(self.root())
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A device of `sectors` times 512 bytes.
    pub fn device(&self, name: &str, id: &str, sectors: u64) -> Device<'_> {
        let path = self.root().join("sys/class/block").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let link = self.root().join("sys/block").join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(&path, link).unwrap();
        }
        let device = Device { machine: self, path };
        device.file("dev", id.as_bytes()).file("size", sectors.to_string().as_bytes())
    }

    /// A line of mountinfo.
    pub fn mount(&self, id: &str, at: &str, kind: &str, source: &str) {
        let path = self.root().join("proc/self/mountinfo");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text += &format!("25 1 {id} / {at} rw,relatime shared:1 - {kind} {source} rw\n");
        std::fs::write(path, text).unwrap();
    }
}

impl Device<'_> {
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    pub fn partition(self, name: &str, id: &str, number: u32, start: u64, sectors: u64) -> Self {
        let numbers = [("start", start), ("size", sectors), ("partition", number.into())];
        let with_id = self.file(&format!("{name}/dev"), id.as_bytes());
        numbers
            .into_iter()
            .fold(with_id, |device, (file, value)| device.file(&format!("{name}/{file}"), value.to_string().as_bytes()))
    }

    /// This device is made of `below`, a path under `sys/class/block`.
    pub fn slave(self, below: &str) -> Self {
        let name = self.path.file_name().unwrap().to_str().unwrap().to_owned();
        let disk = below.trim_end_matches(|c: char| c.is_ascii_digit());
        let class = self.machine.root().join("sys/class/block");
        let holder = [class.join(below), class.join(disk).join(below)].into_iter().find(|path| path.exists()).unwrap();
        std::fs::create_dir_all(holder.join("holders").join(&name)).unwrap();
        let leaf = Path::new(below).file_name().unwrap().to_str().unwrap();
        std::fs::create_dir_all(self.path.join("slaves").join(leaf)).unwrap();
        self
    }
}
