//! What the database and the store say when the numbers are asked for.
//!
//! In: tables, figures of the store. Out: what is new since the last look, and what there is now.
//! Promise: each event is counted once while this process lives; a look reads no reports and no receipts.

use super::{Gauges, Metrics, Now, as_seconds, bytes, labels};
use ramet_store::Stats;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Job trees of which the quantiles are shown.
const DEPLOYS: u32 = 20;
/// Most events that one look counts; the next one goes on.
const EVENTS_MAX: u32 = 100_000;

/// How far events were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Of jobs.
    pub job_event: i64,
    /// Of power systems.
    pub attempt: i64,
}

impl Mark {
    /// Everything up to now.
    ///
    /// # Errors
    /// SQLite's.
    pub fn now(connection: &Connection) -> rusqlite::Result<Self> {
        let newest = |table: &str| {
            connection.query_row(&format!("SELECT coalesce(max(id), 0) FROM {table}"), [], |row| row.get(0))
        };
        Ok(Self { job_event: newest("job_events")?, attempt: newest("power_attempts")? })
    }

    /// The later of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { job_event: self.job_event.max(other.job_event), attempt: self.attempt.max(other.attempt) }
    }
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    event: i64,
    kind: String,
    state: String,
    cause: String,
    seconds: Option<i64>,
}

/// What a power system was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attempt {
    id: i64,
    what: String,
    how: String,
    result: String,
}

/// Restores of one job tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Deploy {
    states: BTreeMap<String, u64>,
    /// Of those that are confirmed, ascending.
    seconds: Vec<i64>,
}

/// One look.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How far it reaches.
    pub mark: Mark,
    ended: Vec<Ended>,
    attempts: Vec<Attempt>,
    jobs: Vec<(String, u64)>,
    machines: Vec<(String, u64)>,
    deploys: BTreeMap<i64, Deploy>,
    /// Of the store.
    pub store: Option<Stats>,
}

impl Figures {
    /// Looks at the database; what lies before `mark` is not counted.
    ///
    /// # Errors
    /// SQLite's.
    pub fn read(connection: &Connection, mark: Mark) -> rusqlite::Result<Self> {
        let ended = ended(connection, mark.job_event)?;
        let attempts = attempts(connection, mark.attempt)?;
        let reached = Mark { job_event: ended.1, attempt: attempts.last().map_or(mark.attempt, |attempt| attempt.id) };
        Ok(Self {
            mark: reached,
            ended: ended.0,
            attempts,
            jobs: counts(connection, "SELECT state, count(*) FROM jobs WHERE ended IS NULL GROUP BY state")?,
            machines: counts(connection, "SELECT state, count(*) FROM machines GROUP BY state")?,
            deploys: deploys(connection)?,
            store: None,
        })
    }

    /// Adds what lies behind `mark` to the counters.
    pub(super) fn count(&self, metrics: &Metrics, mark: Mark) {
        for ended in self.ended.iter().filter(|ended| ended.event > mark.job_event) {
            let Ended { kind, state, cause, seconds, .. } = ended;
            metrics.jobs.get_or_create(&labels(&[("kind", kind), ("state", state), ("cause", cause)])).inc();
            if let Some(seconds) = seconds {
                let labels = labels(&[("kind", kind), ("state", state)]);
                metrics.job_seconds.get_or_create(&labels).observe(as_seconds(*seconds));
            }
        }
        for Attempt { what, how, result, .. } in self.attempts.iter().filter(|attempt| attempt.id > mark.attempt) {
            metrics.power.get_or_create(&labels(&[("what", what), ("how", how), ("result", result)])).inc();
        }
    }

    /// Replaces what was shown before.
    pub(super) fn show(&self, now: &Now) {
        let set = |gauges: &Gauges, name: &'static str, counts: &[(String, u64)]| {
            gauges.clear();
            for (word, count) in counts {
                gauges.get_or_create(&labels(&[(name, word)])).set(bytes(*count));
            }
        };
        set(&now.jobs, "state", &self.jobs);
        set(&now.machines, "state", &self.machines);
        if let Some(store) = &self.store {
            let kept = store.pack_bytes.saturating_sub(store.condemned_bytes);
            set(&now.store, "state", &[("used".to_owned(), kept), ("condemned".to_owned(), store.condemned_bytes)]);
            let things = [("pack", store.packs), ("chunk", store.chunks), ("image", store.images)];
            set(&now.things, "kind", &things.map(|(word, count)| (word.to_owned(), count)));
        }
        now.deploy_seconds.clear();
        now.deploy_machines.clear();
        for (job, deploy) in &self.deploys {
            let job = job.to_string();
            for (state, count) in &deploy.states {
                now.deploy_machines.get_or_create(&labels(&[("job", &job), ("state", state)])).set(bytes(*count));
            }
            for (quantile, percent) in [("0.5", 50), ("0.99", 99)] {
                if let Some(seconds) = rank(&deploy.seconds, percent) {
                    let labels = labels(&[("job", &job), ("quantile", quantile)]);
                    now.deploy_seconds.get_or_create(&labels).set(as_seconds(seconds));
                }
            }
        }
    }
}

