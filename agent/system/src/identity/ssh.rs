//! SSH host keys of a clone's own.
//!
//! In: the source's. Out: new ones of the kinds that can be made, none of the others.
//! Promise: no key of the source stays; sshd of the clone has at least one key that it is told to use.

use super::ssh_key::{HostKey, KeyKind};
use super::{IdentityError, Work};
use crate::os::Family;
use crate::root::{How, Kind, Links};
use ramet_wire::identity::Renew;

const FOLDER: &str = "/etc/ssh";
const MADE: &[(KeyKind, &str)] = &[(KeyKind::Ed25519, "ssh_host_ed25519_key"), (KeyKind::Ecdsa, "ssh_host_ecdsa_key")];

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    if work.wanted.ssh_host_keys == Some(Renew::Keep) || !work.root.is_dir(FOLDER)? {
        return Ok(());
    }
    let old = host_keys(work)?;
    // SUSE and others keep the settings below /usr.
    let serves = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"]
        .iter()
        .any(|path| work.root.is_file(path).unwrap_or(false));
    if old.is_empty() && !serves || work.again && made_already(work)? {
        return Ok(());
    }
    let like = group_of_keys(work)?;
    for path in &old {
        for path in [path.clone(), format!("{path}.pub"), format!("{path}-cert.pub")] {
            work.root.remove(&path, "a host key of the source")?;
        }
    }
    let comment = format!("root@{}", work.wanted.hostname.as_deref().unwrap_or("clone"));
    for (kind, name) in MADE {
        let key = HostKey::new(*kind, &comment)?;
        let (mode, owner) = like.unwrap_or((0o600, (0, 0)));
        let private = How {
            say: "a new host key",
            mode: Some(mode),
            owner: Some(owner),
            secret: true,
            links: Links::Replace,
            ..How::default()
        };
        let public = How { mode: Some(0o644), owner: Some((0, 0)), ..private };
        work.root.write(format!("{FOLDER}/{name}"), key.private.as_bytes(), &private)?;
        work.root.write(format!("{FOLDER}/{name}.pub"), key.public.as_bytes(), &public)?;
    }
    name_in_config(work)?;
    if old.iter().any(|path| path.contains("_rsa_") || path.contains("_dsa_")) {
        let how = match work.family {
            Family::Debian => "RSA and DSA host keys are gone; `ssh-keygen -A` makes them, if old clients need them",
            _ => "RSA and DSA host keys are gone; the system makes those that it wants when sshd starts",
        };
        work.note(FOLDER, how);
    }
    if work.root.is_dir("/etc/dropbear")? || work.root.is_dir("/etc/dropbear-initramfs")? {
        work.note("/etc/dropbear", "host keys of dropbear are the source's: an initramfs holds copies of them");
    }
    Ok(())
}

/// Private keys: by their usual names, and those that settings name.
fn host_keys(work: &Work<'_>) -> Result<Vec<String>, IdentityError> {
    let mut found: Vec<String> = work
        .root
        .list(FOLDER)?
        .into_iter()
        .filter(|name| name.starts_with("ssh_host_") && name.ends_with("_key"))
        .map(|name| format!("{FOLDER}/{name}"))
        .filter(|path| !work.root.is_dir(path).unwrap_or(false))
        .collect();
    for path in configured(work)? {
        // Settings may name anything; only what is a key goes.
        let is_file = work.root.lstat(&path)?.is_some_and(|stat| stat.kind == Kind::File && stat.size < 65_536);
        if is_file && !found.contains(&path) && work.root.read(&path, 65_536)?.is_some_and(|bytes| is_private(&bytes)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// `HostKey` of sshd_config(5) and its parts.
fn configured(work: &Work<'_>) -> Result<Vec<String>, IdentityError> {
    let mut files = vec![format!("{FOLDER}/sshd_config")];
    let parts = format!("{FOLDER}/sshd_config.d");
    if work.root.is_dir(&parts)? {
        files.extend(work.root.list(&parts)?.into_iter().map(|name| format!("{parts}/{name}")));
    }
    let mut paths = Vec::new();
    for file in files {
        if !work.root.is_file(&file)? {
            continue;
        }
        for line in work.root.text(&file)?.unwrap_or_default().lines() {
            let mut words = line.split(|c: char| c.is_ascii_whitespace() || c == '=').filter(|word| !word.is_empty());
            if words.next().is_some_and(|word| word.eq_ignore_ascii_case("HostKey"))
                && let Some(path) = words.next().map(|path| path.trim_matches('"'))
                && path.starts_with('/')
            {
                paths.push(path.to_owned());
            }
        }
    }
    Ok(paths)
}

fn is_private(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).lines().next().is_some_and(|line| line.contains("PRIVATE KEY-----"))
}

fn made_already(work: &Work<'_>) -> Result<bool, IdentityError> {
    for (_, name) in MADE {
        if !work.root.is_file(format!("{FOLDER}/{name}"))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Mode and owner.
type Access = (u32, (u32, u32));

/// RPM systems let their group `ssh_keys` read host keys.
fn group_of_keys(work: &Work<'_>) -> Result<Option<Access>, IdentityError> {
    for (_, name) in MADE {
        if let Some(stat) = work.root.lstat(format!("{FOLDER}/{name}"))?
            && stat.kind == Kind::File
            && stat.owner.1 != 0
            && stat.mode & 0o777 == 0o640
        {
            return Ok(Some((0o640, (0, stat.owner.1))));
        }
    }
    Ok(None)
}

/// Settings that name other keys only would leave sshd without one.
fn name_in_config(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let named = configured(work)?;
    let made = |path: &String| MADE.iter().any(|(_, name)| *path == format!("{FOLDER}/{name}"));
    if named.is_empty() || named.iter().any(made) {
        return Ok(());
    }
    let path = format!("{FOLDER}/sshd_config");
    let text = work.root.text(&path)?.unwrap_or_default();
    // Before everything: behind a Match block it would be a syntax error.
    let lines: String = MADE.iter().map(|(_, name)| format!("HostKey {FOLDER}/{name}\n")).collect();
    work.root.write(&path, format!("{lines}{text}").as_bytes(), &How::say("names the new host keys"))?;
    Ok(())
}
