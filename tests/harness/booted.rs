//! The agent as a booted machine runs it, without the machine.
//!
//! In: arguments `clone.*` as a file, disk-image files. Out: its run folder, and with a menu the screen that tmux shows.
//! Promise: tmux is the terminal: what it shows after the agent's bytes is what a person sees. It is gone with its value.

use crate::agent::{Outcome, Running};
use crate::bins::bins;
use crate::tool::{arg, attempt, run, scratch};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a screen is waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// A run folder, and the settings of one boot.
#[derive(Debug)]
pub struct Boot {
    folder: tempfile::TempDir,
}

impl Boot {
    /// Settings as `ramet.conf` has them.
    #[must_use]
    pub fn with(conf: &str) -> Self {
        let folder = scratch();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::fs::write(folder.path().join("ramet.conf"), conf).unwrap();
        Self { folder }
    }

    /// The same boot with other settings.
    pub fn set(&self, conf: &str) {
        std::fs::write(self.conf(), conf).unwrap();
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("ramet.conf")
    }

    /// The run folder: `/run/ramet` of a booted machine.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A file of the run folder, without its line's end; empty when it is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.run().join(name)).unwrap_or_default().trim_end().to_owned()
    }

    /// The command, with these disks to choose from.
    #[must_use]
    pub fn command(&self, disks: &[&Path]) -> Command {
        let mut command = Command::new(&bins().agent);
        command.arg("menu").args(disks).arg("--conf").arg(self.conf()).env("RAMET_RUN", self.run());
        command
    }

    /// Starts it with nobody at its keyboard.
    #[must_use]
    pub fn start(&self, disks: &[&Path]) -> Running {
        Running::new(&mut self.command(disks))
    }

    /// Runs it with nobody at its keyboard to its end.
    #[must_use]
    pub fn end(&self, disks: &[&Path]) -> Outcome {
        self.start(disks).wait()
    }

    /// Starts it in a terminal of 80 × 24.
    #[must_use]
    pub fn screen(&self, disks: &[&Path]) -> Screen {
        let command = self.command(disks);
        let mut words = vec!["env".to_owned()];
        let env =
            command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
        words.extend(env);
        words.push(command.get_program().to_str().unwrap().to_owned());
        words.extend(command.get_args().map(|arg| arg.to_str().unwrap().to_owned()));
        let line: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        Screen::start(&format!("{}; echo status=$?; exec sleep 600", line.join(" ")))
    }
}

/// A terminal.
#[derive(Debug)]
pub struct Screen {
    folder: tempfile::TempDir,
}

impl Screen {
    fn start(line: &str) -> Self {
        let screen = Self { folder: scratch() };
        let conf = screen.folder.path().join("tmux.conf");
        std::fs::write(&conf, "set -g status off\nset -sg escape-time 0\nset -g default-terminal vt100\n").unwrap();
        let socket = screen.socket();
        run("tmux", &["-f", arg(&conf), "-S", arg(&socket), "new-session", "-d", "-x", "80", "-y", "24", line]);
        screen
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    fn tmux(&self, args: &[&str]) -> String {
        run("tmux", &[&["-S", arg(&self.socket())], args].concat())
    }

    /// What a person sees.
    #[must_use]
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, as tmux names them (`Down`, `Enter`, `Escape`), or single characters.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types text and Enter.
    pub fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press(&["Enter"]);
    }

    /// Waits until the screen has `words`, and returns it.
    ///
    /// # Panics
    /// With the screen when they do not appear.
    #[track_caller]
    pub fn waits_for(&self, words: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if text.contains(words) {
                return text;
            }
            assert!(start.elapsed() < LIMIT, "{words:?} does not appear:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = attempt("tmux", &["-S", arg(&self.socket()), "kill-server"]);
    }
}
