//! What a clone calls itself.
//!
//! In: a host name; the old one. Out: `/etc/hostname`, `/etc/hosts`, `/etc/mailname` and what older systems have instead.
//! Promise: lines of the hosts file that tell of other machines stay.

use super::{IdentityError, Work};
use crate::os::Family;
use crate::root::How;
use ramet_wire::identity::is_host_name;

/// The name in an `/etc/hostname`, hostname(5): the first line that is no comment.
pub(super) fn read(text: &str) -> Option<String> {
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    is_host_name(name).then(|| name.to_owned())
}

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let wanted = work.wanted;
    if let Some(name) = &wanted.hostname {
        let short = name.split('.').next().unwrap_or(name);
        let own = if work.family == Family::RedHat { name } else { short };
        let say = format!("the host name is {own}");
        work.root.write("/etc/hostname", format!("{own}\n").as_bytes(), &How::say(&say))?;
        if work.root.is_file("/etc/HOSTNAME")? {
            work.root.write("/etc/HOSTNAME", format!("{name}\n").as_bytes(), &How::say(&say))?;
        }
        mail_name(work, name)?;
        old_network_file(work, name)?;
    }
    if wanted.hostname.is_some() || !wanted.hosts.is_empty() {
        let old = work.root.text("/etc/hosts")?.unwrap_or_default();
        let text = hosts(&old, work);
        work.root.write("/etc/hosts", text.as_bytes(), &How::say("names and addresses of this machine"))?;
    }
    Ok(())
}

/// Only where it held the old name: it may as well name a mail domain.
fn mail_name(work: &mut Work<'_>, name: &str) -> Result<(), IdentityError> {
    let Some(text) = work.root.text("/etc/mailname")? else { return Ok(()) };
    let held = text.trim();
    let old = work.old_name.clone().unwrap_or_default();
    if !old.is_empty() && (held == old || held.split('.').next() == old.split('.').next()) {
        let say = "mail is sent as this machine";
        work.root.write("/etc/mailname", format!("{name}\n").as_bytes(), &How::say(say))?;
    }
    Ok(())
}

/// `HOSTNAME=` in `/etc/sysconfig/network` wins over `/etc/hostname` with the network script of RHEL 6 and 7.
fn old_network_file(work: &mut Work<'_>, name: &str) -> Result<(), IdentityError> {
    let path = "/etc/sysconfig/network";
    if !work.root.is_file(path)? {
        return Ok(());
    }
    let Some(text) = work.root.text(path)?.filter(|text| text.lines().any(|line| line.starts_with("HOSTNAME="))) else {
        return Ok(());
    };
    let new: String = text
        .lines()
        .map(|line| if line.starts_with("HOSTNAME=") { format!("HOSTNAME={name}\n") } else { format!("{line}\n") })
        .collect();
    work.root.write(path, new.as_bytes(), &How::say("the host name is set here, too"))?;
    Ok(())
}

fn hosts(old: &str, work: &Work<'_>) -> String {
    let mut lines: Vec<String> = old.lines().map(str::to_owned).collect();
    if let Some(name) = &work.wanted.hostname {
        let short = name.split('.').next().unwrap_or(name);
        let own = if short == name { name.clone() } else { format!("{name} {short}") };
        // A fresh image may be called localhost, which stays what it is.
        let renamed = |old: &&str| *old != name && *old != short && old.split('.').next() != Some("localhost");
        if let Some(old) = work.old_name.as_deref().filter(renamed) {
            lines = lines.into_iter().filter_map(|line| without(&line, old)).collect();
        }
        let line = format!("127.0.1.1\t{own}");
        let at = lines.iter().position(|line| address(line) == Some("127.0.1.1"));
        lines.retain(|line| address(line) != Some("127.0.1.1"));
        let behind = lines.iter().position(|line| address(line) == Some("127.0.0.1")).map_or(0, |at| at + 1);
        lines.insert(at.unwrap_or(behind).min(lines.len()), line);
    }
    for (host, names) in &work.wanted.hosts {
        let line = format!("{host}\t{}", names.join(" "));
        match lines.iter().position(|line| address(line) == Some(host)) {
            Some(at) => {
                lines.retain(|line| address(line) != Some(host));
                lines.insert(at.min(lines.len()), line);
            }
            None => lines.push(line),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn address(line: &str) -> Option<&str> {
    line.split('#').next()?.split_ascii_whitespace().next()
}

/// Loopback lines lose the old name; a line that loses its last one goes.
fn without(line: &str, old: &str) -> Option<String> {
    let local = address(line).is_some_and(|address| address.starts_with("127.") || address == "::1");
    let is_old = |word: &&str| {
        let short = old.split('.').next().unwrap_or(old);
        *word == old || *word == short || word.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if !local || !words.iter().skip(1).any(is_old) {
        return Some(line.to_owned());
    }
    let left: Vec<&str> = words.iter().skip(1).filter(|word| !is_old(word)).copied().collect();
    (!left.is_empty()).then(|| format!("{}\t{}", words[0], left.join(" ")))
}
