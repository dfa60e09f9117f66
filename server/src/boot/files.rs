//! The builder's files on the server: one set at a time.
//!
//! In: files of a build, its `build.json` last. Out: the set that is served, in the state folder.
//! Promise: what is served is a whole set whose sizes and hashes were compared; a set with a token is never taken.
//!
//! ```text
//! state/boot/incoming/NAME    files that were sent and belong to no set yet
//! state/boot/set-…/NAME       a set
//! state/boot/current          the name of the set that is served; replaced by a rename
//! ```

use ramet_wire::build::{BUILD, Made, NAMES};
use ramet_wire::id::hex;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file, in bytes.
pub const FILE_MAX: u64 = 256 << 20;
/// Largest `build.json`, in bytes.
pub const BUILD_MAX: usize = 1 << 20;
/// Without these nothing starts.
const NEEDED: [&str; 2] = ["vmlinuz", "initramfs.zst"];
const ISO: &str = "ramet.iso";

/// What `build.json` says. A newer builder may say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The agent's version.
    pub version: String,
    /// Seconds since 1970.
    pub built: u64,
    /// The kernel's version.
    pub kernel: String,
    /// By name.
    pub files: BTreeMap<String, Made>,
    /// The ISO holds a token.
    #[serde(default)]
    pub token: bool,
    /// The ISO holds this image.
    #[serde(default)]
    pub image: Option<String>,
}

/// A build that is not installed.
#[derive(Debug, thiserror::Error)]
pub enum BadBuild {
    /// It is none.
    #[error("build.json cannot be read: {0}")]
    Shape(String),
    /// Everybody on the network could fetch it.
    #[error("this build holds a token: boot files are for anyone who asks; build it without --token")]
    Token,
    /// Something is not there.
    #[error("{0} is not in the build, and nothing starts without it")]
    Lacks(&'static str),
    /// Too large, or empty.
    #[error("{name} has {size} bytes, 1 to {FILE_MAX} are allowed")]
    Size {
        /// Which.
        name: &'static str,
        /// Bytes.
        size: u64,
    },
    /// What was sent is not what the build says.
    #[error("{name} is {found}, build.json says {wanted}")]
    Other {
        /// Which.
        name: &'static str,
        /// What lies there.
        found: String,
        /// What should.
        wanted: String,
    },
    /// The file system said no.
    #[error("{doing}")]
    Io {
        /// What was done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Build {
    /// Reads a `build.json`.
    ///
    /// # Errors
    /// [`BadBuild`] for one that is never installed.
    pub fn read(text: &[u8]) -> Result<Self, BadBuild> {
        let build: Self = serde_json::from_slice(text).map_err(|error| BadBuild::Shape(error.to_string()))?;
        if build.token {
            return Err(BadBuild::Token);
        }
        for name in NEEDED {
            if !build.files.contains_key(name) {
                return Err(BadBuild::Lacks(name));
            }
        }
        for (name, made) in build.wanted() {
            if !(1..=FILE_MAX).contains(&made.size) {
                return Err(BadBuild::Size { name, size: made.size });
            }
        }
        Ok(build)
    }

    /// The files that are installed: those of the fixed list, but no ISO with an image on it.
    pub fn wanted(&self) -> impl Iterator<Item = (&'static str, &Made)> {
        let known = NAMES.iter().filter_map(|name| Some((*name, self.files.get(*name)?)));
        known.filter(|(name, _)| *name != ISO || self.image.is_none())
    }
}

/// What is installed. `ramet boot ls --json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The agent's version; empty when nothing is installed.
    pub version: String,
    /// The kernel's version.
    pub kernel: String,
    /// When it was built, in seconds since 1970.
    pub built: u64,
    /// Its files.
    pub files: Vec<BootFile>,
}

/// One installed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// 64 hex digits.
    pub sha256: String,
}

/// A set that is served: its files stay open, so that one that is replaced can still be read to its end.
#[derive(Debug)]
pub struct Set {
    build: Build,
    files: BTreeMap<&'static str, (Arc<File>, u64)>,
}

