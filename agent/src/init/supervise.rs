//! PID 1: the steps of a start, then the worker's keeper, then the end.
//!
//! In: nothing but the kernel. Out: never returns.
//! Promise: each step that fails is said on the console and the next one is done; a panic here ends like any other life.

use super::console::{Consoles, kernel_messages};
use super::modules::{Loader, Plug, firmware};
use super::network::{Listener, Network, Wish};
use super::watchdog::Watchdog;
use super::{clock, end, medium, mounts, outcome, settings, times, watch};
use crate::cli::{Exit, show};
use crate::transfer::client::{Ask, Client, Limits};
use ramet_wire::settings::{From, Mode, Settings, Then};
use serde::Deserialize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Silence after which the devices of the start count as found.
const QUIET: Duration = Duration::from_millis(150);
/// Longest wait for that.
const SETTLE: Duration = Duration::from_secs(10);

/// Lives the life of PID 1. Returns only when this process is not PID 1.
#[must_use]
pub fn supervise() -> Exit {
    if std::process::id() != 1 {
        tell!("this is the first process of a machine in RAM; as a command it is called ramet-agent");
        return Exit::Usage;
    }
    let mut errors: Vec<String> = mounts::all().iter().map(ToString::to_string).collect();
    let consoles = Arc::new(Consoles::open_all());
    let mut watchdog = Watchdog::default();
    let lived = catch_unwind(AssertUnwindSafe(|| live(&consoles, &mut watchdog, &mut errors)));
    let (then, pause) = lived.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<&str>().map(|why| format!(": {why}")).unwrap_or_default();
        outcome::say(&consoles, &format!("failed: the supervisor panicked{why}; report this line"), None);
        (Then::Wait, Duration::ZERO)
    });
    end::end(&consoles, &mut watchdog, then, pause)
}

fn live(consoles: &Arc<Consoles>, watchdog: &mut Watchdog, errors: &mut Vec<String>) -> (Then, Duration) {
    times::mark("agent started");
    kernel_messages(false);
    let build = clock::build();
    clock::at_least(build.built);
    consoles.line(&format!("Ramet {} on Linux {}", env!("CARGO_PKG_VERSION"), kernel_version()));
    let plug = load_modules(errors);
    if let Err(error) = mounts::firmware_variables() {
        errors.push(error.to_string());
    }
    find_medium(consoles);
    let settings = settings::load();
    let told = settings.as_ref().ok().cloned().unwrap_or_default();
    for error in errors.drain(..) {
        consoles.line(&format!("warning: {error}"));
    }
    for lack in firmware::lacking() {
        consoles.line(&format!("warning: {lack}"));
    }
    if settings.is_ok() && told.source == From::Server {
        start_network(consoles, &told);
    }
    times::mark("worker started");
    let ended = keep_worker(consoles, watchdog, &told);
    let success = match ended {
        Ok(ended) => {
            // The way down may hang where the worker does: the watchdog stays on to end it.
            watchdog.stays_on(ended.undead);
            if let Some(line) = &ended.line {
                outcome::say(consoles, line, None);
            }
            ended.success
        }
        Err(error) => {
            outcome::say(consoles, &format!("failed: starting the worker: {error}; report this line"), None);
            false
        }
    };
    // Modules go on being loaded to the end: a keyboard may be plugged in to read the screen.
    drop(plug);
    let then = end::what_follows(end::told(&Path::new(mounts::RUN).join(outcome::THEN)), told.then, success);
    (then, told.timeouts.then)
}

fn load_modules(errors: &mut Vec<String>) -> Option<Arc<Plug>> {
    let plug = Loader::of_this_kernel().and_then(Plug::start);
    match plug {
        Ok(plug) => {
            plug.settle(QUIET, SETTLE);
            times::mark("devices found");
            Some(plug)
        }
        Err(error) => {
            errors.push(format!(
                "loading modules for Linux {}: {error}; the boot image is for another kernel, build it anew",
                kernel_version()
            ));
            None
        }
    }
}

