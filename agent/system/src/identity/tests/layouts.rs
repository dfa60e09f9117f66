//! Each family: name, ids, keys, users, leftovers.

use super::trees::{ARCH, DEBIAN, Files, IFCFG, NETPLAN, OLD_ID, RED_HAT, SUSE, system};
use super::{FULL, KEY, applied, applied_once, read, rendered};
use crate::identity::{IdentityError, apply};
use crate::root::Root;
use crate::testing::{Mounted, listing, plant, run};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

fn made(parts: &[Files]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    system(folder.path(), parts);
    folder
}

fn machine_id(at: &Path) -> String {
    let id = run("systemd-machine-id-setup", &["--root", at.to_str().unwrap(), "--print"]);
    id.trim().to_owned()
}

/// Keys that ssh-keygen takes, of our making, and no others.
fn check_keys(at: &Path, before: &[String]) {
    let names: Vec<String> = listing(&at.join("etc/ssh"))
        .into_iter()
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .filter(|name| name.starts_with("ssh_host"))
        .collect();
    assert_eq!(
        names,
        ["ssh_host_ecdsa_key", "ssh_host_ecdsa_key.pub", "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]
    );
    for (name, kind) in [("ssh_host_ecdsa_key", "ECDSA"), ("ssh_host_ed25519_key", "ED25519")] {
        let path = at.join("etc/ssh").join(name);
        let path = path.to_str().unwrap();
        assert_eq!(run("ssh-keygen", &["-y", "-f", path]), read(at, &format!("etc/ssh/{name}.pub")));
        let print = run("ssh-keygen", &["-l", "-f", path]);
        assert!(print.contains(kind) && print.contains("root@web02.example.org"), "{print}");
        assert!(!before.contains(&print));
    }
}

fn prints(at: &Path) -> Vec<String> {
    let print = |kind: &str| {
        run("ssh-keygen", &["-l", "-f", at.join(format!("etc/ssh/ssh_host_{kind}_key")).to_str().unwrap()])
    };
    ["ed25519", "ecdsa"].map(print).to_vec()
}

#[test]
fn every_family_gets_name_id_keys_and_users() {
    let table: &[(&str, &[Files], &str)] = &[
        ("debian", &[DEBIAN], "web02\n"),
        ("netplan", &[NETPLAN], "web02\n"),
        ("red hat", &[RED_HAT], "web02.example.org\n"),
        ("ifcfg", &[RED_HAT, IFCFG], "web02.example.org\n"),
        ("suse", &[SUSE], "web02\n"),
        ("arch", &[ARCH], "web02\n"),
    ];
    for (name, parts, host) in table {
        let folder = made(parts);
        let at = folder.path();
        let before = prints(at);
        let done = applied_once(at, FULL);
        assert_eq!(read(at, "etc/hostname"), *host, "{name}");
        let id = machine_id(at);
        assert!(id.len() == 32 && id != OLD_ID, "{name}: {id}");
        check_keys(at, &before);
        assert_eq!(read(at, "root/.ssh/authorized_keys"), format!("{KEY}\n"), "{name}");
        let mode = |path: &str| std::fs::metadata(at.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode("root/.ssh"), mode("root/.ssh/authorized_keys"), mode("etc/machine-id")),
            (0o700, 0o600, 0o444)
        );
        let hosts = read(at, "etc/hosts");
        assert!(
            hosts.contains("127.0.1.1\tweb02.example.org web02\n") && hosts.contains("192.0.2.10\tdb.example.org db\n")
        );
        assert!(!hosts.split_whitespace().any(|word| word == "web01"), "{name}: {hosts}");
        assert!(hosts.contains("localhost"), "{name}");
        assert_eq!((read(at, "etc/motd").as_str(), mode("etc/motd")), ("This is web02.\n", 0o640));
        assert_eq!(std::fs::metadata(at.join("etc/motd")).unwrap().gid(), 4);
        for gone in ["etc/source-only", "var/lib/systemd/random-seed", "etc/udev/rules.d/70-persistent-net.rules"] {
            assert!(!at.join(gone).exists(), "{name}: {gone}");
        }
        assert!(at.join("etc/udev/rules.d/60-disk.rules").exists());
        assert!(!done.diff.contains("PRIVATE KEY"), "{name}");
        assert!(done.changes.iter().any(|change| change.what == "/etc/hostname"), "{name}");
    }
}

