//! A worker that nobody looks at: lines on the console, and the server's orders.
//!
//! In: settings, orders. Out: one run, and a line now and then.
//! Promise: nothing is trusted without a pinned key; nothing is erased that neither a job nor the boot line asked for.

use super::ending::Stop;
use super::hello::{hello, renew};
use super::here::Here;
use super::medium::Medium;
use super::runs::{self, ASKING, CaptureOrder, Front, Origin, RestoreOrder, Which, limits};
use super::session::in_job;
use crate::cli::Exit;
use crate::cli::show::describe;
use crate::hardware::{cards::cards, lldp::INTERVAL, tree::Tree};
use crate::progress::Snapshot;
use crate::transfer::agents::Desk;
use crate::transfer::client::Leash;
use crate::transfer::http::Address;
use crate::write::Plan;
use ramet_wire::adapt::Adapt;
use ramet_wire::agents::{OrderState, Work};
use ramet_wire::api::Action;
use ramet_wire::hardware::CARDS_MAX;
use ramet_wire::settings::{From as Source, Mode, Settings, Then, disks};
use ramet_wire::{Fingerprint, ImageRef};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of progress: a serial line and a VGA console keep up with that.
const LINE: Duration = Duration::from_secs(5);
/// The longest pause that a server can ask for.
const POLL_MAX: u64 = 60;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// A sentence.
    pub words: String,
    /// What follows, where whoever gave the order said so.
    pub then: Option<Then>,
}

/// Lines on the console, now and then.
pub struct Lines<'a> {
    here: &'a Here,
    allowed: bool,
    last: Mutex<Last>,
}

struct Last {
    step: String,
    since: Instant,
    shown: Instant,
}

impl std::fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl<'a> Lines<'a> {
    /// Lines on the consoles of `here`. With `allowed`, a plan is carried out.
    #[must_use]
    pub fn new(here: &'a Here, allowed: bool) -> Self {
        let now = Instant::now();
        Self { here, allowed, last: Mutex::new(Last { step: String::new(), since: now, shown: now }) }
    }
}

impl Front for Lines<'_> {
    fn say(&self, line: &str) {
        self.here.line(line);
    }

    fn progress(&self, now: &Snapshot) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.step != now.step {
            last.step.clone_from(&now.step);
            last.since = Instant::now();
        }
        if last.shown.elapsed() >= LINE && now.step != ASKING {
            last.shown = Instant::now();
            self.here.line(&describe(now, last.since.elapsed()));
        }
    }

    fn confirm(&self, plan: &Plan) -> bool {
        plan.to_string().lines().for_each(|line| self.here.line(line));
        self.allowed
    }
}

/// What the boot line must say before anything is begun.
struct Wanted<'a> {
    server: &'a str,
    key: Fingerprint,
}

/// `clone.mode` capture, restore or job.
///
/// # Errors
/// [`Stop`].
pub fn run(settings: &Settings, here: &Here) -> Result<Done, Stop> {
    if settings.mode == Mode::Restore && settings.source == Source::Media {
        return from_medium(settings, here);
    }
    let wanted = wanted(settings)?;
    match &settings.token {
        Some(token) if settings.mode != Mode::Job => by_hand(settings, &wanted, token, here),
        _ => by_orders(settings, &wanted, here),
    }
}

fn wanted(settings: &Settings) -> Result<Wanted<'_>, Stop> {
    let missing = |name: &str, why: &str| {
        let mode = format!("{:?}", settings.mode).to_lowercase();
        Stop::refused(format!("clone.mode={mode} needs {name}: {why}; add it to the boot line or ramet.conf"))
    };
    let server =
        settings.server.as_deref().ok_or_else(|| missing("clone.server=https://HOST:PORT", "no server is named"))?;
    let why = "an agent that nobody watches trusts no server by its word, `ramet key` prints it";
    let key = settings.key.ok_or_else(|| missing("clone.key=sha256:...", why))?;
    Ok(Wanted { server, key })
}

