//! Names of the source's host and disks in what LVM and mdraid read.
//!
//! In: their settings. Out: the same, so that volumes of the clone are still its own.
//! Promise: metadata on disks is not touched; when in doubt a volume is visible rather than foreign.

use super::{IdentityError, Work};
use crate::root::How;
use ramet_wire::identity::{MachineId, Renew};

const LVM: &[&str] = &["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"];

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    if work.wanted.storage_names == Some(Renew::Keep) || work.again {
        return Ok(());
    }
    // It lists serial numbers of the source's disks; without it LVM looks at all disks.
    work.remove_in(
        "/etc/lvm/devices",
        |name| name.ends_with(".devices"),
        "it lists the source's disks; without it LVM looks at all",
    )?;
    system_id(work)?;
    for path in ["/etc/mdadm/mdadm.conf", "/etc/mdadm.conf"] {
        home_host(work, path)?;
    }
    Ok(())
}

/// A value of LVM's settings, lvm.conf(5): the last `key = "…"` that is no comment.
fn value(text: &str, key: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
        .filter_map(|rest| rest.trim().trim_start_matches('"').split(['"', '#']).next().map(str::to_owned))
        .next_back()
}

/// Volume groups that carry a system id made of the old name would be foreign to the new one, lvmsystemid(7).
fn system_id(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let mut source = None;
    for path in LVM {
        if work.root.is_file(path)? {
            source = value(&work.root.text(path)?.unwrap_or_default(), "system_id_source").or(source);
        }
    }
    let changes_id = work.wanted.machine_id != Some(MachineId::Keep);
    let old = match source.as_deref() {
        Some("uname") if work.wanted.hostname.is_some() => work.old_name.clone(),
        // What the id was before is no longer staged to be read: the tree on the disk still has it.
        Some("machineid" | "appmachineid") if changes_id => {
            work.note("/etc/lvm/lvm.conf", "volume groups with a system id of the old machine-id are foreign now");
            return Ok(());
        }
        _ => None,
    };
    let Some(old) = old else { return Ok(()) };
    let path = "/etc/lvm/lvmlocal.conf";
    let mut text = work.root.text(path)?.unwrap_or_default();
    if value(&text, "extra_system_ids").is_some() {
        work.note(path, "extra_system_ids stays as it is; groups of the old host name may be foreign");
        return Ok(());
    }
    text.push_str(&format!("local {{\n\textra_system_ids = [ \"{old}\" ]\n}}\n"));
    work.root.write(path, text.as_bytes(), &How::say("volume groups of the old host name stay this machine's"))?;
    Ok(())
}

/// Arrays carry the name of the host that made them. Under another name they would be foreign, and be called `md127`.
fn home_host(work: &mut Work<'_>, path: &str) -> Result<(), IdentityError> {
    if work.wanted.hostname.is_none() || !work.root.is_file(path)? {
        return Ok(());
    }
    let text = work.root.text(path)?.unwrap_or_default();
    let is_home =
        |line: &&str| line.split_ascii_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("HOMEHOST"));
    let mut new: String = text
        .lines()
        .map(|line| if is_home(&line) { "HOMEHOST <ignore>\n".to_owned() } else { format!("{line}\n") })
        .collect();
    if !text.lines().any(|line| is_home(&line)) {
        new.push_str("HOMEHOST <ignore>\n");
    }
    work.root.write(path, new.as_bytes(), &How::say("arrays that the old host name made stay this machine's"))?;
    Ok(())
}
