//! The worker's keeper: starts it, hears its pulse, and says how it died where it could not.
//!
//! In: a command. Out: how it ended, and for every end without a word of its own one sentence.
//! Promise: a worker that hangs is killed; the keeper never waits for it without a limit.

use super::{kmsg, outcome, reap};
use crate::job::PULSE_ENV;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, pipe2};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are kept of what it says beside the consoles.
const LINES_KEPT: usize = 200;
/// Longest such line, in bytes.
const LINE_MAX: u64 = 4096;
/// Score of the worker for the kernel's choice of whom to kill: before all others.
const FIRST_TO_GO: &str = "1000";
/// How long a killed worker may take to die: it waits in the kernel for a disk that may never answer.
const DEATH: Duration = Duration::from_secs(10);
/// Exit status of a Rust program that panicked.
const PANICKED: i32 = 101;

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// It says that all is done and proven.
    pub success: bool,
    /// What the keeper has to say in its place.
    pub line: Option<String>,
    /// It lives on in the kernel; only a reset of the machine ends it.
    pub undead: bool,
}

/// What the keeper is told.
pub struct Keeper<'a> {
    /// Without a pulse for so long it is hung.
    pub stall: Duration,
    /// Where `outcome` and `panic` lie.
    pub run: &'a Path,
    /// Called some times a second while the worker is alive.
    pub well: &'a mut dyn FnMut(),
    /// Gets the lines that the worker writes to standard output and error.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Runs `command` to its end.
///
/// # Errors
/// When it can not even be started.
pub fn keep(mut command: Command, keeper: &mut Keeper<'_>) -> io::Result<Ended> {
    for name in [outcome::OUTCOME, outcome::THEN, outcome::PANIC] {
        let _ = std::fs::remove_file(keeper.run.join(name));
    }
    let (pulse, beat) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    fcntl(&beat, FcntlArg::F_SETFD(FdFlag::empty()))?;
    command.env(PULSE_ENV, beat.as_raw_fd().to_string());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(beat);
    let pid = Pid::from_raw(child.id().cast_signed());
    // Without privilege (tests) it stays as it is.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), FIRST_TO_GO);
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let readers = hear(&mut child, &lines, &keeper.say);
    let (status, hung) = watch(pid, &File::from(pulse), keeper);
    for reader in readers {
        // What it said last is what tells why; but a grandchild may hold the pipe open.
        let until = Instant::now() + Duration::from_secs(1);
        while !reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let last = lines.lock().unwrap_or_else(PoisonError::into_inner).back().cloned();
    Ok(judge(status, hung.then_some(keeper.stall), pid.as_raw(), keeper.run, last))
}

fn watch(pid: Pid, pulse: &File, keeper: &mut Keeper<'_>) -> (WaitStatus, bool) {
    let mut last = Instant::now();
    let mut hung: Option<Instant> = None;
    let mut buffer = [0; 64];
    loop {
        let mut fds = [PollFd::new(pulse.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(100_u8));
        match (&*pulse).read(&mut buffer) {
            Ok(1..) => last = Instant::now(),
            // It closed its end: the pulse is over, and only its death can follow.
            Ok(0) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => {}
        }
        let ended = reap::all().into_iter().find(|status| status.pid() == Some(pid));
        if let Some(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) = ended {
            return (status, hung.is_some());
        }
        match hung {
            Some(killed) if killed.elapsed() >= DEATH => return (WaitStatus::StillAlive, true),
            Some(_) => {}
            None if last.elapsed() >= keeper.stall => {
                hung = Some(Instant::now());
                let _ = kill(pid, Signal::SIGKILL);
            }
            None => {}
        }
        (keeper.well)();
    }
}

type Reader = std::thread::JoinHandle<()>;

/// Reads what the worker writes beside the consoles, so that a panic shows on all of them.
fn hear(child: &mut Child, lines: &Arc<Mutex<VecDeque<String>>>, say: &Arc<dyn Fn(&str) + Send + Sync>) -> Vec<Reader> {
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    let start = |stream: Box<dyn Read + Send>| {
        let (lines, say) = (Arc::clone(lines), Arc::clone(say));
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
                let text = outcome::clean(&String::from_utf8_lossy(&line));
                line.clear();
                if text.is_empty() {
                    continue;
                }
                say(&text);
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push_back(text);
                if lines.len() > LINES_KEPT {
                    lines.pop_front();
                }
            }
        })
    };
    streams.into_iter().flatten().map(start).collect()
}

fn judge(status: WaitStatus, hung: Option<Duration>, pid: i32, run: &Path, last: Option<String>) -> Ended {
    let code = if let WaitStatus::Exited(_, code) = status { Some(code) } else { None };
    let spoke = run.join(outcome::OUTCOME).exists();
    if spoke && code.is_some_and(|code| code != PANICKED) {
        return Ended { success: code == Some(0), line: None, undead: false };
    }
    let said = last.map(|last| format!(": {last}")).unwrap_or_default();
    let again = "a disk that was being written has no partition table until it is restored again";
    let undead = status == WaitStatus::StillAlive;
    let line = match (status, hung) {
        (WaitStatus::StillAlive, Some(stall)) => format!(
            "failed: the agent made no progress for {} s (clone.timeout.stall) and can not be killed: it waits in the \
             kernel for a disk or card that hangs; {again}",
            stall.as_secs()
        ),
        (_, Some(stall)) => format!(
            "failed: the agent made no progress for {} s (clone.timeout.stall) and was killed; look at the kernel's \
             messages for a disk or card that hangs; {again}",
            stall.as_secs()
        ),
        (WaitStatus::Signaled(_, Signal::SIGKILL, _), _) => match kmsg::oom(pid) {
            Some(used) => format!(
                "failed: out of memory: the kernel killed the agent when it used {used}; give the machine more \
                 memory; {again}"
            ),
            None => format!("failed: the agent was killed by signal 9 (SIGKILL); start again; {again}"),
        },
        (WaitStatus::Signaled(_, signal, _), _) => {
            let number = signal as i32;
            format!("failed: the agent was ended by signal {number} ({signal}){said}; report this line; {again}")
        }
        (WaitStatus::Exited(_, PANICKED), _) => {
            let panic = std::fs::read_to_string(run.join(outcome::PANIC)).map(|text| outcome::clean(&text));
            let why = panic.map(|text| format!(": {text}")).unwrap_or(said);
            format!("failed: the agent panicked{why}; report this line; {again}")
        }
        (WaitStatus::Exited(_, code), _) => {
            format!("failed: the agent ended with status {code} and without a word{said}; report this line; {again}")
        }
        (status, _) => format!("failed: the agent ended as {status:?}; report this line; {again}"),
    };
    Ended { success: false, line: Some(line), undead }
}

#[cfg(test)]
mod tests;
