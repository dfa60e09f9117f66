//! Programs of others that the builder calls.
//!
//! In: a command. Out: what it printed, or an error with its last words.
//! Promise: no shell; a program that is not there is named with the Debian package that has it.

use crate::error::{BuildError, Doing, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs `command` to its end; its standard output is the answer.
///
/// # Errors
/// [`BuildError::Tool`] when it ends with an error, [`BuildError::NoTool`] when it is not there.
pub fn run(what: impl Fn() -> String, command: &mut Command) -> Result<Vec<u8>> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(BuildError::NoTool { what: what(), path: PathBuf::from(&tool), package: package_of(&tool) });
        }
        output => output.doing(|| format!("{}: starting {tool}", what()))?,
    };
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
        "sbsign" => "sbsigntool",
        "xorriso" => "xorriso",
        _ => "that holds it",
    }
}
