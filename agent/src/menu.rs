//! The menu: what an operator meets on the console.
//!
//! In: keys, what the server says, what a run comes to. Out: a screen of 80 columns and 24 lines, and an ending.
//! Promise: everything that works without a server works without a server; what an operator approves from afar is done
//! while nobody looks.

mod attend;
mod draw;
mod drive;
mod facts;
pub mod frame;
pub mod keys;
mod press;
mod progress;
pub mod screen;
pub mod state;
#[cfg(test)]
mod tests;
mod turn;

pub use draw::draw;
pub use turn::turn;

use crate::cli::Exit;
use crate::job::{Ending, Here};
use drive::{Hands, Shared};
use frame::Painter;
use ramet_wire::api::Scope;
use ramet_wire::settings::{Settings, Then};
use state::{Command, Event, State};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a key is waited for before the screen is looked at again.
const KEY: Duration = Duration::from_millis(100);

/// Shows the menu until somebody chose an ending, or an approved run brought one.
#[must_use]
pub fn run(settings: &Settings, here: &Arc<Here>) -> Ending {
    let (events, happened) = channel();
    let (trust, trusted) = channel();
    let shared = Arc::new(Shared {
        settings: settings.clone(),
        here: Arc::clone(here),
        busy: AtomicBool::new(false),
        key: Mutex::new(settings.key),
        done: Mutex::default(),
    });
    let hands = Hands::new(Arc::clone(&shared), events.clone(), trust);
    // Ends with the process: a connection under way can not be called off.
    std::thread::spawn(move || attend::attend(&shared, &events, &trusted));
    let mut menu =
        Menu { state: first(settings, here), hands, painter: Painter::default(), last: None, countdown: None };
    let ending = menu.watch(here, &happened);
    here.screen().write(Painter::leave());
    ending
}

fn first(settings: &Settings, here: &Here) -> State {
    let machine = crate::capture::source::this_machine();
    let names: Vec<String> = machine.vendor.into_iter().chain(machine.product).collect();
    let mut state = State::new(names.join(" "), settings.server.clone());
    state.guest = here.guest;
    state.medium = here.store().is_some();
    state.name = settings.image.as_ref().map(|image| image.name.to_string()).unwrap_or_default();
    state.patience = settings.timeouts.then.as_secs();
    state.told = settings.then;
    if settings.token.is_some() {
        state.rights = vec![Scope::Capture, Scope::Restore];
    }
    state
}

struct Menu {
    state: State,
    hands: Hands,
    painter: Painter,
    /// How the last run ended.
    last: Option<(String, Exit)>,
    /// When it is over.
    countdown: Option<Instant>,
}

impl Menu {
    fn watch(&mut self, here: &Here, happened: &Receiver<Event>) -> Ending {
        loop {
            let _wait = (!self.state.is_busy()).then(|| here.pulse.waiting());
            while let Ok(event) = happened.try_recv() {
                if let Some(ending) = self.take(event, here) {
                    return ending;
                }
            }
            if let Some(ending) = self.count_down(here) {
                return ending;
            }
            let bytes = self.painter.paint(&draw(&self.state));
            if !bytes.is_empty() {
                here.screen().write(&bytes);
            }
            let (key, closed) = {
                let mut screen = here.screen();
                let key = screen.read_key(KEY);
                (key, screen.is_closed())
            };
            if let Some(ending) = key.and_then(|key| self.take(Event::Key(key), here)) {
                return ending;
            }
            if closed && key.is_none() && !self.state.is_busy() {
                return self.leave(Then::Wait);
            }
        }
    }

    /// One event; an ending when it is the last.
    fn take(&mut self, event: Event, here: &Here) -> Option<Ending> {
        if let Event::Pin(Ok(accepted)) = &event {
            self.hands.token = Some(accepted.token.clone());
        }
        if let Event::Ended(ended) = &event {
            let (words, exit) = match ended {
                Ok(words) => (words.clone(), Exit::Done),
                Err(stop) => (stop.words.clone(), stop.exit),
            };
            // Told at once: the machine may be switched off from this page.
            Ending { words: words.clone(), exit, then: Then::Wait }.note(here);
            self.last = Some((words, exit));
        }
        for command in turn(&mut self.state, event) {
            match command {
                Command::Leave(then) => return Some(self.leave(then)),
                Command::Redraw => self.painter.forget(),
                command => self.hands.act(command),
            }
        }
        None
    }

    fn count_down(&mut self, here: &Here) -> Option<Ending> {
        let state::Page::Ended { then: Some((_, seconds)), .. } = &self.state.page else {
            self.countdown = None;
            return None;
        };
        let wait = Duration::from_secs(*seconds);
        let over = *self.countdown.get_or_insert_with(|| Instant::now() + wait);
        let left = over.saturating_duration_since(Instant::now());
        self.take(Event::Left(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)), here)
    }

    fn leave(&self, then: Then) -> Ending {
        let counted = matches!(self.state.page, state::Page::Ended { .. });
        match &self.last {
            Some((words, exit)) if counted => Ending { words: words.clone(), exit: *exit, then },
            _ => {
                let what = match then {
                    Then::Reboot => "reboot was chosen in the menu",
                    Then::Poweroff => "power off was chosen in the menu",
                    Then::Wait => "the menu was left",
                };
                Ending { words: what.to_owned(), exit: Exit::Done, then }
            }
        }
    }
}
