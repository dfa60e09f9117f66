//! Programs that come along in the initramfs, or that an operator's Linux has.
//!
//! In: a name and arguments. Out: nothing, or an error with the program's last words.
//! Promise: no shell; a fixed environment; a program that hangs is ended after its limit.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where programs of root lie.
const FOLDERS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];
/// Most that is kept of what a program says, in bytes.
const SAID_MAX: usize = 4096;
/// How long a program may take: hours, for it moves data of a whole disk.
const LIMIT: Duration = Duration::from_secs(12 * 3600);

/// A program that did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Not aboard.
    #[error("{0} is not here: it comes with ramet's initramfs, or with the package of the file system")]
    Missing(&'static str),
    /// It could not be run.
    #[error("running {name}")]
    Run {
        /// Which one.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with another status.
    #[error("{name} ended with {status}: {said}")]
    Status {
        /// Which one.
        name: &'static str,
        /// As the system says it.
        status: String,
        /// Its last words.
        said: String,
    },
}

/// The program called `name`.
///
/// # Errors
/// [`ProgramError::Missing`].
pub fn find(name: &'static str) -> Result<PathBuf, ProgramError> {
    let places = FOLDERS.iter().map(|folder| PathBuf::from(folder).join(name));
    places.into_iter().find(|path| path.is_file()).ok_or(ProgramError::Missing(name))
}

/// Runs a program to its end. Any status in `good` is success.
///
/// # Errors
/// [`ProgramError`].
pub fn run(name: &'static str, args: &[&dyn fmt::Display], good: &[i32]) -> Result<String, ProgramError> {
    let failed = |source| ProgramError::Run { name, source };
    let mut child = Command::new(find(name)?)
        .args(args.iter().map(ToString::to_string))
        .env_clear()
        .envs([("PATH", FOLDERS.join(":")), ("LC_ALL", "C".to_owned())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let said = std::thread::scope(|scope| {
        let out = scope.spawn(|| out.map_or_else(String::new, last_words));
        let err = scope.spawn(|| err.map_or_else(String::new, last_words));
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Ok(None) => {
                    let _ = child.kill();
                    break child.wait();
                }
                Ok(Some(status)) => break Ok(status),
                Err(error) => break Err(error),
            }
        };
        let words = [out, err].map(|thread| thread.join().unwrap_or_default());
        (status, words.concat())
    });
    let (status, said) = (said.0.map_err(failed)?, said.1);
    if status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(said);
    }
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(ProgramError::Status { name, status: status.to_string(), said })
}

/// The end of what a pipe gives.
fn last_words(mut pipe: impl std::io::Read) -> String {
    let (mut kept, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = pipe.by_ref().read(&mut buf) {
        kept.extend_from_slice(&buf[..len]);
        let over = kept.len().saturating_sub(SAID_MAX);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// Asks for a kernel module. Whether it came shows in what it brings.
pub fn load_module(name: &'static str) {
    let _ = run("modprobe", &[&"-q", &"--", &name], &[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_or_fails_is_named_with_its_last_words() {
        assert!(matches!(run("no-such-program", &[], &[0]), Err(ProgramError::Missing("no-such-program"))));
        let error = run("ls", &[&"/no/such/folder"], &[0]).unwrap_err().to_string();
        assert!(error.starts_with("ls ended with exit status: 2: ") && error.contains("/no/such/folder"), "{error}");
        assert!(run("ls", &[&"/no/such/folder"], &[0, 2]).is_ok());
    }
}
