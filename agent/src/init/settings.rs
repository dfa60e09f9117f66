//! What the agent shall do, from all places that say so.
//!
//! In: `/etc/ramet/ramet.conf`, the boot medium's `ramet/ramet.conf`, the kernel's command line. Out: settings.
//! Promise: the order is baked, medium, command line, and a key that was baked in stays; supervisor and worker agree.

use super::medium;
use ramet_wire::settings::{Mac, Raw, SettingError, Settings, from_cmdline, from_conf, layered};
use std::io;
use std::path::Path;

const BAKED: &str = "/etc/ramet/ramet.conf";
const CMDLINE: &str = "/proc/cmdline";
/// Largest `ramet.conf`, in bytes.
const CONF_MAX: u64 = 64 << 10;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file can not be read.
    #[error("reading {file}")]
    Read {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// An argument is wrong.
    #[error("reading {file}")]
    Setting {
        /// Where it stands.
        file: String,
        /// What is wrong.
        source: SettingError,
    },
}

/// Reads and joins all three; a medium counts once it is mounted.
///
/// # Errors
/// [`LoadError`], the first one: an agent that misunderstood its orders does nothing.
pub fn load() -> Result<Settings, LoadError> {
    load_from(Path::new(BAKED), &medium::mounted_at().join("ramet/ramet.conf"), Path::new(CMDLINE))
}

fn load_from(baked: &Path, media: &Path, cmdline: &Path) -> Result<Settings, LoadError> {
    let raw = layered(read(baked, from_conf)?, read(media, from_conf)?, read(cmdline, from_cmdline)?);
    Settings::of(&raw).map_err(|source| LoadError::Setting { file: "the arguments clone.*".to_owned(), source })
}

fn read(path: &Path, parse: fn(&str) -> Result<Raw, SettingError>) -> Result<Raw, LoadError> {
    let file = path.display().to_string();
    let text = match text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Raw::new()),
        Err(source) => return Err(LoadError::Read { file, source }),
    };
    parse(&text).map_err(|source| LoadError::Setting { file, source })
}

fn text(path: &Path) -> io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > CONF_MAX {
        let message = format!("it has {length} bytes, at most {CONF_MAX} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    std::fs::read_to_string(path)
}

/// The words of the kernel's command line.
#[must_use]
pub fn words() -> Vec<String> {
    let line = std::fs::read_to_string(CMDLINE).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

/// The card that the firmware booted from, as PXELINUX and iPXE say: `BOOTIF=01-52-54-00-12-34-56`.
#[must_use]
pub fn boot_card(words: &[String]) -> Option<Mac> {
    let value = words.iter().find_map(|word| word.strip_prefix("BOOTIF="))?;
    // `01` is the type Ethernet; iPXE's `${net0/mac:hexhyp}` leaves it out.
    let mac = if value.len() > 17 { value.get(3..)? } else { value };
    mac.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_but_not_over_a_baked_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let baked = file("baked", &format!("key={}\nserver=https://a\nmode=wait\n", key("a")));
        let media = file("media", "server=https://b\nthen=poweroff\n");
        let line = file("line", &format!("quiet clone.mode=capture clone.key={}\n", key("b")));
        let settings = load_from(&baked, &media, &line).unwrap();
        assert_eq!(settings.key.unwrap().to_string(), key("a"));
        assert_eq!(settings.server.as_deref(), Some("https://b"));
        assert_eq!(settings.mode, ramet_wire::settings::Mode::Capture);
    }

    #[test]
    fn missing_files_are_empty_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        assert_eq!(load_from(&none, &none, &none).unwrap(), Settings::default());
        let wrong = folder.path().join("ramet.conf");
        std::fs::write(&wrong, "serwer=https://a\n").unwrap();
        let error = load_from(&none, &wrong, &none).unwrap_err();
        assert_eq!(error.to_string(), format!("reading {}", wrong.display()));
        assert!(crate::cli::show::chain(&error).contains("did you mean clone.server?"));
        std::fs::write(&wrong, vec![b'#'; 70_000]).unwrap();
        assert!(matches!(load_from(&wrong, &none, &none), Err(LoadError::Read { .. })));
    }

    #[test]
    fn the_boot_card_is_read_as_pxelinux_and_ipxe_write_it() {
        let mac = "52:54:00:12:34:56".parse().ok();
        assert_eq!(boot_card(&["BOOTIF=01-52-54-00-12-34-56".to_owned()]), mac);
        assert_eq!(boot_card(&["BOOTIF=52-54-00-12-34-56".to_owned()]), mac);
        assert_eq!(boot_card(&["BOOTIF=01-52-54".to_owned(), "quiet".to_owned()]), None);
    }
}
