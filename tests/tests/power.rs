//! Power, with real peers: ipmi_sim and sushy-tools switch a real process; the network between loses packets.
//!
//! In: BMCs on loopback, some of which lie. Out: what the process behind them did, and what the driver said of it.
//! Promise: the oracle is the process and what the BMC was told; ipmitool, fence agents and emulators are Debian's and PyPI's.

#![allow(clippy::unwrap_used)]

use ramet_server::power::desk::Desk;
use ramet_server::power::drive::{self, Limits, Order};
use ramet_server::power::probe::{Found, probe};
use ramet_server::power::run::Tools;
use ramet_server::power::settings::Settings;
use ramet_server::power::vault::Source;
use ramet_server::power::{Attempt, NextBoot, Power, PowerError, PowerState, Secret, Trouble, What};
use ramet_tests::bmc::{self, LOGIN, Node};
use ramet_tests::udp::{Faults, Udp};
use ramet_wire::power::{PowerKind, PowerOptions};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

fn settings(kind: PowerKind, address: &str) -> Settings {
    let (user, password) = LOGIN;
    Settings {
        kind,
        address: address.to_owned(),
        user: user.to_owned(),
        secret: Secret::new(password.to_owned()),
        options: PowerOptions::default(),
        probed: None,
        pin: None,
        macs: vec![],
    }
}

fn limits() -> Limits {
    Limits { soft_off: Duration::from_secs(3), settle: Duration::from_secs(5), look: Duration::from_millis(200) }
}

fn find(settings: &Settings) -> (Result<Found, PowerError>, Vec<Attempt>) {
    let mut log = Vec::new();
    let found = probe(settings, &Tools::system(), &limits(), &mut log);
    assert!(!format!("{log:?} {found:?}").contains(LOGIN.1), "the password was told");
    (found, log)
}

/// Probed settings and their driver.
fn driver(mut settings: Settings) -> Box<dyn Power> {
    let found = find(&settings).0.unwrap();
    (settings.probed, settings.pin) = (Some(found.probed), found.pin);
    settings.open(&Tools::system()).unwrap()
}

const NETWORK: Order = Order { force_off: false, network: Some(true) };
const FORCE: Order = Order { force_off: true, network: None };

#[test]
fn ipmi_is_probed_down_to_suite_3_only_because_the_bmc_refuses_17() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    let mut set = settings(PowerKind::Ipmi, &bmc.address());
    let (found, log) = find(&set);
    let found = found.unwrap().probed;
    assert_eq!((found.suite, found.next_boot, found.state), (Some(3), true, PowerState::Off));
    assert!(found.notes[0].contains("suite 17") && found.notes[0].contains("invalid authentication algorithm"));
    let tried: Vec<_> = log.iter().map(|attempt| (attempt.how.as_str(), attempt.trouble)).collect();
    let want = [("ipmi suite 17", Some(Trouble::Unsupported)), ("ipmi suite 3", None), ("ipmi suite 3", None)];
    assert_eq!(tried, want);
    set.options.min_suite = Some(17);
    let refused = find(&set).0.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Unsupported);
    assert!(refused.said.contains("suite 3 is forbidden"), "{refused}");
    assert!(node.calls().is_empty(), "a probe switches nothing: {:?}", node.calls());
}

#[test]
fn an_ipmi_cycle_goes_off_softly_and_starts_from_the_network_once() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    node.set(true);
    let power = driver(settings(PowerKind::Ipmi, &bmc.address()));
    let mut log = Vec::new();
    let driven = drive::cycle(power.as_ref(), NETWORK, &limits(), &mut log).unwrap();
    assert_eq!(driven.state, PowerState::On);
    // ipmi_sim drops the valid and the EFI bit: that is a recorded warning, not a success.
    let Some(NextBoot::SetUnverified(words)) = driven.next_boot else { panic!("{driven:?}") };
    assert!(words.contains("boot flags 00 04") && words.contains("BIOS instead of UEFI"), "{words}");
    assert_eq!(node.calls(), ["shutdown 1", "boot pxe", "power 1"]);
    assert_eq!(node.starts(), ["c", "n"]);
    drive::cycle(power.as_ref(), Order::default(), &limits(), &mut log).unwrap();
    assert_eq!(node.starts(), ["c", "n", "c"], "the network was for once");
    assert!(node.runs());
    assert!(node.calls().iter().all(|call| !call.starts_with("reset")), "{:?}", node.calls());
}

