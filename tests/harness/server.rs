//! A server as an operator starts it.
//!
//! In: a state folder. Out: a running `ramet serve`, and the operator's commands on it.
//! Promise: it is reachable when it is handed out, and gone with its value.

use crate::agent::{Outcome, Running};
use crate::bins::bins;
use crate::proxy::Proxy;
use crate::tool::{arg, scratch};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A server and its state folder.
#[derive(Debug)]
pub struct Server {
    state: PathBuf,
    url: String,
    more: Vec<String>,
    process: Option<Running>,
    // Dropped after the process has ended.
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// A server on a new state folder and a free port.
    #[must_use]
    pub fn start() -> Self {
        let folder = scratch();
        let state = folder.path().join("state");
        let mut server = Self { _folder: Some(folder), state, process: None, url: String::new(), more: Vec::new() };
        server.run("127.0.0.1:0");
        server
    }

    /// A server with further options that also serves boot files over plain HTTP; with their address.
    #[must_use]
    pub fn with_boot_files(more: &[&str]) -> (Self, String) {
        let boot = format!("127.0.0.1:{}", free_port());
        let folder = scratch();
        let state = folder.path().join("state");
        let more = ["--boot-listen", &boot].iter().chain(more).map(|word| (*word).to_owned()).collect();
        let mut server = Self { _folder: Some(folder), state, process: None, url: String::new(), more };
        server.run("127.0.0.1:0");
        (server, boot)
    }

    /// A server that guests of QEMU's user network reach as [`Server::guest_url`]; from here it takes captures only,
    /// because it names itself by that URL.
    #[must_use]
    pub fn for_guests() -> Self {
        let port = free_port();
        Self::named(port, port)
    }

    /// The same, but its guests come to it through a proxy, and are sent there for all that they fetch.
    #[must_use]
    pub fn for_guests_behind_a_proxy() -> (Self, Proxy) {
        let port = free_port();
        let proxy = Proxy::to(&format!("127.0.0.1:{port}"));
        let front = proxy.url().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
        (Self::named(port, front), proxy)
    }

    /// Listens on `port`; guests know it by `front`.
    fn named(port: u16, front: u16) -> Self {
        let folder = scratch();
        let state = folder.path().join("state");
        let more = ["--url".to_owned(), format!("https://10.0.2.2:{front}")].to_vec();
        let mut server = Self { _folder: Some(folder), state, process: None, url: String::new(), more };
        server.run(&format!("127.0.0.1:{port}"));
        server.url = format!("https://127.0.0.1:{port}");
        server
    }

    /// `https://10.0.2.2:PORT`
    #[must_use]
    pub fn guest_url(&self) -> String {
        self.more.get(1).cloned().unwrap_or_default()
    }

    /// A server on this state folder, which stays.
    #[must_use]
    pub fn on(state: &Path) -> Self {
        let mut server =
            Self { _folder: None, state: state.to_owned(), process: None, url: String::new(), more: Vec::new() };
        server.run("127.0.0.1:0");
        server
    }

    /// Starts it again where it was reachable before.
    pub fn start_again(&mut self) {
        let listen = self.address().to_owned();
        self.run(&listen);
    }

    fn run(&mut self, listen: &str) {
        let mut command = Command::new(&bins().server);
        command.args(["serve", "--state", arg(&self.state), "--listen", listen]).args(&self.more);
        let mut process = Running::new(&mut command);
        let start = Instant::now();
        self.url = loop {
            let said = process.stdout();
            if let Some(url) = said.lines().find_map(|line| line.strip_prefix("listening on ")) {
                break url.to_owned();
            }
            assert!(!process.has_ended(), "the server ended: {said}{}", process.stderr());
            assert!(start.elapsed() < Duration::from_secs(60), "the server is not listening: {}", process.stderr());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.take().map(Running::kill);
    }

    /// `https://HOST:PORT`
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `HOST:PORT`
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Most resident memory, in KiB.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Running::stderr).unwrap_or_default()
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The store in it.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    /// Runs an operator's command with `--state`.
    #[must_use]
    pub fn ramet(&self, args: &[&str]) -> Outcome {
        operator(&[args, &["--state", arg(&self.state)]].concat())
    }

    /// The fingerprint.
    #[must_use]
    pub fn key(&self) -> String {
        self.ramet(&["key"]).done().stdout.trim().to_owned()
    }

    /// A new token.
    #[must_use]
    pub fn token(&self, args: &[&str]) -> String {
        self.ramet(&[&["token", "add"], args].concat()).done().stdout.trim().to_owned()
    }
}

/// A port of 127.0.0.1 that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs any command of `ramet`.
#[must_use]
pub fn operator(args: &[&str]) -> Outcome {
    Running::new(Command::new(&bins().server).args(args)).wait()
}
