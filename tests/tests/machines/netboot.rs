//! Rows of network boot: each way that firmware comes to the agent, with the real dnsmasq and the real server.
//!
//! In: a network of its own, an armed machine. Out: its disk restored, or started when there is nothing to do.
//! Promise: the firmware is told nothing but what `ramet netboot dnsmasq` and the server's boot files say.

use super::site::*;
use ramet_tests::bins::bins;
use ramet_tests::disk::{Disk, MIB};
use ramet_tests::machine::{Bus, Firmware, Machine, mac};
use ramet_tests::net::{BRIDGE, Daemon, HOST, Net};
use ramet_tests::tool::arg;
use std::path::PathBuf;
use std::time::Duration;

/// A server in the namespace, with the boot files and an image.
struct Segment {
    server: Daemon,
    net: Net,
}

impl Segment {
    fn new() -> Self {
        let net = Net::new();
        let state = net.folder().join("state");
        let mut command = net.command(arg(&bins().server));
        command.args(["serve", "--state", arg(&state), "--listen", &format!("{HOST}:4433")]);
        command.args(["--boot-listen", &format!("{HOST}:4480"), "--tftp", &format!("{HOST}:69")]);
        let server = net.start("ramet", &mut command);
        let _ = server.expect("boot files on tftp://", Duration::from_secs(60));
        Self { server, net }
    }

