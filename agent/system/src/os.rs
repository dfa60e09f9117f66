//! Which operating system a tree holds.
//!
//! In: `os-release`, bytes of an image. Out: its names and its family.
//! Promise: only what the specification calls an assignment is read; an unknown system is a reason, never a guess.

use crate::root::{Root, RootError};
use std::collections::BTreeMap;

/// Largest `os-release`, in bytes; real ones have 200 to 600.
pub const RELEASE_MAX: u64 = 64 << 10;
/// Most assignments that are kept, and the longest value, in bytes.
const KEYS_MAX: usize = 256;
const VALUE_MAX: usize = 1024;

/// Systems whose files lie at the same places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and what comes of them.
    Debian,
    /// Fedora, RHEL, Rocky, Alma, `CentOS`.
    RedHat,
    /// openSUSE and SLE.
    Suse,
    /// Arch and what comes of it.
    Arch,
}

/// What `os-release` says, os-release(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Os {
    /// `ID`: lower case, `debian`.
    pub id: String,
    /// `ID_LIKE`: closest first.
    pub like: Vec<String>,
    /// `VERSION_ID`; may be empty.
    pub version: String,
    /// `PRETTY_NAME`, else `NAME`, else the id.
    pub name: String,
}

/// Why a system is not known.
#[derive(Debug, thiserror::Error)]
pub enum OsError {
    /// The file is a trap, or damaged.
    #[error("reading os-release")]
    Read(#[source] RootError),
    /// There is no such file.
    #[error("there is neither /etc/os-release nor /usr/lib/os-release")]
    Missing,
    /// It has no `ID`.
    #[error("os-release has no ID")]
    Nameless,
    /// A system whose layout is not known.
    #[error("os-release says ID={id:?}, ID_LIKE={like:?}: only Debian, Red Hat, SUSE and Arch layouts are known")]
    Unknown {
        /// Its `ID`.
        id: String,
        /// Its `ID_LIKE`.
        like: String,
    },
}

impl Os {
    /// The system in `root`.
    ///
    /// # Errors
    /// [`OsError`], but never [`OsError::Unknown`].
    pub fn of(root: &Root) -> Result<Self, OsError> {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            if let Some(bytes) = root.read(path, RELEASE_MAX).map_err(OsError::Read)? {
                return Self::parse(&bytes);
            }
        }
        Err(OsError::Missing)
    }

    /// What the bytes of an `os-release` say. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// [`OsError::Nameless`].
    pub fn parse(bytes: &[u8]) -> Result<Self, OsError> {
        let text = String::from_utf8_lossy(bytes);
        let mut keys: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some((key, value)) = line.split_once('=')
                && !key.is_empty()
                && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
                && (keys.len() < KEYS_MAX || keys.contains_key(key))
                && let Some(value) = unquote(value)
            {
                keys.insert(key, value);
            }
        }
        let mut take = |key: &str| keys.remove(key).filter(|value| !value.is_empty());
        let id = take("ID").ok_or(OsError::Nameless)?.to_ascii_lowercase();
        let like = take("ID_LIKE").unwrap_or_default().to_ascii_lowercase();
        let name = take("PRETTY_NAME").or_else(|| take("NAME")).unwrap_or_else(|| id.clone());
        let like = like.split_ascii_whitespace().map(str::to_owned).collect();
        Ok(Self { id, like, version: take("VERSION_ID").unwrap_or_default(), name })
    }

    /// Where its files lie.
    ///
    /// # Errors
    /// [`OsError::Unknown`].
    pub fn family(&self) -> Result<Family, OsError> {
        std::iter::once(&self.id)
            .chain(&self.like)
            .find_map(|id| family(id))
            .ok_or_else(|| OsError::Unknown { id: self.id.clone(), like: self.like.join(" ") })
    }

    /// Ubuntu, or one that comes of it.
    #[must_use]
    pub fn is_ubuntu(&self) -> bool {
        self.id == "ubuntu" || self.like.iter().any(|like| like == "ubuntu")
    }
}

fn family(id: &str) -> Option<Family> {
    Some(match id {
        "debian" | "ubuntu" | "raspbian" | "linuxmint" | "devuan" | "kali" | "proxmox" => Family::Debian,
        "fedora" | "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "amzn" | "scientific" => Family::RedHat,
        "suse" | "opensuse" | "sles" | "sled" | "opensuse-leap" | "opensuse-tumbleweed" | "sle_hpc" => Family::Suse,
        "arch" | "archarm" | "manjaro" | "endeavouros" => Family::Arch,
        _ => return None,
    })
}

/// A value as a shell would read it, without any expansion; none for one that does not end or goes on behind its end.
fn unquote(raw: &str) -> Option<String> {
    let mut value = String::new();
    let mut quote = None;
    let mut chars = raw.trim().chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => value.push(chars.next()?),
            ('\\', Some('"')) => match chars.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => return None,
            (c, _) => value.push(c),
        }
        if value.len() > VALUE_MAX {
            return None;
        }
    }
    // Escaped ones, too.
    quote.is_none().then(|| value.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plant, run};

    #[test]
    fn families_are_known_by_id_and_by_what_they_are_like() {
        let table = [
            ("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", Some(Family::Debian)),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", Some(Family::Debian)),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Some(Family::RedHat)),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Some(Family::RedHat)),
            ("ID='opensuse-leap'\nID_LIKE='suse opensuse'\n", Some(Family::Suse)),
            ("ID=arch\n", Some(Family::Arch)),
            ("ID=nixos\n", None),
            ("ID=alpine\n", None),
        ];
        for (text, family) in table {
            assert_eq!(Os::parse(text.as_bytes()).unwrap().family().ok(), family, "{text}");
        }
        let found = Os::parse(b"ID=alpine\n").unwrap().family().unwrap_err().to_string();
        assert!(found.contains("alpine"), "{found}");
    }

    #[test]
    fn values_are_what_a_shell_reads() {
        for raw in [r#""a \"b\" \$c \\ d""#, "'a b'", r"a\ b", r#""a"'b'c"#, r#""a\tb""#, "plain", "\"\""] {
            let script = format!("NAME={raw}\nprintf %s \"$NAME\"");
            assert_eq!(unquote(raw).unwrap(), run("sh", &["-c", &script]), "{raw}");
        }
        for raw in ["\"open", "'open", "two words", "end\\"] {
            assert_eq!(unquote(raw), None, "{raw}");
        }
    }

    #[test]
    fn refuses_a_release_that_is_missing_nameless_or_huge() {
        let folder = tempfile::tempdir().unwrap();
        let of = || Os::of(&Root::open(folder.path()).unwrap()).unwrap_err();
        assert!(matches!(of(), OsError::Missing));
        plant(
            folder.path(),
            &[("etc/os-release", 0, "-> ../usr/lib/os-release"), ("usr/lib/os-release", 0o644, "A=1")],
        );
        assert!(matches!(of(), OsError::Nameless));
        let file = std::fs::File::options().write(true).open(folder.path().join("usr/lib/os-release")).unwrap();
        file.set_len(10 << 30).unwrap();
        assert!(matches!(of(), OsError::Read(RootError::Size { limit: RELEASE_MAX, .. })));
    }
}