/// The nearest rank: the smallest value that `percent` of all do not exceed.
fn rank(ascending: &[i64], percent: usize) -> Option<i64> {
    let at = (ascending.len() * percent).div_ceil(100).max(1) - 1;
    ascending.get(at).copied()
}

/// Words by which everything is counted here are columns that this program wrote.
fn counts(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
    rows.collect()
}

/// Jobs that went over behind an event, and how far events were read. A job that is tried again ends again.
fn ended(connection: &Connection, after: i64) -> rusqlite::Result<(Vec<Ended>, i64)> {
    let over = "('confirmed', 'failed', 'cancelled', 'lost')";
    let sql = format!(
        "SELECT e.id, j.kind, e.state, coalesce(j.cause, ''), j.ended - j.started, e.state IN {over} AND coalesce((
             SELECT p.state FROM job_events p WHERE p.job = e.job AND p.id < e.id ORDER BY p.id DESC LIMIT 1
         ), '') NOT IN {over}
         FROM job_events e JOIN jobs j ON j.id = e.job WHERE e.id > ?1 ORDER BY e.id LIMIT ?2"
    );
    let mut query = connection.prepare_cached(&sql)?;
    let (mut all, mut reached) = (Vec::new(), after);
    let mut rows = query.query((after, EVENTS_MAX))?;
    while let Some(row) = rows.next()? {
        reached = row.get(0)?;
        if row.get(5)? {
            let (kind, state, seconds) = (row.get(1)?, row.get::<_, String>(2)?, row.get(4)?);
            // What a job that succeeded failed of before is no cause.
            let cause = if state == "confirmed" { String::new() } else { row.get(3)? };
            all.push(Ended { event: reached, kind, state, cause, seconds });
        }
    }
    Ok((all, reached))
}

fn attempts(connection: &Connection, after: i64) -> rusqlite::Result<Vec<Attempt>> {
    let sql = "SELECT id, what, how, result FROM power_attempts WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map((after, EVENTS_MAX), |row| {
        Ok(Attempt { id: row.get(0)?, what: row.get(1)?, how: row.get(2)?, result: row.get(3)? })
    })?;
    rows.collect()
}