    fn ramet(&self, args: &[&str]) -> String {
        let state = self.net.folder().join("state");
        let mut command = self.net.command(arg(&bins().server));
        let said = command.args(args).args(["--state", arg(&state)]).output().unwrap();
        assert!(said.status.success(), "ramet {args:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    /// Boot files, an image, and a machine that shall get it.
    fn armed() -> Self {
        let segment = Self::new();
        segment.ramet(&["boot", "install", arg(&boot_files())]);
        let token = segment.ramet(&["token", "add", "--scope", "capture"]);
        let mut capture = segment.net.command(arg(&bins().agent));
        capture.args(["capture", arg(&source().path), "--image", "genet", "--server", &format!("https://{HOST}:4433")]);
        capture.args(["--key", &segment.ramet(&["key"])]).env("RAMET_TOKEN", token);
        let said = capture.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let arm = ["netboot", "arm", &mac(0), "--mode", "restore", "--image", "genet", "--once", "--then", "poweroff"];
        segment.ramet(&arm);
        segment
    }
}

fn dnsmasq(net: &Net, options: &[&str]) -> Daemon {
    let url = format!("http://{HOST}:4480");
    let args = [&["netboot", "dnsmasq", "--interface", BRIDGE, "--boot-url", &url], options].concat();
    let said = net.command(arg(&bins().server)).args(&args).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    net.dnsmasq(&String::from_utf8(said.stdout).unwrap())
}

/// Restores the image onto an empty disk of a machine that starts from the network.
fn restores(name: &str, dhcp: &[&str], machine: impl FnOnce(&Net) -> Machine) {
    let segment = Segment::armed();
    let dhcp = dnsmasq(&segment.net, dhcp);
    let target = Disk::blank(64 * MIB);
    let mut machine = machine(&segment.net).disk(Bus::Virtio, &target.path).start();
    let _ = machine.waits_for("Ramet 0", LIMIT);
    let agent = machine.age();
    says(&machine.waits_for("RAMET: ", LIMIT), &["RAMET: restored genet@"]);
    eprintln!(
        "{name}: agent {:.1} s after power on, restored after {:.1} s",
        agent.as_secs_f64(),
        machine.age().as_secs_f64()
    );
    machine.goes_off(LIMIT);
    is_restored(&target);
    assert!(!segment.server.log().contains("ERROR"), "{}", segment.server.log());
    assert_eq!(segment.ramet(&["netboot", "ls", "--json"]), "[]", "it was armed for once");
    drop(dhcp);
}

#[test]
fn bios_ipxe() {
    restores("BIOS iPXE", &[], |net| Machine::new(Firmware::Bios).tap(net, true));
}

#[test]
fn uefi_ipxe() {
    restores("UEFI iPXE", &["--uefi", "ipxe"], |net| Machine::new(Firmware::Uefi).tap(net, false).never(&["IPv6PXE"]));
}

#[test]
fn uefi_http() {
    restores("UEFI HTTP", &[], |net| Machine::new(Firmware::Uefi).tap(net, false).never(&["IPv4PXE", "IPv6PXE"]));
}

#[test]
fn secure_boot_over_tftp() {
    restores("Secure Boot", &[], |net| Machine::new(Firmware::Secure).tap(net, false).never(&["IPv6PXE"]));
}

/// The switch carries the server's network tagged: without `clone.vlan` nobody answers.
#[test]
fn a_vlan_is_needed_and_used_where_the_line_names_one() {
    let segment = Segment::armed();
    let (dhcp, trunk) = (dnsmasq(&segment.net, &[]), segment.net.trunk(7));
    let token = segment.ramet(&["token", "add", "--scope", "restore"]);
    let line = format!(
        "clone.mode=restore clone.image=genet clone.confirm=yes clone.server=https://{HOST}:4433 clone.key={} \
         clone.token={token} clone.then=poweroff clone.timeout.then=0 clone.timeout.lease=10 clone.timeout.link=5",
        segment.ramet(&["key"])
    );
    let target = Disk::blank(64 * MIB);
    let start = |line: &str| {
        let machine = Machine::new(Firmware::Bios).behind_trunk(&segment.net).direct(&boot_files(), line);
        ends(machine.disk(Bus::Virtio, &target.path).start())
    };
    says(&start(&line), &["no lease"]);
    is_untouched(&target);
    says(&start(&format!("{line} clone.vlan=7")), &["RAMET: restored genet@"]);
    is_restored(&target);
    drop((dhcp, trunk));
}

/// A disk whose first sector says so on the serial line.
fn talking_disk(net: &Net) -> PathBuf {
    let file = net.folder().join("disk.img");
    let mut disk = vec![0; 1 << 20];
    // ds = 0; each byte of the text at 7c16 goes to port 3f8; then halt.
    let code =
        b"\x31\xc0\x8e\xd8\xfc\xba\xf8\x03\xbe\x16\x7c\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfdDISK-STARTED\r\n\0";
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&file, disk).unwrap();
    file
}

/// A BIOS machine that tries the network first; seconds until its disk starts.
fn starts_its_disk(net: &Net, name: &str, dhcp: &[&str]) -> f64 {
    let dhcp = dnsmasq(net, dhcp);
    let disk = talking_disk(net);
    let machine = Machine::new(Firmware::Bios).memory(256).tap(net, true).disk(Bus::Virtio, &disk);
    let mut machine = machine.start();
    let _ = machine.waits_for("DISK-STARTED", Duration::from_secs(120));
    let seconds = machine.age().as_secs_f64();
    eprintln!("{name}: its disk after {seconds:.1} s");
    drop((machine, dhcp));
    seconds
}

#[test]
fn a_machine_with_nothing_to_do_starts_its_disk() {
    let segment = Segment::new();
    segment.ramet(&["boot", "install", arg(&boot_files())]);
    let seconds = starts_its_disk(&segment.net, "nothing to do", &[]);
    assert!(seconds > 10.0, "its menu is shown for 10 s, and it was gone after {seconds}");
    assert!(segment.server.log().contains("/mac/52-54-00-00-00-01.ipxe"), "{}", segment.server.log());
}

#[test]
fn a_network_first_machine_starts_its_disk_within_a_minute_when_the_server_is_down() {
    let segment = Segment::new();
    let seconds = starts_its_disk(&segment.net, "no boot files", &[]);
    assert!(seconds < 60.0, "{seconds}");
    // The first script lies with dnsmasq; it names a server whose machine is off.
    let root = segment.net.folder().join("tftp");
    std::fs::create_dir(&root).unwrap();
    let url = format!("http://{HOST}:4480/boot.ipxe");
    let script = root.join("boot.ipxe");
    let mut curl = segment.net.command("curl");
    assert!(curl.args(["-fsSo", arg(&script), &url]).status().unwrap().success());
    let text = std::fs::read_to_string(&script).unwrap();
    assert!(text.contains(HOST), "{text}");
    std::fs::write(&script, text.replace(HOST, "10.77.0.9")).unwrap();
    // Its name server and its own TFTP server are gone too.
    let Segment { server, net } = segment;
    drop(server);
    let seconds = starts_its_disk(&net, "server off, first script from dnsmasq", &["--tftp-root", arg(&root)]);
    assert!(seconds < 60.0, "{seconds}");
}
