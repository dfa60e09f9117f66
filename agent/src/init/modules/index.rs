//! Which modules there are, and which a name means.
//!
//! In: `modules.dep`, `modules.alias`, `modules.softdep` and `modules.builtin` as kmod's depmod writes them.
//! Out: for a name or an alias, the files to load, in their order.
//! Promise: the order is modprobe's: soft dependencies first, then hard ones, each of these with its own.

use ramet_wire::boot::fits;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// Largest of the four files that is read, in bytes; Debian's largest has 1.5 MB.
const FILE_MAX: u64 = 32 << 20;

/// The index of one kernel's modules.
#[derive(Debug, Default)]
pub struct Index {
    folder: PathBuf,
    modules: HashMap<String, Module>,
    builtin: HashSet<String>,
    soft: HashMap<String, Soft>,
    /// By what stands before the first `:` or pattern character, in the file's order.
    aliases: HashMap<String, Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct Module {
    path: String,
    /// Names, in the file's order: the last is loaded first.
    needs: Vec<String>,
}

#[derive(Debug, Default)]
struct Soft {
    pre: Vec<String>,
    post: Vec<String>,
}

/// One file to load.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToLoad {
    /// The module's name, with `_`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

impl Index {
    /// Reads the index in `folder`, such as `/lib/modules/6.1.0-56-amd64`. Files that are not there count as empty.
    ///
    /// # Errors
    /// When a file can not be read or is beyond all measure.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut index = Self { folder: folder.to_owned(), ..Self::default() };
        for line in text(folder, "modules.dep")?.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(name_of).collect();
                index.modules.insert(name_of(path), Module { path: path.to_owned(), needs });
            }
        }
        index.builtin = text(folder, "modules.builtin")?.lines().map(name_of).collect();
        for line in text(folder, "modules.softdep")?.lines() {
            index.soft_line(line);
        }
        for line in text(folder, "modules.alias")?.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) {
                let alias = normal(alias);
                let bucket = index.aliases.entry(bucket(&alias).to_owned()).or_default();
                bucket.push((alias, module.replace('-', "_")));
            }
        }
        Ok(index)
    }

    fn soft_line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { return };
        let soft = self.soft.entry(module.replace('-', "_")).or_default();
        let mut list = None;
        for word in words {
            match (word, &mut list) {
                ("pre:", _) => list = Some(&mut soft.pre),
                ("post:", _) => list = Some(&mut soft.post),
                (name, Some(list)) => list.push(name.to_owned()),
                (_, None) => {}
            }
        }
    }

    /// Names of all modules that are files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// The modules that `name` means: itself, or all that have such an alias. Empty for what is built in or unknown.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Vec<&str> {
        let name = normal(name);
        if let Some((known, _)) = self.modules.get_key_value(&name) {
            return vec![known];
        }
        // A name may be built in and an alias all the same: `crc32` is both the kernel's own and a family of ciphers.
        let mut found: Vec<&str> = Vec::new();
        for key in [bucket(&name), ""] {
            for (alias, module) in self.aliases.get(key).into_iter().flatten() {
                if fits(alias, &name) && !found.contains(&module.as_str()) && self.modules.contains_key(module) {
                    found.push(module);
                }
            }
            if bucket(&name).is_empty() {
                break;
            }
        }
        found
    }

    /// Whether `name` is in the kernel itself.
    #[must_use]
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normal(name))
    }

    /// All files to load for `name` (a module or an alias), in order, each once.
    #[must_use]
    pub fn plan(&self, name: &str) -> Vec<ToLoad> {
        let mut walk = Walk { index: self, visited: HashSet::new(), seen: HashSet::new(), list: Vec::new() };
        for module in self.lookup(name) {
            walk.probe(module);
        }
        walk.list
    }
}

/// One walk through dependencies, as `kmod_module_probe_insert_module` goes.
struct Walk<'a> {
    index: &'a Index,
    visited: HashSet<&'a str>,
    seen: HashSet<&'a str>,
    list: Vec<ToLoad>,
}

impl<'a> Walk<'a> {
    fn probe(&mut self, name: &str) {
        let Some((name, module)) = self.index.modules.get_key_value(name) else { return };
        if !self.visited.insert(name) {
            return;
        }
        for need in module.needs.iter().rev() {
            if let Some((need, module)) = self.index.modules.get_key_value(need) {
                self.with_soft(need, module);
            }
        }
        self.with_soft(name, module);
    }

    /// Not only a module's own soft dependencies count, but those of all that it needs.
    fn with_soft(&mut self, name: &'a str, module: &Module) {
        let soft = self.index.soft.get(name);
        // Soft dependencies may name each other in a circle; `visited` ends it.
        for alias in soft.map(|soft| &soft.pre).into_iter().flatten() {
            for module in self.index.lookup(alias) {
                self.probe(module);
            }
        }
        if self.seen.insert(name) {
            self.list.push(ToLoad { name: name.to_owned(), path: self.index.folder.join(&module.path) });
        }
        for alias in soft.map(|soft| &soft.post).into_iter().flatten() {
            for module in self.index.lookup(alias) {
                self.probe(module);
            }
        }
    }
}

/// A module's name from its path: `kernel/net/8021q/8021q.ko.xz` is `8021q`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// `-` means `_`, but not between brackets.
fn normal(alias: &str) -> String {
    let mut inside = false;
    let change = |c| {
        inside = (inside || c == '[') && c != ']';
        if c == '-' && !inside { '_' } else { c }
    };
    alias.chars().map(change).collect()
}

/// The fixed start of an alias, up to its first `:`; empty where a pattern begins before that.
fn bucket(alias: &str) -> &str {
    let end = alias.find([':', '*', '?', '[']);
    match end {
        Some(end) if alias[end..].starts_with(':') => &alias[..end],
        _ => "",
    }
}

fn text(folder: &Path, name: &str) -> io::Result<String> {
    let path = folder.join(name);
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > FILE_MAX => {
            let message = format!("{} has {} bytes, at most {FILE_MAX} are read", path.display(), found.len());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
        Ok(_) => std::fs::read_to_string(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