#[test]
fn a_machine_that_ignores_the_button_goes_off_only_by_force() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    node.set(true);
    node.lies(&["soft"]);
    let power = driver(settings(PowerKind::Ipmi, &bmc.address()));
    let refused = drive::off(power.as_ref(), Order::default(), &limits(), &mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!((refused.trouble, refused.what), (Trouble::Refused, What::SoftOff));
    assert!(node.runs() && refused.said.contains("--force-off"), "{refused}");
    let driven = drive::off(power.as_ref(), FORCE, &limits(), &mut Vec::<Attempt>::new()).unwrap();
    assert!(!node.runs() && driven.notes[0].contains("hard"), "{driven:?}");
}

#[test]
fn a_bmc_that_answers_ok_and_does_nothing_is_found_out() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    let power = driver(settings(PowerKind::Ipmi, &bmc.address()));
    node.lies(&["on"]);
    let error = drive::on(power.as_ref(), NETWORK, &limits(), &mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!((error.trouble, error.what), (Trouble::LiesOk, What::On));
    node.lies(&["off", "soft"]);
    node.set(true);
    node.lies(&["off", "soft"]);
    let error = drive::cycle(power.as_ref(), FORCE, &limits(), &mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!((error.trouble, error.what), (Trouble::LiesOk, What::HardOff));
    assert!(node.runs());
}

#[test]
fn a_wrong_ipmi_password_is_tried_once_and_ends_the_probe() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    for (user, password) in [(LOGIN.0, "wrong"), ("nobody", LOGIN.1)] {
        let mut set = settings(PowerKind::Ipmi, &bmc.address());
        (set.user, set.secret) = (user.to_owned(), Secret::new(password.to_owned()));
        // Told once which suite it is, or the refusal of suite 17 would come first.
        let power = set.ipmi(&Tools::system(), 3).unwrap();
        let mut log = Vec::new();
        let error = drive::cycle(&power, FORCE, &limits(), &mut log).unwrap_err();
        assert_eq!((error.trouble, log.len()), (Trouble::Auth, 1), "{user}: {error}");
        let (error, log) = find(&set);
        assert_eq!((error.unwrap_err().trouble, log.len()), (Trouble::Auth, 2));
    }
    assert!(node.calls().is_empty());
}

/// Drives a BMC behind a network with these faults; what the machine was started from.
fn behind(
    name: &str,
    faults: Faults,
    from: &str,
    drive: fn(&dyn Power, &Limits, &mut Vec<Attempt>) -> Result<(), PowerError>,
) {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    let proxy = Udp::start(bmc.port, Faults::default());
    let power = driver(settings(PowerKind::Ipmi, &proxy.address()));
    let limits = Limits { settle: Duration::from_secs(60), ..limits() };
    proxy.set(faults);
    let (began, mut log) = (Instant::now(), Vec::new());
    let driven = drive(power.as_ref(), &limits, &mut log);
    driven.unwrap_or_else(|error| panic!("{name}: {error}\n{log:#?}"));
    assert!(node.runs(), "{name}");
    assert_eq!(node.starts(), [from], "{name}: started once");
    let (seen, dropped) = proxy.counts();
    let lost = log.iter().filter(|attempt| attempt.trouble.is_some()).count();
    let took = began.elapsed().as_secs_f64();
    eprintln!("{name}: {took:.1} s, {seen} packets, {dropped} dropped, {lost} of {} attempts lost", log.len());
}

fn from_network(power: &dyn Power, limits: &Limits, log: &mut Vec<Attempt>) -> Result<(), PowerError> {
    let order = Order { force_off: true, network: Some(false) };
    drive::cycle(power, order, limits, log).map(drop)
}

/// Without the next boot, whose calls take long on such a network.
fn just_on(power: &dyn Power, limits: &Limits, log: &mut Vec<Attempt>) -> Result<(), PowerError> {
    drive::on(power, Order::default(), limits, log).map(drop)
}

/// A session has some eight packets each way; where its third message is lost, ipmi_sim takes no other, and ipmitool
/// needs a new one.
#[test]
fn a_bmc_behind_a_network_that_drops_every_seventh_packet_is_driven_all_the_same() {
    behind("every seventh packet dropped", Faults { drop_each: 7, ..Faults::default() }, "n", from_network);
}

#[test]
fn a_bmc_behind_a_network_that_answers_late_is_driven_all_the_same() {
    behind("each packet 600 ms late", Faults { delay: Duration::from_millis(600), ..Faults::default() }, "c", just_on);
}

