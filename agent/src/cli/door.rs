//! From the command line to a door: which store, which identity, which token.
//!
//! In: options and the environment. Out: an address of a server, or a folder.
//! Promise: exactly one store; a token on the command line works, with a warning.

use crate::transfer::client::Leash;
use crate::transfer::client::Limits;
use crate::transfer::http::Address;
use ramet_wire::Fingerprint;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Options that both directions share.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// `--server`
    pub server: Option<&'a str>,
    /// `--token-file`
    pub token_file: Option<&'a str>,
    /// `--token`
    pub token: Option<&'a str>,
    /// `--key`
    pub key: Option<&'a str>,
    /// `--store`
    pub store: Option<&'a str>,
}

/// Where the store is.
#[derive(Debug)]
pub enum Place {
    /// A server.
    Server(Address),
    /// A folder, and the key that its manifests must be signed with, if one is pinned.
    Folder(PathBuf, Option<Fingerprint>),
}

/// Reads options, then environment.
///
/// # Errors
/// A sentence for the operator; exit status 3.
pub fn place(options: Options<'_>) -> Result<Place, String> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let parse = |key: String| {
        key.parse().map_err(|_| format!("key {key:?} is not sha256: and 64 hex digits; `ramet key` prints it"))
    };
    let key = options.key.map(str::to_owned);
    if let Some(store) = options.store {
        if options.server.is_some() {
            return Err("--store and --server exclude each other".to_owned());
        }
        // RAMET_KEY is the server's: a folder has a key of its own.
        return Ok(Place::Folder(PathBuf::from(store), key.map(parse).transpose()?));
    }
    let key = key.or_else(|| env("RAMET_KEY")).map(parse).transpose()?;
    let server = options.server.map(str::to_owned).or_else(|| env("RAMET_SERVER"));
    let url = server.ok_or("no store named: pass --server URL (or set RAMET_SERVER), or --store DIR")?;
    let token = match (options.token_file, options.token) {
        (Some(_), Some(_)) => return Err("--token and --token-file exclude each other".to_owned()),
        (Some(file), None) => {
            std::fs::read_to_string(file).map_err(|error| format!("reading token file {file}: {error}"))?
        }
        (None, Some(token)) => {
            tell!("warning: a token on the command line shows in the process list; use --token-file or RAMET_TOKEN");
            token.to_owned()
        }
        (None, None) => env("RAMET_TOKEN").ok_or("no token: pass --token-file FILE or set RAMET_TOKEN")?,
    };
    Ok(Place::Server(Address {
        url,
        key,
        token: token.trim().to_owned(),
        limits: Limits::default(),
        leash: Leash::default(),
    }))
}

/// Shows a server's fingerprint and asks whether it is the right one; without a terminal the answer is no.
#[must_use]
pub fn accept_identity(found: Fingerprint) -> bool {
    tell!("The server's identity is {found}");
    tell!("Compare it with what `ramet key` prints on the server, or pass --key.");
    confirm("Trust it for this run?")
}

/// Asks for `yes` on the terminal. Without one: no.
#[must_use]
pub fn confirm(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    eprint!("{question} Type yes: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == "yes"
}
