//! BMCs: ipmi_sim and sushy-tools as peers, with a machine behind them that really starts and stops.
//!
//! In: what the machine is (a QEMU command line, or nothing but a process) and what the BMC lies about. Out: an address.
//! Promise: the power state is that of a process; everything ends with its value; nothing listens but on loopback.

use crate::tool::{arg, run, scratch};
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The user and password of every BMC here.
pub const LOGIN: (&str, &str) = ("admin", "s3cret-bmc");

const CHASSIS: &str = include_str!("bmc/chassis");
const EMULATION: &str = include_str!("bmc/sim.emu");
const SUSHY: &str = include_str!("bmc/sushy.py");

/// A machine that a BMC switches: a folder with its state, and a script that starts it.
#[derive(Debug)]
pub struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    /// A machine that is only a process.
    #[must_use]
    pub fn process() -> Self {
        Self::new("exec sleep 100000")
    }

    /// A machine that runs `command`, a line of sh; it finds `-boot n` or `-boot c` for QEMU in `$BOOT`, and a monitor
    /// for QEMU's `-monitor` in `$MONITOR`. It must end by `exec`.
    #[must_use]
    pub fn new(command: &str) -> Self {
        let node = Self { folder: scratch() };
        let script = |name: &str, text: &str| {
            let path = node.folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("chassis", CHASSIS);
        script("start", &format!("#!/bin/sh\n{command}\n"));
        node
    }

    /// A machine of QEMU, emulated, with one card that starts from `bootfile` (a URL; this machine is 10.0.2.2 there) and
    /// one disk; its serial line is the console.
    #[must_use]
    pub fn qemu(mac: &str, bootfile: &str, disk: &Path, more: &str) -> Self {
        let card = format!("-netdev user,id=n,bootfile={bootfile} -device virtio-net-pci,netdev=n,mac={mac}");
        let disk = format!("-drive file={},format=raw,if=virtio,cache=unsafe", arg(disk));
        Self::new(&format!(
            "exec qemu-system-x86_64 -accel tcg,thread=multi -display none -serial stdio -monitor \"$MONITOR\" $BOOT \\\n  \
             {card} {disk} {more}"
        ))
    }

    /// Its folder: `calls` is what the BMC was told, `console` what the machine said.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).unwrap_or_default()
    }

    /// What the BMC told it, in order: `power 1`, `shutdown 1`, `boot pxe`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.file("calls").lines().map(str::to_owned).collect()
    }

    /// What the machine said.
    #[must_use]
    pub fn console(&self) -> String {
        self.file("console")
    }

    /// How often it was started, each time from what: `n` network, `c` disk.
    #[must_use]
    pub fn starts(&self) -> Vec<String> {
        self.file("starts").lines().map(str::to_owned).collect()
    }

    /// It runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        run(arg(&self.folder().join("chassis")), &["get", "power"]).contains("power:1")
    }

    /// Switches it without the BMC.
    pub fn set(&self, on: bool) {
        run(arg(&self.folder().join("chassis")), &["set", "power", if on { "1" } else { "0" }]);
        let _ = fs::remove_file(self.folder().join("calls"));
    }

    /// What it lies about from now on, words of: `on`, `off`, `soft` (answered OK, and nothing happens).
    pub fn lies(&self, about: &[&str]) {
        fs::write(self.folder().join("lies"), about.join("\n")).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = self.file("pid");
        if !pid.trim().is_empty() {
            // A group of its own: the machine and its children.
            let _ = Command::new("kill").args(["-9", "--", &format!("-{}", pid.trim())]).stderr(Stdio::null()).status();
        }
    }
}

/// A BMC that speaks IPMI.
#[derive(Debug)]
pub struct Ipmi {
    sim: Child,
    /// Its UDP port on 127.0.0.1.
    pub port: u16,
    _state: tempfile::TempDir,
}

