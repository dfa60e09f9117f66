//! `ramet job watch`: jobs until they are over.
//!
//! In: their numbers. Out: a table that is drawn anew on a terminal; else a line for each change, or a JSON object.
//! Promise: it succeeds only when every job is confirmed; a server that is away for a while is waited for.

use super::jobs::{jobs_table, moves, percent, said};
use super::{Fault, write};
use crate::client::{ClientError, Operator};
use crate::text::chain;
use ramet_wire::jobs::{JobInfo, JobState};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long a server may be away: it may be restarted under our eyes.
const AWAY: Duration = Duration::from_secs(120);
/// Progress is a change each so many percent.
const STEP: u64 = 10;

/// What was said of a job last.
type Told = (JobState, String, u64, u32);

/// Watches these, or all that are not over, at most for `timeout`.
pub(super) fn watch(operator: &Operator, ids: &[u64], timeout: Option<Duration>, as_json: bool) -> Result<(), Fault> {
    let mut ids = ids.to_vec();
    if ids.is_empty() {
        ids = operator.jobs()?.iter().filter(|job| !job.state.is_over()).map(|job| job.id).collect();
    }
    let terminal = !as_json && std::io::stdout().is_terminal();
    let (start, mut seen, mut told) = (Instant::now(), Instant::now(), BTreeMap::new());
    let mut drawn = 0;
    loop {
        match look(operator, &ids) {
            Ok(jobs) => {
                seen = Instant::now();
                if terminal {
                    drawn = draw(&jobs, drawn)?;
                } else {
                    changes(&jobs, &mut told, as_json)?;
                }
                if jobs.iter().all(|job| job.state.is_over()) {
                    return judged(&jobs);
                }
            }
            Err(error) if error.may_pass() && seen.elapsed() < AWAY => {}
            Err(error) => return Err(error.into()),
        }
        if timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
            return Err(Fault::Found(format!("not over after {} s", start.elapsed().as_secs())));
        }
        std::thread::sleep(LOOK);
    }
}

/// The jobs with their parts, each once, a parent before its parts.
fn look(operator: &Operator, ids: &[u64]) -> Result<Vec<JobInfo>, ClientError> {
    let mut jobs: Vec<JobInfo> = Vec::new();
    for id in ids {
        let detail = operator.job(*id)?;
        for job in std::iter::once(detail.job).chain(detail.parts) {
            if jobs.iter().all(|known| known.id != job.id) {
                jobs.push(job);
            }
        }
    }
    Ok(jobs)
}

/// Draws over the `before` lines that were drawn last; how many there are now.
fn draw(jobs: &[JobInfo], before: usize) -> Result<usize, Fault> {
    let (columns, rows) = size();
    let mut jobs = jobs.to_vec();
    if jobs.len() + 2 > rows {
        // What does not fit on the screen cannot be drawn over, and what is over can be spared.
        jobs.sort_by_key(|job| job.state.is_over());
    }
    let text = jobs_table(&jobs);
    let lines: Vec<&str> = text.lines().collect();
    let mut out = if before > 0 { format!("\x1b[{before}A") } else { String::new() };
    let shown = lines.len().min(rows.saturating_sub(1).max(2));
    for line in &lines[..shown] {
        let line: String = line.chars().take(columns).collect();
        out.push_str(&format!("\x1b[2K{line}\r\n"));
    }
    out.push_str("\x1b[J");
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| Fault::Io { doing: "writing the answer", source })?;
    Ok(shown)
}

/// Columns and rows of the terminal; 80 by 24 where it does not say, as serial lines do.
fn size() -> (usize, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let asked = std::process::Command::new("stty").arg("size").stdin(std::process::Stdio::inherit()).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut words = text.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
    let (rows, columns) = (words.next().or_else(|| number("LINES")), words.next().or_else(|| number("COLUMNS")));
    (columns.filter(|columns| *columns > 0).unwrap_or(80), rows.filter(|rows| *rows > 0).unwrap_or(24))
}

