//! Running the programs that speak to BMCs.
//!
//! In: a program, its arguments, environment and standard input. Out: its status and what it said, bounded.
//! Promise: it ends within its limit, with all its children; it sees nothing of the server's environment.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Most bytes that are kept of each output.
const OUTPUT_MAX: usize = 64 << 10;
/// Between two looks at a running program.
const LOOK: Duration = Duration::from_millis(10);
/// How long the outputs of a program that has ended are waited for.
const REST: Duration = Duration::from_secs(2);
/// Where programs are looked for besides PATH: fence agents are in sbin, which a service's PATH may lack.
const SYSTEM: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where programs are.
#[derive(Clone, Debug)]
pub struct Tools(Vec<PathBuf>);

impl Tools {
    /// The folders of PATH, then the system's.
    #[must_use]
    pub fn system() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // A relative folder would be the server's own working folder.
        let own = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        Self(own.chain(SYSTEM.iter().map(PathBuf::from)).collect())
    }

    /// Only these folders.
    #[must_use]
    pub const fn only(folders: Vec<PathBuf>) -> Self {
        Self(folders)
    }

    /// The program of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let runs =
            |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        self.0.iter().map(|folder| folder.join(name)).find(runs)
    }

    fn path(&self) -> std::ffi::OsString {
        std::env::join_paths(&self.0).unwrap_or_default()
    }
}

/// A program to run.
#[derive(Debug)]
pub struct Program<'a> {
    /// Where it and its helpers are.
    pub tools: &'a Tools,
    /// Itself.
    pub path: &'a Path,
    /// Arguments; never a secret.
    pub args: &'a [&'a str],
    /// Environment besides PATH, LC_ALL and HOME.
    pub env: &'a [(&'a str, &'a str)],
    /// What it reads.
    pub stdin: &'a str,
    /// When it is killed.
    pub limit: Duration,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot be started.
    #[error("starting {}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("{} did not end within {} s", path.display(), limit.as_secs_f32())]
    Late {
        /// The program.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
}

/// Runs it to its end.
///
/// # Errors
/// [`RunError`]; an exit status of any value is none.
pub fn run(program: &Program<'_>) -> Result<Ran, RunError> {
    let start = |source| RunError::Start { path: program.path.to_owned(), source };
    let mut command = Command::new(program.path);
    command.args(program.args).env_clear().env("PATH", program.tools.path()).env("LC_ALL", "C.UTF-8").env("HOME", "/");
    command.envs(program.env.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    // A group of its own: fence agents have children, which go with them.
    let mut child = command.process_group(0).spawn().map_err(start)?;
    let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
    if let Some(mut stdin) = child.stdin.take() {
        // Small enough for the pipe; a program that does not read it says why by its status.
        let _ = stdin.write_all(program.stdin.as_bytes());
    }
    let until = Instant::now() + program.limit;
    let status = loop {
        match child.try_wait().map_err(start)? {
            Some(status) => break status,
            None if Instant::now() >= until => {
                end(&mut child);
                return Err(RunError::Late { path: program.path.to_owned(), limit: program.limit });
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let text = |from: Receiver<Vec<u8>>| {
        let bytes = from.recv_timeout(REST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ran { status: status.code(), out: text(out), err: text(err) })
}

fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads an output on a thread of its own; what is beyond the bound is read and thrown away, so that nobody waits.
fn listen(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (to, heard) = mpsc::channel();
    let Some(mut from) = from else { return heard };
    std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let room = OUTPUT_MAX - all.len();
            all.extend_from_slice(&piece[..count.min(room)]);
        }
        let _ = to.send(all);
    });
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, env: &[(&str, &str)], stdin: &str, limit: Duration) -> Result<Ran, RunError> {
        let tools = Tools::system();
        let path = tools.find("sh").unwrap();
        run(&Program { tools: &tools, path: &path, args: &["-c", script], env, stdin, limit })
    }

    #[test]
    fn a_program_sees_what_it_is_given_and_nothing_else() {
        let ran = shell("read a; echo $a; echo ${CARGO:-none} $B >&2; exit 3", &[("B", "b")], "in\n", REST).unwrap();
        assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (Some(3), "in\n", "none b\n"));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 1; touch {}) & sleep 60", mark.display());
        let began = Instant::now();
        let late = shell(&script, &[], "", Duration::from_millis(200)).unwrap_err();
        assert!(matches!(late, RunError::Late { .. }), "{late}");
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(1300));
        assert!(!mark.exists(), "a child went on");
    }

    #[test]
    fn endless_output_is_read_and_cut() {
        let ran = shell("head -c 1000000 /dev/zero | tr '\\0' x", &[], "", Duration::from_secs(20)).unwrap();
        assert_eq!(ran.out.len(), OUTPUT_MAX);
    }

    #[test]
    fn only_a_program_of_a_known_folder_is_found() {
        let tools = Tools::system();
        assert!(tools.find("sh").is_some());
        for name in ["", "../bin/sh", "/bin/sh", "no-such-program"] {
            assert_eq!(tools.find(name), None, "{name}");
        }
        assert_eq!(Tools::only(vec![]).find("sh"), None);
    }
}