fn confirmed(settings: &Settings) -> Result<(), Stop> {
    let why =
        "an unattended restore that no job asked for needs clone.confirm=yes on the boot line; nothing was written";
    settings.confirm.then_some(()).ok_or_else(|| Stop::refused(why))
}

fn from_medium(settings: &Settings, here: &Here) -> Result<Done, Stop> {
    confirmed(settings)?;
    let medium = Medium::find(here, settings.key)?;
    let image = medium.image(settings.image.as_ref())?;
    let order = RestoreOrder {
        image,
        from: Origin::Medium(medium),
        disks: Which::Choice(settings.disk.clone()),
        blank_only: false,
        adapt: Adapt::default(),
        ignore_boot_check: settings.ignore_boot_check,
        timeouts: settings.timeouts,
    };
    let words = runs::restore(&order, here, &Lines::new(here, true))?;
    Ok(Done { words, then: None })
}

/// A token stands on the boot line.
fn by_hand(settings: &Settings, wanted: &Wanted<'_>, token: &str, here: &Here) -> Result<Done, Stop> {
    let needed =
        || Stop::refused("clone.image is missing: a token alone says not which image; add it to the boot line");
    let image = settings.image.clone().ok_or_else(needed)?;
    let action = if settings.mode == Mode::Capture { Action::Capture } else { Action::Restore };
    if action == Action::Restore {
        confirmed(settings)?;
    }
    let token = token.to_owned();
    let work =
        Work { action, image, token, then: None, disk: String::new(), job: None, blank_only: false, adapt: None };
    let which = Which::Choice(settings.disk.clone());
    let words = carry_out(settings, wanted, &work, which, Leash::default(), here)?;
    Ok(Done { words, then: None })
}

/// The server says what to do.
fn by_orders(settings: &Settings, wanted: &Wanted<'_>, here: &Here) -> Result<Done, Stop> {
    let (desk, work) = match orders(settings, wanted, here)? {
        Ok(ordered) => ordered,
        Err(message) => return Ok(Done { words: format!("nothing to do: {message}"), then: None }),
    };
    let words = in_job(desk, &work, settings.then, here, |leash| {
        agrees(settings, &work)?;
        let which =
            if work.disk.is_empty() { settings.disk.clone() } else { disks(&work.disk).map_err(Stop::refused)? };
        carry_out(settings, wanted, &work, Which::Choice(which), leash, here)
    })?;
    Ok(Done { words, then: work.then })
}

/// A boot line that says more than `job` is a limit for the server.
fn agrees(settings: &Settings, work: &Work) -> Result<(), Stop> {
    let action = match settings.mode {
        Mode::Capture => Some(Action::Capture),
        Mode::Restore => Some(Action::Restore),
        _ => None,
    };
    let image = settings.image.as_ref();
    let same =
        |wanted: &ImageRef| wanted.name == work.image.name && (wanted.id.is_none() || wanted.id == work.image.id);
    if action.is_some_and(|action| action != work.action) || image.is_some_and(|wanted| !same(wanted)) {
        let (asked, ordered) = (settings.mode, work.action);
        let name = image.map(|image| format!(" of {image}")).unwrap_or_default();
        return Err(Stop::refused(format!(
            "the boot line says {asked:?}{name} and the server orders {ordered:?} of {}; correct one of the two",
            work.image
        )));
    }
    Ok(())
}

