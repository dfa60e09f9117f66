//! Random trees in mounted file systems, and what there is to compare of them.
//!
//! In: a seed and a folder. Out: files of every kind, free space full of what was deleted; later everything that can be
//! seen of a tree.
//! Promise: a digest holds content, mode, owner, times, attributes, targets of links, and which names are one file.

use crate::random::Random;
use crate::tool::{arg, run};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sizes at which file systems change how they keep a file.
const SIZES: &[usize] =
    &[0, 1, 59, 61, 159, 1023, 1024, 4095, 4096, 4097, 12_287, 49_152, 49_153, 70_000, 262_144, 300_001, 1_048_577];

/// What a random tree is made of.
#[derive(Clone, Debug)]
pub struct RandomTree {
    /// The same seed makes the same tree.
    pub seed: u64,
    /// Files; every third is deleted again.
    pub files: usize,
    /// Owners, device nodes, attributes: off where the file system has none.
    pub unix: bool,
}

impl RandomTree {
    /// Some 90 files, about 10 MB.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, files: 90, unix: true }
    }

    /// Makes the tree below `root`, syncs it, and deletes a third of it.
    pub fn grow(&self, root: &Path) {
        let mut random = Random::new(self.seed);
        let mut folders = vec![root.to_owned()];
        for nr in 0..12_usize {
            let folder = random.pick(&folders).join(format!("folder {nr:x}{}", "ö".repeat(nr % 5)));
            fs::create_dir(&folder).unwrap();
            folders.push(folder);
        }
        let mut files = Vec::new();
        for nr in 0..self.files {
            let path = random.pick(&folders).join(self.name(&mut random, nr));
            write_file(&path, &mut random);
            files.push(path);
        }
        if self.unix {
            many(&folders[1], &mut random);
            dress(&files, &folders, &mut random);
            nodes(root);
        }
        sync(root);
        for path in files.iter().step_by(3) {
            fs::remove_file(path).unwrap();
        }
        sync(root);
    }

    fn name(&self, random: &mut Random, nr: usize) -> OsString {
        let odd: [&[u8]; 5] = [b"line\nbreak", b" lead", b"\xff\xfe", b"tab\t'\"\\$", b"-n"];
        match nr % 9 {
            0 if self.unix => {
                let mut name = format!("{nr}-").into_bytes();
                name.extend_from_slice(random.pick::<&[u8]>(&odd));
                OsString::from_vec(name)
            }
            1 => format!("{nr}-{}", "long".repeat(60)).into(),
            2 => format!(".{nr} hidden").into(),
            _ => format!("file{nr}.{:x}", random.below(1 << 16)).into(),
        }
    }
}

/// Writes what is cached of the file system at `root`.
pub fn sync(root: &Path) {
    run("sync", &["-f", arg(root)]);
}

fn write_file(path: &Path, random: &mut Random) {
    let size = match random.below(3) {
        0 => *random.pick(SIZES),
        1 => usize::try_from(random.below(40_000)).unwrap(),
        _ => usize::try_from(random.below(300_000)).unwrap(),
    };
    let bytes = if random.below(3) == 0 { random.bytes(size) } else { random.text(size) };
    let mut file = File::create_new(path).unwrap();
    if random.below(8) == 0 && size > 0 {
        // Sparse: three islands in 24 MiB.
        file.set_len(24 << 20).unwrap();
        for island in [0, 5 << 20, (24 << 20) - size as u64] {
            file.write_all_at(&bytes[..size.min(9000)], island).unwrap();
        }
    } else {
        file.write_all(&bytes).unwrap();
    }
}

/// A folder with so many names that it gets an index.
fn many(folder: &Path, random: &mut Random) {
    let folder = folder.join("many");
    fs::create_dir(&folder).unwrap();
    for nr in 0..600 {
        fs::write(folder.join(format!("{nr:04}-{}", random.next())), format!("{nr}\n")).unwrap();
    }
}

