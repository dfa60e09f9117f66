//! Trees as distributions lay them out; what was made of them is read by the tools that will read it.

mod hostile;
mod layouts;
mod network;
mod trees;

use super::{Applied, apply};
use crate::root::Root;
use crate::testing::listing;
use ramet_wire::identity::{Identity, Vars};
use std::path::{Path, PathBuf};
use std::process::Command;

const MAC: &str = "52:54:00:12:34:56";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEO0nLBbBqk2o7GcGhBoQ3Tg1bQnPHmlMLu7KqH8hXfG me@desk";

/// A declaration with all that there is.
const FULL: &str = r#"
hostname = "{{ name }}.example.org"
[hosts]
"192.0.2.10" = ["db.example.org", "db"]
[users.root]
authorized-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEO0nLBbBqk2o7GcGhBoQ3Tg1bQnPHmlMLu7KqH8hXfG me@desk"]
[network.lan]
mac = "{{ macs[0] }}"
addresses = ["192.0.2.21/24", "192.0.2.22/24", "2001:db8::21/64"]
gateways = ["192.0.2.1", "2001:db8::1"]
dns = ["192.0.2.53", "2001:db8::53"]
search = ["example.org", "example.net"]
mtu = 1400
[network.lan.vlans.12]
addresses = ["198.51.100.7/24"]
[network.two]
mac = "52:54:00:00:00:02"
[files."/etc/motd"]
template = "This is {{ name }}.\n"
mode = "0640"
owner = "root:adm"
[files."/etc/source-only"]
remove = true
"#;

fn rendered(text: &str) -> Identity {
    let vars = Vars { name: "web02".into(), macs: vec![MAC.into()], ..Vars::default() };
    Identity::from_toml(text).unwrap().render(&vars).unwrap()
}

fn applied(at: &Path, text: &str) -> Applied {
    apply(&mut Root::open(at).unwrap(), &rendered(text), "run-1", false).unwrap()
}

/// Applies it; that a dry run before wrote nothing and said the same, and that a second run finds nothing to do.
fn applied_once(at: &Path, text: &str) -> Applied {
    let before = listing(at);
    let dry = apply(&mut Root::open(at).unwrap(), &rendered(text), "run-1", true).unwrap();
    assert_eq!(listing(at), before, "a dry run writes nothing");
    let first = applied(at, text);
    // A machine-id is random, and names boot entries.
    let known = |done: &Applied| {
        let named = |what: &str| what.split(['/', '-']).any(|word| word.len() == 32);
        done.changes.iter().filter(|change| !named(&change.what)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(known(&first), known(&dry));
    let after = listing(at);
    let second = applied(at, text);
    assert_eq!((second.changes, second.diff.as_str()), (Vec::new(), ""));
    assert_eq!(listing(at), after, "a second run changes nothing");
    first
}

fn read(at: &Path, path: &str) -> String {
    std::fs::read_to_string(at.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A tool of a package that is unpacked and not installed.
fn oracle(path: &str) -> Command {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/oracles");
    let program = folder.join(path);
    assert!(program.exists(), "{} is missing; scripts/install check unpacks it", program.display());
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", folder.join("usr/lib/x86_64-linux-gnu"));
    command
}
