//! Tables made by the real tools, for tests.

use crate::disk::source::{FileSource, ReadAt};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A disk-image file in a folder of its own.
#[derive(Debug)]
pub(crate) struct Image {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

impl Image {
    /// A sparse file of `size` bytes.
    pub fn new(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        Self { _folder: folder, path }
    }

    pub fn with_sfdisk(size: u64, script: &str) -> Self {
        let image = Self::new(size);
        sfdisk(&image.path, script);
        image
    }

    pub fn with_sgdisk(size: u64, args: &[&str]) -> Self {
        let image = Self::new(size);
        sgdisk(&image.path, args);
        image
    }

    pub fn source(&self) -> FileSource {
        let file = std::fs::File::open(&self.path).unwrap();
        let size = file.metadata().unwrap().len();
        FileSource::new(file, size)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) {
        std::fs::OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(bytes, offset).unwrap();
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.source().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// Runs a tool and returns what it printed; a non-zero exit is a panic with all of it.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

pub(crate) fn sgdisk(path: &Path, args: &[&str]) -> String {
    let mut all = args.to_vec();
    all.push(path.to_str().unwrap());
    run("sgdisk", &all)
}

pub(crate) fn sfdisk(path: &Path, script: &str) {
    let mut child = Command::new("sfdisk")
        .args(["--no-reread", "--no-tell-kernel", "-q", "--wipe=never"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "sfdisk: {}", String::from_utf8_lossy(&output.stderr));
}

/// `sfdisk -d` without what names the file or depends on the disk's size.
pub(crate) fn dump(path: &Path) -> Vec<String> {
    let kept = |line: &&str| !line.starts_with("device:") && !line.starts_with("last-lba:") && !line.contains("GPT ");
    run("sfdisk", &["-d", path.to_str().unwrap()])
        .lines()
        .filter(kept)
        .map(|line| line.replace(path.to_str().unwrap(), "disk"))
        .collect()
}

/// The complaints of `sgdisk -v`; none when the table is clean.
pub(crate) fn complaints(path: &Path) -> Option<String> {
    let text = run("sgdisk", &["-v", path.to_str().unwrap()]);
    (!text.contains("No problems found")).then_some(text)
}
