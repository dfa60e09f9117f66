//! A clone's mounted tree, seen through one descriptor and never left.
//!
//! In: the descriptor of a folder. Out: what lies in the tree; changes that are staged in memory until they are committed.
//! Promise: a link leads nowhere but into the tree; only regular files are opened; nothing is written before [`Root::commit`].

mod commit;
mod diff;
mod error;
mod stage;
#[cfg(test)]
mod tests;
mod walk;

pub use error::RootError;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a file of settings; what is larger is refused with both numbers.
pub const TEXT_MAX: u64 = 4 << 20;
/// Most names of a folder.
pub const NAMES_MAX: usize = 65_536;
/// Longest path, in bytes.
const PATH_MAX: usize = 4096;

/// The tree of a clone and what shall become of it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    staged: BTreeMap<PathBuf, Staged>,
    /// Paths in the order in which they were first touched.
    order: Vec<PathBuf>,
    /// Mount points of what could not be mounted, with reasons: nothing may be changed below.
    absent: Vec<(PathBuf, String)>,
}

/// What shall lie at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Staged {
    node: Node,
    how: String,
    secret: bool,
    /// Whose SELinux label it gets.
    label_of: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File { bytes: Arc<[u8]>, mode: u32, owner: (u32, u32) },
    Link { target: PathBuf },
    Dir { mode: u32, owner: (u32, u32) },
    Gone,
}

/// What kind of thing lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket: never opened.
    Special(&'static str),
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its kind.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky ones.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Bytes of a file.
    pub size: u64,
    /// Number of names that the file has.
    pub links: u64,
}

/// What happens when the last component of a path is a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// What it leads to, inside the tree, is written, if that is a regular file; a link that leads nowhere is replaced.
    #[default]
    Follow,
    /// The link itself is replaced.
    Replace,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// For people: what became of it. Empty: *written*.
    pub say: &'a str,
    /// Permission bits; none: those of the file that is replaced, else 0644.
    pub mode: Option<u32>,
    /// User and group; none: those of the file that is replaced, else root's.
    pub owner: Option<(u32, u32)>,
    /// Contents are never shown, neither before nor after.
    pub secret: bool,
    /// What a link at the end means.
    pub links: Links,
    /// It gets the SELinux label of what lies there; none: that of what it replaces, or of a neighbour.
    pub label_of: Option<&'a str>,
}

impl<'a> How<'a> {
    /// A file whose change is described by `say`.
    #[must_use]
    pub fn say(say: &'a str) -> Self {
        Self { say, ..Self::default() }
    }
}

impl Root {
    /// The tree whose top `dir` is.
    #[must_use]
    pub fn at(dir: OwnedFd) -> Self {
        Self { dir, staged: BTreeMap::new(), order: Vec::new(), absent: Vec::new() }
    }