#[test]
fn debian_keeps_what_is_not_its_sources() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    applied_once(at, FULL);
    assert_eq!(read(at, "etc/mailname"), "web02.example.org\n");
    assert!(read(at, "etc/hosts").contains("192.0.2.9 web01-backup.example.org\n"), "other machines stay");
    assert!(read(at, "etc/hosts").contains("# The following lines"));
    assert_eq!(std::fs::read_link(at.join("var/lib/dbus/machine-id")).unwrap(), Path::new("/etc/machine-id"));
    assert!(!at.join("var/lib/dhcp/dhclient.ens3.leases").exists());
    assert!(read(at, "etc/lvm/lvmlocal.conf").contains("extra_system_ids = [ \"web01\" ]"));
    let md = read(at, "etc/mdadm/mdadm.conf");
    assert!(md.contains("HOMEHOST <ignore>\n") && md.contains("name=web01:0") && !md.contains("<system>"), "{md}");
    // lvm's own parser takes the settings.
    let dir = at.join("etc/lvm");
    let said =
        run("env", &[&format!("LVM_SYSTEM_DIR={}", dir.display()), "lvm", "lvmconfig", "local/extra_system_ids"]);
    assert!(said.contains("web01"), "{said}");
}

#[test]
fn an_image_that_is_called_localhost_keeps_that_name_for_loopback() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    let hosts = "127.0.0.1 localhost.localdomain localhost\n::1 localhost\n";
    plant(at, &[("etc/hostname", 0o644, "localhost.localdomain\n"), ("etc/hosts", 0o644, hosts)]);
    applied_once(at, "hostname = \"web02\"");
    assert_eq!(read(at, "etc/hosts"), "127.0.0.1 localhost.localdomain localhost\n127.0.1.1\tweb02\n::1 localhost\n");
}

#[test]
fn red_hat_follows_in_boot_entries_leases_and_lvm() {
    let folder = made(&[RED_HAT]);
    let at = folder.path();
    for kind in ["ed25519", "ecdsa"] {
        let path = at.join(format!("etc/ssh/ssh_host_{kind}_key"));
        run("chown", &["root:998", path.to_str().unwrap()]);
        run("chmod", &["0640", path.to_str().unwrap()]);
    }
    applied_once(at, FULL);
    let id = machine_id(at);
    let entry = format!("boot/loader/entries/{id}-5.14.0-427.el9.x86_64.conf");
    assert!(read(at, &entry).contains("linux /vmlinuz-5.14.0-427.el9.x86_64\n"));
    assert_eq!(std::fs::read_dir(at.join("boot/loader/entries")).unwrap().count(), 1);
    assert!(read(at, "boot/grub2/grubenv").contains(&format!("saved_entry={id}-5.14.0-427.el9.x86_64\n######")));
    assert!(!at.join("etc/lvm/devices/system.devices").exists());
    let left: Vec<_> = listing(&at.join("var/lib/NetworkManager")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [Path::new("NetworkManager.state")]);
    let meta = std::fs::metadata(at.join("etc/ssh/ssh_host_ed25519_key")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o640, 998), "its group may read it");
}

#[test]
fn kernels_under_the_old_id_are_still_found() {
    let folder = made(&[ARCH]);
    let at = folder.path();
    applied_once(at, FULL);
    let id = machine_id(at);
    assert_eq!(read(at, "etc/kernel/entry-token"), format!("{OLD_ID}\n"));
    let entry = read(at, &format!("efi/loader/entries/{OLD_ID}-6.12.1.conf"));
    assert!(entry.contains(&format!("linux /{OLD_ID}/6.12.1/linux")), "{entry}");
    assert!(
        entry.contains(&format!("machine-id {id}")) && entry.contains(&format!("systemd.machine_id={id} rw")),
        "{entry}"
    );
    assert!(read(at, "etc/kernel/cmdline").contains(&id));
    assert!(!at.join("efi/loader/random-seed").exists());
}

#[test]
fn what_shall_be_kept_is_kept() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    let before = (prints(at), machine_id(at));
    let keep = "machine-id = \"keep\"\nssh-host-keys = \"keep\"\nrandom-seed = \"keep\"\nstorage-names = \"keep\"\n";
    let network = read(at, "etc/network/interfaces");
    applied_once(at, keep);
    assert_eq!((prints(at), machine_id(at)), before);
    assert_eq!((read(at, "etc/hostname").as_str(), read(at, "etc/network/interfaces")), ("web01\n", network));
    for path in [
        "var/lib/systemd/random-seed",
        "var/lib/dhcp/dhclient.ens3.leases",
        "etc/udev/rules.d/70-persistent-net.rules",
        "etc/ssh/ssh_host_rsa_key",
    ] {
        assert!(at.join(path).exists(), "{path}");
    }
    assert!(!at.join("etc/lvm/lvmlocal.conf").exists());
}

#[test]
fn an_empty_machine_id_is_made_at_the_first_boot() {
    let folder = made(&[DEBIAN]);
    std::fs::remove_file(folder.path().join("var/lib/dbus/machine-id")).unwrap();
    plant(folder.path(), &[("var/lib/dbus/machine-id", 0o644, "0123456789abcdef0123456789abcdef\n")]);
    applied_once(folder.path(), "machine-id = \"empty\"");
    assert_eq!(read(folder.path(), "etc/machine-id"), "");
    assert_eq!(
        std::fs::read_link(folder.path().join("var/lib/dbus/machine-id")).unwrap(),
        Path::new("/etc/machine-id")
    );
}

