//! Running other programs.
//!
//! In: a program and its arguments. Out: what it printed.
//! Promise: what fails is told with the command, its status and all of its output.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output, then standard error.
    pub text: String,
}

/// Runs `program`, whatever its outcome.
#[must_use]
pub fn attempt(program: &str, args: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Said { status: output.status.code().unwrap_or(-1), text }
}

/// Runs `program`, which must succeed, and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let said = attempt(program, args);
    assert_eq!(said.status, 0, "{program} {}: {}", args.join(" "), said.text);
    said.text
}

/// Runs `program` with `input` on its standard input.
pub fn feed(program: &str, args: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {text}", args.join(" "));
    text
}

/// A path as an argument.
#[must_use]
pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A temporary folder; TMPDIR says where.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ramet-test.").tempdir().unwrap()
}
