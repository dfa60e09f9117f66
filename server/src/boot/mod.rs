//! Network boot: what a machine is served before it has an agent.
//!
//! In: names that are asked over plain HTTP or TFTP. Out: a file of the installed set, or a script rendered for a card.
//! Promise: read-only; no secret is in any answer; every URL is the operator's; no path is made of what was asked.
//!
//! ```text
//! http ─┐
//!       ├→ find(name) → files (the installed set) | ipxe, grub (rendered from the database)
//! tftp ─┘
//! ```

pub mod dnsmasq;
pub mod files;
mod grub;
mod http;
mod ipxe;
mod line;
pub mod tftp;

pub use http::serve as serve_http;

use crate::db::netboot::{self, Told};
use crate::http::App;
use crate::identity::names::split_host;
use files::{BadBuild, Set};
use ramet_wire::Fingerprint;
use ramet_wire::build::NAMES;
use ramet_wire::settings::Mac;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Semaphore;

/// Boot files sent over HTTP at once; others wait. Each holds two buffers of 1 MiB.
const DOWNLOADS: usize = 32;

/// URLs that boot scripts name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls {
    /// Of boot files: `http://HOST:PORT`; none where there is no `--boot-listen`.
    pub boot: Option<String>,
    /// Of the API: `https://HOST:PORT`.
    pub server: String,
    /// The identity.
    pub key: Fingerprint,
}

/// Network boot's part of the application.
#[derive(Debug)]
pub struct Boot {
    /// What scripts name.
    pub urls: Urls,
    dir: PathBuf,
    set: RwLock<Option<Arc<Set>>>,
    /// Held while a set is being changed.
    pub change: tokio::sync::Mutex<()>,
    downloads: Arc<Semaphore>,
}

/// What is served under a name.
#[derive(Debug)]
pub enum Content {
    /// A script.
    Text(String),
    /// A file of the set.
    File(&'static str, Arc<File>, u64),
}

impl Boot {
    /// Takes up what is installed in `dir`.
    #[must_use]
    pub fn new(urls: Urls, dir: PathBuf) -> Self {
        let set = Set::current(&dir).unwrap_or_else(|error| {
            tracing::error!(error = %crate::text::chain(&error), "the boot files cannot be used; install them again");
            None
        });
        let (set, downloads) = (RwLock::new(set.map(Arc::new)), Arc::new(Semaphore::new(DOWNLOADS)));
        Self { urls, dir, set, change: tokio::sync::Mutex::new(()), downloads }
    }

    /// Where the sets lie.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The set that is served.
    #[must_use]
    pub fn set(&self) -> Option<Arc<Set>> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another set is served from now on.
    pub fn replace(&self, set: Option<Set>) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set.map(Arc::new);
    }

    /// A set is installed, so that an agent can be started.
    fn ready(&self) -> bool {
        self.set().is_some()
    }
}

/// What a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked<'a> {
    /// The static first script of iPXE.
    First,
    /// The script of iPXE for a card.
    Ipxe(Mac),
    /// The configuration of GRUB for a card; none: GRUB has not said which.
    Grub(Option<Mac>),
    /// A file, if it is installed.
    File(&'a str),
}

/// Reads a name; leading slashes are nobody's.
fn asked(name: &str) -> Option<Asked<'_>> {
    let name = name.trim_start_matches('/');
    let card = |text: &str| text.parse::<Mac>().ok();
    if let Some(rest) = name.strip_prefix("mac/") {
        return rest.strip_suffix(".ipxe").and_then(card).map(Asked::Ipxe);
    }
    if let Some(rest) = name.strip_prefix("grub/") {
        // 01 is Ethernet's number; so PXELINUX asks, and GRUB after it.
        let mac = rest.strip_prefix("grub.cfg-01-").or_else(|| rest.strip_prefix("mac/")?.strip_suffix(".cfg"));
        return match rest {
            "grub.cfg" => Some(Asked::Grub(None)),
            _ => mac.and_then(card).map(|mac| Asked::Grub(Some(mac))),
        };
    }
    match name {
        "boot.ipxe" => Some(Asked::First),
        "grub.cfg" => Some(Asked::Grub(None)),
        _ => NAMES.contains(&name).then_some(Asked::File(name)),
    }
}

