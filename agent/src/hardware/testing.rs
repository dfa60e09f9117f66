//! A made-up machine: a folder with `sys/` and `proc/`, for tests.

use super::tree::Tree;

/// The folder.
pub struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn tree(&self) -> Tree {
        Tree::in_directory(self.folder.path())
    }

    pub fn file(&self, path: &str, bytes: &[u8]) -> &Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// A link at `path`, relative to the root, to `target`, relative to the root too.
    pub fn link(&self, path: &str, target: &str) -> &Self {
        let (path, target) = (self.folder.path().join(path), self.folder.path().join(target));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }
}
