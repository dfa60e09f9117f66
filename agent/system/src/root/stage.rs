//! Changes of a tree, in memory.
//!
//! In: what shall be written, linked, made or removed. Out: nothing but a staged tree, which reads as if all were done.
//! Promise: what is there already, with the same mode and owner, is no change.

use super::{How, Kind, Links, Node, Root, RootError, Staged, Stat, TEXT_MAX};
use ramet_wire::adapt::{CHANGE_TEXT_MAX, CHANGES_MAX, Change};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most names that [`Root::remove`] takes away with one folder.
pub const REMOVE_MAX: usize = 100_000;
/// Deepest folder that it goes into.
const DEPTH_MAX: usize = 128;

impl Root {
    /// Stages that `path` holds `bytes`; folders above it are made. True: that is a change.
    ///
    /// # Errors
    /// [`RootError::Kind`]: a folder, device, FIFO or socket lies there.
    pub fn write(&mut self, path: impl AsRef<Path>, bytes: &[u8], how: &How<'_>) -> Result<bool, RootError> {
        let real = self.landing(path.as_ref(), how.links)?;
        let old = self.node(&real)?;
        if let Some(stat) = &old
            && stat.kind != Kind::Link
        {
            Self::regular(&real, stat)?;
        }
        let old = old.filter(|stat| stat.kind == Kind::File);
        let mode = how.mode.or(old.map(|stat| stat.mode)).unwrap_or(0o644) & 0o7777;
        let owner = how.owner.or(old.map(|stat| stat.owner)).unwrap_or((0, 0));
        let same = |stat: &Stat| stat.mode == mode && stat.owner == owner && stat.size == bytes.len() as u64;
        if old.is_some_and(|stat| same(&stat))
            && self.read_real(&real, bytes.len() as u64)?.is_some_and(|found| found == bytes)
        {
            return Ok(false);
        }
        self.parents(&real)?;
        let label_of = how.label_of.map(|path| self.real(path)).transpose()?;
        let node = Node::File { bytes: Arc::from(bytes), mode, owner };
        let say = if how.say.is_empty() { "written" } else { how.say };
        self.stage(real, Staged { node, how: say.to_owned(), secret: how.secret, label_of })?;
        Ok(true)
    }

