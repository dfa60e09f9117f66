//! A network of its own, in a namespace: a bridge, taps for virtual machines, dnsmasq.
//!
//! In: nothing of this machine's network. Out: 10.77.0.1/24 on a bridge, and what is started beside it.
//! Promise: nothing leaves the namespace; it goes with its value, and so does every process that was started in it.

use crate::tool::{arg, run, scratch};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The host's address on the bridge.
pub const HOST: &str = "10.77.0.1";
/// The bridge.
pub const BRIDGE: &str = "br0";
/// UDP ports of both ends of [`Net::trunk`]: the bridge's and the machine's.
pub const TRUNK: (u16, u16) = (7001, 7002);
/// The prefix that the configuration of `ramet netboot dnsmasq` advertises.
const PREFIX: &str = "fd52:616d:6574::1/64";

/// A namespace with a bridge.
#[derive(Debug)]
pub struct Net {
    name: String,
    folder: tempfile::TempDir,
    taps: AtomicU32,
}

/// A process in the background; it ends with its value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Net {
    /// A new one.
    ///
    /// # Panics
    /// Without root, or where the kernel has no namespaces or bridges.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ramet-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let net = Self { name, folder: scratch(), taps: AtomicU32::new(0) };
        net.ip(&["link", "set", "lo", "up"]);
        net.ip(&["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"]);
        net.ip(&["addr", "add", &format!("{HOST}/24"), "dev", BRIDGE]);
        net.ip(&["addr", "add", PREFIX, "dev", BRIDGE, "nodad"]);
        net.ip(&["link", "set", BRIDGE, "up"]);
        net
    }

    /// The namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub fn ip(&self, args: &[&str]) -> String {
        run("ip", &[&["-n", &self.name], args].concat())
    }

    /// A tap on the bridge, for one machine.
    #[must_use]
    pub fn tap(&self) -> String {
        let tap = format!("t{}", self.taps.fetch_add(1, Ordering::Relaxed));
        self.ip(&["tuntap", "add", &tap, "mode", "tap"]);
        self.ip(&["link", "set", &tap, "master", BRIDGE, "up"]);
        tap
    }

    /// A port of the bridge that carries one VLAN tagged and nothing else; a machine is behind it at [`TRUNK`].
    /// This kernel may have neither VLAN devices nor a bridge that knows them.
    pub fn trunk(&self, vlan: u16) -> Daemon {
        let (own, peer) = TRUNK;
        let mut command = self.command("python3");
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/harness/trunk.py"), "trunk0", &vlan.to_string()]);
        command.args([&own.to_string(), &peer.to_string()]);
        let daemon = self.start("trunk", &mut command);
        let _ = daemon.expect("ready", Duration::from_secs(10));
        self.ip(&["link", "set", "trunk0", "master", BRIDGE, "up"]);
        daemon
    }

    /// `program`, to be started inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// A folder that lives as long as this.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `command` in the background.
    pub fn start(&self, name: &str, command: &mut Command) -> Daemon {
        let log = self.folder().join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Daemon { child, log }
    }

    /// dnsmasq with this configuration, checked first by `dnsmasq --test`.
    pub fn dnsmasq(&self, configuration: &str) -> Daemon {
        let file = self.folder().join("dnsmasq.conf");
        let leases = self.folder().join("leases");
        std::fs::write(&file, format!("{configuration}\ndhcp-leasefile={}\n", leases.display())).unwrap();
        let test = run("ip", &["netns", "exec", &self.name, "dnsmasq", "--test", "-C", arg(&file)]);
        assert!(test.contains("syntax check OK"), "{test}");
        let mut command = self.command("dnsmasq");
        command.args(["-k", "-C", arg(&file), "--log-facility=-", "--pid-file=", "--user=root"]);
        let daemon = self.start("dnsmasq", &mut command);
        daemon.expect("started", Duration::from_secs(10));
        daemon
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

impl Daemon {
    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it says `words`.
    ///
    /// # Panics
    /// When it does not, with what it said instead.
    pub fn expect(&self, words: &str, within: Duration) -> String {
        let until = Instant::now() + within;
        loop {
            let log = self.log();
            if log.contains(words) {
                return log;
            }
            assert!(Instant::now() < until, "{words:?} was not said: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