impl Ipmi {
    /// ipmi_sim in front of `node`. It knows suites 0, 1, 2, 3 and 6, and refuses 17.
    ///
    /// # Panics
    /// When it does not answer within 20 s.
    #[must_use]
    pub fn start(node: &Node) -> Self {
        let (state, port) = (scratch(), free_udp());
        let (user, password) = LOGIN;
        let chassis = node.folder().join("chassis");
        let levels =
            ["callback", "user", "operator", "admin"].map(|level| format!("  allowed_auths_{level} none md5\n"));
        let config = format!(
            "name \"node\"\nset_working_mc 0x20\nstartlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n{}\
             guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"{}\"\nstartnow false\n\
             user 1 true \"\" \"test\" user 10 none md5\nuser 2 true \"{user}\" \"{password}\" admin 10 none md5\n",
            levels.concat(),
            chassis.display()
        );
        let (lan, emulation) = (state.path().join("lan.conf"), state.path().join("sim.emu"));
        fs::write(&lan, config).unwrap();
        fs::write(&emulation, EMULATION).unwrap();
        let log = File::create(state.path().join("log")).unwrap();
        let mut command = Command::new("ipmi_sim");
        command.args(["-c", arg(&lan), "-f", arg(&emulation), "-s", arg(state.path()), "-n"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let sim = command.spawn().unwrap_or_else(|error| panic!("starting ipmi_sim: {error}"));
        let ipmi = Self { sim, port, _state: state };
        let until = Instant::now() + Duration::from_secs(20);
        while !ipmi.answers() {
            assert!(Instant::now() < until, "ipmi_sim does not answer on port {port}");
            std::thread::sleep(Duration::from_millis(50));
        }
        ipmi
    }

    /// RMCP's ping (ASF 2.0, 3.2.4.2) is answered.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let ping = [6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 0, 0, 0];
        let sent = socket.send_to(&ping, ("127.0.0.1", self.port));
        sent.is_ok() && socket.recv(&mut [0; 64]).is_ok()
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Ipmi {
    fn drop(&mut self) {
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
}

/// A BMC that speaks Redfish over TLS.
#[derive(Debug)]
pub struct Redfish {
    emulator: Child,
    folder: tempfile::TempDir,
    port: u16,
}

/// Python with sushy-tools, as `scripts/install power` makes it.
fn python() -> PathBuf {
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/sushy/bin/python"));
    assert!(own.exists(), "there is no {}; `scripts/install power` makes it", own.display());
    own.to_owned()
}

impl Redfish {
    /// sushy-tools' emulator in front of `node`, with a certificate of its own and [`LOGIN`].
    ///
    /// # Panics
    /// When it does not listen within a minute.
    #[must_use]
    pub fn start(node: &Node) -> Self {
        Self::start_at(node, free_tcp())
    }

    /// The same on a given port: a BMC that was replaced, with another certificate.
    #[must_use]
    pub fn start_at(node: &Node, port: u16) -> Self {
        let folder = scratch();
        let at = |name: &str| folder.path().join(name);
        let (key, cert) = (at("key.pem"), at("cert.pem"));
        let subject =
            ["-subj", "/CN=bmc", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        run("openssl", &[&["req", "-x509", "-keyout", arg(&key), "-out", arg(&cert)], subject.as_slice()].concat());
        let (user, password) = LOGIN;
        let bcrypt = run(
            arg(&python()),
            &[
                "-c",
                "import bcrypt,sys;print(bcrypt.hashpw(sys.argv[1].encode(),bcrypt.gensalt(4)).decode())",
                password,
            ],
        );
        fs::write(at("users"), format!("{user}:{}\n", bcrypt.trim())).unwrap();
        fs::write(at("sushy.py"), SUSHY).unwrap();
        fs::write(at("sushy.conf"), format!(
            "SUSHY_EMULATOR_LISTEN_IP='127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT={port}\nSUSHY_EMULATOR_FAKE_DRIVER=True\n\
             SUSHY_EMULATOR_AUTH_FILE='{users}'\nSUSHY_EMULATOR_STATE_DIR='{state}'\n\
             SUSHY_EMULATOR_SSL_CERT='{cert}'\nSUSHY_EMULATOR_SSL_KEY='{key}'\n\
             SUSHY_EMULATOR_FAKE_SYSTEMS=[{{'uuid':'{SYSTEM}','name':'node','power_state':'Off',\
             'external_notifier':False,'nics':[{{'mac':'52:54:00:00:00:0c','ip':'10.0.0.1'}}]}}]\n",
            users = at("users").display(), state = folder.path().display(), cert = cert.display(), key = key.display(),
        )).unwrap();
        let log = File::create(at("log")).unwrap();
        let mut command = Command::new(python());
        command.args([arg(&at("sushy.py")), "--fake", "--config", arg(&at("sushy.conf"))]);
        command.env("CHASSIS", node.folder().join("chassis"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let emulator = command.spawn().unwrap_or_else(|error| panic!("starting sushy-emulator: {error}"));
        let redfish = Self { emulator, folder, port };
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sushy-emulator does not listen: {}", redfish.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        redfish
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The path of a [`Redfish`]'s only system.
#[must_use]
pub fn system() -> String {
    format!("/redfish/v1/Systems/{SYSTEM}")
}

const SYSTEM: &str = "11111111-2222-3333-4444-555555555555";

impl Drop for Redfish {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// A UDP port on loopback that nobody has.
#[must_use]
pub fn free_udp() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A TCP port on loopback that nobody has.
#[must_use]
pub fn free_tcp() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
