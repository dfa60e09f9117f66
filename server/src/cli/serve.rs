//! `ramet serve`: the server as a process.
//!
//! In: options and signals. Out: one line on stdout once it listens, the log on stderr.
//! Promise: SIGTERM and SIGINT let running requests finish within their grace, and exit with 0.

use super::{Fault, args, reach, write};
use crate::config::Config;
use crate::serve::{StartError, start};
use crate::text::Redactor;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

pub(super) fn serve(args: args::Serve) -> Result<(), Fault> {
    let state = reach::state_or_env(args.state);
    let state = state.ok_or_else(|| Fault::Usage("which state folder? give --state DIR".to_owned()))?;
    log(args.log_format);
    let mut config = Config::new(state);
    config.listen = address("--listen", &args.listen)?;
    config.url = args.url;
    config.boot = args.boot_listen.map(|text| address("--boot-listen", &text)).transpose()?;
    config.boot_url = args.boot_url;
    config.tftp = args.tftp.map(|text| address("--tftp", &text)).transpose()?;
    config.power_key = args.power_key;
    let limits = &mut config.limits;
    limits.jobs = args.jobs.map_or(limits.jobs, NonZeroUsize::get);
    limits.jobs_of_group = args.jobs_of_group.map_or(limits.jobs_of_group, NonZeroUsize::get);
    limits.jobs_power = args.jobs_power.map_or(limits.jobs_power, NonZeroUsize::get);
    limits.settle = args.settle.map_or(limits.settle, |settle| Duration::from_secs(settle.0));
    config.credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
    if let Some(file) = &args.restore {
        let restored = crate::backup::restore(file, &config.state)?;
        tracing::info!(images = restored.images, key = %restored.key, "backup brought back; put the packs into store/packs");
    }
    config.limits.connections = places(config.limits.connections);
    // Blocked before any thread is made, so that all of them have it blocked and only this one waits for it.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let errno = |errno: nix::errno::Errno| Fault::Start(StartError::Threads(errno.into()));
    signals.thread_block().map_err(errno)?;
    let running = start(config)?;
    write(&format!("listening on https://{}\n", running.addr()))?;
    if let Some(addr) = running.boot_addr() {
        write(&format!("boot files on http://{addr}\n"))?;
    }
    if let Some(addr) = running.tftp_addr() {
        write(&format!("boot files on tftp://{addr}\n"))?;
    }
    let stopper = running.stopper();
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        while let Ok(signal) = signals.wait() {
            tracing::info!(%signal, "stopping");
            stopper.stop();
        }
    });
    running.wait().map_err(|source| Fault::Io { doing: "serving", source })
}

/// How many connections there can be: as many as are allowed, unless the system allows this process fewer files. A soft
/// limit is raised; some files are kept for packs, the database and the store's map.
fn places(wanted: usize) -> usize {
    const KEPT: u64 = 256;
    let files = wanted as u64 + KEPT;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted.min(512) };
    let raised = soft.max(files.min(hard));
    let now = if setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    if now < files {
        tracing::warn!(files = now, "fewer files may be open than {files}: fewer machines can be connected at once");
    }
    usize::try_from(now.saturating_sub(KEPT).max(64)).map_or(wanted, |places| places.min(wanted))
}

fn address(option: &str, text: &str) -> Result<SocketAddr, Fault> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| Fault::Usage(format!("{option} {text:?} is not ADDRESS:PORT, or the name has no address")))
}

fn log(format: args::LogFormat) {
    let filter = EnvFilter::try_from_env("RAMET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let lines = lines.with_writer(|| Redactor(std::io::stderr()));
    // A second call, in tests, changes nothing.
    let _ = match format {
        args::LogFormat::Json => lines.json().flatten_event(true).try_init(),
        args::LogFormat::Text => lines.try_init(),
    };
}