impl Set {
    /// Opens the set that is current in `dir`; none when nothing is installed.
    ///
    /// # Errors
    /// [`BadBuild`] when there is one and it is not whole.
    pub fn current(dir: &Path) -> Result<Option<Self>, BadBuild> {
        let name = match fs::read_to_string(dir.join("current")) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("reading which boot files are current", source)),
        };
        // Only a name that we gave.
        let known = name.strip_prefix("set-").is_some_and(|id| id.bytes().all(|c| c.is_ascii_hexdigit()));
        if !known {
            return Err(BadBuild::Shape("the name of the current set is none".to_owned()));
        }
        Self::open(&dir.join(name)).map(Some)
    }

    fn open(dir: &Path) -> Result<Self, BadBuild> {
        let text = fs::read(dir.join(BUILD)).map_err(|error| failed("reading build.json", error))?;
        let build = Build::read(&text)?;
        let mut files = BTreeMap::new();
        for (name, made) in build.wanted() {
            let open = || -> io::Result<(File, u64)> {
                let file = File::open(dir.join(name))?;
                let len = file.metadata()?.len();
                Ok((file, len))
            };
            let (file, len) = open().map_err(|error| failed(format!("opening {name}"), error))?;
            if len != made.size {
                let (found, wanted) = (format!("{len} bytes"), format!("{} bytes", made.size));
                return Err(BadBuild::Other { name, found, wanted });
            }
            files.insert(name, (Arc::new(file), len));
        }
        Ok(Self { build, files })
    }

    /// A file and its length.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<(&'static str, Arc<File>, u64)> {
        self.files.get_key_value(name).map(|(name, (file, len))| (*name, Arc::clone(file), *len))
    }

    /// For operators.
    #[must_use]
    pub fn to_wire(&self) -> Installed {
        let Build { version, kernel, built, .. } = self.build.clone();
        let file = |(name, made): (&'static str, &Made)| BootFile {
            name: name.to_owned(),
            size: made.size,
            sha256: made.sha256.clone(),
        };
        Installed { version, kernel, built, files: self.build.wanted().map(file).collect() }
    }
}

fn failed(doing: impl Into<String>, source: io::Error) -> BadBuild {
    BadBuild::Io { doing: doing.into(), source }
}