    /// Stages that the link at `path` points to `target`. A regular file there is replaced.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn link(&mut self, path: impl AsRef<Path>, target: impl AsRef<Path>, say: &str) -> Result<bool, RootError> {
        let real = self.resolve(path.as_ref(), Links::Replace)?;
        let target = target.as_ref();
        match self.node(&real)? {
            Some(Stat { kind: Kind::Link, .. }) if self.target(&real)? == target => return Ok(false),
            Some(stat) if stat.kind != Kind::Link => Self::regular(&real, &stat)?,
            _ => {}
        }
        self.parents(&real)?;
        let node = Node::Link { target: target.to_owned() };
        self.stage(real, Staged { node, how: say.to_owned(), secret: false, label_of: None })?;
        Ok(true)
    }

    /// Stages that there is a folder at `path`, with those above it; one that is there gets this mode and owner.
    ///
    /// # Errors
    /// [`RootError::Kind`]: something else lies there.
    pub fn mkdir(&mut self, path: impl AsRef<Path>, mode: u32, owner: (u32, u32)) -> Result<bool, RootError> {
        let real = self.resolve(path.as_ref(), Links::Follow)?;
        match self.node(&real)? {
            Some(stat) if stat.kind != Kind::Dir => {
                Err(RootError::Kind { path: real, found: stat.kind.word(), wanted: "a folder" })
            }
            Some(stat) if stat.mode == mode && stat.owner == owner => Ok(false),
            _ => {
                self.parents(&real)?;
                let node = Node::Dir { mode, owner };
                self.stage(real, Staged { node, how: "folder made".to_owned(), secret: false, label_of: None })?;
                Ok(true)
            }
        }
    }

    /// Stages that nothing is at `path`: a file or special file or link is unlinked, not what it leads to; a folder goes
    /// with all below it, but never a mount point.
    ///
    /// # Errors
    /// [`RootError::Locked`] for a mount point, [`RootError::Count`] for more than `REMOVE_MAX` names.
    pub fn remove(&mut self, path: impl AsRef<Path>, say: &str) -> Result<bool, RootError> {
        let real = self.resolve(path.as_ref(), Links::Replace)?;
        if self.node(&real)?.is_none() {
            return Ok(false);
        }
        if real.parent().is_none() {
            return Err(RootError::Locked { path: real, reason: "it is the top of the tree" });
        }
        let mut found = Vec::new();
        self.below(&real, 0, &mut found)?;
        for path in found {
            self.stage(path, Staged { node: Node::Gone, how: say.to_owned(), secret: false, label_of: None })?;
        }
        Ok(true)
    }

    /// What `real` is and holds, children first.
    fn below(&self, real: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), RootError> {
        if self.node(real)?.is_some_and(|stat| stat.kind == Kind::Dir) {
            if self.is_mount_point(real)? {
                return Err(RootError::Locked { path: real.to_owned(), reason: "a file system is mounted there" });
            }
            for name in self.names(real)? {
                if depth >= DEPTH_MAX || found.len() >= REMOVE_MAX {
                    return Err(RootError::Count { path: real.to_owned(), limit: REMOVE_MAX });
                }
                self.below(&real.join(name), depth + 1, found)?;
            }
        }
        found.push(real.to_owned());
        Ok(())
    }

    /// Where a file is written that `path` names.
    fn landing(&self, path: &Path, links: Links) -> Result<PathBuf, RootError> {
        let itself = self.resolve(path, Links::Replace)?;
        if links == Links::Replace {
            return Ok(itself);
        }
        let followed = self.resolve(path, Links::Follow)?;
        // A link that leads nowhere in this tree is of no use to the system either.
        Ok(if self.node(&followed)?.is_some() { followed } else { itself })
    }

    fn parents(&mut self, real: &Path) -> Result<(), RootError> {
        let Some(parent) = real.parent() else { return Ok(()) };
        match self.node(parent)? {
            Some(Stat { kind: Kind::Dir, .. }) => Ok(()),
            Some(stat) => Err(RootError::Kind { path: parent.to_owned(), found: stat.kind.word(), wanted: "a folder" }),
            None => {
                self.parents(parent)?;
                let node = Node::Dir { mode: 0o755, owner: (0, 0) };
                self.stage(
                    parent.to_owned(),
                    Staged { node, how: "folder made".to_owned(), secret: false, label_of: None },
                )
            }
        }
    }

    fn stage(&mut self, real: PathBuf, staged: Staged) -> Result<(), RootError> {
        if let Some((mount, reason)) = self.absent.iter().find(|(mount, _)| real.starts_with(mount)) {
            return Err(RootError::Absent { path: real, mount: mount.clone(), reason: reason.clone() });
        }
        // A folder goes after files come: what takes its place would not find it free.
        if matches!(staged.node, Node::File { .. } | Node::Link { .. })
            && self.on_disk(&real)?.is_some_and(|stat| stat.kind == Kind::Dir)
        {
            return Err(RootError::Kind { path: real, found: Kind::Dir.word(), wanted: "a regular file" });
        }
        // Staging and unstaging ends where it began.
        if self.is_as_before(&real, &staged.node)? {
            self.staged.remove(&real);
            self.order.retain(|path| *path != real);
            return Ok(());
        }
        if self.staged.insert(real.clone(), staged).is_none() {
            self.order.push(real);
        }
        Ok(())
    }

    fn is_as_before(&self, real: &Path, node: &Node) -> Result<bool, RootError> {
        let disk = self.on_disk(real)?;
        Ok(match (node, disk) {
            (Node::Gone, None) => true,
            (Node::Dir { mode, owner }, Some(stat)) => {
                stat.kind == Kind::Dir && stat.mode == *mode && stat.owner == *owner
            }
            (Node::File { bytes, mode, owner }, Some(stat)) => {
                stat.kind == Kind::File
                    && (stat.mode, stat.owner, stat.size) == (*mode, *owner, bytes.len() as u64)
                    && self.bytes_on_disk(real, stat.size)?.is_some_and(|found| found[..] == bytes[..])
            }
            (Node::Link { target }, Some(Stat { kind: Kind::Link, .. })) => self.target_of(real)? == *target,
            _ => false,
        })
    }

    /// Nothing is staged.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.staged.is_empty()
    }

    /// What is staged, in order, for a receipt: a folder that goes stands for all below it.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let gone = |path: &Path| self.staged.get(path).is_some_and(|staged| staged.node == Node::Gone);
        let cut = |text: &str| text.chars().take(CHANGE_TEXT_MAX / 4).collect::<String>();
        let mut changes: Vec<Change> = self
            .order
            .iter()
            .filter(|path| !(gone(path) && path.parent().is_some_and(gone)))
            .filter_map(|path| {
                let staged = self.staged.get(path)?;
                Some(Change { what: cut(&path.to_string_lossy()), how: cut(&staged.how) })
            })
            .collect();
        if changes.len() > CHANGES_MAX {
            let left = changes.len() - (CHANGES_MAX - 1);
            changes.truncate(CHANGES_MAX - 1);
            changes.push(Change { what: "more".to_owned(), how: format!("{left} changes are not listed") });
        }
        changes
    }

    /// What is staged as a unified diff, for people; secrets say only that they are new.
    ///
    /// # Errors
    /// What is on the disk cannot be read.
    pub fn diff(&self) -> Result<String, RootError> {
        let mut text = String::new();
        for path in &self.order {
            let Some(staged) = self.staged.get(path) else { continue };
            let before = match self.on_disk(path)? {
                // What not everybody on the clone may read, nobody reads here: keys and seeds that go are secrets still.
                Some(stat)
                    if stat.kind == Kind::File && stat.size <= TEXT_MAX && stat.mode & 0o004 != 0 && !staged.secret =>
                {
                    self.bytes_on_disk(path, TEXT_MAX)?
                }
                _ => None,
            };
            text.push_str(&self.diff_of(path, staged, before.as_deref())?);
        }
        Ok(text)
    }
}
