//! A clone's first boot: it says once to the server that it runs and who it is, then leaves no trace.
//!
//! In: the settings that a restore left in the clone, the running system. Out: one call over the pinned identity.
//! Promise: nothing is sent to another server; what cannot be delivered now stays for the next start, what never can be goes.

use crate::transfer::TransferError;
use crate::transfer::agents::Desk;
use crate::transfer::client::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ramet_system::first_boot::leave_no_trace;
use ramet_system::root::{Root, RootError};
use ramet_wire::adapt::{ADDRESSES_MAX, BOOTED_TEXT_MAX, Booted, FirstBoot, SSH_KEYS_MAX};
use ramet_wire::api::ErrorKind;
use ramet_wire::id::sha256;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 64 << 10;
/// How long one start of the unit tries: the service manager starts it anew, with a longer and longer pause.
const LIMITS: Limits = Limits {
    tries: 3,
    patience: Duration::from_secs(120),
    pause: Duration::from_secs(1),
    stall: Duration::from_secs(20),
};

/// Why a clone has not called.
#[derive(Debug, thiserror::Error)]
pub enum FirstBootError {
    /// The settings.
    #[error("reading {}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server is away, or is another one: the next start tries again.
    #[error("telling the server that this machine has booted")]
    Call(#[source] TransferError),
    /// What a restore left could not be taken away.
    #[error("removing what the first boot needed")]
    Trace(#[source] RootError),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server has heard it.
    Heard,
    /// It takes no call with this token any more, and why.
    Void(String),
}

/// Reads `conf`, calls, and removes what the system under `root` had for that, when no other call is to come.
///
/// # Errors
/// [`FirstBootError`]; but for [`FirstBootError::Trace`] nothing was removed.
pub fn run(conf: &Path, root: &Path) -> Result<Ending, FirstBootError> {
    run_within(LIMITS, conf, root)
}

/// The same with other limits.
///
/// # Errors
/// [`FirstBootError`].
pub fn run_within(limits: Limits, conf: &Path, root: &Path) -> Result<Ending, FirstBootError> {
    let settings = settings(conf).map_err(|source| FirstBootError::Settings { path: conf.to_owned(), source })?;
    let ending = call(&settings, &gather(root), limits).map_err(FirstBootError::Call)?;
    let gone = Root::open(root).and_then(|mut root| leave_no_trace(&mut root));
    gone.map(|_| ending).map_err(FirstBootError::Trace)
}

fn settings(conf: &Path) -> io::Result<FirstBoot> {
    let text = bounded(conf)?;
    serde_json::from_str(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn call(settings: &FirstBoot, booted: &Booted, limits: Limits) -> Result<Ending, TransferError> {
    let mut desk = Desk::connect(&settings.server, Some(settings.key), &|_| false, limits)?;
    desk.authorize(settings.token.clone());
    match desk.booted(booted) {
        Ok(()) => Ok(Ending::Heard),
        // Used, expired, taken back: no later try will be heard.
        Err(TransferError::Answer { kind: ErrorKind::Refused, message, .. }) => Ok(Ending::Void(message)),
        Err(error) => Err(error),
    }
}

/// Who the system under `root` is; what cannot be read is left out. Kernel and addresses are those of this process.
#[must_use]
pub fn gather(root: &Path) -> Booted {
    let name = nix::sys::utsname::uname().ok();
    let word = |text: &std::ffi::OsStr| cut(&text.to_string_lossy());
    let kernel = name.as_ref().map(|name| word(name.release())).unwrap_or_default();
    let own = name.as_ref().map(|name| word(name.nodename())).unwrap_or_default();
    let text = |path: &str| bounded(&root.join(path)).unwrap_or_default();
    let written = text("etc/hostname").lines().map(|line| cut(line.trim())).find(|line| !line.is_empty());
    // A DHCP server may give another name than the one that was written.
    let host = if root == Path::new("/") && !own.is_empty() { own } else { written.unwrap_or(own) };
    Booted {
        host,
        kernel,
        os: os_name(&text("etc/os-release")),
        machine_id: cut(text("etc/machine-id").trim()),
        addresses: addresses(),
        ssh_keys: ssh_keys(&root.join("etc/ssh")),
    }
}

/// A text file, at most [`FILE_MAX`] bytes of it.
fn bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(BOOTED_TEXT_MAX).collect()
}

/// `PRETTY_NAME` (os-release(5)): a shell's assignment, mostly in double quotes.
fn os_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    cut(quoted('"').or_else(|| quoted('\'')).unwrap_or(value))
}

/// Addresses by which others may reach this machine.
fn addresses() -> Vec<String> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let of = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    };
    let mut found: Vec<String> = Vec::new();
    for address in all.filter_map(of).filter(is_own).map(|address| address.to_string()) {
        if found.len() < ADDRESSES_MAX && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

fn is_own(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local() && !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local() && !address.is_unspecified(),
    }
}

/// Fingerprints of the host keys in `folder`, as `ssh-keygen -l` prints them, ascending by file.
fn ssh_keys(folder: &Path) -> Vec<String> {
    let is_key = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key.pub");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_key(name)).collect();
    names.sort_unstable();
    let print = |name: &String| fingerprint(&bounded(&folder.join(name)).ok()?);
    names.iter().filter_map(print).take(SSH_KEYS_MAX).collect()
}

/// Of `ssh-ed25519 AAAA… comment`: SHA-256 of the key's blob, base64 without padding (RFC 4648, section 3.2).
fn fingerprint(line: &str) -> Option<String> {
    let blob = STANDARD.decode(line.split_whitespace().nth(1)?).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(&blob))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_says_who_it_is_and_what_it_lacks_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(gather(root.path()).os, "");
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        file("etc/hostname", "web02\n");
        file("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        let booted = gather(root.path());
        assert_eq!((booted.host.as_str(), booted.os.as_str()), ("web02", "Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(booted.machine_id, "0123456789abcdef0123456789abcdef");
        assert!(!booted.kernel.is_empty() && booted.ssh_keys.is_empty());
        assert!(booted.addresses.iter().all(|address| !address.starts_with("127.") && address != "::1"), "{booted:?}");
    }

    #[test]
    fn a_host_keys_fingerprint_is_the_one_that_ssh_keygen_prints() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("ssh_host_ed25519_key");
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f"])
            .arg(&key)
            .status();
        // Without the tool its own answer of another day is the oracle.
        if made.is_ok_and(|status| status.success()) {
            let said = std::process::Command::new("ssh-keygen").arg("-lf").arg(&key).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            assert_eq!(ssh_keys(folder.path()), [said.split_whitespace().nth(1).unwrap()]);
        }
        assert_eq!(fingerprint("ssh-ed25519 !!! x"), None);
        assert_eq!(fingerprint("ssh-ed25519"), None);
    }

    #[test]
    fn a_name_with_quotes_and_one_without_are_both_read() {
        assert_eq!(os_name("PRETTY_NAME='Arch Linux'"), "Arch Linux");
        assert_eq!(os_name("PRETTY_NAME=Void"), "Void");
        assert_eq!(os_name("NAME=x"), "");
        assert_eq!(os_name(&format!("PRETTY_NAME={}", "y".repeat(9999))).len(), BOOTED_TEXT_MAX);
    }

    #[test]
    fn refuses_settings_that_are_none_and_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("first-boot.json");
        assert!(matches!(run(&conf, folder.path()), Err(FirstBootError::Settings { .. })));
        std::fs::write(&conf, "{\"server\":\"https://127.0.0.1:1\"}").unwrap();
        assert!(matches!(run(&conf, folder.path()), Err(FirstBootError::Settings { .. })));
        assert!(conf.exists());
    }
}