fn dress(files: &[PathBuf], folders: &[PathBuf], random: &mut Random) {
    for (nr, path) in files.iter().enumerate() {
        if nr % 4 == 0 {
            fs::hard_link(path, random.pick(folders).join(format!("link{nr}"))).unwrap();
        }
        if nr % 5 == 0 {
            let target = if nr % 10 == 0 { "x/".repeat(200) } else { format!("../file{nr}") };
            std::os::unix::fs::symlink(target, random.pick(folders).join(format!("symlink{nr}"))).unwrap();
        }
        if nr % 6 == 0 {
            let name = random.pick(&["user.note", "trusted.ramet", "security.label"]);
            let len = *random.pick(&[1_usize, 40, 300, 900]);
            let value: String = random.bytes(len).iter().map(|byte| format!("{byte:02x}")).collect();
            let mut command = Command::new("setfattr");
            command.args(["-h", "-n", name, "-v", &format!("0x{value}"), "--"]).arg(path);
            assert!(command.status().unwrap().success(), "{command:?}");
        }
        let (owner, group) = (u32::try_from(random.below(70_000)).unwrap(), u32::try_from(random.below(9)).unwrap());
        std::os::unix::fs::lchown(path, Some(owner), Some(group)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(u32::try_from(random.below(0o10000)).unwrap())).unwrap();
        let past = SystemTime::now() - Duration::new(random.below(1 << 30), 123_456_789);
        File::open(path).unwrap().set_modified(past).unwrap();
    }
    for folder in folders.iter().skip(1) {
        File::open(folder).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(random.below(1 << 30))).unwrap();
    }
}

fn nodes(root: &Path) {
    let mode = Mode::S_IRUSR | Mode::S_IWGRP;
    mknod(&root.join("fifo"), SFlag::S_IFIFO, mode, 0).unwrap();
    mknod(&root.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
    mknod(&root.join("block"), SFlag::S_IFBLK, mode, makedev(7, 300)).unwrap();
    mknod(&root.join("socket"), SFlag::S_IFSOCK, mode, 0).unwrap();
}

/// Everything that can be seen of a tree, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(BTreeMap<Vec<u8>, String>);

/// Looks at everything below `root`, which lies on a Unix file system.
#[must_use]
pub fn digest(root: &Path) -> Digest {
    let mut seen = Seen { root, unix: true, first_names: HashMap::new(), entries: BTreeMap::new() };
    seen.folder(root);
    let attributes = run("getfattr", &["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", arg(root)]);
    for (nr, block) in attributes.split("\n\n").enumerate().filter(|(_, block)| !block.trim().is_empty()) {
        let block = block.replace(arg(root), "");
        let name = block.lines().next().unwrap_or_default().to_owned();
        seen.entries.insert(format!("attributes of {name} {}", if name.is_empty() { nr } else { 0 }).into(), block);
    }
    Digest(seen.entries)
}

/// Contents, sizes and times only: of files that mtools copied out.
#[must_use]
pub fn plain_digest(root: &Path) -> Digest {
    let mut seen = Seen { root, unix: false, first_names: HashMap::new(), entries: BTreeMap::new() };
    seen.folder(root);
    Digest(seen.entries)
}

struct Seen<'a> {
    root: &'a Path,
    unix: bool,
    first_names: HashMap<u64, String>,
    entries: BTreeMap<Vec<u8>, String>,
}

impl Seen<'_> {
    fn folder(&mut self, folder: &Path) {
        self.entry(folder);
        let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            if path.symlink_metadata().unwrap().is_dir() {
                self.folder(&path);
            } else {
                self.entry(&path);
            }
        }
    }

    fn entry(&mut self, path: &Path) {
        let name = path.strip_prefix(self.root).unwrap().as_os_str().as_bytes().to_vec();
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            format!("-> {}", fs::read_link(path).unwrap().display())
        } else if kind.is_file() {
            format!("{} bytes {:016x}", meta.len(), content(path))
        } else if kind.is_block_device() || kind.is_char_device() {
            format!("device {:x}", meta.rdev())
        } else {
            String::new()
        };
        let mut line = content;
        if self.unix {
            let same =
                self.first_names.entry(meta.ino()).or_insert_with(|| String::from_utf8_lossy(&name).into_owned());
            line += &format!(
                " mode {:o} owner {}:{} links {} as {same} blocks {} changed {}.{:09} {}.{:09}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink(),
                meta.blocks(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
            );
        } else if kind.is_file() {
            line += &format!(" changed {}", meta.mtime());
        }
        self.entries.insert(name, line);
    }
}

fn content(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap();
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    let mut buf = vec![0; 1 << 18];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hasher.digest(),
            len => hasher.update(&buf[..len]),
        }
    }
}

impl Digest {
    /// Panics with the first differences.
    ///
    /// # Panics
    /// When they are not the same.
    pub fn assert_same(&self, other: &Self) {
        let mut lines = Vec::new();
        for name in self.0.keys().chain(other.0.keys().filter(|name| !self.0.contains_key(*name))) {
            let (left, right) = (self.0.get(name), other.0.get(name));
            if left != right {
                lines.push(format!("{}:\n  {left:?}\n  {right:?}", String::from_utf8_lossy(name)));
            }
        }
        assert!(
            lines.is_empty(),
            "{} differences, among them\n{}",
            lines.len(),
            lines[..lines.len().min(5)].join("\n")
        );
    }

    /// How many names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