    /// The tree below the folder `path`.
    ///
    /// # Errors
    /// [`RootError::Io`]: it is not there, or no folder.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| RootError::io("opening the tree", path, error))?;
        Ok(Self::at(dir))
    }

    /// The top of the tree.
    #[must_use]
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Says what is mounted over paths of this tree in truth and is missing here: a change below is an error.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn set_absent(&mut self, absent: Vec<(PathBuf, String)>) -> Result<(), RootError> {
        for (path, reason) in absent {
            let real = self.real(&path)?;
            self.absent.push((real, reason));
        }
        Ok(())
    }

    /// The folder at a path without links, to mount something over it.
    pub(crate) fn folder_at(&self, real: &Path) -> Result<OwnedFd, RootError> {
        self.openat(real, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|error| RootError::io("opening the folder", real, error))
    }

    /// What lies at `path`, links followed; nothing, where nothing does.
    ///
    /// # Errors
    /// [`RootError`]: a loop of links, a path that is too long, I/O.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Follow)?;
        self.node(&real)
    }

    /// What lies at `path`, a link at its end not followed.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Replace)?;
        self.node(&real)
    }

    /// There is a regular file at `path`.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn is_file(&self, path: impl AsRef<Path>) -> Result<bool, RootError> {
        Ok(self.stat(path)?.is_some_and(|stat| stat.kind == Kind::File))
    }

    /// There is a folder at `path`.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn is_dir(&self, path: impl AsRef<Path>) -> Result<bool, RootError> {
        Ok(self.stat(path)?.is_some_and(|stat| stat.kind == Kind::Dir))
    }

    /// Where `path` leads in the end: an absolute path in the tree without links.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn real(&self, path: impl AsRef<Path>) -> Result<PathBuf, RootError> {
        self.resolve(path.as_ref(), Links::Follow)
    }

    /// The regular file at `path`, links followed, of at most `limit` bytes; none where nothing is.
    ///
    /// # Errors
    /// [`RootError::Kind`] for what is no regular file, [`RootError::Size`] for one that is larger.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Follow)?;
        self.read_real(&real, limit)
    }

    /// The same as text of at most [`TEXT_MAX`] bytes.
    ///
    /// # Errors
    /// As [`Self::read`], and [`RootError::Text`].
    pub fn text(&self, path: impl AsRef<Path>) -> Result<Option<String>, RootError> {
        let path = path.as_ref();
        let Some(bytes) = self.read(path, TEXT_MAX)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| RootError::Text { path: path.to_owned() })
    }

    /// Opens the regular file at `path` for reading, links followed: for what is too large for memory. What is staged
    /// is not seen.
    ///
    /// # Errors
    /// [`RootError::Kind`] for what is no regular file.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Option<File>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Follow)?;
        self.open_real(&real)
    }

    /// Names in the folder at `path`, ascending; none where there is no folder. Names that are no UTF-8 are left out.
    ///
    /// # Errors
    /// [`RootError::Kind`] for what is no folder, [`RootError::Count`] for more than [`NAMES_MAX`].
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Vec<String>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Follow)?;
        Ok(self.names(&real)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Where the link at `path` points to, as it is written; none where no link is.
    ///
    /// # Errors
    /// As [`Self::stat`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<Option<PathBuf>, RootError> {
        let real = self.resolve(path.as_ref(), Links::Replace)?;
        match self.node(&real)? {
            Some(Stat { kind: Kind::Link, .. }) => self.target(&real).map(Some),
            _ => Ok(None),
        }
    }

    fn read_real(&self, real: &Path, limit: u64) -> Result<Option<Vec<u8>>, RootError> {
        let Some(stat) = self.node(real)? else { return Ok(None) };
        Self::regular(real, &stat)?;
        let too_large = |size| RootError::Size { path: real.to_owned(), size, limit };
        if stat.size > limit {
            return Err(too_large(stat.size));
        }
        if let Some(Staged { node: Node::File { bytes, .. }, .. }) = self.staged.get(real) {
            return Ok(Some(bytes.to_vec()));
        }
        let Some(file) = self.open_real(real)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| RootError::Io { what: format!("reading {}", real.display()), source: error })?;
        // A file of /proc or one that grows: its size said less.
        match bytes.len() as u64 {
            size if size > limit => Err(too_large(size)),
            _ => Ok(Some(bytes)),
        }
    }

    fn regular(path: &Path, stat: &Stat) -> Result<(), RootError> {
        match stat.kind {
            Kind::File => Ok(()),
            other => Err(RootError::Kind { path: path.to_owned(), found: other.word(), wanted: "a regular file" }),
        }
    }

    /// `O_NONBLOCK`: should the kind have changed since it was looked at, nothing blocks and no device does anything.
    fn open_real(&self, real: &Path) -> Result<Option<File>, RootError> {
        match self.on_disk(real)? {
            Some(stat) => Self::regular(real, &stat)?,
            None => return Ok(None),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let fd = self.openat(real, flags).map_err(|error| RootError::io("opening", real, error))?;
        let stat = walk::stat_of(&fd).map_err(|error| RootError::io("looking at", real, error))?;
        Self::regular(real, &stat)?;
        Ok(Some(File::from(fd)))
    }

    /// Opens what a path without links names.
    fn openat(&self, real: &Path, flags: OFlags) -> Result<OwnedFd, rustix::io::Errno> {
        let inside = real.strip_prefix("/").unwrap_or(real);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        // The kernel answers EAGAIN while somebody renames or mounts anywhere on the machine.
        for _ in 0..64 {
            match rustix::fs::openat2(self.dir.as_fd(), inside, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
                other => return other,
            }
        }
        Err(rustix::io::Errno::AGAIN)
    }

    fn names(&self, real: &Path) -> Result<Vec<OsString>, RootError> {
        let mut names = match self.node(real)? {
            None => return Ok(Vec::new()),
            Some(Stat { kind: Kind::Dir, .. }) => self.names_on_disk(real)?,
            Some(stat) => {
                let path = real.to_owned();
                return Err(RootError::Kind { path, found: stat.kind.word(), wanted: "a folder" });
            }
        };
        for (path, staged) in &self.staged {
            if path.parent() == Some(real) {
                let name = path.file_name().map(OsString::from).unwrap_or_default();
                names.retain(|known| *known != name);
                if staged.node != Node::Gone {
                    names.push(name);
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn names_on_disk(&self, real: &Path) -> Result<Vec<OsString>, RootError> {
        if !self.on_disk(real)?.is_some_and(|stat| stat.kind == Kind::Dir) {
            return Ok(Vec::new());
        }
        let failed = |error| RootError::io("listing", real, error);
        let fd = self.openat(real, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd).map_err(failed)? {
            let name = OsString::from_vec(entry.map_err(failed)?.file_name().to_bytes().to_vec());
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
            if names.len() > NAMES_MAX {
                return Err(RootError::Count { path: real.to_owned(), limit: NAMES_MAX });
            }
        }
        Ok(names)
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Dir => "a folder",
            Self::Link => "a symbolic link",
            Self::Special(word) => word,
        }
    }
}
