//! Files that an operator declares.
//!
//! In: paths with contents, modes, owners. Out: the same in the tree.
//! Promise: names of owners are those of the tree; what is secret is not shown.

use super::{IdentityError, Work, accounts};
use crate::root::How;

pub(super) fn stage(work: &mut Work<'_>) -> Result<(), IdentityError> {
    let wanted = work.wanted;
    // Removals first: a folder that goes may be filled anew.
    for path in wanted.files.iter().filter(|(_, file)| file.remove == Some(true)).map(|(path, _)| path) {
        work.root.remove(path, "removed, as declared")?;
    }
    for (path, file) in &wanted.files {
        let Some(content) = &file.content else { continue };
        let key = format!("files.{path:?}.owner");
        let owner = file.owner.as_deref().map(|text| accounts::owner(work.root, &key, text)).transpose()?;
        let how = How {
            say: "written, as declared",
            mode: file.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok()),
            owner,
            secret: file.secret == Some(true),
            ..How::default()
        };
        work.root.write(path, content.as_bytes(), &how)?;
    }
    Ok(())
}
