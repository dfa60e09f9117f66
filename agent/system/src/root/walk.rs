//! Where a path leads, one component at a time, with links followed by us and never by the kernel.
//!
//! In: a path as somebody wrote it. Out: an absolute path without links, and what lies there.
//! Promise: `..` ends at the top, absolute links begin there; what is staged counts as if it were on the disk.

use super::{Kind, Links, Node, PATH_MAX, Root, RootError, Stat};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

pub(super) fn stat_of(fd: impl AsFd) -> Result<Stat, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        FileType::BlockDevice => Kind::Special("a block device"),
        FileType::CharacterDevice => Kind::Special("a character device"),
        FileType::Fifo => Kind::Special("a FIFO"),
        FileType::Socket => Kind::Special("a socket"),
        FileType::Unknown => Kind::Special("of an unknown kind"),
    };
    Ok(Stat {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        links: stat.st_nlink,
    })
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

impl Root {
    /// The path without links; `last` says what a link at its end means. What is missing keeps its name.
    pub(super) fn resolve(&self, path: &Path, last: Links) -> Result<PathBuf, RootError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() > PATH_MAX || bytes.contains(&0) {
            return Err(RootError::Long { bytes: bytes.len(), limit: PATH_MAX });
        }
        let mut left: VecDeque<OsString> = parts(path).collect();
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == OsStr::new("..") {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let follow = !left.is_empty() || last == Links::Follow;
            if !follow || !self.node(&next)?.is_some_and(|stat| stat.kind == Kind::Link) {
                real = next;
                continue;
            }
            links += 1;
            let target = self.target(&next)?;
            if links > LINKS_MAX {
                return Err(RootError::Loop { path: path.to_owned(), limit: LINKS_MAX });
            }
            if target.is_absolute() {
                real = PathBuf::from("/");
            }
            for part in parts(&target).rev() {
                left.push_front(part);
            }
            if real.as_os_str().len() + left.iter().map(|part| part.len() + 1).sum::<usize>() > 2 * PATH_MAX {
                return Err(RootError::Long { bytes: 2 * PATH_MAX + 1, limit: 2 * PATH_MAX });
            }
        }
        Ok(real)
    }

    /// What lies at a path without links, with what is staged.
    pub(super) fn node(&self, real: &Path) -> Result<Option<Stat>, RootError> {
        let Some(staged) = self.staged.get(real) else { return self.on_disk(real) };
        Ok(match &staged.node {
            Node::File { bytes, mode, owner } => {
                Some(Stat { kind: Kind::File, mode: *mode, owner: *owner, size: bytes.len() as u64, links: 1 })
            }
            Node::Link { .. } => Some(Stat { kind: Kind::Link, mode: 0o777, owner: (0, 0), size: 0, links: 1 }),
            Node::Dir { mode, owner } => Some(Stat { kind: Kind::Dir, mode: *mode, owner: *owner, size: 0, links: 1 }),
            Node::Gone => None,
        })
    }

    /// What lies there on the disk.
    pub(super) fn on_disk(&self, real: &Path) -> Result<Option<Stat>, RootError> {
        match self.openat(real, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => stat_of(&fd).map(Some).map_err(|error| RootError::io("looking at", real, error)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            // A name that is too long for this file system cannot be there.
            Err(Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(RootError::io("looking at", real, error)),
        }
    }

    /// Where the link at a path without links points.
    pub(super) fn target(&self, real: &Path) -> Result<PathBuf, RootError> {
        if let Some(Node::Link { target }) = self.staged.get(real).map(|staged| &staged.node) {
            return Ok(target.clone());
        }
        self.target_of(real)
    }

    /// The same, of a link on the disk.
    pub(super) fn target_of(&self, real: &Path) -> Result<PathBuf, RootError> {
        let failed = |error| RootError::io("reading the link", real, error);
        let fd = self.openat(real, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
        let target = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(failed)?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }
}
