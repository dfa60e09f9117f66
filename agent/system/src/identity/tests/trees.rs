//! What a fresh install of each family has, as far as an identity is concerned.
//!
//! In: a family. Out: a folder with its files, filled from tables.
//! Promise: contents are those of real installs, shortened.

use crate::testing::{plant, run};
use std::path::Path;

/// A path, its mode, what it holds.
pub(super) type Files = &'static [(&'static str, u32, &'static str)];

pub(super) const OLD_ID: &str = "0123456789abcdef0123456789abcdef";

const COMMON: Files = &[
    ("etc/hostname", 0o644, "web01\n"),
    ("etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n"),
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\nghost:x:1001:1001::/gone:/bin/sh\n",
    ),
    ("etc/group", 0o644, "root:x:0:\nadm:x:4:\nme:x:1000:\n"),
    ("root/", 0o700, ""),
    ("home/me/", 0o755, ""),
    ("etc/source-only", 0o644, "x\n"),
    ("var/lib/systemd/random-seed", 0o600, "seed"),
    ("etc/ssh/sshd_config", 0o644, "#HostKey /etc/ssh/ssh_host_rsa_key\nUsePAM yes\n"),
    (
        "etc/udev/rules.d/70-persistent-net.rules",
        0o644,
        "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:aa:aa:aa\", NAME=\"eth0\"\n",
    ),
    ("etc/udev/rules.d/60-disk.rules", 0o644, "SUBSYSTEM==\"block\"\n"),
];

pub(super) const DEBIAN: Files = &[
    ("etc/os-release", 0, "-> ../usr/lib/os-release"),
    ("usr/lib/os-release", 0o644, "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"),
    (
        "etc/hosts",
        0o644,
        "127.0.0.1\tlocalhost\n127.0.1.1\tweb01.example.org\tweb01\n# The following lines are desirable for IPv6 capable hosts\n::1     localhost ip6-localhost\n192.0.2.9 web01-backup.example.org\n",
    ),
    ("etc/mailname", 0o644, "web01\n"),
    ("var/lib/dbus/machine-id", 0, "-> /etc/machine-id"),
    ("usr/sbin/ifup", 0o755, "#!/bin/sh\n"),
    ("sbin", 0, "-> usr/sbin"),
    (
        "etc/network/interfaces",
        0o644,
        "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\nallow-hotplug ens3\niface ens3 inet static\n  address 192.0.2.20/24\n",
    ),
    ("etc/network/interfaces.d/", 0o755, ""),
    ("var/lib/dhcp/dhclient.ens3.leases", 0o644, "default-duid \"\\000\\001\";\n"),
    ("etc/resolv.conf", 0o644, "nameserver 192.0.2.99\n"),
    ("etc/lvm/lvm.conf", 0o644, "global {\n\tsystem_id_source = \"uname\"\n}\n"),
    ("etc/mdadm/mdadm.conf", 0o644, "HOMEHOST <system>\nARRAY /dev/md/0 metadata=1.2 UUID=a:b:c:d name=web01:0\n"),
];

pub(super) const NETPLAN: Files = &[
    ("etc/os-release", 0o644, "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n127.0.1.1 web01\n"),
    (
        "etc/netplan/50-cloud-init.yaml",
        0o600,
        "network:\n    version: 2\n    renderer: networkd\n    ethernets:\n        ens3:\n            addresses: [192.0.2.20/24]\n",
    ),
    ("etc/cloud/cloud.cfg", 0o644, "disable_root: true\n"),
    ("var/lib/cloud/instance", 0, "-> instances/iid-source"),
    ("var/lib/cloud/instances/iid-source/user-data.txt", 0o600, "x"),
    ("var/lib/cloud/data/instance-id", 0o644, "iid-source\n"),
    ("var/lib/cloud/seed/", 0o755, ""),
];

pub(super) const RED_HAT: Files = &[
    (
        "etc/os-release",
        0o644,
        "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n",
    ),
    (
        "etc/hosts",
        0o644,
        "127.0.0.1   localhost localhost.localdomain web01 web01.example.org\n::1         localhost localhost.localdomain web01\n",
    ),
    (
        "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
        0,
        "-> /usr/lib/systemd/system/NetworkManager.service",
    ),
    (
        "etc/NetworkManager/system-connections/ens3.nmconnection",
        0o600,
        "[connection]\nid=ens3\nuuid=1b4e28ba-2fa1-11d2-883f-0016d3cca427\ntype=ethernet\ninterface-name=ens3\n\n[ipv4]\nmethod=manual\naddress1=192.0.2.20/24\n",
    ),
    (
        "etc/NetworkManager/system-connections/any.nmconnection",
        0o600,
        "[connection]\nid=any\nuuid=1b4e28ba-2fa1-11d2-883f-0016d3cca428\ntype=ethernet\n\n[ipv4]\nmethod=auto\n",
    ),
    (
        "etc/NetworkManager/system-connections/tunnel.nmconnection",
        0o600,
        "[connection]\nid=tunnel\nuuid=1b4e28ba-2fa1-11d2-883f-0016d3cca429\ntype=wireguard\n\n[ipv4]\nmethod=manual\naddress1=198.51.100.1/24\n",
    ),
    ("var/lib/NetworkManager/secret_key", 0o600, "nm-v2:secret"),
    ("var/lib/NetworkManager/internal-1b4e-ens3.lease", 0o600, "ADDRESS=192.0.2.20"),
    ("var/lib/NetworkManager/NetworkManager.state", 0o644, "[main]\n"),
    (
        "boot/loader/entries/0123456789abcdef0123456789abcdef-5.14.0-427.el9.x86_64.conf",
        0o644,
        "title Rocky Linux\nversion 5.14.0-427.el9.x86_64\nlinux /vmlinuz-5.14.0-427.el9.x86_64\noptions root=UUID=1 ro\ngrub_class rocky\n",
    ),
    (
        "boot/grub2/grubenv",
        0o600,
        "# GRUB Environment Block\nsaved_entry=0123456789abcdef0123456789abcdef-5.14.0-427.el9.x86_64\n######",
    ),
    ("etc/lvm/devices/system.devices", 0o600, "VERSION=1.1.1\nIDTYPE=sys_serial IDNAME=QM00001 DEVNAME=/dev/sda2\n"),
];

