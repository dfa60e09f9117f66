//! The arguments `clone.*`: what an agent that was booted shall do.
//!
//! In: a kernel command line, `ramet.conf` of a boot medium, what was baked into the image. Out: checked settings.
//! Promise: names, meanings and defaults stand here and nowhere else; an unknown name is an error that names the nearest.

mod values;

use crate::id::Fingerprint;
use crate::name::ImageRef;
pub use values::{DiskChoice, FixedAddress, From, Mac, Mode, Pick, Then, Timeouts, disks};

use std::collections::BTreeMap;
use std::time::Duration;
use values::{fixed, url, word};

/// Longest value of an argument, in bytes; the kernel's whole line has 2,048 on x86.
pub const VALUE_MAX: usize = 1024;

/// One argument, for README, completion and error messages.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// `clone.mode`.
    pub name: &'static str,
    /// What may stand behind `=`.
    pub value: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn argument(name: &'static str, value: &'static str, meaning: &'static str) -> Argument {
    Argument { name, value, meaning }
}

/// All arguments, in the order of README's table.
pub static ARGUMENTS: &[Argument] = &[
    argument(
        "clone.mode",
        "menu, capture, restore, inventory, job, wait",
        "what to do; `menu` asks a person, `job` asks the server",
    ),
    argument("clone.server", "https://HOST:PORT", "the server"),
    argument(
        "clone.key",
        "sha256:…",
        "fingerprint of the server's identity, or of the medium's store; one that is baked in wins",
    ),
    argument("clone.token", "TOKEN", "a token, for boot lines written by hand; everybody who sees the line can use it"),
    argument("clone.image", "NAME or NAME@ID", "the image"),
    argument(
        "clone.disk",
        "N:serial=…,N:wwn=…",
        "which disk gets (or is) the image's disk N; without it the only candidate",
    ),
    argument("clone.source", "server, media", "`media` restores offline from the boot medium"),
    argument("clone.nic", "MAC", "only this card"),
    argument("clone.ip", "ADDRESS/LENGTH[,GATEWAY[,DNS…]]", "a fixed address instead of DHCP"),
    argument("clone.vlan", "1–4094", "a VLAN on that card"),
    argument("clone.confirm", "yes", "needed by an unattended restore that no job asked for"),
    argument("clone.ignore", "boot-check", "restores unattended although the image would not boot here"),
    argument("clone.then", "reboot, poweroff, wait", "what follows; without it reboot after success, else wait"),
    argument("clone.timeout.link", "SECONDS", "until a card without a link is given up (30)"),
    argument("clone.timeout.lease", "SECONDS", "until a card without a lease is given up (60)"),
    argument("clone.timeout.server", "SECONDS", "how long a server that does not answer is asked again (300)"),
    argument("clone.timeout.disk", "SECONDS", "until a disk that does not appear is given up (30)"),
    argument("clone.timeout.stall", "SECONDS", "without progress until the machine is reset by its watchdog (900)"),
    argument("clone.timeout.then", "SECONDS", "before `clone.then`, for a person to read the screen (10)"),
];

/// All arguments, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `clone.mode`
    pub mode: Mode,
    /// `clone.server`
    pub server: Option<String>,
    /// `clone.key`
    pub key: Option<Fingerprint>,
    /// `clone.token`
    pub token: Option<String>,
    /// `clone.image`
    pub image: Option<ImageRef>,
    /// `clone.disk`
    pub disk: Vec<DiskChoice>,
    /// `clone.source`
    pub source: From,
    /// `clone.nic`
    pub nic: Option<Mac>,
    /// `clone.ip`
    pub ip: Option<FixedAddress>,
    /// `clone.vlan`
    pub vlan: Option<u16>,
    /// `clone.confirm`
    pub confirm: bool,
    /// `clone.ignore`
    pub ignore_boot_check: bool,
    /// `clone.then`
    pub then: Option<Then>,
    /// `clone.timeout.*`
    pub timeouts: Timeouts,
}

/// What is wrong with an argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Nobody knows it.
    #[error("{name} is no argument of Ramet; did you mean {nearest}?")]
    Unknown {
        /// As written.
        name: String,
        /// The nearest known one.
        nearest: &'static str,
    },
    /// It has a value that does not fit.
    #[error("{name}={value}: {reason}")]
    Value {
        /// Which.
        name: &'static str,
        /// As written, cut; of a token only that there is one.
        value: String,
        /// What is wanted.
        reason: String,
    },
    /// It stands without a value.
    #[error("{name} has no value; wanted {name}={wanted}")]
    Bare {
        /// Which.
        name: &'static str,
        /// What may stand there.
        wanted: &'static str,
    },
}

