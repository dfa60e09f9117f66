//! Workers that end in every way, under a keeper that is PID 1 of a namespace of its own.

use super::*;
use crate::init::outcome;
use std::process::Command;

const SCRIPT: &str = "RAMET_TEST_WORKER";
const STALL: &str = "RAMET_TEST_STALL";

/// The keeper as PID 1: `unshare` starts this very test again, which then runs the worker in the variable.
#[test]
fn as_first_process() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let run = tempfile::tempdir().unwrap();
    let stall = Duration::from_millis(std::env::var(STALL).unwrap().parse().unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env("RUN", run.path());
    let mut beats = 0;
    let mut keeper =
        Keeper { stall, run: run.path(), well: &mut || beats += 1, say: Arc::new(|line| tell!("SAID {line}")) };
    let ended = keep(command, &mut keeper).unwrap();
    tell!("PID {} ENDED {} {}", std::process::id(), ended.success, ended.line.unwrap_or_default());
}

fn end_of(script: &str, stall: u64) -> (String, Vec<String>) {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "init::watch::tests::as_first_process", "--nocapture"]);
    let output = command.env(SCRIPT, script).env(STALL, stall.to_string()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let ended = text.lines().find_map(|line| line.strip_prefix("PID 1 ENDED ")).unwrap_or_else(|| panic!("{text}"));
    let said = text.lines().filter_map(|line| line.strip_prefix("SAID ")).map(str::to_owned).collect();
    (ended.trim().to_owned(), said)
}

#[test]
fn a_worker_with_an_outcome_speaks_for_itself() {
    assert_eq!(end_of("echo done > $RUN/outcome; exit 0", 60_000).0, "true");
    assert_eq!(end_of("echo failed > $RUN/outcome; exit 2", 60_000).0, "false");
}

#[test]
fn a_worker_without_a_word_gets_one_with_its_last_line() {
    let (line, said) = end_of("echo first; echo 'no space' >&2; exit 3", 60_000);
    assert!(line.starts_with("false failed: the agent ended with status 3 and without a word: "), "{line}");
    assert!(said.contains(&"first".to_owned()) && said.contains(&"no space".to_owned()));
    assert!(end_of("exit 0", 60_000).0.starts_with("false failed: the agent ended with status 0 and without a word;"));
}

#[test]
fn a_panic_is_told_with_its_message_even_after_an_outcome() {
    let (line, _) =
        end_of("echo 'panicked at x.rs:1: index 7' > $RUN/panic; echo early > $RUN/outcome; exit 101", 60_000);
    assert!(line.starts_with("false failed: the agent panicked: panicked at x.rs:1: index 7; report"), "{line}");
}

#[test]
fn a_signal_is_told_by_number_and_name() {
    let (line, _) = end_of("kill -SEGV $$", 60_000);
    assert!(line.starts_with("false failed: the agent was ended by signal 11 (SIGSEGV); report"), "{line}");
    let (line, _) = end_of("kill -KILL $$", 60_000);
    assert!(line.starts_with("false failed: the agent was killed by signal 9 (SIGKILL)"), "{line}");
}

#[test]
fn an_allocation_that_failed_is_told_in_the_programs_words() {
    let (line, _) = end_of("echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$", 60_000);
    assert!(line.contains("signal 6 (SIGABRT): memory allocation of 9 bytes failed;"), "{line}");
}

#[test]
fn a_worker_that_hangs_is_killed_and_one_with_a_pulse_is_not() {
    let start = Instant::now();
    let (line, _) = end_of("sleep 600", 1000);
    assert!(line.starts_with("false failed: the agent made no progress for 1 s (clone.timeout.stall)"), "{line}");
    assert!(start.elapsed() < Duration::from_secs(30));
    let beating = "for i in {1..12}; do printf . >&$RAMET_PULSE; sleep 0.25; done; echo done > $RUN/outcome";
    assert_eq!(end_of(beating, 1500).0, "true");
}

#[test]
fn orphans_are_reaped_and_do_not_hold_up_the_end() {
    let start = Instant::now();
    let orphans = "for i in 1 2 3; do (sleep 0.1 &) ; done; (sleep 500 &); sleep 0.5; \
                   [ -z \"$(grep -l '^State:.Z' /proc/[0-9]*/status)\" ] && echo clean > $RUN/outcome";
    assert_eq!(end_of(orphans, 60_000).0, "true");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_worker_that_can_not_be_started_is_an_error() {
    let run = tempfile::tempdir().unwrap();
    let mut keeper = Keeper { stall: Duration::from_secs(1), run: run.path(), well: &mut || {}, say: Arc::new(|_| {}) };
    assert!(keep(Command::new("/no/such/program"), &mut keeper).is_err());
    assert!(!run.path().join(outcome::OUTCOME).exists());
}
