//! What the server has done and what it holds, as numbers for Prometheus.
//!
//! In: counts from the places where things happen; the database and the store, when they are asked for. Out: text.
//! Promise: counting never waits; labels are words of this program, never of a stranger, so their number is bounded.

pub mod scrape;

use crate::time::unix;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use ramet_wire::api::{Action, RunInfo, RunState};
use scrape::{Figures, Mark};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// `text/plain` would be read too, but not its counters' names.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// From a second to nine hours.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

/// From 1 MB to 8 GB a second.
fn rates() -> Histogram {
    Histogram::new(exponential_buckets(1e6, 2.0, 14))
}

/// All numbers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    mark: Mutex<Mark>,
    sent: Counter,
    received: Counter,
    chunks: Counters,
    requests: Counters,
    runs: Counters,
    run_seconds: Histograms,
    run_rates: Histograms,
    jobs: Counters,
    job_seconds: Histograms,
    power: Counters,
    boots: Counters,
    boot_seconds: Histogram,
    /// Set anew each time they are asked for.
    now: Now,
}

/// What there is at one moment.
#[derive(Debug, Default)]
struct Now {
    jobs: Gauges,
    machines: Gauges,
    store: Gauges,
    things: Gauges,
    deploy_seconds: Gauges,
    deploy_machines: Gauges,
}

impl Metrics {
    /// Counts from zero; what the database holds up to `mark` was counted by the process before.
    #[must_use]
    pub fn new(mark: Mark) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ramet"),
            mark: Mutex::new(mark),
            sent: Counter::default(),
            received: Counter::default(),
            chunks: Counters::default(),
            requests: Counters::default(),
            runs: Counters::default(),
            run_seconds: Family::new_with_constructor(durations),
            run_rates: Family::new_with_constructor(rates),
            jobs: Counters::default(),
            job_seconds: Family::new_with_constructor(durations),
            power: Counters::default(),
            boots: Counters::default(),
            boot_seconds: durations(),
            now: Now::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let (bytes, seconds) = (|| Unit::Bytes, || Unit::Seconds);
        registry.register_with_unit(
            "packs_sent",
            "Bytes of packs read to be sent to agents",
            bytes(),
            self.sent.clone(),
        );
        let about = "Bytes of packs that agents sent and that were stored";
        registry.register_with_unit("packs_received", about, bytes(), self.received.clone());
        let about = "Chunks that captures asked for; those that were here are reused";
        registry.register("chunks_asked", about, self.chunks.clone());
        registry.register("requests", "Requests by route and status", self.requests.clone());
        registry.register("runs", "Runs that ended, by action and final state", self.runs.clone());
        registry.register_with_unit("run_duration", "Captures and restores", seconds(), self.run_seconds.clone());
        let about = "Bytes done per second of captures and restores that succeeded";
        registry.register("run_rate_bytes_per_second", about, self.run_rates.clone());
        let about = "Jobs that ended, by kind, final state and cause";
        registry.register("jobs_ended", about, self.jobs.clone());
        let about = "Jobs that ended, from the first try's begin";
        registry.register_with_unit("job_duration", about, seconds(), self.job_seconds.clone());
        let about = "What power systems were asked, how, and how it went";
        registry.register("power_attempts", about, self.power.clone());
        let about = "Clones that called at their first boot, by whether another machine has said the same of itself";
        registry.register("first_boots", about, self.boots.clone());
        let about = "From the agent's leaving to the clone's call";
        registry.register_with_unit("first_boot_wait", about, seconds(), self.boot_seconds.clone());
        let now = &self.now;
        registry.register("jobs", "Jobs that are not over, by state", now.jobs.clone());
        registry.register("machines", "Machines in the inventory, by state", now.machines.clone());
        registry.register_with_unit("store", "Packs on the disk, by state", bytes(), now.store.clone());
        registry.register("store_things", "Packs, chunks and images in the store", now.things.clone());
        let about = "How long the machines of a deploy took, of the newest job trees";
        registry.register_with_unit("deploy", about, seconds(), now.deploy_seconds.clone());
        registry.register("deploy_machines", "Restores of the newest job trees, by state", now.deploy_machines.clone());
    }

    /// Bytes of a pack were read to be sent.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// A pack of so many bytes was stored.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// A capture asked for chunks.
    pub fn asked(&self, missing: &[bool]) {
        let lacking = missing.iter().filter(|missing| **missing).count() as u64;
        let count = |word: &str, count| self.chunks.get_or_create(&labels(&[("store", word)])).inc_by(count);
        count("missing", lacking);
        count("present", missing.len() as u64 - lacking);
    }

    /// A request was answered.
    pub fn answered(&self, verb: &str, path: &str, status: u16) {
        let labels = labels(&[("method", verb), ("route", path), ("status", &status.to_string())]);
        self.requests.get_or_create(&labels).inc();
    }

    /// A run ended.
    pub fn run_ended(&self, run: &RunInfo) {
        let action = match run.action {
            Action::Capture => "capture",
            Action::Restore => "restore",
        };
        let state = match run.state {
            RunState::Done => "done",
            RunState::Unproven => "unproven",
            RunState::Failed => "failed",
            RunState::Lost => "lost",
            RunState::Running | RunState::Unknown => return,
        };
        self.runs.get_or_create(&labels(&[("action", action), ("state", state)])).inc();
        let (Some(started), Some(ended)) = (unix(&run.started), run.ended.as_deref().and_then(unix)) else { return };
        let seconds = as_seconds(ended.saturating_sub(started));
        self.run_seconds.get_or_create(&labels(&[("action", action), ("state", state)])).observe(seconds);
        if matches!(run.state, RunState::Done) && run.done > 0 {
            // A run of less than a second took half a one on average.
            let rate = bytes(run.done) / seconds.max(0.5);
            self.run_rates.get_or_create(&labels(&[("action", action)])).observe(rate);
        }
    }

    /// A clone called, so many seconds after its agent had left.
    pub fn booted(&self, seconds: Option<i64>, double: bool) {
        let double = if double { "yes" } else { "no" };
        self.boots.get_or_create(&labels(&[("duplicate", double)])).inc();
        if let Some(seconds) = seconds {
            self.boot_seconds.observe(as_seconds(seconds));
        }
    }

    /// Where the last look at the database ended.
    #[must_use]
    pub fn mark(&self) -> Mark {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the database and the store say now, and writes all of it.
    ///
    /// # Errors
    /// Never, as far as memory lasts.
    pub fn text(&self, figures: &Figures) -> Result<String, std::fmt::Error> {
        // Held to the end: two that ask at once count the same events once.
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        figures.count(self, *mark);
        *mark = figures.mark.max(*mark);
        figures.show(&self.now);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Exact to 2⁵³: nine petabytes.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
const fn bytes(count: u64) -> f64 {
    count as f64
}

/// A clock that was set back gives zero.
fn as_seconds(seconds: i64) -> f64 {
    bytes(u64::try_from(seconds).unwrap_or(0))
}
