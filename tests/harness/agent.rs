//! The agent as an operator starts it.
//!
//! In: a door to a store and a command line. Out: exit status, what was printed, and the most memory it took.
//! Promise: a process that does not end in time is killed and fails the test; keys lie in a folder of their own.

use crate::bins::bins;
use crate::server::Server;
use crate::tool::{arg, scratch};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that a run may take.
const LIMIT: Duration = Duration::from_secs(240);

/// An agent with its door.
#[derive(Debug)]
pub struct Agent {
    home: tempfile::TempDir,
    door: Vec<String>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit status; -1 when a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Most resident memory, in KiB, as far as it was seen.
    pub peak_kib: u64,
}

/// A program under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: tempfile::TempDir,
    what: String,
    peak_kib: u64,
}

impl Agent {
    /// An agent on a folder store.
    #[must_use]
    pub fn on_folder(store: &Path) -> Self {
        Self { home: scratch(), door: vec!["--store".to_owned(), arg(store).to_owned()] }
    }

    /// An agent of `server`, with a token for everything an agent does.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        Self::through(server, server.url())
    }

    /// The same by another way, such as a proxy.
    #[must_use]
    pub fn through(server: &Server, url: &str) -> Self {
        Self::with(url, &server.key(), &server.token(&["--scope", "capture,restore"]))
    }

    /// An agent with these three.
    #[must_use]
    pub fn with(url: &str, key: &str, token: &str) -> Self {
        let home = scratch();
        let file = home.path().join("token");
        fs::write(&file, token).unwrap();
        let door = ["--server", url, "--key", key, "--token-file", arg(&file)].map(str::to_owned).to_vec();
        Self { home, door }
    }

    /// Where it keeps keys.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts `ramet-agent capture`.
    #[must_use]
    pub fn start_capture(&self, disks: &[&Path], image: &str, more: &[&str]) -> Running {
        self.start("capture", disks, image, more)
    }

    /// Starts `ramet-agent restore --yes`.
    #[must_use]
    pub fn start_restore(&self, disks: &[&Path], image: &str, more: &[&str]) -> Running {
        let mut all = vec!["--yes"];
        all.extend(more);
        self.start("restore", disks, image, &all)
    }

    /// Captures with `--json`.
    #[must_use]
    pub fn capture(&self, disks: &[&Path], image: &str, more: &[&str]) -> Outcome {
        self.start_capture(disks, image, &[more, &["--json"]].concat()).wait()
    }

    /// Restores with `--yes --json`.
    #[must_use]
    pub fn restore(&self, disks: &[&Path], image: &str, more: &[&str]) -> Outcome {
        self.start_restore(disks, image, &[more, &["--json"]].concat()).wait()
    }

    /// The exit status of a restore whose both outputs are pipes that nobody reads.
    #[must_use]
    pub fn restore_unheard(&self, disk: &Path, image: &str) -> Option<i32> {
        let unread = || Stdio::from(std::io::pipe().unwrap().1);
        let mut command = Command::new(&bins().agent);
        command.arg("restore").arg(disk).args(["--image", image, "--yes"]).args(&self.door);
        command.env("XDG_CONFIG_HOME", self.home.path()).stdout(unread()).stderr(unread());
        command.status().unwrap().code()
    }

    /// Any command, without the door.
    #[must_use]
    pub fn plain(args: &[&str]) -> Outcome {
        Running::new(Command::new(&bins().agent).args(args)).wait()
    }

    fn start(&self, verb: &str, disks: &[&Path], image: &str, more: &[&str]) -> Running {
        let mut command = Command::new(&bins().agent);
        command.arg(verb).args(disks).args(["--image", image]).args(&self.door).args(more);
        Running::new(command.env("XDG_CONFIG_HOME", self.home.path()))
    }
}

impl Running {
    /// Starts `command` with its output in files, so that nobody waits for a reader.
    #[must_use]
    pub fn new(command: &mut Command) -> Self {
        let folder = scratch();
        let file = |name: &str| File::create_new(folder.path().join(name)).unwrap();
        let what = format!("{command:?}");
        for name in ["RAMET_SERVER", "RAMET_TOKEN", "RAMET_KEY"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {what}: {error}"));
        Self { child, folder, what, peak_kib: 0 }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("stderr")).unwrap()).into_owned()
    }

    /// It has ended.
    pub fn has_ended(&mut self) -> bool {
        self.look();
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn wait(mut self) -> Outcome {
        let start = Instant::now();
        while !self.has_ended() {
            if start.elapsed() > LIMIT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{} did not end in {LIMIT:?}: {}", self.what, self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.outcome()
    }

    /// Waits until `reached` or until it has ended; `true` when it still runs.
    #[must_use]
    pub fn runs_until(&mut self, mut reached: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while !self.has_ended() {
            if reached() {
                return true;
            }
            assert!(start.elapsed() < LIMIT, "{} does not reach what was waited for: {}", self.what, self.stderr());
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// `kill -9`.
    #[must_use]
    pub fn kill(mut self) -> Outcome {
        let _ = self.child.kill();
        self.outcome()
    }

    fn outcome(&mut self) -> Outcome {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        Outcome { status, stdout: self.stdout(), stderr: self.stderr(), peak_kib: self.peak_kib }
    }

    fn look(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// It ended with `status`.
    ///
    /// # Panics
    /// With what it printed when it did not.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }

    /// It was done: status 0.
    #[track_caller]
    pub fn done(self) -> Self {
        self.expect_status(0)
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// A number of its JSON.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    #[track_caller]
    pub fn figure(&self, name: &str) -> u64 {
        let json = self.json();
        json[name].as_u64().unwrap_or_else(|| panic!("there is no figure {name} in {json:#}"))
    }

    /// Its standard error has all of `words`.
    ///
    /// # Panics
    /// When one is missing.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}
