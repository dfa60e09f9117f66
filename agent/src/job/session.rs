//! A run as the work of a job: the server hears that its agent lives and how it leaves, and can end it.
//!
//! In: the work with its token, a desk, the run itself. Out: what the run came to; what follows.
//! Promise: the agent of a job never ends without a last word, except with the machine; a server that is away ends nothing.

use super::ending::Stop;
use super::here::Here;
use crate::cli::Exit;
use crate::progress::Snapshot;
use crate::transfer::agents::Desk;
use crate::transfer::client::Leash;
use ramet_wire::agents::Work;
use ramet_wire::api::{Action, ErrorKind};
use ramet_wire::jobs::{JobBeat, JobLeaving};
use ramet_wire::settings::Then;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Between two words to the server.
const BEAT: Duration = Duration::from_secs(10);
/// Longest words of a failure, in characters.
const ERROR_MAX: usize = 1000;

/// What follows the work of a job: what the server said, else what the boot line says.
///
/// A machine whose disks are as they were goes back to them; one that is half written stays, with its message.
#[must_use]
pub fn follows(work: &Work, said: Option<Then>, ended: &Result<String, Stop>) -> Then {
    match ended {
        Ok(_) => work.then.or(said).unwrap_or(Then::Reboot),
        Err(stop) if work.action == Action::Capture || stop.exit == Exit::Refused => said.unwrap_or(Then::Reboot),
        Err(_) => said.unwrap_or(Then::Wait),
    }
}

/// Runs `run`. Where `work` is a job's, the server hears of it all the while; the server can end it by the leash.
///
/// # Errors
/// Those of `run`, with what follows.
pub fn in_job(
    mut desk: Desk,
    work: &Work,
    said: Option<Then>,
    here: &Here,
    run: impl FnOnce(Leash) -> Result<String, Stop>,
) -> Result<String, Stop> {
    let leash = Leash::default();
    if work.job.is_none() {
        return run(leash);
    }
    desk.authorize(work.token.clone());
    let (stop, stopped) = channel();
    let ended = std::thread::scope(|scope| {
        let (desk, held) = (&mut desk, leash.clone());
        let beating = scope.spawn(move || beat(desk, here, &held, &stopped));
        let ended = run(leash.clone());
        // Also dropped when `run` panics.
        drop(stop);
        let _ = beating.join();
        ended
    });
    let then = follows(work, said, &ended);
    here.meter.begin("leaving", 0);
    if let Some(session) = leash.session() {
        desk.authorize(session);
    }
    if let Err(error) = desk.leave(&last_word(&ended, then)) {
        here.line(&crate::cli::show::chain(&error));
    }
    ended.map_err(|stop| Stop { then: Some(then), ..stop })
}

fn last_word(ended: &Result<String, Stop>, then: Then) -> JobLeaving {
    let Err(stop) = ended else { return JobLeaving { then, error: None, kind: None } };
    // What was refused before any write is refused again.
    let kind = if stop.exit == Exit::Refused { ErrorKind::Refused } else { ErrorKind::Retry };
    JobLeaving { then, error: Some(stop.words.chars().take(ERROR_MAX).collect()), kind: Some(kind) }
}

fn beat(desk: &mut Desk, here: &Here, leash: &Leash, stopped: &Receiver<()>) {
    let mut with_session = false;
    loop {
        if let (Some(session), false) = (leash.session(), with_session) {
            desk.authorize(session);
            with_session = true;
        }
        let Snapshot { step, done, total, .. } = here.meter.snapshot();
        match desk.beat(&JobBeat { step, done, total }) {
            Ok(word) if !word.go_on => {
                let message = if word.message.is_empty() { "an operator ended the job" } else { &word.message };
                here.line(&format!("the server ends this job: {message}"));
                return leash.end(message);
            }
            // One that is away is asked again, and the run has its own patience with it.
            Ok(_) | Err(_) => {}
        }
        if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(action: Action, then: Option<Then>) -> Work {
        let (image, token, disk) = ("web".parse().unwrap(), "t".to_owned(), String::new());
        Work { action, image, token, then, disk, job: Some(1), blank_only: false, adapt: None }
    }

    fn stop(exit: Exit) -> Result<String, Stop> {
        Err(Stop { words: "no".to_owned(), exit, then: None })
    }

    #[test]
    fn what_is_whole_goes_on_by_itself_and_what_is_half_written_stays() {
        let restore = work(Action::Restore, None);
        assert_eq!(follows(&restore, None, &Ok(String::new())), Then::Reboot);
        assert_eq!(follows(&restore, None, &stop(Exit::Refused)), Then::Reboot);
        assert_eq!(follows(&restore, None, &stop(Exit::Failed)), Then::Wait);
        assert_eq!(follows(&work(Action::Capture, None), None, &stop(Exit::Failed)), Then::Reboot);
    }

    #[test]
    fn the_server_says_what_follows_a_success_and_the_boot_line_what_follows_a_failure() {
        let restore = work(Action::Restore, Some(Then::Poweroff));
        assert_eq!(follows(&restore, Some(Then::Wait), &Ok(String::new())), Then::Poweroff);
        assert_eq!(follows(&restore, Some(Then::Wait), &stop(Exit::Refused)), Then::Wait);
        assert_eq!(follows(&work(Action::Restore, None), Some(Then::Wait), &Ok(String::new())), Then::Wait);
    }

    #[test]
    fn the_last_word_tells_whether_another_try_may_help() {
        let kind = |exit| last_word(&stop(exit), Then::Wait).kind;
        assert_eq!((kind(Exit::Refused), kind(Exit::Failed)), (Some(ErrorKind::Refused), Some(ErrorKind::Retry)));
        let done = last_word(&Ok("restored".to_owned()), Then::Reboot);
        assert_eq!(done, JobLeaving { then: Then::Reboot, error: None, kind: None });
    }
}