/// Instead of keyfiles, what RHEL 8 and older has.
pub(super) const IFCFG: Files = &[
    ("etc/sysconfig/network-scripts/ifcfg-lo", 0o644, "DEVICE=lo\nIPADDR=127.0.0.1\n"),
    (
        "etc/sysconfig/network-scripts/ifcfg-ens3",
        0o644,
        "TYPE=Ethernet\nBOOTPROTO=none\nDEVICE=ens3\nIPADDR=192.0.2.20\nPREFIX=24\n",
    ),
    ("etc/sysconfig/network-scripts/route-ens3", 0o644, "198.51.100.0/24 via 192.0.2.1\n"),
    ("etc/sysconfig/network-scripts/ifcfg-any", 0o644, "TYPE=Ethernet\nBOOTPROTO=dhcp\nONBOOT=yes\n"),
    ("etc/sysconfig/network", 0o644, "NETWORKING=yes\nHOSTNAME=web01\n"),
];

pub(super) const SUSE: Files = &[
    (
        "etc/os-release",
        0o644,
        "NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n",
    ),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
    ("etc/HOSTNAME", 0o644, "web01.example.org\n"),
    ("etc/systemd/system/network.service", 0, "-> /usr/lib/systemd/system/wicked.service"),
    (
        "etc/sysconfig/network/config",
        0o644,
        "NETCONFIG_DNS_POLICY=\"auto\"\nNETCONFIG_DNS_STATIC_SERVERS=\"192.0.2.99\"\nNETCONFIG_DNS_STATIC_SEARCHLIST=\"\"\n",
    ),
    ("etc/sysconfig/network/ifcfg-lo", 0o644, "IPADDR=127.0.0.1/8\n"),
    ("etc/sysconfig/network/ifcfg-eth0", 0o600, "BOOTPROTO='static'\nIPADDR='192.0.2.20/24'\n"),
    ("etc/sysconfig/network/ifroute-eth0", 0o600, "default 192.0.2.1 - eth0\n"),
    ("var/lib/wicked/duid.xml", 0o600, "<duid/>"),
    ("var/lib/wicked/lease-eth0-dhcp-ipv4.xml", 0o600, "<lease/>"),
];

pub(super) const ARCH: Files = &[
    ("etc/os-release", 0o644, "NAME=\"Arch Linux\"\nID=arch\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        0,
        "-> /usr/lib/systemd/system/systemd-networkd.service",
    ),
    ("etc/systemd/network/05-static.network", 0o644, "[Match]\nName=ens3\n\n[Network]\nAddress=192.0.2.20/24\n"),
    ("etc/systemd/network/20-wired.network", 0o644, "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n"),
    ("etc/systemd/network/10-card.link", 0o644, "[Match]\nMACAddress=52:54:00:aa:aa:aa\n\n[Link]\nName=card\n"),
    ("efi/0123456789abcdef0123456789abcdef/6.12.1/linux", 0o644, "kernel"),
    (
        "efi/loader/entries/0123456789abcdef0123456789abcdef-6.12.1.conf",
        0o644,
        "title Arch\nmachine-id 0123456789abcdef0123456789abcdef\noptions root=UUID=1 systemd.machine_id=0123456789abcdef0123456789abcdef rw\nlinux /0123456789abcdef0123456789abcdef/6.12.1/linux\n",
    ),
    ("efi/loader/random-seed", 0o600, "seed"),
    ("etc/kernel/cmdline", 0o644, "root=UUID=1 systemd.machine_id=0123456789abcdef0123456789abcdef\n"),
];

/// Puts a system into a folder, with host keys that ssh-keygen made.
pub(super) fn system(at: &Path, parts: &[Files]) {
    plant(at, COMMON);
    for part in parts {
        plant(at, part);
    }
    for (kind, bits) in [("rsa", "1024"), ("ed25519", "256"), ("ecdsa", "256")] {
        let path = at.join(format!("etc/ssh/ssh_host_{kind}_key"));
        let path = path.to_str().unwrap();
        run("ssh-keygen", &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "root@web01", "-f", path]);
    }
}
