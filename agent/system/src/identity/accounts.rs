//! Users and groups of a tree.
//!
//! In: its passwd(5) and group(5). Out: numbers and homes.
//! Promise: the machine that this runs on is never asked.

use super::IdentityError;
use crate::root::Root;

/// A user.
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    pub home: String,
}

fn line(root: &Root, file: &str, name: &str) -> Result<Option<Vec<String>>, IdentityError> {
    let text = root.text(file)?.unwrap_or_default();
    Ok(text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|first| first == name)))
}

fn missing(key: &str, name: &str, file: &'static str) -> IdentityError {
    IdentityError::Account { key: key.to_owned(), name: name.to_owned(), file }
}

pub(super) fn user(root: &Root, key: &str, name: &str) -> Result<Account, IdentityError> {
    let file = "/etc/passwd";
    let fields = line(root, file, name)?.ok_or_else(|| missing(key, name, file))?;
    match (fields.get(2).map(|uid| uid.parse()), fields.get(3).map(|gid| gid.parse()), fields.get(5)) {
        (Some(Ok(uid)), Some(Ok(gid)), Some(home)) => Ok(Account { uid, gid, home: home.clone() }),
        _ => Err(missing(key, name, file)),
    }
}

/// `user:group`, each a name of the tree or a number.
pub(super) fn owner(root: &Root, key: &str, text: &str) -> Result<(u32, u32), IdentityError> {
    let (name, group) = text.split_once(':').unwrap_or((text, text));
    let uid = match name.parse() {
        Ok(uid) => uid,
        Err(_) => user(root, key, name)?.uid,
    };
    let file = "/etc/group";
    let gid = match group.parse() {
        Ok(gid) => gid,
        Err(_) => line(root, file, group)?
            .and_then(|fields| fields.get(2)?.parse().ok())
            .ok_or_else(|| missing(key, group, file))?,
    };
    Ok((uid, gid))
}
