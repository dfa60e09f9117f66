//! A cpio archive of the kind that the kernel unpacks into its first file system.
//!
//! In: files, folders, symlinks and character devices. Out: one archive in the format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//! Promise: the same entries give the same bytes: sorted by path, owned by root, inodes counted, one time for all.

use std::collections::BTreeMap;
use std::sync::Arc;

const HEADER_LEN: usize = 110;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// Longest file and path that fit into 8 hex digits and the kernel's buffers.
const FILE_MAX: usize = 0x7fff_ffff;
const PATH_MAX: usize = 4095;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file: its permissions and bytes.
    File(u32, Arc<[u8]>),
    /// A symlink and what it says.
    Link(String),
    /// A character device: its permissions, major and minor number.
    Device(u32, u32, u32),
}

/// What will be unpacked. Paths are relative to `/`, without a slash at either end.
#[derive(Clone, Debug, Default)]
pub struct Tree(BTreeMap<String, Node>);

/// What cannot be put into an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is not what the kernel unpacks.
    #[error("path {0:?} is empty, absolute, longer than 4095 bytes or holds '..' or NUL")]
    Path(String),
    /// There is something else at this path.
    #[error("{0} is there already as something else")]
    Twice(String),
    /// The file is too long.
    #[error("{0} has {1} bytes, at most 2147483647 fit")]
    Long(String, usize),
}

impl Tree {
    /// Puts `node` at `path`, with the folders above it.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn add(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.len() > PATH_MAX || path.contains('\0') || path.split('/').any(odd) {
            return Err(TreeError::Path(path.to_owned()));
        }
        if let Node::File(_, bytes) = &node
            && bytes.len() > FILE_MAX
        {
            return Err(TreeError::Long(path.to_owned(), bytes.len()));
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.add(parent, Node::Folder)?;
        }
        match self.0.get(path) {
            Some(there) if *there != node => Err(TreeError::Twice(path.to_owned())),
            _ => {
                self.0.insert(path.to_owned(), node);
                Ok(())
            }
        }
    }

    /// The entries, in the order of the archive.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The archive; `time` is in seconds since 1970.
    #[must_use]
    pub fn archive(&self, time: u32) -> Vec<u8> {
        let content: usize = self.0.values().map(|node| if let Node::File(_, b) = node { b.len() } else { 0 }).sum();
        let mut out = Vec::with_capacity(content + self.0.len() * 256 + 1024);
        for (inode, (path, node)) in (1_u32..).zip(&self.0) {
            let (mode, content, device): (u32, &[u8], (u32, u32)) = match node {
                Node::Folder => (S_IFDIR | 0o755, &[], (0, 0)),
                Node::File(permissions, bytes) => (S_IFREG | permissions, bytes, (0, 0)),
                Node::Link(target) => (S_IFLNK | 0o777, target.as_bytes(), (0, 0)),
                Node::Device(permissions, major, minor) => (S_IFCHR | permissions, &[], (*major, *minor)),
            };
            let links = if matches!(node, Node::Folder) { 2 } else { 1 };
            entry(&mut out, inode, mode, links, time, content, device, path);
        }
        entry(&mut out, 0, 0, 1, 0, &[], (0, 0), "TRAILER!!!");
        out
    }
}

#[allow(clippy::too_many_arguments)] // the header's fields, in its order
fn entry(
    out: &mut Vec<u8>,
    inode: u32,
    mode: u32,
    links: u32,
    time: u32,
    content: &[u8],
    device: (u32, u32),
    path: &str,
) {
    let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
    out.extend_from_slice(b"070701");
    for field in [inode, mode, 0, 0, links, time, size, 0, 0, device.0, device.1, name, 0] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    debug_assert_eq!(HEADER_LEN, 6 + 13 * 8);
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.add("init", Node::File(0o755, Arc::from(&b"\x7fELF program"[..]))).unwrap();
        tree.add("sbin/modprobe", Node::Link("/init".to_owned())).unwrap();
        tree.add("dev/console", Node::Device(0o600, 5, 1)).unwrap();
        tree.add("etc/empty", Node::File(0o644, Arc::from(&[][..]))).unwrap();
        tree.add("lib/modules/6.1/a-b", Node::File(0o644, Arc::from(&b"x"[..]))).unwrap();
        tree
    }

    #[test]
    fn cpio_lists_and_unpacks_what_was_put_in() {
        let archive = tree().archive(1_600_000_000);
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let mut child = Command::new("cpio")
                .args(args)
                .env("TZ", "UTC")
                .current_dir(dir.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&archive).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let names = run(&["-t", "--quiet"]);
        let wanted = "dev\ndev/console\netc\netc/empty\ninit\nlib\nlib/modules\nlib/modules/6.1\nlib/modules/6.1/a-b\n\
            sbin\nsbin/modprobe\n";
        assert_eq!(names, wanted);
        let listing = run(&["-tv", "--quiet"]);
        let console = listing.lines().find(|line| line.ends_with("dev/console")).unwrap();
        assert!(console.starts_with("crw-------") && console.contains("5,   1"), "{console}");
        assert!(listing.contains("Sep 13  2020") && listing.contains("sbin/modprobe -> /init"), "{listing}");
        run(&["-id", "--quiet", "--no-absolute-filenames"]);
        assert_eq!(std::fs::read(dir.path().join("init")).unwrap(), b"\x7fELF program");
        assert_eq!(std::fs::read(dir.path().join("lib/modules/6.1/a-b")).unwrap(), b"x");
    }

    #[test]
    fn the_order_of_adding_changes_nothing() {
        let mut other = Tree::default();
        for (path, node) in tree().entries().collect::<Vec<_>>().into_iter().rev() {
            other.add(path, node.clone()).unwrap();
        }
        assert_eq!(other.archive(7), tree().archive(7));
        assert_ne!(other.archive(7), tree().archive(8));
    }

    #[test]
    fn refuses_paths_that_leave_the_root_and_two_things_at_one_place() {
        let mut tree = tree();
        for path in ["", "/init", "a//b", "../etc", "a/..", "a/", "a\0b", &"x/".repeat(2100)] {
            assert!(matches!(tree.add(path, Node::Folder), Err(TreeError::Path(_))), "{path:?}");
        }
        assert_eq!(tree.add("init", Node::Folder), Err(TreeError::Twice("init".to_owned())));
        assert_eq!(tree.add("init/below", Node::Folder), Err(TreeError::Twice("init".to_owned())));
        assert_eq!(tree.add("dev", Node::Folder), Ok(()));
    }
}
