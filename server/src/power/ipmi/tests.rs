//! ipmitool's place taken by a script that writes down how it was called.

use super::*;
use crate::power::Attempt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A folder with an `ipmitool` of this body; `calls` in it gets the arguments, `env` the environment.
fn double(folder: &Path, body: &str) -> Ipmi {
    let at = folder.display();
    let script = format!("#!/bin/sh\necho \"$*\" >>{at}/calls\nenv >{at}/env\ncase \"$*\" in\n{body}\nesac\n");
    let tool = folder.join("ipmitool");
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let folders = vec![folder.to_owned(), "/usr/bin".into(), "/bin".into()];
    Ipmi::new(Tools::only(folders), "10.9.8.7".parse().unwrap(), "admin".into(), Secret::new("hush".into()), 17)
}

fn calls(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("calls")).unwrap();
    let own = "-v -I lanplus -H 10.9.8.7 -p 623 -U admin -E -C 17 -N 2 ";
    text.lines().map(|line| line.strip_prefix(own).expect(line).to_owned()).collect()
}

#[test]
fn the_password_is_in_the_environment_and_in_no_argument() {
    let folder = tempfile::tempdir().unwrap();
    let bmc = double(folder.path(), "*) echo 'Chassis Power is on' ;;");
    assert_eq!(bmc.status(&mut Vec::new()).unwrap(), PowerState::On);
    assert_eq!(calls(folder.path()), ["chassis power status"]);
    let env = std::fs::read_to_string(folder.path().join("env")).unwrap();
    assert!(env.lines().any(|line| line == "IPMI_PASSWORD=hush"), "{env}");
    assert!(!env.contains("CARGO"), "the server's environment leaked: {env}");
}

#[test]
fn the_next_boot_keeps_the_flags_names_efi_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let bmc = double(folder.path(), "*0x09*) echo ' 01 05 a0 04 00 00 00' ;;");
    let mut log: Vec<Attempt> = Vec::new();
    assert_eq!(bmc.next_boot_network(true, &mut log).unwrap(), NextBoot::Set);
    let want = ["raw 0x00 0x08 0x03 0x08", "chassis bootdev pxe options=efiboot", "raw 0x00 0x09 0x05 0x00 0x00"];
    assert_eq!(calls(folder.path()), want);
    assert!(log.len() == 3 && log.iter().all(|attempt| attempt.trouble.is_none()), "{log:?}");
    assert_eq!(log[2].detail, "boot flags a0 04");
    // The same flags are wrong for a machine without UEFI, which is asked for without the option.
    let odd = bmc.next_boot_network(false, &mut log).unwrap();
    let words = "the BMC reads back boot flags a0 04: UEFI instead of BIOS";
    assert_eq!(odd, NextBoot::SetUnverified(words.into()));
    assert_eq!(calls(folder.path())[4], "chassis bootdev pxe");
}

#[test]
fn flags_that_are_not_what_was_set_are_a_warning_that_says_why() {
    let said = |line: &str, uefi| match BootFlags::read(line).unwrap().judge(uefi) {
        NextBoot::SetUnverified(words) => words,
        other => panic!("{line}: {other:?}"),
    };
    assert!(said(" 01 05 00 04 00 00 00\n", true).contains("not valid, BIOS instead of UEFI"));
    assert!(said("01 05 e0 04 00 00 00", true).contains("for ever instead of once"));
    assert!(said("01 05 a0 08 00 00 00", true).contains("another device than the network"));
    assert_eq!(BootFlags::read(" 01 85 80 04 00 00 00").unwrap().judge(false), NextBoot::Set);
    for bad in ["", "01 05", "01 04 a0 04 00 00 00", "zz 05 a0 04 00 00 00", "01 05 a0 04 00 00 00 00"] {
        assert_eq!(BootFlags::read(bad), None, "{bad}");
    }
}

#[test]
fn a_bmc_that_knows_no_parameter_3_is_still_set_and_one_without_boot_options_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let no = "echo 'Unable to send RAW command (rsp=0x80): Parameter not supported' >&2; exit 1";
    let bmc = double(folder.path(), &format!("*0x03*) {no} ;; *0x09*) echo 01 05 80 04 00 00 00 ;;"));
    let mut log: Vec<Attempt> = Vec::new();
    assert_eq!(bmc.next_boot_network(false, &mut log).unwrap(), NextBoot::Set);
    assert_eq!(log[0].trouble, Some(Trouble::Unsupported));
    let none = "echo 'Set Chassis Boot Parameter 5 failed: Invalid command' >&2; exit 1";
    let bmc = double(folder.path(), &format!("*bootdev*) {none} ;;"));
    assert_eq!(bmc.next_boot_network(false, &mut log).unwrap(), NextBoot::Unsupported);
}

#[test]
fn a_failure_is_told_without_the_password_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let bmc = double(folder.path(), "*) echo '> RAKP 2 HMAC is invalid for hush' >&2; exit 1 ;;");
    let mut log: Vec<Attempt> = Vec::new();
    let error = bmc.on(&mut log).unwrap_err();
    assert_eq!((error.trouble, error.said.as_str()), (Trouble::Auth, "RAKP 2 HMAC is invalid for ***"));
    assert_eq!(log[0].trouble, Some(Trouble::Auth));
    assert!(!format!("{log:?} {bmc:?} {error:?}").contains("hush"));
}

#[test]
fn without_ipmitool_the_tool_is_named() {
    let nowhere = Tools::only(vec!["/nonexistent".into()]);
    let bmc = Ipmi::new(nowhere, "10.9.8.7".parse().unwrap(), String::new(), Secret::new(String::new()), 3);
    let error = bmc.status(&mut Vec::new()).unwrap_err();
    assert_eq!(error.trouble, Trouble::MissingTool);
    assert!(error.to_string().contains("ipmitool is not installed"), "{error}");
}

#[test]
fn an_answer_that_makes_no_sense_is_garbled_and_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let bmc = double(folder.path(), "*) echo 'Chassis Power is maybe' ;;");
    assert_eq!(bmc.status(&mut Vec::new()).unwrap_err().trouble, Trouble::Garbled);
}
