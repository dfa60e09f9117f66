//! What the kernel shows in files, behind one of two doors: the running kernel's, or a folder that a test made.
//!
//! In: paths such as `sys/class/net`. Out: clean, bounded texts, numbers, names.
//! Promise: a file that is missing or odd is an unknown, never an error: devices come and go while we look.

use ramet_wire::agents::TEXT_MAX;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes: `/proc/cpuinfo` of a machine with 1,024 threads has 1.5 MB.
const FILE_MAX: u64 = 4 << 20;
/// Most names of one folder.
const NAMES_MAX: usize = 4096;

/// A root folder with `sys/` and `proc/`.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The running kernel's.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self::in_directory("/")
    }

    /// A folder that holds `sys/` and `proc/`.
    pub fn in_directory(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether `path` is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The bytes of a file, at most `FILE_MAX`.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.root.join(path)).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A whole text.
    #[must_use]
    pub fn lines(&self, path: &str) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// One line, clean and at most [`TEXT_MAX`] bytes long; `None` where it is missing or empty.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let text = cut(self.lines(path)?.trim());
        (!text.is_empty()).then_some(text)
    }

    /// A decimal number.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, path: &str) -> Option<N> {
        self.text(path)?.parse().ok()
    }

    /// Names in a folder, ascending; none where there is no folder.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).take(NAMES_MAX).collect();
        names.sort_unstable();
        names
    }

    /// The last name of where a link leads.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.root.join(path)).ok()?;
        Some(cut(&target.file_name()?.to_string_lossy()))
    }

    /// The root folder itself is the running kernel's.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }
}

/// At most [`TEXT_MAX`] bytes, without control characters.
#[must_use]
pub fn cut(text: &str) -> String {
    let mut clean: String = text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    clean.truncate(clean.floor_char_boundary(TEXT_MAX));
    clean
}
