//! Changes of a tree, for people.
//!
//! In: what is on the disk, what is staged. Out: a unified diff, one hunk a file.
//! Promise: nothing of a secret; control characters are shown as `?`, so that an image cannot talk to a terminal.

use super::{Kind, Node, Root, RootError, Staged};
use std::fmt::Write as _;
use std::path::Path;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Most lines of one file that are shown.
const LINES_MAX: usize = 400;

impl Root {
    pub(super) fn diff_of(&self, path: &Path, staged: &Staged, before: Option<&[u8]>) -> Result<String, RootError> {
        let disk = self.on_disk(path)?;
        let shown = clean(&path.to_string_lossy());
        let old = disk.map_or("/dev/null".to_owned(), |_| format!("a{shown}"));
        let new = match staged.node {
            Node::Gone => "/dev/null".to_owned(),
            _ => format!("b{shown}"),
        };
        let mut text = format!("--- {old}\n+++ {new}\n");
        match &staged.node {
            Node::Dir { mode, .. } => {
                let _ = writeln!(text, "# folder, mode {mode:04o}");
            }
            Node::Link { target } => {
                let _ = writeln!(text, "# link to {}", clean(&target.to_string_lossy()));
            }
            Node::Gone => match disk.map(|stat| stat.kind) {
                Some(Kind::File) if before.is_none() => text.push_str("# a file goes, not shown\n"),
                Some(Kind::File) => text.push_str(&lines(before, &[])),
                Some(kind) => {
                    let _ = writeln!(text, "# {} goes", kind.word());
                }
                None => {}
            },
            Node::File { mode, owner, .. } if staged.secret => {
                let _ = writeln!(text, "# new contents, not shown; mode {mode:04o}, owner {}:{}", owner.0, owner.1);
            }
            Node::File { bytes, mode, owner } => {
                if disk.is_none_or(|stat| stat.mode != *mode || stat.owner != *owner) {
                    let _ = writeln!(text, "# mode {mode:04o}, owner {}:{}", owner.0, owner.1);
                }
                text.push_str(&lines(before, bytes));
            }
        }
        Ok(text)
    }
}

/// One hunk: what the two have in common at both ends is left out.
fn lines(before: Option<&[u8]>, after: &[u8]) -> String {
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before.unwrap_or_default()), std::str::from_utf8(after)) else {
        return "# binary\n".to_owned();
    };
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(old, new)| old == new).count();
    if head == old.len() && head == new.len() {
        return String::new();
    }
    let from = head.saturating_sub(CONTEXT);
    let (old_to, new_to) = ((old.len() - tail + CONTEXT).min(old.len()), (new.len() - tail + CONTEXT).min(new.len()));
    let start = |from: usize, to: usize| if from == to { from } else { from + 1 };
    let mut text =
        format!("@@ -{},{} +{},{} @@\n", start(from, old_to), old_to - from, start(from, new_to), new_to - from);
    let all = (old[from..head].iter().map(|line| (' ', line)))
        .chain(old[head..old.len() - tail].iter().map(|line| ('-', line)))
        .chain(new[head..new.len() - tail].iter().map(|line| ('+', line)))
        .chain(old[old.len() - tail..old_to].iter().map(|line| (' ', line)));
    for (count, (sign, line)) in all.enumerate() {
        if count == LINES_MAX {
            text.push_str("# further lines are not shown\n");
            break;
        }
        let _ = writeln!(text, "{sign}{}", clean(line));
    }
    text
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hunk_has_three_lines_around_what_changed() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let after = "a\nb\nc\nd\nE\nf\ng\nh\ni\n";
        let hunk = super::lines(Some(before.as_bytes()), after.as_bytes());
        assert_eq!(hunk, "@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n");
        assert_eq!(super::lines(None, b"x\n"), "@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(super::lines(Some(b"x\n"), b""), "@@ -1,1 +0,0 @@\n-x\n");
        assert_eq!(super::lines(Some(b"\x1b[2J\n"), b""), "@@ -1,1 +0,0 @@\n-?[2J\n");
    }
}
