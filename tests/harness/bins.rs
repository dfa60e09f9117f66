//! Where the two programs are.
//!
//! In: the folder of the running test. Out: `ramet-agent` and `ramet` of the same profile, built if needed.
//! Promise: cargo decides whether they are up to date; `RAMET_TEST_BINS` names a folder of others, such as the static
//! ones that ship.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The two programs.
#[derive(Clone, Debug)]
pub struct Bins {
    /// `ramet-agent`
    pub agent: PathBuf,
    /// `ramet`
    pub server: PathBuf,
}

/// Builds the programs once per process, and says where they are.
///
/// # Panics
/// When cargo cannot build them.
pub fn bins() -> &'static Bins {
    static BINS: OnceLock<Bins> = OnceLock::new();
    BINS.get_or_init(|| {
        if let Some(folder) = std::env::var_os("RAMET_TEST_BINS").map(PathBuf::from) {
            return Bins { agent: folder.join("ramet-agent"), server: folder.join("ramet") };
        }
        // .../target/debug/deps/test-1f3a
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(|deps| deps.parent()).unwrap().to_owned();
        let profile = if folder.ends_with("debug") { "dev" } else { "release" };
        let target = folder.parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--locked", "-p", "ramet-agent", "-p", "ramet-server", "--bins"]);
        command.args(["--profile", profile]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let said = command.env("CARGO_TARGET_DIR", target).stdin(Stdio::null()).output().unwrap();
        assert!(said.status.success(), "building the programs: {}", String::from_utf8_lossy(&said.stderr));
        Bins { agent: folder.join("ramet-agent"), server: folder.join("ramet") }
    })
}
