//! What netplan, NetworkManager, ifupdown and shells read in the files that were made.

use super::trees::{ARCH, DEBIAN, Files, IFCFG, NETPLAN, RED_HAT, SUSE, system};
use super::{FULL, MAC, applied_once, oracle, read};
use crate::testing::{plant, run};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn made(parts: &[Files]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    system(folder.path(), parts);
    applied_once(folder.path(), FULL);
    folder
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ifupdown_reads_the_cards() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    // The main file names its parts by absolute path: they are asked for here instead.
    let main = read(at, "etc/network/interfaces").replace("/etc/network", at.join("etc/network").to_str().unwrap());
    let file = at.join("interfaces");
    std::fs::write(&file, main).unwrap();
    let ask = |args: &[&str]| output(oracle("sbin/ifquery").arg("-i").arg(&file).args(args));
    assert_eq!(ask(&["--list", "--all"]), "lo\nlan\nlan.12\ntwo\n");
    let lan = ask(&["lan"]);
    for line in [
        "address: 192.0.2.21\n",
        "address: 192.0.2.22\n",
        "address: 2001:db8::21\n",
        "gateway: 192.0.2.1\n",
        "netmask: 255.255.255.0",
        "netmask: 64",
        "gateway: 2001:db8::1",
        "dns-nameservers: 192.0.2.53 2001:db8::53",
        "dns-search: example.org example.net",
    ] {
        assert!(lan.contains(line), "{line} in {lan}");
    }
    let vlan = ask(&["lan.12"]);
    assert!(vlan.contains("vlan-raw-device: lan") && vlan.contains("address: 198.51.100.7\n"), "{vlan}");
    assert_eq!(
        read(at, "etc/resolv.conf"),
        "search example.org example.net\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"
    );
    let link = read(at, "etc/systemd/network/10-ramet-lan.link");
    assert!(
        link.contains(&format!("MACAddress={MAC}\n"))
            && link.contains("Name=lan\n")
            && link.contains("MTUBytes=1400\n")
    );
}

#[test]
fn netplan_generates_what_was_declared() {
    let folder = made(&[NETPLAN]);
    let at = folder.path();
    assert!(!at.join("etc/netplan/50-cloud-init.yaml").exists());
    output(oracle("usr/libexec/netplan/generate").args(["--root-dir", at.to_str().unwrap()]));
    let network = read(at, "run/systemd/network/10-netplan-lan.network");
    for line in [
        MAC,
        "Address=192.0.2.21/24",
        "Address=192.0.2.22/24",
        "Address=2001:db8::21/64",
        "DNS=192.0.2.53",
        "Domains=example.org example.net",
        "Gateway=192.0.2.1",
        "Gateway=2001:db8::1",
        "VLAN=lan.12",
        "IPv6AcceptRA=no",
    ] {
        assert!(network.contains(line), "{line} in {network}");
    }
    assert!(!network.contains("DHCP="), "{network}");
    let two = read(at, "run/systemd/network/10-netplan-two.network");
    assert!(two.contains("DHCP=yes") && two.contains("52:54:00:00:00:02"), "{two}");
    let vlan = read(at, "run/systemd/network/10-netplan-lan.12.netdev");
    assert!(vlan.contains("Kind=vlan") && vlan.contains("Id=12"), "{vlan}");
    assert!(read(at, "run/systemd/network/10-netplan-lan.12.network").contains("Address=198.51.100.7/24"));
}

#[test]
fn netplan_keeps_its_renderer() {
    let folder = tempfile::tempdir().unwrap();
    system(folder.path(), &[NETPLAN]);
    plant(folder.path(), &[("etc/netplan/01-nm.yaml", 0o600, "network:\n  renderer: NetworkManager\n")]);
    std::fs::remove_file(folder.path().join("etc/netplan/50-cloud-init.yaml")).unwrap();
    applied_once(folder.path(), FULL);
    output(oracle("usr/libexec/netplan/generate").args(["--root-dir", folder.path().to_str().unwrap()]));
    let made = read(folder.path(), "run/NetworkManager/system-connections/netplan-lan.nmconnection");
    assert!(made.contains("192.0.2.21/24") && made.to_lowercase().contains(MAC), "{made}");
}

