//! The menu's hands: what its commands do, on threads of their own.
//!
//! In: commands. Out: events.
//! Promise: the screen never waits for a disk, the network or a run; a panic of a run ends that run only.

use super::facts;
use super::state::{Command, Event};
use crate::cli::Exit;
use crate::job::{self, CaptureOrder, Front, Here, Medium, Origin, RestoreOrder, Stop, Which, limits};
use crate::progress::Snapshot;
use crate::transfer::agents::{Desk, images};
use crate::transfer::client::Leash;
use crate::transfer::client::Limits;
use crate::transfer::http::Address;
use crate::write::Plan;
use ramet_wire::adapt::Adapt;
use ramet_wire::agents::{EnterPin, Work};
use ramet_wire::api::Action;
use ramet_wire::boot::Answer;
use ramet_wire::settings::{From as Source, Settings, disks};
use ramet_wire::{Fingerprint, ImageName, ImageRef};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two updates of a run's figures: a serial line at 9,600 baud takes a fifth of it.
const FIGURES: Duration = Duration::from_millis(800);

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: Settings,
    pub here: Arc<Here>,
    /// A run is under way: nobody asks for work meanwhile.
    pub busy: AtomicBool,
    /// The identity that was pinned, by settings or by a person.
    pub key: Mutex<Option<Fingerprint>>,
    /// Tokens of work that was done: the same boot hears of it again.
    pub done: Mutex<HashSet<String>>,
}

impl Shared {
    pub fn key(&self) -> Option<Fingerprint> {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For questions that a person waits for.
    pub const fn quick() -> Limits {
        let seconds = Duration::from_secs;
        Limits { tries: 2, patience: Duration::ZERO, pause: Duration::from_millis(250), stall: seconds(20) }
    }
}

/// Does what commands say.
pub(super) struct Hands {
    pub shared: Arc<Shared>,
    pub events: Sender<Event>,
    pub trust: Sender<bool>,
    pub token: Option<String>,
    answer: Option<Sender<bool>>,
}

impl Hands {
    pub fn new(shared: Arc<Shared>, events: Sender<Event>, trust: Sender<bool>) -> Self {
        let token = shared.settings.token.clone();
        Self { shared, events, trust, token, answer: None }
    }

    /// Carries out a command that neither draws nor leaves.
    pub fn act(&mut self, command: Command) {
        match command {
            Command::Trust(yes) => drop(self.trust.send(yes)),
            Command::SendPin(pin) => self.ask(move |shared| Event::Pin(send_pin(shared, pin))),
            Command::ListImages(from) => {
                let token = self.token.clone();
                self.ask(move |shared| Event::Images(list(shared, from, token)));
            }
            Command::LookAtDisks => self.ask(|shared| Event::Disks(look(&shared.here))),
            Command::Gather(topic) => self.ask(move |shared| Event::Text(facts::text(topic, &shared.here))),
            Command::Capture(name, paths) => self.capture(name, paths),
            Command::Restore(image, from, paths) => self.restore(image, from, paths),
            Command::Work(work) => self.work(work),
            Command::Answer(yes) => {
                if let Some(answer) = &self.answer {
                    let _ = answer.send(yes);
                }
            }
            Command::Stay | Command::Redraw | Command::Leave(_) => {}
        }
    }

    /// Asks something on a thread of its own.
    fn ask(&self, question: impl FnOnce(&Shared) -> Event + Send + 'static) {
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        std::thread::spawn(move || drop(events.send(question(&shared))));
    }

    fn address(&self, token: Option<String>) -> Address {
        let settings = &self.shared.settings;
        let (url, token) = (settings.server.clone().unwrap_or_default(), token.unwrap_or_default());
        let (limits, leash) = (limits(&settings.timeouts), Leash::default());
        Address { url, key: self.shared.key(), token, limits, leash }
    }

    fn capture(&mut self, name: ImageName, paths: Vec<PathBuf>) {
        let (server, timeouts) = (self.address(self.token.clone()), self.shared.settings.timeouts);
        let order = CaptureOrder { name, server, disks: Which::Paths(paths), timeouts };
        self.start(false, move |here, front| job::capture(&order, here, front));
    }

    fn restore(&mut self, image: ImageRef, from: Source, paths: Vec<PathBuf>) {
        let (server, timeouts) = (self.address(self.token.clone()), self.shared.settings.timeouts);
        let key = self.shared.settings.key;
        self.start(false, move |here, front| {
            let from = match from {
                Source::Server => Origin::Server(server),
                Source::Media => Origin::Medium(Medium::find(here, key)?),
            };
            let disks = Which::Paths(paths);
            job::restore(
                &RestoreOrder {
                    image,
                    from,
                    disks,
                    blank_only: false,
                    adapt: Adapt::default(),
                    // The plan that a person confirms says it.
                    ignore_boot_check: true,
                    timeouts,
                },
                here,
                front,
            )
        });
    }

