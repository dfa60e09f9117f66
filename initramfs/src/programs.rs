//! Programs that make file systems smaller, with all that they need to run.
//!
//! In: names of programs that this machine has. Out: their files and those of their shared libraries.
//! Promise: every library of every library comes along, or the build is refused; whoever builds from the same packages gets
//! the same bytes.
//!
//! | program | Debian's package | licence |
//! |---|---|---|
//! | `resize2fs`, `e2fsck` | e2fsprogs | GPL-2.0 (its libraries LGPL-2.0) |
//! | `ntfsresize` | ntfs-3g | GPL-2.0-or-later |
//! | the C library, `libblkid`, `libuuid` | libc6, util-linux | LGPL-2.1-or-later, BSD-3-Clause |
//!
//! They run as processes of their own; the agent is not linked with any of it.

use crate::elf::Elf;
use crate::error::{BuildError, Doing, Result, refused};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What goes aboard, and the package that has it.
const PROGRAMS: [(&str, &str); 3] = [("e2fsck", "e2fsprogs"), ("ntfsresize", "ntfs-3g"), ("resize2fs", "e2fsprogs")];
/// Where programs of root lie.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Where Debian's dynamic linker looks for libraries; aboard they all lie in the first one.
const LIBRARIES: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];
/// Longest file, in bytes; the C library has 2 MiB.
const FILE_MAX: u64 = 32 << 20;
/// Most files; there are about fifteen.
const FILES_MAX: usize = 128;

/// Programs and libraries by their path aboard, without the leading slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Their bytes; all of them may be executed.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Programs {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads what this machine has.
    ///
    /// # Errors
    /// [`BuildError::NoTool`] when a program is not there; a refusal when a library is not.
    pub fn find() -> Result<Self> {
        let mut found = Self::default();
        for (name, package) in PROGRAMS {
            let what = || format!("taking {name} aboard");
            let path = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
            let path = path.ok_or_else(|| BuildError::NoTool { what: what(), path: PathBuf::from(name), package })?;
            found.take(&format!("sbin/{name}"), &path)?;
        }
        Ok(found)
    }

    /// Takes a file, and what it asks for.
    fn take(&mut self, aboard: &str, path: &Path) -> Result<()> {
        let what = || format!("reading {}", path.display());
        let refuse = |found: String| refused(what(), found, "install the package that holds it again");
        if self.files.contains_key(aboard) {
            return Ok(());
        }
        let length = std::fs::metadata(path).doing(what)?.len();
        if length > FILE_MAX || self.files.len() >= FILES_MAX {
            return Err(refuse(format!("it has {length} bytes beside {} other files", self.files.len())));
        }
        let bytes = std::fs::read(path).doing(what)?;
        let elf = Elf::open(&bytes[..]).map_err(|error| refuse(error.to_string()))?;
        if !elf.is_x86_64_program() {
            return Err(refuse("it is no program for x86-64".to_owned()));
        }
        let wants = elf.wants().map_err(|error| refuse(error.to_string()))?;
        self.files.insert(aboard.to_owned(), bytes);
        if let Some(linker) = wants.interpreter {
            let name = linker.strip_prefix('/').filter(|name| plain(name));
            let name = name.ok_or_else(|| refuse(format!("it asks for the dynamic linker {linker:?}")))?;
            self.take(name, Path::new(&linker))?;
        }
        for library in wants.libraries {
            let places = LIBRARIES.iter().map(|folder| Path::new(folder).join(&library));
            let place = Some(&library).filter(|name| plain(name) && !name.contains('/'));
            let place = place.and_then(|_| places.into_iter().find(|place| place.is_file()));
            let place = place.ok_or_else(|| refuse(format!("it asks for {library:?}, which is not here")))?;
            // The linker itself is asked for as a library, and lies where programs ask for it.
            let linker = library.starts_with("ld-linux");
            let folder = if linker { "lib64" } else { LIBRARIES[0].trim_start_matches('/') };
            self.take(&format!("{folder}/{library}"), &place)?;
        }
        Ok(())
    }
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"./_+-".contains(&c)) && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_run_with_nothing_but_what_was_taken() {
        let programs = Programs::find().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &programs.files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        for (name, args) in [("e2fsck", "-V"), ("resize2fs", ""), ("ntfsresize", "--version")] {
            let mut command = std::process::Command::new("chroot");
            command.arg(dir.path()).arg(format!("/sbin/{name}")).args(Some(args).filter(|args| !args.is_empty()));
            let output = command.output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains(name), "{name}: {said}");
            assert!(!said.contains("error while loading"), "{said}");
        }
        assert_eq!(programs, Programs::find().unwrap());
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["", "../lib", "a b", "lib\n", "x\u{e9}"] {
            assert!(!plain(name), "{name:?}");
        }
    }
}