/// NetworkManager's own reader, which writes what it understood.
fn understood(path: &Path) -> String {
    let mut child = oracle("usr/bin/nmcli")
        .args(["--offline", "connection", "modify", "connection.autoconnect", "yes"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(path).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn network_manager_understands_the_keyfiles() {
    let folder = made(&[RED_HAT]);
    let at = folder.path().join("etc/NetworkManager/system-connections");
    let mut names: Vec<_> = std::fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let ours = ["ramet-lan.12.nmconnection", "ramet-lan.nmconnection", "ramet-two.nmconnection"];
    assert_eq!(names, [&["any.nmconnection"], &ours[..], &["tunnel.nmconnection"]].concat());
    let lan = understood(&at.join("ramet-lan.nmconnection"));
    for line in [
        "type=ethernet",
        "mac-address=52:54:00:12:34:56",
        "mtu=1400",
        "address1=192.0.2.21/24,192.0.2.1",
        "address2=192.0.2.22/24",
        "dns=192.0.2.53;",
        "dns-search=example.org;example.net;",
        "method=manual",
        "address1=2001:db8::21/64,2001:db8::1",
        "dns=2001:db8::53;",
    ] {
        assert!(lan.contains(line), "{line} in {lan}");
    }
    let uuid = lan.lines().find_map(|line| line.strip_prefix("uuid=")).unwrap();
    let vlan = understood(&at.join("ramet-lan.12.nmconnection"));
    for line in ["type=vlan", "id=12", "interface-name=lan.12", &format!("parent={uuid}"), "method=link-local"] {
        assert!(vlan.contains(line), "{line} in {vlan}");
    }
    let two = understood(&at.join("ramet-two.nmconnection"));
    assert_eq!(two.matches("method=auto").count(), 2, "{two}");
}

/// What a shell makes of `ifcfg` files, which are shell assignments.
fn sourced(path: &Path, names: &str) -> String {
    let script = format!("set -eu; . {}; for n in {names}; do eval echo \"$n=\\$$n\"; done", path.display());
    run("bash", &["-c", &script])
}

#[test]
fn shells_read_red_hats_scripts() {
    let folder = made(&[RED_HAT, IFCFG]);
    let at = folder.path().join("etc/sysconfig/network-scripts");
    let said = sourced(
        &at.join("ifcfg-lan"),
        "DEVICE HWADDR BOOTPROTO IPADDR0 PREFIX0 IPADDR1 GATEWAY IPV6ADDR IPV6_DEFAULTGW DNS1 DNS2 DOMAIN MTU ONBOOT",
    );
    assert_eq!(
        said,
        "DEVICE=lan\nHWADDR=52:54:00:12:34:56\nBOOTPROTO=none\nIPADDR0=192.0.2.21\nPREFIX0=24\nIPADDR1=192.0.2.22\nGATEWAY=192.0.2.1\nIPV6ADDR=2001:db8::21/64\nIPV6_DEFAULTGW=2001:db8::1\nDNS1=192.0.2.53\nDNS2=2001:db8::53\nDOMAIN=example.org example.net\nMTU=1400\nONBOOT=yes\n"
    );
    assert_eq!(sourced(&at.join("ifcfg-lan.12"), "VLAN PHYSDEV VLAN_ID"), "VLAN=yes\nPHYSDEV=lan\nVLAN_ID=12\n");
    assert_eq!(sourced(&at.join("ifcfg-two"), "BOOTPROTO IPV6_AUTOCONF"), "BOOTPROTO=dhcp\nIPV6_AUTOCONF=yes\n");
    for (name, stays) in [("ifcfg-ens3", false), ("route-ens3", false), ("ifcfg-any", true), ("ifcfg-lo", true)] {
        assert_eq!(at.join(name).exists(), stays, "{name}");
    }
    assert!(read(folder.path(), "etc/sysconfig/network").contains("HOSTNAME=web02.example.org\n"));
    assert!(folder.path().join("etc/systemd/network/10-ramet-lan.link").exists());
}

#[test]
fn shells_read_suses_scripts() {
    let folder = made(&[SUSE]);
    let at = folder.path().join("etc/sysconfig/network");
    let said = sourced(&at.join("ifcfg-lan"), "BOOTPROTO STARTMODE IPADDR IPADDR_1 IPADDR_2 MTU");
    assert_eq!(
        said,
        "BOOTPROTO=static\nSTARTMODE=auto\nIPADDR=192.0.2.21/24\nIPADDR_1=192.0.2.22/24\nIPADDR_2=2001:db8::21/64\nMTU=1400\n"
    );
    assert_eq!(sourced(&at.join("ifcfg-lan.12"), "ETHERDEVICE VLAN_ID"), "ETHERDEVICE=lan\nVLAN_ID=12\n");
    assert_eq!(sourced(&at.join("ifcfg-two"), "BOOTPROTO"), "BOOTPROTO=dhcp\n");
    let config = sourced(&at.join("config"), "NETCONFIG_DNS_POLICY NETCONFIG_DNS_STATIC_SERVERS");
    assert_eq!(config, "NETCONFIG_DNS_POLICY=auto\nNETCONFIG_DNS_STATIC_SERVERS=192.0.2.53 2001:db8::53\n");
    assert_eq!(
        std::fs::read_to_string(at.join("ifroute-lan")).unwrap(),
        "default 192.0.2.1 - lan\ndefault 2001:db8::1 - lan\n"
    );
    for name in ["ifcfg-eth0", "ifroute-eth0"] {
        assert!(!at.join(name).exists(), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("var/lib/wicked")).unwrap().count(), 0);
    assert_eq!(read(folder.path(), "etc/HOSTNAME"), "web02.example.org\n");
}

#[test]
fn networkd_keeps_what_fits_any_card() {
    let folder = made(&[ARCH]);
    let at = folder.path().join("etc/systemd/network");
    for (name, stays) in [("05-static.network", false), ("10-card.link", false), ("20-wired.network", true)] {
        assert_eq!(at.join(name).exists(), stays, "{name}");
    }
    let names: Vec<_> =
        ["10-ramet-lan.network", "10-ramet-lan.12.netdev", "10-ramet-lan.12.network", "10-ramet-two.network"]
            .into_iter()
            .filter(|name| !at.join(name).exists())
            .collect();
    assert!(names.is_empty(), "{names:?}");
}

/// The daemon itself in a network of its own with a card of this MAC; what the kernel has after it, then what it said.
fn set_up_by_networkd(files: &Path, rounds: u32) -> (String, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    // First of all it lets go of the file systems of tests beside it, which its namespace has copies of.
    let script = format!(
        "set -e; findmnt -rno TARGET | grep ^/tmp/ | xargs -r -n1 umount -l || true; mount --bind {} /etc/systemd/network; mount -t tmpfs none /run; mount -t sysfs -o ro none /sys
         mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
         chown -R systemd-network:systemd-network /run/systemd/netif
         ip link add card type veth peer name other; ip link set card address {MAC}; ip link set other up
         SYSTEMD_LOG_LEVEL=warning timeout 60 /usr/lib/systemd/systemd-networkd 2>{} & daemon=$!
         for i in $(seq {rounds}); do ip route | grep -q ^default && ip -6 route | grep -q ^default && break; sleep 0.5; done
         ip -br address show card; ip route; ip -6 route; cat /sys/class/net/card/mtu
         kill $daemon; wait || true",
        files.display(),
        log.path().display()
    );
    let said = run("unshare", &["--net", "--mount", "--propagation", "private", "sh", "-c", &script]);
    (said, std::fs::read_to_string(log.path()).unwrap())
}

#[test]
fn networkd_sets_up_the_card_with_this_mac() {
    let folder = tempfile::tempdir().unwrap();
    system(folder.path(), &[ARCH]);
    // Not every kernel that tests run on has virtual networks; without their parent's, gateways would wait.
    let plain = FULL.replace("[network.lan.vlans.12]", "[network.three]\nmac = \"52:54:00:00:00:03\"");
    applied_once(folder.path(), &plain);
    let (has, said) = set_up_by_networkd(&folder.path().join("etc/systemd/network"), 80);
    for part in [
        "192.0.2.21/24",
        "192.0.2.22/24",
        "2001:db8::21/64",
        "default via 192.0.2.1",
        "default via 2001:db8::1",
        "\n1400\n",
    ] {
        assert!(has.contains(part), "{part} in {has}\n{said}");
    }
    assert!(!said.contains("/etc/systemd/network/"), "it complains of no line: {said}");
    // All files, with those of virtual networks: it complains of no line either, but does of one that is wrong.
    let full = made(&[ARCH]);
    let at = full.path().join("etc/systemd/network");
    plant(&at, &[("99-wrong.network", 0o644, "[Match]\nName=none\n\n[Network]\nAdress=1\n")]);
    let (_, said) = set_up_by_networkd(&at, 6);
    assert!(said.contains("99-wrong.network") && !said.contains("10-ramet-"), "{said}");
}