fn incoming(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

/// Keeps a file of a build that is being sent.
///
/// # Errors
/// [`BadBuild::Io`].
pub fn receive(dir: &Path, name: &'static str, size: u64, body: &mut dyn Read) -> Result<(), BadBuild> {
    let doing = |error| failed(format!("receiving {name}"), error);
    let folder = incoming(dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(doing)?;
    let half = folder.join(format!("{name}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half).map_err(doing)?;
    let count = io::copy(&mut body.take(size), &mut file).map_err(doing)?;
    if count != size {
        return Err(doing(io::Error::other(format!("{count} bytes came, {size} were announced"))));
    }
    file.sync_all().map_err(doing)?;
    fs::rename(half, folder.join(name)).map_err(doing)
}

/// Makes a set of the files that were sent, and makes it current.
///
/// # Errors
/// [`BadBuild`]; what was current stays so.
pub fn install(dir: &Path, text: &[u8], id: &str) -> Result<Set, BadBuild> {
    let build = Build::read(text)?;
    let folder = incoming(dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| failed("making a folder", error))?;
    for (name, made) in build.wanted() {
        let (size, sha256) = match hash(&folder.join(name)) {
            Ok(found) => found,
            Err(source) => return Err(failed(format!("reading {name} of the build"), source)),
        };
        if (size, &sha256) != (made.size, &made.sha256) {
            let found = format!("{size} bytes with SHA-256 {sha256}");
            return Err(BadBuild::Other { name, found, wanted: format!("{} bytes with {}", made.size, made.sha256) });
        }
    }
    let name = format!("set-{id}");
    let place = || -> io::Result<()> {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !build.wanted().any(|(name, _)| entry.file_name() == name) {
                fs::remove_file(entry.path())?;
            }
        }
        write(&folder.join(BUILD), text)?;
        File::open(&folder)?.sync_all()?;
        fs::rename(&folder, dir.join(&name))?;
        let next = dir.join("current.new");
        write(&next, name.as_bytes())?;
        fs::rename(&next, dir.join("current"))?;
        File::open(dir)?.sync_all()
    };
    place().map_err(|error| failed("installing the boot files", error))?;
    let set = Set::open(&dir.join(&name))?;
    sweep(dir, Some(&name));
    Ok(set)
}

/// Takes the current set away.
///
/// # Errors
/// [`BadBuild::Io`].
pub fn remove(dir: &Path) -> Result<(), BadBuild> {
    match fs::remove_file(dir.join("current")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing the boot files", error)),
        _ => {
            sweep(dir, None);
            Ok(())
        }
    }
}

/// Older sets go; one that cannot be removed is removed by the next installation.
fn sweep(dir: &Path, keep: Option<&str>) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("set-") && Some(&*name) != keep {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn hash(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
    let (mut block, mut size) = (vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut block)?;
        if count == 0 {
            return Ok((size, hex(context.finish().as_ref())));
        }
        context.update(&block[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(files: &[(&str, &[u8])], also: &str) -> Vec<u8> {
        let made: Vec<String> = files
            .iter()
            .map(|(name, bytes)| {
                let sum = hex(&ramet_wire::id::sha256(bytes));
                format!("\"{name}\":{{\"size\":{},\"sha256\":\"{sum}\"}}", bytes.len())
            })
            .collect();
        let files = made.join(",");
        format!("{{\"version\":\"0.1.0\",\"built\":1,\"kernel\":\"6.1\",\"files\":{{{files}}},\"set\":\"vm\"{also}}}")
            .into()
    }

    fn send(dir: &Path, files: &[(&'static str, &[u8])]) {
        for (name, bytes) in files {
            receive(dir, name, bytes.len() as u64, &mut &bytes[..]).unwrap();
        }
    }

    #[test]
    fn a_set_is_served_when_all_of_it_is_there_and_is_what_the_build_says() {
        let dir = tempfile::tempdir().unwrap();
        let one: [(&str, &[u8]); 2] = [("vmlinuz", b"k1"), ("initramfs.zst", b"i1")];
        let two: [(&str, &[u8]); 2] = [("vmlinuz", b"k2"), ("initramfs.zst", b"i2")];
        assert!(Set::current(dir.path()).unwrap().is_none());
        send(dir.path(), &one[..1]);
        assert!(install(dir.path(), &build(&one, ""), "01").is_err(), "the initramfs was not sent");
        send(dir.path(), &one[1..]);
        install(dir.path(), &build(&one, ""), "02").unwrap();
        send(dir.path(), &[("vmlinuz", b"k?"), ("initramfs.zst", b"i2")]);
        let refused = install(dir.path(), &build(&two, ""), "03").unwrap_err().to_string();
        assert!(refused.contains("vmlinuz is 2 bytes") && refused.contains("build.json says"), "{refused}");
        let set = Set::current(dir.path()).unwrap().unwrap();
        send(dir.path(), &two);
        install(dir.path(), &build(&two, ""), "04").unwrap();
        let mut text = String::new();
        (&*set.file("vmlinuz").unwrap().1).read_to_string(&mut text).unwrap();
        assert_eq!(text, "k1", "a set that is replaced can be read to its end");
        assert_eq!(Set::current(dir.path()).unwrap().unwrap().to_wire().files.len(), 2);
        assert!(!dir.path().join("set-02").exists());
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert!(Set::current(dir.path()).unwrap().is_none());
    }

    #[test]
    fn a_build_with_a_token_is_refused_and_an_iso_with_an_image_is_left_out() {
        let files: [(&str, &[u8]); 4] =
            [("vmlinuz", b"k"), ("initramfs.zst", b"i"), ("ramet.iso", b"o"), ("../../etc/passwd", b"x")];
        assert!(matches!(Build::read(&build(&files, ",\"token\":true")), Err(BadBuild::Token)));
        let names = |also: &str| -> Vec<&str> {
            let build = Build::read(&build(&files, also)).unwrap();
            build.wanted().map(|(name, _)| name).collect()
        };
        assert_eq!(names(""), ["vmlinuz", "initramfs.zst", "ramet.iso"]);
        assert_eq!(names(",\"image\":\"web@0123456789abcdef\""), ["vmlinuz", "initramfs.zst"]);
        assert!(matches!(Build::read(&build(&files[1..], "")), Err(BadBuild::Lacks("vmlinuz"))));
        assert!(matches!(
            Build::read(&build(&[("vmlinuz", b""), ("initramfs.zst", b"i")], "")),
            Err(BadBuild::Size { .. })
        ));
        assert!(matches!(Build::read(b"{}"), Err(BadBuild::Shape(_))));
    }

    #[test]
    fn a_file_that_ends_early_is_not_kept_and_a_current_that_leaves_the_folder_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(receive(dir.path(), "vmlinuz", 3, &mut &b"ab"[..]).is_err());
        assert!(!incoming(dir.path()).join("vmlinuz").exists());
        fs::write(dir.path().join("current"), "set-../../x").unwrap();
        assert!(Set::current(dir.path()).is_err());
    }
}
