//! Programs of others that the builder calls.
//!
//! In: a command. Out: what it printed, or an error with its last words.
//! Promise: no shell; a program that is not there is named with the Debian package that has it.

use crate::error::{BuildError, Doing, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program called `tool`, in `PATH` or where Debian keeps what root uses.
///
/// # Errors
/// [`BuildError::NoTool`] when it is not there.
pub fn command(what: &str, tool: &str) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    match folders.map(|folder| folder.join(tool)).find(|path| path.is_file()) {
        Some(path) => Ok(Command::new(path)),
        None => Err(BuildError::NoTool { what: what.to_owned(), path: PathBuf::from(tool), package: package_of(tool) }),
    }
}

/// Runs `command` to its end; its standard output is the answer.
///
/// # Errors
/// [`BuildError::Tool`] when it ends with an error.
pub fn run(what: impl Fn() -> String, command: &mut Command) -> Result<Vec<u8>> {
    let tool = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().doing(|| format!("{}: starting {tool}", what()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(BuildError::Tool { what: what(), tool, status: output.status.to_string(), said })
}

/// The Debian package that has a program.
fn package_of(tool: &str) -> &'static str {
    match tool {
        "dpkg-deb" => "dpkg",
        "mkfs.vfat" => "dosfstools",
        "mmd" | "mcopy" => "mtools",
        "sbsign" | "sbverify" => "sbsigntool",
        "xorriso" => "xorriso",
        _ => "that holds it",
    }
}
/// Reads a file that a Debian package installs.
///
/// # Errors
/// [`BuildError::NoTool`] when it is not there; those of the file system.
pub fn installed(what: &str, path: &Path, package: &'static str) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(BuildError::NoTool { what: what.to_owned(), path: path.to_owned(), package })
        }
        read => read.doing(|| format!("{what}: reading {}", path.display())),
    }
}