/// What is served under `name`; none when there is no such thing, or it is not installed.
///
/// # Errors
/// Those of the database, which the log has.
pub async fn find(app: &Arc<App>, name: &str) -> Result<Option<Content>, crate::db::DbError> {
    let urls = &app.boot.urls;
    let text = match asked(name) {
        None => return Ok(None),
        Some(Asked::File(name)) => {
            let set = app.boot.set();
            return Ok(set.and_then(|set| set.file(name)).map(|(name, file, len)| Content::File(name, file, len)));
        }
        Some(Asked::First) => urls.boot.as_deref().map(ipxe::first),
        Some(Asked::Ipxe(mac)) => {
            let told = told(app, mac).await?;
            let ready = app.boot.ready();
            urls.boot.as_deref().map(|boot| ipxe::machine(boot, urls, mac, &told, ready))
        }
        Some(Asked::Grub(None)) => Some(grub::first()),
        Some(Asked::Grub(Some(mac))) => {
            let told = told(app, mac).await?;
            Some(grub::machine(urls, mac, &told, app.boot.ready()))
        }
    };
    Ok(text.map(Content::Text))
}

/// What a card is told; that its script was fetched is noted a little later, together with others.
async fn told(app: &Arc<App>, mac: Mac) -> Result<Told, crate::db::DbError> {
    let now = app.now();
    let told = app.db.read("looking for what a machine is told", move |db| netboot::told(db, mac, now)).await?;
    app.engine.note_fetch(mac);
    if told == Told::Welcome && !app.engine.welcomes(mac, app.both().steady) {
        return Ok(Told::Menu);
    }
    Ok(told)
}

/// Reads up to 1 MiB at an offset, on a thread that may block.
fn read_at(file: &File, offset: u64, len: usize) -> std::io::Result<axum::body::Bytes> {
    use std::os::unix::fs::FileExt;
    let mut block = vec![0; len];
    file.read_exact_at(&mut block, offset)?;
    Ok(block.into())
}

/// The URL under which machines find the boot files.
///
/// # Errors
/// What is wrong, or what is missing.
pub fn boot_url(given: Option<&str>, server: Option<&str>, listen: SocketAddr) -> Result<String, &'static str> {
    if let Some(given) = given {
        let given = given.trim_end_matches('/');
        let host = given.strip_prefix("http://").ok_or("does not start with http://")?;
        return split_host(host).map(|_| given.to_owned()).ok_or("is not http://HOST:PORT");
    }
    if let Some(host) = server.and_then(|url| split_host(url.strip_prefix("https://")?.trim_end_matches('/'))) {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        return Ok(format!("http://{host}:{}", listen.port()));
    }
    if listen.ip().is_unspecified() {
        return Err("is needed, or --url: boot scripts must name this server, which listens on all addresses");
    }
    Ok(format!("http://{listen}"))
}

impl From<BadBuild> for crate::http::error::Refusal {
    fn from(error: BadBuild) -> Self {
        if let BadBuild::Io { .. } = &error {
            tracing::error!(error = %crate::text::chain(&error), "boot files");
            return Self::later(format!("{error}: the server cannot work on its boot files; its log says why"));
        }
        Self::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, ramet_wire::api::ErrorKind::Refused, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ask_for_what_they_say_and_paths_for_nothing() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        for (name, wanted) in [
            ("boot.ipxe", Asked::First),
            ("/mac/52-54-00-12-34-56.ipxe", Asked::Ipxe(mac)),
            ("grub.cfg", Asked::Grub(None)),
            ("//grub/grub.cfg", Asked::Grub(None)),
            ("/grub/grub.cfg-01-52-54-00-12-34-56", Asked::Grub(Some(mac))),
            ("grub/mac/52:54:00:12:34:56.cfg", Asked::Grub(Some(mac))),
            ("/vmlinuz", Asked::File("vmlinuz")),
        ] {
            assert_eq!(asked(name), Some(wanted), "{name}");
        }
        for name in [
            "",
            "/",
            "build.json",
            "../ramet.db",
            "vmlinuz/../identity.key",
            "mac/../../identity.key.ipxe",
            "mac/52-54-00-12-34.ipxe",
            "grub/grub.cfg-01-",
            "grub/x86_64-efi/command.lst",
            "VMLINUZ",
            "vmlinuz\0",
        ] {
            assert_eq!(asked(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_url_of_boot_files_is_the_operators_and_never_guessed() {
        let (all, one): (SocketAddr, SocketAddr) = ("0.0.0.0:4480".parse().unwrap(), "10.0.0.1:4480".parse().unwrap());
        assert_eq!(boot_url(Some("http://boot:80/"), None, all).unwrap(), "http://boot:80");
        assert_eq!(boot_url(None, Some("https://ramet.example:4433"), all).unwrap(), "http://ramet.example:4480");
        assert_eq!(boot_url(None, Some("https://[fd00::1]:4433"), all).unwrap(), "http://[fd00::1]:4480");
        assert_eq!(boot_url(None, None, one).unwrap(), "http://10.0.0.1:4480");
        for bad in [Some("https://a"), Some("http://"), Some("http://a b"), Some("http://a/b"), None] {
            assert!(boot_url(bad, None, all).is_err(), "{bad:?}");
        }
    }
}
