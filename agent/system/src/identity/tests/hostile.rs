//! Images that want more than to be cloned: refused, with the tree untouched.

use super::trees::{DEBIAN, system};
use super::{FULL, applied, read, rendered};
use crate::identity::{IdentityError, apply};
use crate::root::Root;
use crate::testing::{listing, plant, run};
use std::path::Path;

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    system(folder.path(), &[DEBIAN]);
    folder
}

fn refused(at: &Path) -> String {
    let before = listing(at);
    let error = apply(&mut Root::open(at).unwrap(), &rendered(FULL), "run", false).unwrap_err();
    assert_eq!(listing(at), before, "{error}");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[test]
fn a_host_name_that_leads_out_becomes_a_file_inside() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "untouched").unwrap();
    let folder = made();
    let at = folder.path();
    std::fs::remove_file(at.join("etc/hostname")).unwrap();
    std::os::unix::fs::symlink(format!("../../../../../..{}", outside.path().display()), at.join("etc/hostname"))
        .unwrap();
    applied(at, FULL);
    assert_eq!(std::fs::read_to_string(outside.path()).unwrap(), "untouched");
    assert_eq!(read(at, "etc/hostname"), "web02\n");
}

#[test]
fn refuses_traps_in_the_place_of_each_file() {
    for path in [
        "etc/hostname",
        "etc/hosts",
        "etc/machine-id",
        "etc/network/interfaces",
        "etc/passwd",
        "etc/motd",
        "usr/lib/os-release",
        "root/.ssh/authorized_keys",
    ] {
        for trap in ["fifo", "device", "folder"] {
            // A folder in the place of accounts or cards reads as none: refused all the same.
            let folder = made();
            let at = folder.path().join(path);
            let _ = std::fs::remove_file(&at);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            match trap {
                "fifo" => run("mkfifo", &[at.to_str().unwrap()]),
                "device" => run("mknod", &[at.to_str().unwrap(), "c", "1", "5"]),
                _ => run("mkdir", &[at.to_str().unwrap()]),
            };
            let said = refused(folder.path());
            let unseen = path == "etc/network/interfaces" && said.contains("switched on");
            assert!(said.contains("is wanted") || unseen, "{trap} at {path}: {said}");
        }
    }
}

#[test]
fn refuses_an_unknown_system_and_a_huge_release() {
    let folder = made();
    plant(folder.path(), &[("usr/lib/os-release", 0o644, "ID=nixos\n")]);
    assert!(refused(folder.path()).contains("nixos"));
    let file = std::fs::File::options().write(true).open(folder.path().join("usr/lib/os-release")).unwrap();
    file.set_len(10 << 30).unwrap();
    assert!(refused(folder.path()).contains("10737418240 bytes, 65536 are read"));
    std::fs::remove_file(folder.path().join("usr/lib/os-release")).unwrap();
    assert!(refused(folder.path()).contains("neither /etc/os-release nor"));
}

#[test]
fn refuses_cards_where_nothing_sets_them_up() {
    let folder = made();
    run("rm", &["-r", folder.path().join("etc/network").to_str().unwrap()]);
    let before = listing(folder.path());
    let found = apply(&mut Root::open(folder.path()).unwrap(), &rendered(FULL), "run", false).unwrap_err();
    assert!(matches!(found, IdentityError::Network), "{found}");
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn refuses_a_declaration_that_was_not_checked() {
    let folder = made();
    let mut wanted = rendered(FULL);
    wanted.hostname = Some("web02\n127.0.0.1 bank".into());
    let found = apply(&mut Root::open(folder.path()).unwrap(), &wanted, "run", false).unwrap_err();
    assert!(matches!(found, IdentityError::Declared(_)), "{found}");
}

#[test]
fn refuses_owners_that_the_system_does_not_have() {
    let folder = made();
    let text = "[files.\"/etc/x\"]\ncontent = \"\"\nowner = \"root:wheel\"";
    let found = apply(&mut Root::open(folder.path()).unwrap(), &rendered(text), "run", false).unwrap_err();
    assert_eq!(found.to_string(), "files.\"/etc/x\".owner names \"wheel\", which /etc/group does not have");
}

#[test]
fn homes_and_folders_that_are_links_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let folder = made();
    let at = folder.path();
    std::fs::remove_dir(at.join("root")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at.join("root")).unwrap();
    assert!(refused(at).contains("its home \"/root\" is no folder"));
    assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
}

#[test]
fn a_trap_in_the_place_of_a_host_key_goes_unopened() {
    let folder = made();
    let key = folder.path().join("etc/ssh/ssh_host_ed25519_key");
    std::fs::remove_file(&key).unwrap();
    run("mkfifo", &[key.to_str().unwrap()]);
    applied(folder.path(), FULL);
    assert!(run("ssh-keygen", &["-y", "-f", key.to_str().unwrap()]).starts_with("ssh-ed25519 "));
    let folder = made();
    let key = folder.path().join("etc/ssh/ssh_host_ed25519_key");
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    assert!(refused(folder.path()).contains("is a folder, a regular file is wanted"));
}
