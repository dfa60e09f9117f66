//! What is baked in: whom the agent trusts and what it does.
//!
//! In: `--conf`, `--key`, `--server`, `--token-file`. Out: checked `ramet.conf`s: one for the initramfs, one for the medium.
//! Promise: a token is never in the first; what the agent would not understand is refused here.

use crate::error::{Doing, Result, refused};
use ramet_wire::settings::{Raw, Settings, from_cmdline, from_conf};
use ramet_wire::{Fingerprint, ImageRef};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Longest file, in bytes.
const FILE_MAX: u64 = 64 << 10;

/// `COMMAND_LINE_SIZE` of the kernel on x86, less the NUL and what a loader puts in front.
const CMDLINE_MAX: usize = 1900;

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `--conf`
    pub conf: Option<PathBuf>,
    /// `--key`
    pub key: Option<String>,
    /// `--server`
    pub server: Option<String>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
}

/// The settings of a ship.
#[derive(Clone, Debug, Default)]
pub struct Baked {
    /// In the initramfs, so in every output.
    pub all: Raw,
    /// Only on the ISO's own file system.
    pub medium: Raw,
}

impl Baked {
    /// Reads and checks what was asked for.
    ///
    /// # Errors
    /// A refusal when a setting is unknown, does not fit, or is said twice in different ways; those of the file system.
    pub fn of(wishes: &Wishes) -> Result<Self> {
        let mut all = Raw::new();
        if let Some(path) = &wishes.conf {
            let what = format!("reading the settings in {}", path.display());
            let text = text_of(path)?;
            let raw = from_conf(&text).map_err(|error| refused(what.as_str(), error.to_string(), "correct it"))?;
            Settings::of(&raw).map_err(|error| refused(what.as_str(), error.to_string(), "correct it"))?;
            all.extend(raw);
        }
        let mut baked = Self { all, medium: Raw::new() };
        baked.set("clone.key", wishes.key.as_deref())?;
        baked.set("clone.server", wishes.server.as_deref())?;
        if let Some(path) = &wishes.token_file {
            baked.set("clone.token", Some(text_of(path)?.trim()))?;
        }
        if let Some(token) = baked.all.remove("clone.token") {
            baked.medium.insert("clone.token", token);
        }
        Ok(baked)
    }

    /// Bakes `value` in as `name`; what the settings file says differently is a refusal.
    ///
    /// # Errors
    /// A refusal when it does not fit or contradicts.
    pub fn set(&mut self, name: &'static str, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let one = Raw::from([(name, value.to_owned())]);
        let what = || format!("baking in {name}");
        Settings::of(&one).map_err(|error| refused(what(), error.to_string(), "correct it"))?;
        match self.all.insert(name, value.to_owned()) {
            Some(other) if other != value => {
                let found = match name {
                    "clone.token" => "two different tokens are given".to_owned(),
                    _ => format!("{other} and {value} are both asked for"),
                };
                Err(refused(what(), found, "decide for one"))
            }
            _ => Ok(()),
        }
    }

    /// What the ISO says when it carries `image`, unless the settings say otherwise: restore from it. The key that signed
    /// the image is the one to trust: baked in, or a refusal when another one is.
    ///
    /// # Errors
    /// A refusal that names both keys.
    pub fn carry(&mut self, image: &ImageRef, key: &Fingerprint) -> Result<()> {
        let key = key.to_string();
        match self.all.get("clone.key") {
            Some(other) if !other.eq_ignore_ascii_case(&key) => {
                let what = format!("putting image {image} on the medium");
                let found = format!("it is signed by {key}, and the key baked in is {other}");
                return Err(refused(what, found, "leave --key out, or take the image from that server's store"));
            }
            Some(_) => {}
            None => self.set("clone.key", Some(&key))?,
        }
        for (name, value) in [("clone.source", "media".to_owned()), ("clone.image", image.to_string())] {
            if !self.all.contains_key(name) {
                self.medium.insert(name, value);
            }
        }
        Ok(())
    }

    /// Whether a token is on the medium.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.medium.contains_key("clone.token")
    }
}

/// Checks the arguments `clone.*` of a kernel command line that will lie in UKI and ISO.
///
/// # Errors
/// A refusal when one is unknown, does not fit, or is a token.
pub fn check_cmdline(line: &str) -> Result<()> {
    let what = "reading --cmdline";
    let raw = from_cmdline(line).map_err(|error| refused(what, error.to_string(), "correct it"))?;
    Settings::of(&raw).map_err(|error| refused(what, error.to_string(), "correct it"))?;
    if raw.contains_key("clone.token") {
        return Err(refused(what, "it holds a token, and everybody can read it", "give --token-file, for the ISO"));
    }
    if line.chars().any(char::is_control) || line.len() > CMDLINE_MAX {
        let found = format!("it has {} bytes, or a line break; the kernel takes one line of {CMDLINE_MAX}", line.len());
        return Err(refused(what, found, "shorten it, or use --conf"));
    }
    Ok(())
}

/// `ramet.conf`, as `ramet_wire::settings::from_conf` reads it.
#[must_use]
pub fn text(raw: &Raw) -> String {
    let mut text = String::new();
    for (name, value) in raw {
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

fn text_of(path: &Path) -> Result<String> {
    let what = || format!("reading {}", path.display());
    let length = std::fs::metadata(path).doing(what)?.len();
    if length > FILE_MAX {
        let found = format!("it has {length} bytes, at most {FILE_MAX} are allowed");
        return Err(refused(what(), found, "give another file"));
    }
    std::fs::read_to_string(path).doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, text: &str) -> Option<PathBuf> {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    }

    #[test]
    fn a_token_goes_to_the_medium_wherever_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let key = format!("sha256:{}", "ab".repeat(32));
        let conf = file(dir.path(), "conf", "token=s3cret\nthen = wait\n");
        let wishes = Wishes { conf, key: Some(key.clone()), server: Some("https://h:1".to_owned()), token_file: None };
        let baked = Baked::of(&wishes).unwrap();
        assert_eq!(text(&baked.all), format!("clone.key={key}\nclone.server=https://h:1\nclone.then=wait\n"));
        assert_eq!(text(&baked.medium), "clone.token=s3cret\n");
        assert_eq!(from_conf(&text(&baked.all)).unwrap(), baked.all);
        let token_file = file(dir.path(), "token", "s3cret\n");
        assert!(Baked::of(&Wishes { token_file, ..Wishes::default() }).unwrap().has_token());
    }

    #[test]
    fn what_the_agent_would_not_understand_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            Baked::of(&Wishes { conf: file(dir.path(), "conf", text), ..Wishes::default() }).unwrap_err().to_string()
        };
        assert!(of("sever=https://h:1").contains("did you mean clone.server?"));
        assert!(of("mode=erase").contains("clone.mode=erase"));
        let twice = Wishes {
            conf: file(dir.path(), "conf", "server=https://a:1"),
            server: Some("https://b:1".to_owned()),
            ..Wishes::default()
        };
        assert!(Baked::of(&twice).unwrap_err().to_string().contains("https://a:1 and https://b:1"));
        let tokens = Wishes {
            conf: file(dir.path(), "conf", "token=s3cret"),
            token_file: file(dir.path(), "token", "oth3r"),
            ..Wishes::default()
        };
        let error = Baked::of(&tokens).unwrap_err();
        assert!(error.is_refusal() && !error.to_string().contains("s3cret") && !error.to_string().contains("oth3r"));
        let wrong = Wishes { key: Some("sha256:12".to_owned()), ..Wishes::default() };
        assert!(Baked::of(&wrong).unwrap_err().to_string().contains("64 hex digits"));
    }
}