/// ipmitool gives a session up that loses each second packet of either way: what counts is how that ends.
#[test]
fn a_bmc_behind_a_network_that_drops_every_second_packet_is_on_or_late_and_never_a_wrong_password() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    let proxy = Udp::start(bmc.port, Faults::default());
    let power = driver(settings(PowerKind::Ipmi, &proxy.address()));
    proxy.set(Faults { drop_each: 2, ..Faults::default() });
    let (mut log, began) = (Vec::new(), Instant::now());
    match just_on(power.as_ref(), &limits(), &mut log) {
        Ok(()) => assert!(node.runs(), "{log:#?}"),
        Err(error) => {
            assert!(matches!(error.trouble, Trouble::Timeout | Trouble::Unreachable), "{error}\n{log:#?}");
            assert!(error.next_step().contains("network"), "{}", error.next_step());
        }
    }
    let wrong = |attempt: &&Attempt| attempt.trouble.is_some_and(|trouble| trouble == Trouble::Auth);
    assert_eq!(log.iter().find(wrong), None);
    assert!(proxy.counts().1 > 0, "nothing was dropped");
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
}

#[test]
fn a_bmc_behind_a_network_that_repeats_is_driven_all_the_same() {
    behind("each packet three times", Faults { repeat: 2, ..Faults::default() }, "n", from_network);
}

#[test]
fn a_bmc_that_is_off_is_unreachable_and_no_other_suite_or_protocol_is_tried() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    let proxy = Udp::start(bmc.port, Faults { drop_each: 1, ..Faults::default() });
    let quick = Limits { look: Duration::from_millis(1), ..limits() };
    let mut log = Vec::new();
    let began = Instant::now();
    let error = probe(&settings(PowerKind::Ipmi, &proxy.address()), &Tools::system(), &quick, &mut log).unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable, "{error}");
    assert!(log.iter().all(|attempt| attempt.how == "ipmi suite 17"), "{log:?}");
    assert!(log.len() == 1 && began.elapsed() < Duration::from_secs(70), "{:?}", began.elapsed());
}

