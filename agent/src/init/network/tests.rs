//! Cards in a network namespace, against a real dnsmasq in another.

use super::*;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const INSIDE: &str = "RAMET_TEST_NAMESPACE";

/// Runs this test again in namespaces of its own (network, processes, mounts); true when it is the one inside.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        sh("mount -t sysfs sysfs /sys && ip link set lo up");
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("init::network::tests::{test}"), "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    false
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The other side: a namespace with card `s0`, 10.9.0.1/24, whose peer is our `c0`.
struct Lan {
    holder: Child,
    pid: u32,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Lan {
    fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let pid = holder.id();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|other| other == own) {
            std::thread::sleep(Duration::from_millis(10));
        }
        sh(&format!("ip link add c0 type veth peer name s0 netns {pid}"));
        let lan = Self { holder, pid, folder: tempfile::tempdir().unwrap(), server: None };
        lan.there("ip addr add 10.9.0.1/24 dev s0; ip link set s0 up; ip link set lo up");
        lan
    }

    fn there(&self, script: &str) -> String {
        sh(&format!("nsenter -t {} -n sh -c '{script}'", self.pid))
    }

    fn dnsmasq(&mut self, options: &str) {
        self.stop();
        let folder = self.folder.path();
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-n", "/usr/sbin/dnsmasq", "--conf-file=/dev/null", "--port=0"]);
        command.args(["--keep-in-foreground", "--no-ping", "--user=root", "--log-dhcp", "--bind-interfaces"]);
        command.arg(format!("--log-facility={}", folder.join("log").display()));
        command.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
        command.arg("--pid-file").args(options.split_whitespace());
        self.server = Some(command.stderr(Stdio::inherit()).spawn().unwrap());
        until("dnsmasq listens", || self.there("ss -uln").contains(":67 ").then_some(()));
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn start(&self, line: &str) -> Arc<Network> {
        let raw = ramet_wire::settings::from_cmdline(line).unwrap();
        let settings = Settings::of(&raw).unwrap();
        let files =
            Files { resolv: self.folder.path().join("resolv.conf"), report: self.folder.path().join("net.json") };
        let also = ["c0", "c1"].map(str::to_owned).to_vec();
        Network::start(Wish { settings, boot_card: None, also, files }, Box::new(Quiet))
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.stop();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The other side is there: it refuses a connection, which takes a packet in each direction.
fn answers(address: &str) {
    let address = std::net::SocketAddr::new(address.parse().unwrap(), 9);
    let error = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

struct Quiet;

impl Listener for Quiet {
    fn card(&self, name: &str, state: &str) {
        tell!("{name}: {state}");
    }
    fn reached(&self, _: &str) {}
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "no end of waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn card(network: &Network, name: &str) -> CardSeen {
    until("the card is found", || network.seen().cards.into_iter().find(|card| card.name == name))
}

fn state_with(network: &Network, name: &str, part: &str) -> CardSeen {
    until(part, || Some(card(network, name)).filter(|card| card.state.contains(part)))
}

const RANGE: &str = "--dhcp-authoritative --dhcp-range=10.9.0.100,10.9.0.110,255.255.255.0,1h";

#[test]
fn a_lease_gives_address_routes_and_name_servers() {
    if !inside("a_lease_gives_address_routes_and_name_servers") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(&format!(
        "{RANGE} --dhcp-option=6,10.9.0.1,10.77.0.53 --dhcp-option=15,example.lan --dhcp-option=26,1400"
    ));
    let network = lan.start("");
    let seen = state_with(&network, "c0", " by DHCP from 10.9.0.1");
    let address = seen.address.unwrap();
    assert!(address.starts_with("10.9.0.1") && address.ends_with("/24"), "{address}");
    until("the card carries the run", || sh("ip route").contains("metric 10 ").then_some(()));
    let routes = sh("ip route");
    assert!(routes.contains("default via 10.9.0.1 dev c0 proto dhcp metric 10 onlink"), "{routes}");
    assert!(routes.contains("10.9.0.0/24 dev c0 proto dhcp scope link metric 10"), "{routes}");
    assert!(routes.contains("10.77.0.53 via 10.9.0.1 dev c0"), "{routes}");
    assert!(sh("ip link show c0").contains("mtu 1400"));
    let resolv = std::fs::read_to_string(lan.folder.path().join("resolv.conf")).unwrap();
    assert_eq!(resolv, "search example.lan\nnameserver 10.9.0.1\nnameserver 10.77.0.53\n");
    // The identifier of iPXE: type 1 and the address; dnsmasq's file has it last.
    let leases = std::fs::read_to_string(lan.folder.path().join("leases")).unwrap();
    let mac = seen.mac.to_string();
    assert!(leases.trim_end().ends_with(&format!(" 01:{mac}")), "{leases}");
    answers("10.9.0.1");
    let report: Seen = serde_json::from_slice(&std::fs::read(lan.folder.path().join("net.json")).unwrap()).unwrap();
    assert_eq!(report, network.seen());
}

#[test]
fn a_lease_is_renewed_with_its_own_server() {
    if !inside("a_lease_is_renewed_with_its_own_server") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(&format!("{RANGE} --dhcp-option-force=58,2 --dhcp-option-force=59,20"));
    let network = lan.start("");
    let before = state_with(&network, "c0", " by DHCP").address;
    until("two renewals", || (lan.log().matches("DHCPACK(s0)").count() >= 3).then_some(()));
    assert_eq!(lan.log().matches("DHCPDISCOVER(s0)").count(), 1);
    assert_eq!(card(&network, "c0").address, before);
}

#[test]
fn an_address_that_is_taken_back_is_replaced() {
    if !inside("an_address_that_is_taken_back_is_replaced") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(&format!("{RANGE} --dhcp-option-force=58,2 --dhcp-option-force=59,4"));
    let network = lan.start("");
    let before = state_with(&network, "c0", " by DHCP").address.unwrap();
    std::fs::remove_file(lan.folder.path().join("leases")).unwrap();
    lan.dnsmasq("--dhcp-authoritative --dhcp-range=10.9.0.200,10.9.0.210,255.255.255.0,1h");
    let new = until("another address", || card(&network, "c0").address.filter(|new| new.starts_with("10.9.0.2")));
    assert!(lan.log().contains("DHCPNAK"), "{}", lan.log());
    let addresses = sh("ip -4 addr show dev c0");
    assert!(addresses.contains(&new) && !addresses.contains(&before), "{addresses}");
    until("it carries the run again", || sh("ip route").contains("metric 10 ").then_some(()));
}

#[test]
fn a_lease_that_runs_out_ends_when_no_server_answers() {
    if !inside("a_lease_that_runs_out_ends_when_no_server_answers") {
        return;
    }
    use crate::init::dhcp::{Client, Kept, Lease};
    let _lan = Lan::new();
    sh("ip link set c0 up; ip addr add 10.9.0.100/24 dev c0");
    let mac = card::in_use("c0").unwrap();
    let mut client = Client::open("c0", card::index("c0").unwrap(), mac.0).unwrap();
    let lease = Lease {
        address: Ipv4Addr::new(10, 9, 0, 100),
        length: 24,
        server: Ipv4Addr::new(10, 9, 0, 1),
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        mtu: None,
        seconds: 3,
        renew: 1,
        rebind: 2,
    };
    let start = Instant::now();
    assert_eq!(client.keep(&lease, start, &|| true), Kept::Expired);
    assert!((3.0..5.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    assert_eq!(client.keep(&lease, Instant::now(), &|| false), Kept::Stopped);
}

#[test]
fn without_a_dhcp_server_it_says_so_and_goes_on_asking() {
    if !inside("without_a_dhcp_server_it_says_so_and_goes_on_asking") {
        return;
    }
    let mut lan = Lan::new();
    let network = lan.start("clone.timeout.lease=1");
    let seen = state_with(&network, "c0", "no lease after 1 s; check that a DHCP server answers");
    assert!(seen.link && seen.address.is_none());
    lan.dnsmasq(RANGE);
    state_with(&network, "c0", " by DHCP from 10.9.0.1");
}

#[test]
fn a_lease_without_a_route_is_named_and_its_server_unreachable() {
    if !inside("a_lease_without_a_route_is_named_and_its_server_unreachable") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(&format!("{RANGE} --dhcp-option=3"));
    let network = lan.start("clone.server=https://10.200.0.1:8443");
    state_with(&network, "c0", ", without a route to other networks");
    let why = until("the server's sentence", || card(&network, "c0").server);
    assert!(why.contains("does not answer") && why.contains("names no router"), "{why}");
}

#[test]
fn a_server_that_does_not_answer_is_named_with_the_reason() {
    if !inside("a_server_that_does_not_answer_is_named_with_the_reason") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(RANGE);
    let network = lan.start("clone.server=https://10.9.0.1:8443");
    let why = until("the server's sentence", || card(&network, "c0").server);
    assert!(why.starts_with("https://10.9.0.1:8443 does not answer (Connection refused"), "{why}");
    assert!(!sh("ip route").contains("metric 10 "), "nobody has won");
}

#[test]
fn a_card_without_a_link_does_not_keep_the_other_from_working() {
    if !inside("a_card_without_a_link_does_not_keep_the_other_from_working") {
        return;
    }
    let mut lan = Lan::new();
    sh("ip link add c1 type veth peer name dead");
    lan.dnsmasq(RANGE);
    let network = lan.start("clone.timeout.link=1");
    state_with(&network, "c0", " by DHCP");
    let dead = state_with(&network, "c1", "no link after 1 s; check the cable");
    assert!(!dead.link);
    // The cable is plugged in later, and out and in again.
    lan.there("ip link set s0 down");
    state_with(&network, "c0", "no link after 1 s");
    lan.there("ip link set s0 up");
    state_with(&network, "c0", " by DHCP");
    assert_eq!(lan.log().matches("DHCPDISCOVER(s0)").count(), 1, "the lease was only confirmed");
}

#[test]
fn a_card_that_is_not_named_stays_off() {
    if !inside("a_card_that_is_not_named_stays_off") {
        return;
    }
    let mut lan = Lan::new();
    sh("ip link add c1 type veth peer name d1; ip link set d1 up");
    lan.dnsmasq(RANGE);
    let mac = card::in_use("c0").unwrap();
    let network = lan.start(&format!("clone.nic={mac}"));
    state_with(&network, "c1", &format!("not used: clone.nic names {mac}"));
    state_with(&network, "c0", " by DHCP");
    assert!(sh("ip link show c1").contains("state DOWN"));
}

#[test]
fn a_fixed_address_needs_no_dhcp_server() {
    if !inside("a_fixed_address_needs_no_dhcp_server") {
        return;
    }
    let lan = Lan::new();
    let network = lan.start("clone.ip=10.9.0.7/24,10.9.0.1,10.9.0.53");
    state_with(&network, "c0", "10.9.0.7/24 by clone.ip");
    until("the card carries the run", || sh("ip route").contains("default via 10.9.0.1").then_some(()));
    answers("10.9.0.1");
    let resolv = std::fs::read_to_string(lan.folder.path().join("resolv.conf")).unwrap();
    assert_eq!(resolv, "nameserver 10.9.0.53\n");
}

#[test]
fn a_fixed_address_of_ipv6_works() {
    if !inside("a_fixed_address_of_ipv6_works") {
        return;
    }
    let lan = Lan::new();
    lan.there("ip addr add fd09::1/64 dev s0 nodad");
    let network = lan.start("clone.ip=fd09::7/64,fd09::1");
    state_with(&network, "c0", "fd09::7/64 by clone.ip");
    until("the card carries the run", || sh("ip -6 route").contains("default via fd09::1").then_some(()));
    answers("fd09::1");
}

#[test]
fn a_vlan_is_made_and_gets_the_lease() {
    if !inside("a_vlan_is_made_and_gets_the_lease") {
        return;
    }
    if Command::new("ip")
        .args(["link", "add", "link", "lo", "name", "v9", "type", "vlan", "id", "9"])
        .status()
        .is_ok_and(|s| !s.success())
    {
        tell!("this kernel has no VLANs: only the error is looked at");
        let lan = Lan::new();
        let network = lan.start("clone.vlan=7");
        state_with(&network, "c0", "switching it on: ");
        return;
    }
    let mut lan = Lan::new();
    lan.there("ip link add link s0 name s0.7 type vlan id 7; ip addr flush dev s0; ip addr add 10.9.0.1/24 dev s0.7; ip link set s0.7 up");
    lan.dnsmasq(RANGE);
    let network = lan.start("clone.vlan=7");
    let seen = state_with(&network, "c0", " by DHCP from 10.9.0.1");
    assert!(sh("ip -4 addr show dev c0.7").contains(&seen.address.unwrap()));
}

#[test]
fn cards_that_come_and_go_are_followed() {
    if !inside("cards_that_come_and_go_are_followed") {
        return;
    }
    let mut lan = Lan::new();
    lan.dnsmasq(&format!("{RANGE} --dhcp-option=6,10.9.0.1"));
    let network = lan.start("");
    state_with(&network, "c0", " by DHCP");
    sh("ip link del c0");
    until("the card is gone", || network.seen().cards.is_empty().then_some(()));
    assert!(std::fs::read_to_string(lan.folder.path().join("resolv.conf")).unwrap().is_empty());
    sh(&format!("ip link add c0 type veth peer name s0 netns {}", lan.pid));
    lan.there("ip addr add 10.9.0.1/24 dev s0; ip link set s0 up");
    lan.dnsmasq(RANGE);
    state_with(&network, "c0", " by DHCP");
    assert!(Path::new("/sys/class/net/c0").exists());
}
