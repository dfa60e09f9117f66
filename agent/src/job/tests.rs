//! Endings of a worker, by its run folder and its console.

use super::*;
use crate::menu::keys::Key;
use crate::menu::screen::Screen;
use ramet_wire::settings::from_cmdline;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps what was shown.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Screen for Paper {
    fn write(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn read_key(&mut self, _timeout: Duration) -> Option<Key> {
        None
    }

    fn is_closed(&self) -> bool {
        true
    }
}

/// Runs a boot line; the status, `outcome`, `then`, and the console's last line.
fn ended(line: &str) -> (Exit, String, String, String) {
    let (folder, paper) = (tempfile::tempdir().unwrap(), Paper::default());
    let here = Here::new(Some(folder.path().to_owned()), Stock::Named(Vec::new()), Box::new(paper.clone()));
    let exit = run(from_cmdline(line).and_then(|raw| Settings::of(&raw)), here);
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().trim_end().to_owned();
    let shown = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    let last = shown.lines().last().unwrap_or_default().to_owned();
    (exit, file("outcome"), file("then"), last)
}

#[test]
fn a_wrong_argument_is_one_line_with_the_nearest_known_one() {
    let (exit, outcome, then, last) = ended("clone.sever=https://a");
    assert_eq!(exit, Exit::Usage);
    assert!(outcome.starts_with("RAMET: clone.sever is no argument of Ramet; did you mean clone.server?"), "{outcome}");
    assert_eq!((last, then.as_str()), (outcome, "wait"));
}

#[test]
fn a_refusal_keeps_the_machine_up_unless_the_boot_line_says_otherwise() {
    let (exit, outcome, then, last) = ended("clone.mode=restore");
    assert_eq!((exit, then.as_str()), (Exit::Refused, "wait"));
    assert!(outcome.starts_with("RAMET: clone.mode=restore needs clone.server"), "{outcome}");
    assert_eq!(last, outcome);
    assert_eq!(ended("clone.mode=restore clone.then=poweroff").2, "poweroff");
}

#[test]
fn a_server_that_never_answers_ends_the_run_after_its_time() {
    let key = format!("clone.key=sha256:{}", "ab".repeat(32));
    let line = format!("clone.mode=job clone.server=https://127.0.0.1:1 clone.timeout.server=1 {key}");
    let start = std::time::Instant::now();
    let (exit, outcome, then, _) = ended(&line);
    assert_eq!((exit, then.as_str()), (Exit::Failed, "wait"));
    assert!(outcome.contains("no answer after") && outcome.contains("see that `ramet serve` runs"), "{outcome}");
    assert!((1..10).contains(&start.elapsed().as_secs()));
}

#[test]
fn waiting_is_an_ending_that_stays_up() {
    let (exit, outcome, then, _) = ended("clone.mode=wait");
    assert_eq!((exit, then.as_str()), (Exit::Done, "wait"));
    assert!(outcome.starts_with("RAMET: staying up"), "{outcome}");
}

#[test]
fn a_token_is_never_repeated() {
    let settings = Settings { token: Some("s3cret".to_owned()), ..Settings::default() };
    assert_eq!(redacted("the server says s3cret is void", &settings), "the server says (token) is void");
}