/// Asks until there is work, or the server's words why there is none. Shows the code once.
fn orders(settings: &Settings, wanted: &Wanted<'_>, here: &Here) -> Result<Result<(Desk, Work), String>, Stop> {
    here.meter.begin("asking for work", 0);
    let doing = format!("asking {} for work", wanted.server);
    let failed = |error: &(dyn std::error::Error + 'static)| Stop::of(Exit::Failed, &doing, error, &here.network());
    let limits = limits(&settings.timeouts);
    let desk = Desk::connect(wanted.server, Some(wanted.key), &|_| false, limits).map_err(|error| failed(&error))?;
    let found = here.stock.look(here.medium().as_deref());
    let mut hello = hello(here, settings.mode, &found).map_err(|error| failed(&error))?;
    let (mut shown, mut told) = (String::new(), None);
    loop {
        let orders = desk.hello(&hello).map_err(|error| failed(&error))?;
        match orders.state {
            OrderState::Go => {
                let work = orders
                    .work
                    .ok_or_else(|| Stop::refused(format!("{doing}: it says go and not what; update the server")))?;
                return Ok(Ok((desk, work)));
            }
            OrderState::Nothing if orders.message.is_empty() => {
                return Ok(Err("the server has no work for this machine".to_owned()));
            }
            OrderState::Nothing => return Ok(Err(orders.message)),
            OrderState::Claimed if !orders.message.is_empty() => {
                return Err(Stop::refused(format!("{doing}: {}; then start this one again", orders.message)));
            }
            OrderState::Claimed => {
                let why = "another boot that says it is this machine has taken its work; `ramet agent ls` on the server shows both";
                return Err(Stop::refused(format!("{doing}: {why}")));
            }
            OrderState::Waiting | OrderState::Unknown => {}
        }
        let text = waiting_for(&orders.code, &orders.message);
        if text != shown {
            here.line(&text);
            shown = text;
        }
        let _wait = here.pulse.waiting();
        std::thread::sleep(Duration::from_secs(orders.poll.clamp(1, POLL_MAX)));
        renew(&mut hello, &mut told, here);
    }
}

/// `XXXX-XXXX`
#[must_use]
pub fn code(code: &str) -> String {
    match code.split_at_checked(4) {
        Some((first, last)) if !last.is_empty() => format!("{first}-{last}"),
        _ => code.to_owned(),
    }
}

fn waiting_for(code: &str, message: &str) -> String {
    let code = self::code(code);
    let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
    format!(
        "waiting for the server's word{message}; on the server: ramet agent approve {code} --capture NAME | --restore IMAGE"
    )
}

fn carry_out(
    settings: &Settings,
    wanted: &Wanted<'_>,
    work: &Work,
    which: Which,
    leash: Leash,
    here: &Here,
) -> Result<String, Stop> {
    let (image, blank_only) = (&work.image, work.blank_only);
    let timeouts = settings.timeouts;
    let limits = limits(&timeouts);
    let server =
        Address { url: wanted.server.to_owned(), key: Some(wanted.key), token: work.token.clone(), limits, leash };
    let lines = Lines::new(here, true);
    match work.action {
        Action::Capture if image.id.is_some() => {
            Err(Stop::refused(format!("a capture makes a new version of {}; drop @ and what follows", image.name)))
        }
        Action::Capture => {
            runs::capture(&CaptureOrder { name: image.name.clone(), server, disks: which, timeouts }, here, &lines)
        }
        Action::Restore => {
            let from = Origin::Server(server);
            let adapt = work.adapt.as_deref().cloned().unwrap_or_default();
            let order = RestoreOrder {
                image: image.clone(),
                from,
                disks: which,
                blank_only,
                adapt,
                // The server judged its plan, or was told not to.
                ignore_boot_check: work.job.is_some() || settings.ignore_boot_check,
                timeouts,
            };
            runs::restore(&order, here, &lines)
        }
    }
}

/// `clone.mode=inventory`: the server hears what this machine is, and so does the console.
///
/// # Errors
/// [`Stop`].
pub fn inventory(settings: &Settings, here: &Here) -> Result<Done, Stop> {
    let wanted = wanted(settings)?;
    here.meter.begin("telling the server", 0);
    let doing = format!("telling {} what this machine is", wanted.server);
    let failed = |error: &(dyn std::error::Error + 'static)| Stop::of(Exit::Failed, &doing, error, &here.network());
    hear_neighbours(here);
    let found = here.stock.look(here.medium().as_deref());
    let hello = hello(here, Mode::Inventory, &found).map_err(|error| failed(&error))?;
    found.iter().for_each(|disk| here.line(&format!("disk  {}", disk.describe())));
    hello.macs.iter().for_each(|mac| here.line(&format!("card  {mac}")));
    let limits = limits(&settings.timeouts);
    let desk = Desk::connect(wanted.server, Some(wanted.key), &|_| false, limits).map_err(|error| failed(&error))?;
    desk.hello(&hello).map_err(|error| failed(&error))?;
    let (disks, cards) = (hello.disks.len(), hello.macs.len());
    Ok(Done { words: format!("inventory of {disks} disks and {cards} cards is at {}", wanted.server), then: None })
}

/// Waits until every card with a link has a neighbour, or until one would have spoken.
fn hear_neighbours(here: &Here) {
    let Some(neighbours) = here.neighbours() else { return };
    let start = Instant::now();
    let _wait = here.pulse.waiting();
    while start.elapsed() < INTERVAL {
        let cards = cards(&Tree::of_this_machine(), Some(neighbours), CARDS_MAX);
        if cards.iter().all(|card| !card.link || card.neighbour.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::super::stock::Stock;
    use super::*;
    use crate::menu::screen::Nobody;

    fn here() -> Here {
        Here::new(None, Stock::Named(Vec::new()), Box::new(Nobody))
    }

    fn of(line: &str) -> Settings {
        Settings::of(&ramet_wire::settings::from_cmdline(line).unwrap()).unwrap()
    }

    #[test]
    fn what_is_missing_on_the_boot_line_is_named_before_anything_is_begun() {
        let key = format!("clone.key=sha256:{}", "ab".repeat(32));
        let rows = [
            ("clone.mode=restore".to_owned(), "needs clone.server"),
            ("clone.mode=restore clone.server=https://127.0.0.1:1".to_owned(), "needs clone.key"),
            (
                format!("clone.mode=restore clone.server=https://127.0.0.1:1 clone.token=t {key}"),
                "clone.image is missing",
            ),
            (
                format!("clone.mode=restore clone.server=https://127.0.0.1:1 clone.token=t clone.image=web {key}"),
                "needs clone.confirm=yes",
            ),
            (
                format!(
                    "clone.mode=capture clone.server=https://127.0.0.1:1 clone.token=t clone.image=web@0123456789abcdef {key}"
                ),
                "drop @",
            ),
            ("clone.mode=restore clone.source=media".to_owned(), "needs clone.confirm=yes"),
            ("clone.mode=restore clone.source=media clone.confirm=yes".to_owned(), "no boot medium was found"),
        ];
        for (line, words) in rows {
            let stop = run(&of(&line), &here()).unwrap_err();
            assert!(stop.words.contains(words) && stop.exit == Exit::Refused, "{line}: {stop:?}");
        }
    }

    #[test]
    fn an_order_other_than_the_boot_line_says_is_refused() {
        let work = |action, image: &str| Work {
            action,
            image: image.parse().unwrap(),
            token: "t".to_owned(),
            then: None,
            disk: String::new(),
            job: None,
            blank_only: false,
            adapt: None,
        };
        let restore = work(Action::Restore, "web@0123456789abcdef");
        assert!(agrees(&of("clone.mode=job"), &restore).is_ok());
        assert!(agrees(&of("clone.mode=restore clone.image=web"), &restore).is_ok());
        for line in [
            "clone.mode=capture",
            "clone.mode=job clone.image=db",
            "clone.mode=restore clone.image=web@00000000000000ff",
        ] {
            assert!(agrees(&of(line), &restore).unwrap_err().words.contains("correct one of the two"), "{line}");
        }
    }

    #[test]
    fn a_code_is_shown_in_two_halves() {
        assert_eq!(code("23456789"), "2345-6789");
        assert_eq!(code("23"), "23");
        assert!(waiting_for("ABCDEFGH", "").contains("ramet agent approve ABCD-EFGH"));
    }
}
