//! The machine-id, and what is named after it.
//!
//! In: machine-id(5) of the source. Out: another, an empty one, or the same; boot entries that are still found.
//! Promise: kernels that the boot loader finds by the old id are found afterwards: names of folders stay, small files follow.

use super::{IdentityError, Work, random};
use crate::root::{How, Links, Root};
use ramet_wire::identity::MachineId;

const PATH: &str = "/etc/machine-id";
const DBUS: &str = "/var/lib/dbus/machine-id";
/// Where `$BOOT` is, by the Boot Loader Specification.
const BOOT: &[&str] = &["/boot", "/efi", "/boot/efi"];
const GRUB: &[&str] = &["/boot/grub2/grubenv", "/boot/grub/grubenv"];

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let old = read(work.root)?;
    let kind = work.wanted.machine_id.unwrap_or_default();
    let new = match kind {
        MachineId::Keep => return Ok(()),
        MachineId::New if work.again && old.is_some() => return Ok(()),
        MachineId::New => Some(fresh()?),
        MachineId::Empty => None,
    };
    let how = How {
        say: if new.is_some() { "a new machine-id" } else { "empty: made at the first boot" },
        mode: Some(0o444),
        owner: Some((0, 0)),
        links: Links::Follow,
        ..How::default()
    };
    let text = new.as_ref().map(|id| format!("{id}\n")).unwrap_or_default();
    work.root.write(PATH, text.as_bytes(), &how)?;
    if work.root.lstat(DBUS)?.is_some() {
        work.root.link(DBUS, PATH, "D-Bus has the same id")?;
    }
    let Some(old) = old else { return Ok(()) };
    for boot in BOOT {
        if work.root.is_dir(boot)? {
            entries(work, boot, &old, new.as_deref())?;
        }
    }
    if let Some(new) = &new {
        command_line(work, &old, new)?;
        saved_entry(work, &old, new)?;
    }
    Ok(())
}

fn read(root: &Root) -> Result<Option<String>, IdentityError> {
    let text = root.text(PATH)?.unwrap_or_default();
    let id = text.trim();
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    Ok(is_id.then(|| id.to_owned()))
}

/// As systemd makes it: a random UUID of version 4, without dashes.
fn fresh() -> Result<String, IdentityError> {
    Ok(uuid::Builder::from_random_bytes(random("a machine-id")?).into_uuid().simple().to_string())
}

/// Entries of the Boot Loader Specification. Where their kernels lie in a folder with the old id, names stay and
/// kernel-install(8) is told to go on using that token; where only the entries' names have it (GRUB of Fedora and RHEL,
/// whose scripts look for the present id), they are renamed.
fn entries(work: &mut Work<'_>, boot: &str, old: &str, new: Option<&str>) -> Result<(), IdentityError> {
    let folder = format!("{boot}/loader/entries");
    let by_token = work.root.is_dir(format!("{boot}/{old}"))?;
    if by_token && !work.root.is_file("/etc/kernel/entry-token")? {
        let say = "kernels stay under the old machine-id's name";
        work.root.write("/etc/kernel/entry-token", format!("{old}\n").as_bytes(), &How::say(say))?;
    }
    let Some(new) = new else { return Ok(()) };
    if !work.root.is_dir(&folder)? {
        return Ok(());
    }
    for name in work.root.list(&folder)? {
        let path = format!("{folder}/{name}");
        if !name.ends_with(".conf") || !work.root.is_file(&path)? {
            continue;
        }
        let text = work.root.text(&path)?.unwrap_or_default();
        let changed: String = text.lines().map(|line| format!("{}\n", entry_line(line, old, new))).collect();
        let renamed = match name.strip_prefix(old) {
            Some(rest) if !by_token => format!("{folder}/{new}{rest}"),
            _ => path.clone(),
        };
        if renamed != path {
            work.root.remove(&path, "its entry is named by the new machine-id")?;
        } else if changed == text {
            continue;
        }
        work.root.write(&renamed, changed.as_bytes(), &How::say("a boot entry follows the machine-id"))?;
    }
    Ok(())
}

fn entry_line(line: &str, old: &str, new: &str) -> String {
    match line.split_ascii_whitespace().next() {
        Some("machine-id" | "id") => line.replace(old, new),
        Some("options") => line.replace(&format!("systemd.machine_id={old}"), &format!("systemd.machine_id={new}")),
        _ => line.to_owned(),
    }
}

fn command_line(work: &mut Work<'_>, old: &str, new: &str) -> Result<(), IdentityError> {
    let (from, to) = (format!("systemd.machine_id={old}"), format!("systemd.machine_id={new}"));
    for path in ["/etc/kernel/cmdline", "/etc/default/grub"] {
        if !work.root.is_file(path)? {
            continue;
        }
        if let Some(text) = work.root.text(path)?.filter(|text| text.contains(&from)) {
            work.root.write(path, text.replace(&from, &to).as_bytes(), &How::say("the machine-id in it is new"))?;
        }
    }
    Ok(())
}

/// GRUB's environment block names the entry to boot; both ids have the same length, so the block keeps its size.
fn saved_entry(work: &mut Work<'_>, old: &str, new: &str) -> Result<(), IdentityError> {
    for path in GRUB {
        if !work.root.is_file(path)? {
            continue;
        }
        if let Some(text) = work.root.text(path)?.filter(|text| text.contains(old)) {
            let say = "the saved boot entry follows the machine-id";
            work.root.write(path, text.replace(old, new).as_bytes(), &How::say(say))?;
        }
    }
    Ok(())
}
