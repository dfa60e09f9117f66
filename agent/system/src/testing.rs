//! File systems that go away with their value, and trees to put into them, for tests.
//!
//! In: a kind and a size, or a table of files. Out: the same, made by the real mkfs and mounted by the kernel.
//! Promise: the oracle of a test is never our own code: what is read back is read by the standard library and by tools.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a tool that must succeed; what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A new file system in a file, mounted.
pub(crate) struct Mounted {
    folder: tempfile::TempDir,
    file: tempfile::NamedTempFile,
}

impl Mounted {
    pub fn new(kind: &str, size: u64) -> Self {
        Self::with(kind, size, &[])
    }

    pub fn with(kind: &str, size: u64, options: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let quiet: &[&str] = if kind == "vfat" { &[] } else { &["-q"] };
        let args: Vec<&str> = [quiet, options, &[file.path().to_str().unwrap()]].concat();
        run(&format!("mkfs.{kind}"), &args);
        let mounted = Self { folder: tempfile::tempdir().unwrap(), file };
        mounted.mount(&["-o", "loop,nosuid,nodev,noexec"]);
        mounted
    }

    fn mount(&self, options: &[&str]) {
        let ends = [self.file.path().to_str().unwrap(), self.folder.path().to_str().unwrap()];
        run("mount", &[options, &ends].concat());
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn read_only(&self) {
        run("mount", &["-o", "remount,ro", self.path().to_str().unwrap()]);
    }

    /// Unmounts it; its file, for fsck.
    pub fn unmounted(&self) -> PathBuf {
        run("umount", &[self.path().to_str().unwrap()]);
        self.file.path().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).stderr(std::process::Stdio::null()).status();
    }
}

/// A new file system in a file behind a loop device.
pub(crate) struct Device {
    _file: tempfile::NamedTempFile,
    name: String,
}

impl Device {
    pub fn new(kind: &str, size: u64, options: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let path = file.path().to_str().unwrap();
        let quiet: &[&str] = if kind == "vfat" { &[] } else { &["-q"] };
        run(&format!("mkfs.{kind}"), &[quiet, options, &[path]].concat());
        // Other tests take free devices at the same time.
        for _ in 0..20 {
            let output = Command::new("losetup").args(["-f", "--show", path]).output().unwrap();
            if output.status.success() {
                let name = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                return Self { _file: file, name };
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("no loop device for {path}");
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.name]).status();
    }
}

/// Puts files (path, mode, contents) into a tree; a path that ends in `/` is a folder, contents `-> …` a link.
pub(crate) fn plant(root: &Path, files: &[(&str, u32, &str)]) {
    for (path, mode, contents) in files {
        let at = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        if path.ends_with('/') {
            std::fs::create_dir_all(&at).unwrap();
        } else if let Some(target) = contents.strip_prefix("-> ") {
            std::os::unix::fs::symlink(target, &at).unwrap();
            continue;
        } else {
            std::fs::write(&at, contents).unwrap();
        }
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
}

/// Every name below a folder, relative, with what it holds or points to: to see that nothing changed.
pub(crate) fn listing(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let bytes = if kind.is_dir() {
                left.push(path.clone());
                Vec::new()
            } else if kind.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if kind.is_file() && entry.metadata().unwrap().len() < 1 << 24 {
                std::fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            found.push((path.strip_prefix(root).unwrap().to_owned(), bytes));
        }
    }
    found.sort();
    found
}
