//! A clone becomes a machine of its own.
//!
//! In: its tree; a rendered declaration. Out: the same tree with a name, keys and addresses of its own, and what changed.
//! Promise: everything is staged in memory and checked before the first write; a second run of the same restore changes
//! nothing.

mod accounts;
mod cloud_init;
mod dhcp;
mod files;
mod hostname;
mod machine_id;
mod network;
mod seed;
mod ssh;
mod ssh_key;
mod storage;
#[cfg(test)]
mod tests;
mod users;

use crate::os::{Family, Os, OsError};
use crate::root::{How, Root, RootError};
use ramet_wire::adapt::Change;
use ramet_wire::identity::Identity;

/// Which restore made this clone what it is: what is new, is new once a restore.
const MARKER: &str = "/var/lib/ramet/identity";

/// What was done, or would be.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// For a receipt: what was changed, then what people should know besides.
    pub changes: Vec<Change>,
    /// The same as a unified diff, without secrets.
    pub diff: String,
}

/// Why a clone does not get its identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The declaration itself; servers refuse it before.
    #[error("checking the declaration")]
    Declared(#[from] ramet_wire::identity::IdentityError),
    /// The system is not known.
    #[error("looking at the system")]
    Os(#[from] OsError),
    /// A file is a trap, or does not let itself be written.
    #[error("changing the system's files")]
    Tree(#[from] RootError),
    /// A user, group or home that the system does not have.
    #[error("{key} names {name:?}, which {file} does not have")]
    Account {
        /// The key of the declaration.
        key: String,
        /// The user or group.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// A user without a home.
    #[error("users.{name}: its home {home:?} is no folder")]
    Home {
        /// The user.
        name: String,
        /// As passwd says.
        home: String,
    },
    /// Nothing that sets up cards was found.
    #[error(
        "network is declared, and the system has none of netplan, NetworkManager, systemd-networkd, ifupdown, ifcfg \
         and wicked switched on"
    )]
    Network,
    /// A seed for cloud-init, which is not there.
    #[error("cloud-init is declared, and the system has no /etc/cloud/cloud.cfg")]
    CloudInit,
    /// The kernel gives no random numbers.
    #[error("making {what}: there are no random numbers")]
    Random {
        /// What would have been made.
        what: &'static str,
    },
}

/// What the concerns share.
struct Work<'a> {
    root: &'a mut Root,
    wanted: &'a Identity,
    family: Family,
    /// Names this restore.
    run: &'a str,
    /// This very restore has been here already: what is new is new.
    again: bool,
    /// What the system was called.
    old_name: Option<String>,
    notes: Vec<Change>,
}

impl Work<'_> {
    /// Something that people should know, of which no file tells.
    fn note(&mut self, what: &str, how: &str) {
        self.notes.push(Change { what: what.to_owned(), how: how.to_owned() });
    }

    fn remove_all(&mut self, paths: &[&str], say: &str) -> Result<(), RootError> {
        paths.iter().try_for_each(|path| self.root.remove(path, say).map(|_| ()))
    }

    /// Removes what lies in `folder` under names that `which` takes.
    fn remove_in(&mut self, folder: &str, which: impl Fn(&str) -> bool, say: &str) -> Result<(), RootError> {
        if !self.root.is_dir(folder)? {
            return Ok(());
        }
        for name in self.root.list(folder)?.into_iter().filter(|name| which(name)) {
            self.root.remove(format!("{folder}/{name}"), say)?;
        }
        Ok(())
    }
}

/// Gives the clone in `root` the identity `wanted`, which must be rendered. `run` names this restore (a job's or a
/// receipt's id): a run under the same name finds its machine-id and keys made, and keeps them. With `dry_run` nothing is
/// written. What was staged in `root` before is part of it: written, too, and forgotten after a dry run or an error.
///
/// # Errors
/// [`IdentityError`]; nothing was changed, unless a [`RootError`] says otherwise.
pub fn apply(root: &mut Root, wanted: &Identity, run: &str, dry_run: bool) -> Result<Applied, IdentityError> {
    wanted.check()?;
    let family = Os::of(root)?.family()?;
    let marker = format!("restore {run}\n");
    let again = root.text(MARKER)?.as_deref() == Some(&marker);
    let old_name = root.text("/etc/hostname")?.and_then(|text| hostname::read(&text));
    let mut work = Work { root, wanted, family, run, again, old_name, notes: Vec::new() };
    let staged = stage(&mut work, &marker);
    let notes = work.notes;
    if let Err(error) = staged {
        root.discard();
        return Err(error);
    }
    let diff = root.diff()?;
    let mut changes = if dry_run { root.changes() } else { root.commit()? };
    if dry_run {
        root.discard();
    }
    // Notes of a run that changed nothing were told the first time.
    if !changes.is_empty() {
        changes.extend(notes);
    }
    Ok(Applied { changes, diff })
}

/// In this order: later ones see what earlier ones made, and files have the last word.
fn stage(work: &mut Work<'_>, marker: &str) -> Result<(), IdentityError> {
    if !work.again {
        // The image may be that of a clone that never called.
        crate::first_boot::stage_removal(work.root)?;
    }
    work.root.mkdir("/var/lib/ramet", 0o700, (0, 0))?;
    let how = How { say: "names the restore that made this machine", mode: Some(0o600), ..How::default() };
    work.root.write(MARKER, marker.as_bytes(), &how)?;
    hostname::stage(work)?;
    machine_id::stage(work)?;
    dhcp::stage(work)?;
    ssh::stage(work)?;
    users::stage(work)?;
    network::stage(work)?;
    seed::stage(work)?;
    storage::stage(work)?;
    cloud_init::stage(work)?;
    files::stage(work)
}

/// `N` random bytes of the kernel.
fn random<const N: usize>(what: &'static str) -> Result<[u8; N], IdentityError> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::Random { what })?;
    Ok(bytes)
}