/// Arguments by name, as written; later ones win.
pub type Raw = BTreeMap<&'static str, String>;

/// Takes the words `clone.*` out of a kernel command line; double quotes hold words together.
///
/// # Errors
/// [`SettingError`] for unknown names and missing values; values are judged by [`Settings::of`].
pub fn from_cmdline(line: &str) -> Result<Raw, SettingError> {
    let mut quoted = false;
    let split = line.split(|c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    collect(split.map(|word| word.replace('"', "")))
}

/// Reads `ramet.conf`: one `name=value` per line, `clone.` may be left out; empty lines and `#` are skipped.
///
/// # Errors
/// [`SettingError`].
pub fn from_conf(text: &str) -> Result<Raw, SettingError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    collect(lines.map(|line| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let prefix = if name.trim().starts_with("clone.") { "" } else { "clone." };
        let equals = if line.contains('=') { "=" } else { "" };
        format!("{prefix}{}{equals}{}", name.trim(), value.trim().trim_matches('"'))
    }))
}

fn collect(words: impl Iterator<Item = String>) -> Result<Raw, SettingError> {
    let mut raw = Raw::new();
    for word in words.filter(|word| word.starts_with("clone.")) {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let Some(known) = ARGUMENTS.iter().find(|argument| argument.name == name) else {
            let near = ARGUMENTS.iter().min_by_key(|argument| strsim::levenshtein(argument.name, name));
            let name = name.chars().take(64).collect();
            return Err(SettingError::Unknown { name, nearest: near.map_or("clone.mode", |argument| argument.name) });
        };
        let bare = || SettingError::Bare { name: known.name, wanted: known.value };
        raw.insert(known.name, value.filter(|value| !value.is_empty()).ok_or_else(bare)?.to_owned());
    }
    Ok(raw)
}

/// Joins layers: what the medium says over what was baked in, the command line over both; a key that was baked in stays.
#[must_use]
pub fn layered(baked: Raw, media: Raw, cmdline: Raw) -> Raw {
    let key = baked.get("clone.key").cloned();
    let mut all = baked;
    all.extend(media);
    all.extend(cmdline);
    if let Some(key) = key {
        all.insert("clone.key", key);
    }
    all
}