/// A line for each job that is not as it was.
fn changes(jobs: &[JobInfo], told: &mut BTreeMap<u64, Told>, as_json: bool) -> Result<(), Fault> {
    for job in jobs {
        let done = if moves(job) { percent(job) / STEP } else { 0 };
        let now = (job.state, job.step.clone(), done, job.try_now);
        if told.get(&job.id) == Some(&now) {
            continue;
        }
        told.insert(job.id, now);
        let line = if as_json {
            serde_json::to_string(job).map_err(|error| Fault::Io { doing: "writing JSON", source: error.into() })?
        } else {
            line(job)
        };
        write(&format!("{line}\n"))?;
    }
    Ok(())
}

fn line(job: &JobInfo) -> String {
    let mut words = vec![format!("job {}", job.id)];
    words.extend(job.machine.as_ref().map(ToString::to_string));
    words.push(job.kind.to_string());
    words.extend(job.image.as_ref().map(ToString::to_string));
    words.push(job.state.to_string());
    if !job.state.is_over() && !job.step.is_empty() {
        let done = if moves(job) { format!(" {}%", percent(job)) } else { String::new() };
        words.push(format!("({}{done})", crate::text::clean(&job.step, 120)));
    }
    let said = said(job);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    format!("{}{said}", words.join(" "))
}

fn judged(jobs: &[JobInfo]) -> Result<(), Fault> {
    let bad: Vec<String> = jobs
        .iter()
        .filter(|job| job.state != JobState::Confirmed && job.machine.is_some())
        .map(|job| format!("job {} ended {}", job.id, job.state))
        .collect();
    let all = jobs.iter().all(|job| job.state == JobState::Confirmed);
    match bad.as_slice() {
        [] if all => Ok(()),
        [] => Err(Fault::Found("not everything is confirmed".to_owned())),
        bad => Err(Fault::Found(bad.join(", "))),
    }
}

impl ClientError {
    /// The server may be there again soon.
    fn may_pass(&self) -> bool {
        let away = matches!(self, Self::Away { .. } | Self::Answer { kind: ramet_wire::api::ErrorKind::Retry, .. });
        if away {
            tracing::debug!(error = %chain(self), "the server is away");
        }
        away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(json: &str) -> JobInfo {
        let base = serde_json::json!({
            "id": 7, "kind": "restore", "machine": "web02", "image": "web", "state": "running", "step": "restoring",
            "done": 0, "total": 200, "try_now": 1, "tries": 3, "seen": "nothing", "by": "operator local", "created": "",
        });
        let mut value = base;
        let more: serde_json::Value = serde_json::from_str(json).unwrap();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_job_is_said_in_one_line_with_what_to_do_next() {
        assert_eq!(line(&job(r#"{"done":101}"#)), "job 7 web02 restore web running (restoring 50%)");
        let failed = job(r#"{"state":"failed","message":"no agent called for 15 min","next":"look at its console"}"#);
        assert_eq!(line(&failed), "job 7 web02 restore web failed: no agent called for 15 min; look at its console");
        assert_eq!(line(&job(r#"{"state":"confirmed","seen":"up"}"#)), "job 7 web02 restore web confirmed: seen: up");
    }

    #[test]
    fn all_must_be_confirmed() {
        let good = job(r#"{"state":"confirmed"}"#);
        assert!(judged(std::slice::from_ref(&good)).is_ok() && judged(&[]).is_ok());
        let error = judged(&[good.clone(), job(r#"{"id":8,"state":"lost"}"#)]).unwrap_err();
        assert_eq!(error.to_string(), "job 8 ended lost");
        assert!(judged(&[good, job(r#"{"id":1,"machine":null,"kind":"tree","state":"cancelled"}"#)]).is_err());
    }

    #[test]
    fn percents_never_say_all_before_it_is() {
        assert_eq!(percent(&job(r#"{"done":199}"#)), 99);
        assert_eq!(percent(&job(r#"{"done":900}"#)), 100);
        assert_eq!(percent(&job(r#"{"total":0}"#)), 0);
        assert_eq!(percent(&job(r#"{"done":18446744073709551615,"total":18446744073709551615}"#)), 100);
    }
}