#[test]
fn another_restore_makes_another_machine() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    applied(at, FULL);
    let first = (prints(at), machine_id(at));
    // The clone was captured and is restored elsewhere.
    apply(&mut Root::open(at).unwrap(), &rendered(FULL), "run-2", false).unwrap();
    let second = (prints(at), machine_id(at));
    assert_ne!(first.0[0], second.0[0]);
    assert_ne!(first.1, second.1);
}

#[test]
fn sshd_that_names_other_keys_only_is_told_of_the_new_ones() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    let config = "HostKey /etc/keys/host\nHostKey /etc/shadow\nMatch User x\n  PasswordAuthentication no\n";
    plant(at, &[("etc/ssh/sshd_config", 0o644, config), ("etc/shadow", 0o640, "root:*::\n")]);
    std::fs::create_dir_all(at.join("etc/keys")).unwrap();
    run("ssh-keygen", &["-q", "-t", "rsa", "-N", "", "-f", at.join("etc/keys/host").to_str().unwrap()]);
    applied_once(at, FULL);
    assert!(!at.join("etc/keys/host").exists() && !at.join("etc/keys/host.pub").exists());
    assert!(at.join("etc/shadow").exists(), "settings name what they like; only keys go");
    let text = read(at, "etc/ssh/sshd_config");
    assert_eq!(text, format!("HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/ssh_host_ecdsa_key\n{config}"));
}

#[test]
fn users_get_keys_in_their_homes_and_nobody_is_made() {
    let folder = made(&[DEBIAN]);
    let at = folder.path();
    plant(at, &[("home/me/.ssh/authorized_keys", 0o666, "ssh-rsa AAAA old\n")]);
    let declared =
        |user: &str, keep: bool| format!("[users.{user}]\nauthorized-keys = [\"{KEY}\"]\nkeep-keys = {keep}\n");
    applied_once(at, &declared("me", true));
    assert_eq!(read(at, "home/me/.ssh/authorized_keys"), format!("ssh-rsa AAAA old\n{KEY}\n"));
    applied(at, &declared("me", false));
    assert_eq!(read(at, "home/me/.ssh/authorized_keys"), format!("{KEY}\n"));
    for path in ["home/me/.ssh", "home/me/.ssh/authorized_keys"] {
        let meta = std::fs::metadata(at.join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o077), (1000, 1000, 0), "{path}");
    }
    let before = listing(at);
    let refused =
        |user: &str| apply(&mut Root::open(at).unwrap(), &rendered(&declared(user, true)), "r", false).unwrap_err();
    assert!(matches!(refused("nobody2"), IdentityError::Account { .. }));
    assert!(matches!(refused("ghost"), IdentityError::Home { .. }));
    assert_eq!(listing(at), before);
}

#[test]
fn cloud_init_is_cleared_seeded_and_told() {
    let folder = made(&[NETPLAN]);
    let at = folder.path();
    applied_once(at, FULL);
    let settings = "etc/cloud/cloud.cfg.d/99-ramet.cfg";
    for line in ["preserve_hostname: true\n", "ssh_deletekeys: false\n", "network: {config: disabled}\n"] {
        assert!(read(at, settings).contains(line), "{line}");
    }
    assert!(at.join("var/lib/cloud/instances/iid-source").exists());
    let seed = "hostname = \"a\"\n[cloud-init]\nuser-data = \"#cloud-config\\npassword: s3cret\\n\"\n";
    let done = apply(&mut Root::open(at).unwrap(), &rendered(seed), "run-3", false).unwrap();
    assert!(!done.diff.contains("s3cret"), "{}", done.diff);
    assert!(!at.join("var/lib/cloud/instances").exists() && !at.join("var/lib/cloud/instance").is_symlink());
    assert_eq!(read(at, "var/lib/cloud/seed/nocloud/user-data"), "#cloud-config\npassword: s3cret\n");
    assert_eq!(read(at, "var/lib/cloud/seed/nocloud/meta-data"), "instance-id: ramet-run-3\nlocal-hostname: a\n");
    assert!(read(at, settings).contains("datasource_list: [NoCloud, None]\n"));
    let without = made(&[DEBIAN]);
    let refused = apply(&mut Root::open(without.path()).unwrap(), &rendered(seed), "r", false).unwrap_err();
    assert!(matches!(refused, IdentityError::CloudInit));
}

#[test]
fn real_file_systems_take_it_and_stay_clean() {
    for (kind, size) in [("ext4", 64 << 20), ("xfs", 320 << 20), ("btrfs", 128 << 20)] {
        let fs = Mounted::new(kind, size);
        system(fs.path(), &[DEBIAN]);
        applied_once(fs.path(), FULL);
        let file = fs.unmounted();
        let file = file.to_str().unwrap();
        match kind {
            "ext4" => run("e2fsck", &["-fn", file]),
            "xfs" => run("xfs_repair", &["-n", "-f", file]),
            _ => run("btrfs", &["check", "--readonly", file]),
        };
    }
}