impl Settings {
    /// Judges every value.
    ///
    /// # Errors
    /// [`SettingError::Value`], the first one.
    pub fn of(raw: &Raw) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        for (name, value) in raw {
            let judged = if value.len() > VALUE_MAX {
                Err(format!("{} bytes, at most {VALUE_MAX} are allowed", value.len()))
            } else {
                settings.set(name, value)
            };
            judged.map_err(|reason| {
                let secret = *name == "clone.token";
                let value = if secret { "…".to_owned() } else { value.chars().take(64).collect() };
                SettingError::Value { name, value, reason }
            })?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let seconds =
            || value.parse::<u32>().map(|n| Duration::from_secs(n.into())).map_err(|_| "wanted seconds".to_owned());
        match name {
            "clone.mode" => self.mode = word(value, "menu, capture, restore, inventory, job or wait")?,
            "clone.server" => self.server = Some(url(value)?),
            "clone.key" => self.key = Some(value.parse().map_err(|_| "wanted sha256: and 64 hex digits".to_owned())?),
            "clone.token" => self.token = Some(value.to_owned()),
            "clone.image" => self.image = Some(value.parse().map_err(|error| format!("{error}"))?),
            "clone.disk" => self.disk = disks(value)?,
            "clone.source" => self.source = word(value, "server or media")?,
            "clone.nic" => self.nic = Some(value.parse()?),
            "clone.ip" => self.ip = Some(fixed(value)?),
            "clone.vlan" => {
                let id = value.parse().ok().filter(|id| (1..=4094).contains(id));
                self.vlan = Some(id.ok_or("wanted a number from 1 to 4094")?);
            }
            "clone.confirm" => self.confirm = if value == "yes" { true } else { return Err("wanted yes".to_owned()) },
            "clone.ignore" if value == "boot-check" => self.ignore_boot_check = true,
            "clone.ignore" => return Err("wanted boot-check".to_owned()),
            "clone.then" => self.then = Some(word(value, "reboot, poweroff or wait")?),
            "clone.timeout.link" => self.timeouts.link = seconds()?,
            "clone.timeout.lease" => self.timeouts.lease = seconds()?,
            "clone.timeout.server" => self.timeouts.server = seconds()?,
            "clone.timeout.disk" => self.timeouts.disk = seconds()?,
            "clone.timeout.stall" => self.timeouts.stall = seconds()?,
            "clone.timeout.then" => self.timeouts.then = seconds()?,
            _ => return Err("no such argument".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Settings, String> {
        let raw = from_cmdline(line).map_err(|error| error.to_string())?;
        Settings::of(&raw).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_concerns_it_and_leaves_the_kernels_words_alone() {
        let line = "BOOT_IMAGE=/vmlinuz console=ttyS0 clone.mode=restore clone.image=web@0123456789abcdef \
            clone.disk=\"0:serial=a b,1:wwn=0x5000\" clone.timeout.lease=5 clone.then=poweroff clone.ignore=boot-check quiet";
        let settings = of(line).unwrap();
        assert_eq!(settings.mode, Mode::Restore);
        assert_eq!(settings.disk[0].pick, Pick::Serial("a b".to_owned()));
        assert_eq!(settings.timeouts.lease, Duration::from_secs(5));
        assert_eq!(settings.then, Some(Then::Poweroff));
        assert!(settings.ignore_boot_check);
        assert_eq!(of("root=/dev/sda1").unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest_known_one() {
        assert_eq!(
            of("clone.sever=https://a").unwrap_err(),
            "clone.sever is no argument of Ramet; did you mean clone.server?"
        );
        assert!(of("clone.timeout.leash=5").unwrap_err().contains("clone.timeout.lease?"));
        assert!(of("clone.mode").unwrap_err().contains("no value"));
    }

    #[test]
    fn a_value_that_does_not_fit_is_said_with_what_is_wanted_and_a_token_is_not_repeated() {
        for (line, words) in [
            ("clone.mode=erase", "menu, capture"),
            ("clone.server=http://a", "https://HOST:PORT"),
            ("clone.key=sha256:12", "64 hex digits"),
            ("clone.image=../a", "clone.image=../a"),
            ("clone.disk=sda", "N:serial="),
            ("clone.disk=0:serial=a,0:wwn=b", "named twice"),
            ("clone.nic=52:54:00", "no MAC"),
            ("clone.ip=10.0.0.1", "ADDRESS/LENGTH"),
            ("clone.ip=10.0.0.1/33", "ADDRESS/LENGTH"),
            ("clone.ip=10.0.0.1/8,fe80::1", "different families"),
            ("clone.vlan=4095", "1 to 4094"),
            ("clone.confirm=no", "wanted yes"),
            ("clone.ignore=all", "wanted boot-check"),
            ("clone.timeout.then=-1", "wanted seconds"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
        let long = format!("clone.token={}", "s3cret".repeat(200));
        assert!(!of(&long).unwrap_err().contains("s3cret"));
    }

    #[test]
    fn a_baked_key_stays_and_all_else_is_overridden() {
        let conf = |text: &str| from_conf(text).unwrap();
        let key = format!("sha256:{}", "ab".repeat(32));
        let baked = conf(&format!("key = {key}\nserver=https://a\n# no\n\nclone.then=wait"));
        let line = format!("clone.key=sha256:{} clone.server=https://b", "cd".repeat(32));
        let all = Settings::of(&layered(baked, conf("then=poweroff"), from_cmdline(&line).unwrap())).unwrap();
        assert_eq!(all.key.unwrap().to_string(), key);
        assert_eq!((all.server.as_deref(), all.then), (Some("https://b"), Some(Then::Poweroff)));
    }

    #[test]
    fn every_argument_of_the_table_is_understood() {
        let good = ["menu", "https://h:1", &format!("sha256:{}", "0a".repeat(32)), "t", "web", "0:serial=x", "media"];
        let more = [
            "52-54-00-12-34-56",
            "fd00::2/64,fd00::1,fd00::3",
            "7",
            "yes",
            "boot-check",
            "wait",
            "1",
            "1",
            "1",
            "1",
            "1",
            "1",
        ];
        for (argument, value) in ARGUMENTS.iter().zip(good.iter().copied().chain(more)) {
            assert!(of(&format!("{}={value}", argument.name)).is_ok(), "{}={value}", argument.name);
        }
        assert_eq!(ARGUMENTS.len(), good.len() + more.len());
    }
}
