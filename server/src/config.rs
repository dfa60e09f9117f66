//! What a server is told at its start, and the bounds on everything it takes in.
//!
//! In: the command line, or a test. Out: values that the other modules read; nothing reads the environment later.
//! Promise: every queue, body, wait and table has a limit that stands here.

use crate::jobs::hands::Hands;
use crate::power::{self, run::Tools};
use ramet_store::{Clock, CollectOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The state folder; made if it is not there.
    pub state: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The URL by which agents reach this server; none: the address it listens on.
    pub url: Option<String>,
    /// Where boot files are served over plain HTTP; none: nowhere.
    pub boot: Option<SocketAddr>,
    /// The URL by which machines reach them; none: made of `url` or `boot`.
    pub boot_url: Option<String>,
    /// Where boot files are served over TFTP; none: nowhere.
    pub tftp: Option<SocketAddr>,
    /// The file with the key of the BMC passwords; none: the service manager's credentials, else beside the database.
    pub power_key: Option<PathBuf>,
    /// The service manager's credentials (systemd.exec(5), `CREDENTIALS_DIRECTORY`).
    pub credentials: Option<PathBuf>,
    /// Where the programs are that speak to BMCs.
    pub tools: Tools,
    /// How long power may take.
    pub power: power::drive::Limits,
    /// Bounds and waits.
    pub limits: Limits,
    /// The time of day; tests bring their own.
    pub clock: Clock,
    /// The same at the start, and never set since: what waits are counted by.
    pub steady: Clock,
    /// Switches machines; none: their power systems.
    pub hands: Option<Arc<dyn Hands>>,
}

/// The time of day of now, going on by the monotonic clock.
fn steady() -> Clock {
    let (begin, now) = (Instant::now(), std::time::SystemTime::now());
    Clock::from_fn(move || now + begin.elapsed())
}

impl Config {
    /// A server on `state` that listens on all addresses, port 4433.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 4433)),
            url: None,
            boot: None,
            boot_url: None,
            tftp: None,
            power_key: None,
            credentials: None,
            tools: Tools::system(),
            power: power::drive::Limits::default(),
            limits: Limits::default(),
            clock: Clock::system(),
            steady: steady(),
            hands: None,
        }
    }
}

/// Bounds and waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A session without a request for so long has lapsed.
    pub session_lapse: Duration,
    /// How long the address of a pack that `locate` answered is good.
    pub url_life: Duration,
    /// Connections open at once; more are closed as they come.
    pub connections: usize,
    /// Until the headers of the next request are there: also how long an idle connection is kept.
    pub header_wait: Duration,
    /// For the TLS handshake.
    pub handshake_wait: Duration,
    /// Longest pause inside a body, in either direction.
    pub stall: Duration,
    /// Longest time for a whole body that is held in memory.
    pub body_wait: Duration,
    /// Uploads received and verified at once; others wait.
    pub uploads: usize,
    /// Ranges of packs sent at once; others wait. Each holds two buffers of 1 MiB.
    pub downloads: usize,
    /// Runs open at once.
    pub sessions: usize,
    /// Tokens that may exist.
    pub tokens: usize,
    /// Ended runs that are remembered; the oldest go first.
    pub runs: usize,
    /// Agents without a token that are remembered.
    pub agents: usize,
    /// Of these, from one address.
    pub agents_of_peer: usize,
    /// An agent that was not heard of for so long is forgotten.
    pub agent_lapse: Duration,
    /// What strangers may ask: a request each so long in all, after a burst of [`Limits::burst`].
    pub pace: Duration,
    /// The same for one address.
    pub pace_of_peer: Duration,
    /// Requests of strangers, and of one of them, that may come at once.
    pub burst: (u32, u32),
    /// PINs that may exist.
    pub pins: usize,
    /// Machines that may be armed.
    pub armed: usize,
    /// Machines that may be accepted.
    pub machines: usize,
    /// Machines that enrolled themselves and wait to be accepted.
    pub enrolled: usize,
    /// Jobs under way at once.
    pub jobs: usize,
    /// Of these, with machines of one group.
    pub jobs_of_group: usize,
    /// Machines being switched at once.
    pub jobs_power: usize,
    /// For so long after it was switched on, a machine counts as being switched.
    pub power_spread: Duration,
    /// Jobs that are remembered after their end.
    pub jobs_kept: usize,
    /// Between two looks of the engine.
    pub job_tick: Duration,
    /// A job's agent that was not heard of for so long is given up.
    pub job_lease: Duration,
    /// For so long after the power action a job's agent may call.
    pub job_window: Duration,
    /// The same where a person switches the machine.
    pub manual_window: Duration,
    /// Before another try; grows with each.
    pub job_pause: Duration,
    /// For an agent's last word after its run has failed.
    pub last_word: Duration,
    /// For so long after its agent has left, none may come again.
    pub settle: Duration,
    /// For an agent to leave, and for the power to be as it should be.
    pub leave_wait: Duration,
    /// For what a job expects.
    pub expect_wait: Duration,
    /// For a clone's first boot, where a job waits for it and its operator says nothing else.
    pub boot_wait: Duration,
    /// How long a clone may call that it has booted.
    pub first_boot_life: Duration,
    /// Between two looks at power that is not yet as it should be.
    pub look_pause: Duration,
    /// Between two questions whether machines are well.
    pub health_every: Duration,
    /// How long a collect keeps what it could delete.
    pub collect: CollectOptions,
    /// How long running requests may take after the order to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            session_lapse: Duration::from_secs(15 * 60),
            url_life: Duration::from_secs(60 * 60),
            connections: 8192,
            header_wait: Duration::from_secs(60),
            handshake_wait: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            body_wait: Duration::from_secs(120),
            uploads: cores + 2,
            downloads: 32,
            sessions: 8192,
            tokens: 10_000,
            runs: 10_000,
            agents: 1000,
            agents_of_peer: 256,
            agent_lapse: Duration::from_secs(10 * 60),
            pace: Duration::from_micros(2500),
            pace_of_peer: Duration::from_millis(50),
            burst: (800, 100),
            pins: 100,
            armed: 10_000,
            machines: 20_000,
            enrolled: 1000,
            jobs: 256,
            jobs_of_group: 64,
            jobs_power: 8,
            power_spread: Duration::from_secs(10),
            jobs_kept: 20_000,
            job_tick: Duration::from_secs(1),
            job_lease: Duration::from_secs(5 * 60),
            job_window: Duration::from_secs(15 * 60),
            manual_window: Duration::from_secs(60 * 60),
            job_pause: Duration::from_secs(30),
            last_word: Duration::from_secs(30),
            settle: Duration::from_secs(2 * 60),
            leave_wait: Duration::from_secs(10 * 60),
            expect_wait: Duration::from_secs(10 * 60),
            boot_wait: Duration::from_secs(15 * 60),
            first_boot_life: Duration::from_secs(24 * 60 * 60),
            look_pause: Duration::from_secs(5),
            health_every: Duration::from_secs(60),
            collect: CollectOptions::default(),
            grace: Duration::from_secs(10),
        }
    }
}