/// Waits for the boot medium where the command line tells of one, or an image shall come from it; else looks once.
fn find_medium(consoles: &Consoles) {
    let words = settings::words();
    let first = settings::load().unwrap_or_default();
    let wanted = medium::wanted(&words);
    let wait = wanted.is_some() || first.source == From::Media;
    let limit = if wait { first.timeouts.disk } else { Duration::ZERO };
    match medium::find(wanted.flatten().as_deref(), limit) {
        Some(found) => {
            times::mark("boot medium found");
            consoles.line(&format!("boot medium: {}", found.device));
        }
        None if wait => consoles.line(&format!(
            "warning: no boot medium with the label RAMET after {} s; plug it in again and restart",
            limit.as_secs()
        )),
        None => {}
    }
}

fn start_network(consoles: &Arc<Consoles>, told: &Settings) {
    let boot_card = settings::boot_card(&settings::words());
    let wish = Wish { settings: told.clone(), boot_card, ..Wish::default() };
    let ear = Ear { consoles: Arc::clone(consoles), settings: told.clone(), first: AtomicBool::new(true) };
    let _network = Network::start(wish, Box::new(ear));
}

fn keep_worker(consoles: &Arc<Consoles>, watchdog: &mut Watchdog, told: &Settings) -> std::io::Result<watch::Ended> {
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "/init");
    command.arg("worker").env("PATH", "/sbin").current_dir("/");
    let screen = Arc::clone(consoles);
    // With a menu on the screen, stray lines would tear it.
    let shown = told.mode != Mode::Menu;
    let mut keeper = watch::Keeper {
        stall: told.timeouts.stall,
        run: Path::new(mounts::RUN),
        well: &mut || {
            if let Some(patience) = watchdog.feed() {
                times::mark(&format!("watchdog of {patience} s started"));
            }
        },
        say: Arc::new(move |line| {
            if shown {
                screen.line(line);
            }
        }),
    };
    watch::keep(command, &mut keeper)
}

fn kernel_version() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Hears of the network: says it, and sets the clock when the server answers.
struct Ear {
    consoles: Arc<Consoles>,
    settings: Settings,
    first: AtomicBool,
}

impl Listener for Ear {
    fn card(&self, name: &str, state: &str) {
        if self.settings.mode != Mode::Menu {
            self.consoles.line(&format!("{name}: {state}"));
        }
    }

    fn reached(&self, name: &str) {
        if !self.first.swap(false, Ordering::Relaxed) {
            return;
        }
        let moved = self.first_request();
        let at = times::mark("first request answered");
        if self.settings.mode != Mode::Menu {
            let clock = moved.map(|by| format!("; the clock was off by {by} s")).unwrap_or_default();
            let server = self.settings.server.as_deref().unwrap_or("no server is named");
            self.consoles.line(&format!(
                "{name}: server reached ({server}), {:.1} s after the kernel started{clock}",
                at.as_secs_f64()
            ));
        }
    }
}

impl Ear {
    /// Asks the pinned server for its version and time. Without a pinned key nothing is sent: a person must accept it.
    fn first_request(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Version {
            time: Option<u64>,
        }
        let (Some(url), Some(key)) = (&self.settings.server, self.settings.key) else { return None };
        let limits = Limits { tries: 2, stall: Duration::from_secs(10), ..Limits::default() };
        let asked = Client::connect(url, Some(key), &|_| false, limits).and_then(|client| {
            client.ask(Ask {
                what: "asking for the server's time",
                method: &ureq::http::Method::GET,
                path: "/v1/version",
                body: &[],
                content_type: "application/json",
                also: &[],
                limit: 64 << 10,
                retry: true,
            })
        });
        match asked {
            Ok(answer) => {
                let version: Version = serde_json::from_slice(&answer.body).ok()?;
                clock::follow(version.time?)
            }
            Err(error) => {
                self.consoles.line(&format!("warning: {}", show::chain(&error)));
                None
            }
        }
    }
}
