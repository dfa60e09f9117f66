//! Who may log in over SSH.
//!
//! In: users and their public keys. Out: `.ssh/authorized_keys` in their homes, with modes and owners that sshd accepts.
//! Promise: a user that the system does not have is refused, not made.

use super::{IdentityError, Work, accounts};
use crate::root::How;
use std::collections::BTreeSet;

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let wanted = work.wanted;
    for (name, user) in &wanted.users {
        let account = accounts::user(work.root, &format!("users.{name}"), name)?;
        let Some(keys) = &user.authorized_keys else { continue };
        if !account.home.starts_with('/') || account.home == "/" || !work.root.is_dir(&account.home)? {
            return Err(IdentityError::Home { name: name.clone(), home: account.home });
        }
        let owner = (account.uid, account.gid);
        let folder = format!("{}/.ssh", account.home);
        let path = format!("{folder}/authorized_keys");
        let mut lines: Vec<String> = Vec::new();
        if user.keep_keys == Some(true) {
            lines.extend(work.root.text(&path)?.unwrap_or_default().lines().map(str::to_owned));
        }
        let known: BTreeSet<String> = lines.iter().cloned().collect();
        lines.extend(keys.iter().filter(|key| !known.contains(*key)).cloned());
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        work.root.mkdir(&folder, 0o700, owner)?;
        let say = format!("{} keys may log in as {name}", lines.len());
        work.root.write(
            &path,
            text.as_bytes(),
            &How { say: &say, mode: Some(0o600), owner: Some(owner), ..How::default() },
        )?;
    }
    Ok(())
}
