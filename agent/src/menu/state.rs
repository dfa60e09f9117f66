//! What the menu knows and which page it shows.
//!
//! In: nothing: values only. Out: the state that `turn` changes and `draw` shows.
//! Promise: no clock, no file, no network: a list of events always ends in the same screen.

use crate::job::{Found, Stop};
use crate::progress::Snapshot;
use crate::write::Plan;
use ramet_wire::agents::{PinAccepted, Work};
use ramet_wire::api::{ImageInfo, Scope};
use ramet_wire::settings::{From as Source, Then};
use ramet_wire::{Fingerprint, ImageName, ImageRef};
use std::path::PathBuf;

use super::keys::Key;

/// The main page's entries.
pub const ENTRIES: [&str; 7] =
    ["Capture this machine", "Restore an image", "Inspect", "Show hardware", "Troubleshooting", "Reboot", "Power off"];

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The way to the server.
    Server(Server),
    /// An operator approved this machine.
    Work(Work),
    /// What became of a PIN.
    Pin(Result<PinAccepted, String>),
    /// The images that may be restored.
    Images(Result<Vec<ImageInfo>, String>),
    /// The disks there are.
    Disks(Vec<Found>),
    /// A page of text is ready.
    Text(Vec<String>),
    /// A run has something to say.
    Say(String),
    /// A restore shows its plan and waits.
    Plan(Plan),
    /// How far a run is: counters, seconds in this step, seconds of the run.
    Progress(Snapshot, f64, f64),
    /// A run ended.
    Ended(Result<String, Stop>),
    /// Seconds until the countdown ends.
    Left(u64),
}

/// Something shall be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The identity shown is the right one, or not.
    Trust(bool),
    /// A PIN was typed.
    SendPin(String),
    /// Which images are there?
    ListImages(Source),
    /// Which disks are there?
    LookAtDisks,
    /// A page of text.
    Gather(Topic),
    /// Capture these disks.
    Capture(ImageName, Vec<PathBuf>),
    /// Restore onto these disks.
    Restore(ImageRef, Source, Vec<PathBuf>),
    /// What the operator approved.
    Work(Work),
    /// The plan is confirmed, or not.
    Answer(bool),
    /// Nobody waits for the countdown any more.
    Stay,
    /// Everything is drawn anew.
    Redraw,
    /// The menu ends.
    Leave(Then),
}

/// The way to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// None is named.
    #[default]
    Unnamed,
    /// It is being reached.
    Connecting,
    /// It shows this identity, and nobody has pinned one.
    Unknown(Fingerprint),
    /// A person said that it is not the right one.
    Distrusted(Fingerprint),
    /// It answers.
    Reached {
        /// Its identity.
        key: Fingerprint,
        /// What an operator approves; empty until it is known.
        code: String,
        /// Its sentence; may be empty.
        message: String,
    },
    /// It does not answer, or is another one.
    Trouble(String),
}

/// Pages of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What is on the disks.
    Inspect,
    /// What this machine is.
    Hardware,
    /// Links, leases, disks, kernel messages.
    Trouble,
}

/// What a person came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Disk to store.
    Capture,
    /// Store to disk.
    Restore,
}

/// Which disks are being chosen, for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// For a capture with this name.
    Capture(ImageName),
    /// For an image from there, with so many disks.
    Restore(ImageRef, Source, u32),
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub struct Under {
    /// `Restoring web@…`
    pub title: String,
    /// Counters.
    pub now: Snapshot,
    /// Seconds in this step.
    pub step_seconds: f64,
    /// Seconds of the run.
    pub seconds: f64,
    /// What it said.
    pub said: Vec<String>,
}

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// The entries.
    Home,
    /// Is this the right server?
    Trust(Fingerprint),
    /// How an operator lets this machine in, and where a PIN is typed.
    Access {
        /// What for.
        purpose: Purpose,
        /// Typed so far.
        pin: String,
        /// What the server said of the last one.
        said: String,
    },
    /// The name of a new image.
    Name {
        /// Typed so far.
        name: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// From the medium or from the server.
    Sources,
    /// Which image.
    Images {
        /// Where from.
        from: Source,
        /// None until they are known.
        list: Option<Vec<ImageInfo>>,
    },
    /// Which disks.
    Disks {
        /// What for.
        aim: Aim,
        /// None until they are known.
        list: Option<Vec<Found>>,
        /// Chosen so far, in the order of the image's disks.
        chosen: Vec<usize>,
    },
    /// What is about to be done.
    Plan {
        /// As text.
        lines: Vec<String>,
        /// Typed so far.
        typed: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// A run is under way.
    Running,
    /// A run has ended.
    Ended {
        /// Its sentence.
        words: String,
        /// It did what it should.
        good: bool,
        /// What follows after so many seconds.
        then: Option<(Then, u64)>,
    },
    /// Text to scroll.
    Text {
        /// Which.
        topic: Topic,
        /// None until it is there.
        lines: Option<Vec<String>>,
    },
    /// Really?
    Sure(Then),
    /// Something that can not be done, and why.
    Notice(String),
}

/// Everything the menu knows.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What is shown.
    pub page: Page,
    /// The entry, line or disk that the bar is on.
    pub at: usize,
    /// The first column of text that is shown.
    pub left: usize,
    /// For the first line of the screen.
    pub machine: String,
    /// `https://HOST:PORT`
    pub url: Option<String>,
    /// The way to it.
    pub server: Server,
    /// What may be done there without asking anybody again.
    pub rights: Vec<Scope>,
    /// The boot medium carries a store.
    pub medium: bool,
    /// From `clone.image`.
    pub name: String,
    /// Serial numbers of the disks that would be erased.
    pub serials: Vec<String>,
    /// The run under way.
    pub run: Option<Under>,
    /// What follows a run that an operator approved.
    pub then: Option<Option<Then>>,
    /// `clone.then`, where it was given.
    pub told: Option<Then>,
    /// Seconds before it follows.
    pub patience: u64,
    /// Ctrl-C leaves: there is a system around.
    pub guest: bool,
}

impl State {
    /// The main page of a machine that is called `machine`.
    #[must_use]
    pub fn new(machine: String, url: Option<String>) -> Self {
        let server = if url.is_some() { Server::Connecting } else { Server::Unnamed };
        Self {
            page: Page::Home,
            at: 0,
            left: 0,
            machine,
            url,
            server,
            rights: Vec::new(),
            medium: false,
            name: String::new(),
            serials: Vec::new(),
            run: None,
            then: None,
            told: None,
            patience: 10,
            guest: false,
        }
    }

    /// Shows another page from its start.
    pub fn go(&mut self, page: Page) {
        (self.page, self.at, self.left) = (page, 0, 0);
    }

    /// A run is under way, or waits for a person to confirm it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.run.is_some()
    }
}