#[test]
fn a_redfish_bmc_is_found_pinned_and_cycled_from_the_network() {
    let node = Node::process();
    let bmc = bmc::Redfish::start(&node);
    node.set(true);
    let mut set = settings(PowerKind::Auto, &bmc.address());
    let found = find(&set).0.unwrap_or_else(|error| panic!("{error}: {}", bmc.log()));
    assert_eq!(found.probed.kind, PowerKind::Redfish);
    assert_eq!(found.probed.system.as_deref(), Some(bmc::system().as_str()));
    assert!(found.probed.next_boot && found.pin.as_ref().is_some_and(|pin| pin.starts_with("sha256:")));
    (set.probed, set.pin) = (Some(found.probed), found.pin);
    let power = set.open(&Tools::system()).unwrap();
    let driven = drive::cycle(power.as_ref(), NETWORK, &limits(), &mut Vec::<Attempt>::new());
    let driven = driven.unwrap_or_else(|error| panic!("{error}: {}", bmc.log()));
    assert_eq!(driven.state, PowerState::On);
    // sushy-tools always reads back "Continuous".
    let Some(NextBoot::SetUnverified(words)) = driven.next_boot else { panic!("{driven:?}") };
    assert!(words.contains("\"Continuous\", wanted was \"Once\""), "{words}");
    assert_eq!(node.calls(), ["shutdown 1", "boot pxe", "power 1"]);
    assert_eq!(node.starts(), ["c", "n"]);
    node.lies(&["soft", "off"]);
    let error = drive::off(power.as_ref(), FORCE, &limits(), &mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!(error.trouble, Trouble::LiesOk, "{error}");
}

#[test]
fn a_wrong_redfish_password_ends_the_probe_and_another_certificate_is_not_spoken_to() {
    let node = Node::process();
    let bmc = bmc::Redfish::start(&node);
    let mut set = settings(PowerKind::Auto, &bmc.address());
    set.secret = Secret::new("wrong".to_owned());
    let error = find(&set).0.unwrap_err();
    assert_eq!(error.trouble, Trouble::Auth, "{error}");
    let mut set = settings(PowerKind::Redfish, &bmc.address());
    let found = find(&set).0.unwrap();
    (set.probed, set.pin) = (Some(found.probed), found.pin);
    let port = bmc.port();
    drop(bmc);
    let other = bmc::Redfish::start_at(&node, port);
    let power = set.open(&Tools::system()).unwrap();
    let error = power.status(&mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!(error.trouble, Trouble::Settings, "{error}");
    assert!(error.said.contains("another one than at the first contact"), "{error}");
    assert!(!other.log().contains("GET "), "a request was sent: {}", other.log());
}

#[test]
fn auto_falls_back_to_ipmi_where_nothing_listens_for_redfish() {
    let node = Node::process();
    let bmc = bmc::Ipmi::start(&node);
    // The same number as a TCP port: closed.
    let (found, log) = find(&settings(PowerKind::Auto, &bmc.address()));
    let found = found.unwrap();
    assert_eq!((found.probed.kind, found.probed.suite), (PowerKind::Ipmi, Some(3)));
    assert_eq!((log[0].how.as_str(), log[0].trouble), ("redfish", Some(Trouble::Unsupported)));
}

#[test]
fn a_real_fence_agent_switches_by_its_standard_input() {
    let node = Node::process();
    let bmc = bmc::Redfish::start(&node);
    let mut set = settings(PowerKind::Fence, &bmc.address());
    set.options.agent = "fence_redfish".to_owned();
    let options = [("systems_uri", bmc::system()), ("ssl_insecure", "1".to_owned())];
    set.options.fence = options.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    let power = driver(set.clone());
    let mut log = Vec::new();
    let driven = drive::on(power.as_ref(), NETWORK, &limits(), &mut log).unwrap();
    assert_eq!((driven.state, driven.next_boot), (PowerState::On, Some(NextBoot::Unsupported)));
    assert!(node.runs());
    let refused = drive::off(power.as_ref(), Order::default(), &limits(), &mut log).unwrap_err();
    assert_eq!(refused.trouble, Trouble::Unsupported);
    drive::off(power.as_ref(), FORCE, &limits(), &mut log).unwrap();
    assert!(!node.runs());
    set.secret = Secret::new("wrong".to_owned());
    let error = find(&set).0.unwrap_err();
    assert!(!error.is_passing(), "a wrong password must not be tried again: {error:?}");
}

#[test]
fn two_orders_never_meet_at_one_machine() {
    let source = Source::Beside(std::env::temp_dir().join("never-written"));
    let desk = Desk::new(source, Tools::system(), limits());
    let first = desk.turn(1).unwrap();
    assert!(desk.turn(1).is_none());
    assert!(desk.turn(2).is_some());
    drop(first);
    assert!(desk.turn(1).is_some());
}

/// A disk whose first sector says so on the serial line, and halts.
fn talking_disk(file: &Path) {
    let mut disk = vec![0; 1 << 20];
    // ds = 0; each byte of the text at 7c16 goes to port 3f8; then halt.
    let code =
        b"\x31\xc0\x8e\xd8\xfc\xba\xf8\x03\xbe\x16\x7c\xac\x84\xc0\x74\x03\xee\xeb\xf8\xf4\xeb\xfdDISK-STARTED\r\n\0";
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(file, disk).unwrap();
}

#[test]
#[ignore = "virtual machines"]
fn a_bmc_starts_a_real_machine_from_the_network_once_and_then_from_its_disk() {
    let (folder, ear) = (ramet_tests::tool::scratch(), TcpListener::bind("127.0.0.1:0").unwrap());
    let disk = folder.path().join("disk");
    talking_disk(&disk);
    let url = format!("http://10.0.2.2:{}/boot.ipxe", ear.local_addr().unwrap().port());
    let node = Node::qemu("52:54:00:12:34:56", &url, &disk, "-m 256");
    let bmc = bmc::Ipmi::start(&node);
    let power = driver(settings(PowerKind::Ipmi, &bmc.address()));
    drive::on(power.as_ref(), Order { force_off: false, network: Some(false) }, &limits(), &mut Vec::<Attempt>::new())
        .unwrap();
    let (mut firmware, _) = ear.accept().unwrap();
    let mut asked = [0; 16];
    firmware.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"GET /boot.ipxe") || asked.starts_with(b"HEAD /boot.ipxe"), "{asked:?}");
    assert!(!node.console().contains("DISK-STARTED"), "{}", node.console());
    // Its program knows no ACPI: only force helps.
    let refused = drive::off(power.as_ref(), Order::default(), &limits(), &mut Vec::<Attempt>::new()).unwrap_err();
    assert_eq!(refused.trouble, Trouble::Refused);
    drive::cycle(power.as_ref(), FORCE, &limits(), &mut Vec::<Attempt>::new()).unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !node.console().contains("DISK-STARTED") {
        assert!(Instant::now() < until, "{}", node.console());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(node.starts(), ["n", "c"]);
}