fn deploys(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, Deploy>> {
    let sql = "SELECT parent, state, ended - started FROM jobs WHERE kind = 'restore' AND parent IN
               (SELECT id FROM jobs WHERE kind = 'tree' ORDER BY id DESC LIMIT ?1)";
    let mut query = connection.prepare_cached(sql)?;
    let mut deploys: BTreeMap<i64, Deploy> = BTreeMap::new();
    let mut rows = query.query([DEPLOYS])?;
    while let Some(row) = rows.next()? {
        let (state, seconds): (String, Option<i64>) = (row.get(1)?, row.get(2)?);
        let deploy = deploys.entry(row.get(0)?).or_default();
        if let (Some(seconds), "confirmed") = (seconds, state.as_str()) {
            deploy.seconds.push(seconds);
        }
        *deploy.states.entry(state).or_default() += 1;
    }
    deploys.values_mut().for_each(|deploy| deploy.seconds.sort_unstable());
    Ok(deploys)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let mut db = Connection::open_in_memory().unwrap();
        crate::db::testing(&mut db);
        let machine =
            "INSERT INTO machines (id, name, state, first_seen) VALUES (1, 'a', 'accepted', 0), (2, 'b', 'new', 0)";
        db.execute_batch(machine).unwrap();
        db
    }

    fn job(db: &Connection, id: i64, parent: Option<i64>, kind: &str, state: &str, seconds: Option<i64>) {
        let sql =
            "INSERT INTO jobs (id, parent, kind, options, state, cause, tries, since, by, created, started, ended)
                   VALUES (?1, ?2, ?3, '{}', ?4, 'no-agent', 3, 0, '', 0, 100, 100 + ?5)";
        db.execute(sql, (id, parent, kind, state, seconds)).unwrap();
    }

    fn event(db: &Connection, job: i64, state: &str) {
        let sql = "INSERT INTO job_events (job, at, state, what, detail) VALUES (?1, 0, ?2, '', '')";
        db.execute(sql, (job, state)).unwrap();
    }

    fn lines(metrics: &Metrics, db: &Connection, with: &str) -> Vec<String> {
        let text = metrics.text(&Figures::read(db, metrics.mark()).unwrap()).unwrap();
        text.lines().filter(|line| line.starts_with(with)).map(str::to_owned).collect()
    }

    #[test]
    fn each_end_of_a_job_is_counted_once_and_a_retry_ends_again() {
        let db = database();
        job(&db, 1, None, "restore", "failed", Some(7));
        event(&db, 1, "failed");
        let metrics = Metrics::new(Mark::now(&db).unwrap());
        let ended = |db: &Connection| lines(&metrics, db, "ramet_jobs_ended_total");
        assert!(ended(&db).is_empty(), "what was before this process is not counted");
        job(&db, 2, None, "capture", "failed", Some(9));
        event(&db, 2, "running");
        event(&db, 2, "failed");
        event(&db, 2, "failed");
        let failed = "ramet_jobs_ended_total{kind=\"capture\",state=\"failed\",cause=\"no-agent\"}";
        assert_eq!(ended(&db), [format!("{failed} 1")]);
        assert_eq!(ended(&db), [format!("{failed} 1")]);
        event(&db, 2, "queued");
        db.execute("UPDATE jobs SET state = 'confirmed' WHERE id = 2", []).unwrap();
        event(&db, 2, "confirmed");
        let confirmed = "ramet_jobs_ended_total{kind=\"capture\",state=\"confirmed\",cause=\"\"} 1".to_owned();
        let mut both = ended(&db);
        both.sort_unstable();
        assert_eq!(both, [confirmed, format!("{failed} 1")]);
        let sum = "ramet_job_duration_seconds_sum{kind=\"capture\",state=\"confirmed\"}";
        assert_eq!(lines(&metrics, &db, sum), [format!("{sum} 9.0")]);
    }

    #[test]
    fn power_attempts_are_counted_by_how_they_went() {
        let db = database();
        let metrics = Metrics::new(Mark::now(&db).unwrap());
        let attempt = "INSERT INTO power_attempts (machine_id, at, what, how, result, detail)
                       VALUES (1, 0, 'on', 'ipmi', ?1, 'secret')";
        for result in ["ok", "timeout", "ok"] {
            db.execute(attempt, [result]).unwrap();
        }
        for _ in 0..2 {
            let mut all = lines(&metrics, &db, "ramet_power_attempts_total");
            all.sort_unstable();
            let line = |result: &str, n: u32| {
                format!("ramet_power_attempts_total{{what=\"on\",how=\"ipmi\",result=\"{result}\"}} {n}")
            };
            assert_eq!(all, [line("ok", 2), line("timeout", 1)]);
        }
    }

    #[test]
    fn a_deploy_shows_the_quantiles_of_its_own_machines_and_old_ones_go() {
        let db = database();
        let metrics = Metrics::new(Mark::now(&db).unwrap());
        job(&db, 1, None, "tree", "confirmed", Some(500));
        job(&db, 2, Some(1), "capture", "confirmed", Some(900));
        (0..100).for_each(|at| job(&db, 10 + at, Some(1), "restore", "confirmed", Some(1 + at)));
        job(&db, 200, Some(1), "restore", "failed", Some(10_000));
        job(&db, 201, None, "restore", "boot", None);
        let with = |with: &str| lines(&metrics, &db, with);
        let of = |quantile: &str| format!("ramet_deploy_seconds{{job=\"1\",quantile=\"{quantile}\"}}");
        assert_eq!(with(&of("0.5")), [format!("{} 50.0", of("0.5"))]);
        assert_eq!(with(&of("0.99")), [format!("{} 99.0", of("0.99"))]);
        assert_eq!(with("ramet_deploy_machines{job=\"1\",state=\"failed\"}").len(), 1);
        assert_eq!(with("ramet_jobs{"), ["ramet_jobs{state=\"boot\"} 1.0"]);
        assert_eq!(with("ramet_machines{state=\"new\"}"), ["ramet_machines{state=\"new\"} 1.0"]);
        (0..20).for_each(|at| job(&db, 300 + at, None, "tree", "queued", None));
        assert!(lines(&metrics, &db, "ramet_deploy_seconds{").is_empty());
    }

    #[test]
    fn the_nearest_rank_is_a_value_that_was_seen() {
        assert_eq!(rank(&[], 50), None);
        assert_eq!(rank(&[7], 99), Some(7));
        assert_eq!(rank(&[1, 2, 3, 4], 50), Some(2));
        assert_eq!(rank(&(1..=1000).collect::<Vec<_>>(), 99), Some(990));
    }
}
