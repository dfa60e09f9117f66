//! Is this file the agent, and can it run where nothing else is?
//!
//! In: a file. Out: its bytes and its version.
//! Promise: what needs a dynamic linker, a library or another processor is refused before it goes aboard.

use crate::elf::Elf;
use crate::error::{Doing, Result, refused};
use std::path::Path;
use std::process::Command;

/// Longest agent, in bytes; one takes about 5 MiB.
const AGENT_MAX: u64 = 64 << 20;
const BUILD: &str =
    "give a static one: cargo build --release --locked --target x86_64-unknown-linux-musl -p ramet-agent";

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The program.
    pub bytes: Vec<u8>,
    /// What `--version` says, without the name.
    pub version: String,
}

impl Agent {
    /// Reads and checks `path`, and asks it for its version.
    ///
    /// # Errors
    /// A refusal when it is no static program for x86-64, or not `ramet-agent`; those of the file system.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("reading the agent {}", path.display());
        let refuse = |found: String| refused(what(), found, BUILD);
        let length = std::fs::metadata(path).doing(what)?.len();
        if length > AGENT_MAX {
            return Err(refuse(format!("it has {length} bytes, at most {AGENT_MAX} are allowed")));
        }
        let bytes = std::fs::read(path).doing(what)?;
        let elf = Elf::open(&bytes[..]).map_err(|error| refuse(error.to_string()))?;
        if !elf.is_x86_64_program() {
            return Err(refuse("it is no program for x86-64".to_owned()));
        }
        let program = elf.program().map_err(|error| refuse(error.to_string()))?;
        if program.interpreter || program.needs_libraries {
            return Err(refuse("it is linked dynamically, and there are no libraries in the initramfs".to_owned()));
        }
        let version = version(path).map_err(refuse)?;
        Ok(Self { bytes, version })
    }
}

/// Runs `path --version`; a program of this name and kind prints one line and ends.
fn version(path: &Path) -> std::result::Result<String, String> {
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    let output = Command::new(path).arg("--version").env_clear().stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| format!("it does not run here: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.strip_prefix("ramet-agent ").map(str::trim).filter(|version| is_version(version));
    version.map(str::to_owned).ok_or_else(|| {
        let said: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
        format!("asked for --version it says {said:?}, not 'ramet-agent VERSION'")
    })
}

fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b".-+".contains(&c))
}