    fn work(&mut self, work: Work) {
        self.shared.done.lock().unwrap_or_else(PoisonError::into_inner).insert(work.token.clone());
        let (server, timeouts) = (self.address(Some(work.token.clone())), self.shared.settings.timeouts);
        let named = self.shared.settings.disk.clone();
        self.start(true, move |here, front| {
            let run = |leash| {
                let choice = if work.disk.is_empty() { named } else { disks(&work.disk).map_err(Stop::refused)? };
                let (disks, image, blank_only) = (Which::Choice(choice), work.image.clone(), work.blank_only);
                let adapt = work.adapt.as_deref().cloned().unwrap_or_default();
                let server = Address { leash, ..server.clone() };
                match work.action {
                    Action::Capture => {
                        job::capture(&CaptureOrder { name: image.name, server, disks, timeouts }, here, front)
                    }
                    Action::Restore => {
                        let from = Origin::Server(server);
                        let ignore_boot_check = work.job.is_some();
                        let order = RestoreOrder { image, from, disks, blank_only, adapt, ignore_boot_check, timeouts };
                        job::restore(&order, here, front)
                    }
                }
            };
            if work.job.is_none() {
                return run(Leash::default());
            }
            let desk = Desk::connect(&server.url, server.key, &|_| false, server.limits);
            let failed = |error| Stop::of(Exit::Failed, "taking a job", &error, &here.network());
            job::in_job(desk.map_err(failed)?, &work, None, here, run)
        });
    }

    /// Starts a run; with `allowed` nobody is asked about its plan.
    fn start(&mut self, allowed: bool, run: impl FnOnce(&Here, &dyn Front) -> Result<String, Stop> + Send + 'static) {
        let (answer, answers) = channel();
        self.answer = Some(answer);
        self.shared.busy.store(true, Ordering::Relaxed);
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        std::thread::spawn(move || {
            let front = Attended::new(events.clone(), answers, allowed);
            let ended = catch_unwind(AssertUnwindSafe(|| run(&shared.here, &front))).unwrap_or_else(|_| {
                let words = "the run ended in a panic, which is a mistake in Ramet; the page Troubleshooting and the \
                    kernel's log may say more";
                Err(Stop { words: words.to_owned(), exit: Exit::Failed, then: None })
            });
            shared.busy.store(false, Ordering::Relaxed);
            let _ = events.send(Event::Ended(ended));
        });
    }
}

fn look(here: &Here) -> Vec<job::Found> {
    here.stock.look(here.medium().as_deref())
}

fn send_pin(shared: &Shared, pin: String) -> Result<ramet_wire::agents::PinAccepted, String> {
    let told = |error: &(dyn std::error::Error + 'static)| crate::cli::show::chain(error);
    let url = shared.settings.server.as_deref().unwrap_or_default();
    let nonce = shared.here.nonce().map_err(|error| told(&error))?;
    let desk = Desk::connect(url, shared.key(), &|_| false, Shared::quick()).map_err(|error| told(&error))?;
    desk.pin(&EnterPin { nonce, pin }).map_err(|error| told(&error))
}

fn list(shared: &Shared, from: Source, token: Option<String>) -> Result<Vec<ramet_wire::api::ImageInfo>, String> {
    let settings = &shared.settings;
    match from {
        Source::Media => {
            Medium::find(&shared.here, settings.key).and_then(|medium| medium.images()).map_err(|stop| stop.words)
        }
        Source::Server => {
            let url = settings.server.clone().unwrap_or_default();
            let token = token.unwrap_or_default();
            let (limits, leash) = (Shared::quick(), Leash::default());
            let address = Address { url, key: shared.key(), token, limits, leash };
            images(&address).map_err(|error| crate::cli::show::chain(&error))
        }
    }
}

/// A run that a person looks at.
struct Attended {
    events: Sender<Event>,
    answers: Mutex<Receiver<bool>>,
    allowed: bool,
    clock: Mutex<Clock>,
}

struct Clock {
    start: Instant,
    step: String,
    since: Instant,
    told: Option<Instant>,
}

impl Attended {
    fn new(events: Sender<Event>, answers: Receiver<bool>, allowed: bool) -> Self {
        let now = Instant::now();
        let clock = Clock { start: now, step: String::new(), since: now, told: None };
        Self { events, answers: Mutex::new(answers), allowed, clock: Mutex::new(clock) }
    }
}

impl Front for Attended {
    fn say(&self, line: &str) {
        let _ = self.events.send(Event::Say(line.to_owned()));
    }

    fn progress(&self, now: &Snapshot) {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = clock.step != now.step;
        if fresh {
            clock.step.clone_from(&now.step);
            clock.since = Instant::now();
        }
        if fresh || clock.told.is_none_or(|told| told.elapsed() >= FIGURES) {
            clock.told = Some(Instant::now());
            let (step, all) = (clock.since.elapsed().as_secs_f64(), clock.start.elapsed().as_secs_f64());
            let _ = self.events.send(Event::Progress(now.clone(), step, all));
        }
    }

    fn confirm(&self, plan: &Plan) -> bool {
        if self.allowed {
            let open = plan.boot.iter().filter(|boot| boot.answer != Answer::Yes);
            open.for_each(|boot| self.say(&format!("will it boot? {boot}")));
            return true;
        }
        let _ = self.events.send(Event::Plan(plan.clone()));
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap_or(false)
    }
}
