//! The commands about who clones are.
//!
//! In: files with declarations. Out: tags; identities as an agent would get them.
//! Promise: a file that is too large is not read; nothing of a declaration is shown that its operator did not give.

use super::args::tags::{MachineIdentity, TagAction, TagSet};
use super::show::{json, table};
use super::{Fault, write};
use ramet_wire::tags::{DECLARED_MAX, SetTag, TagInfo};
use std::io::Read as _;
use std::path::Path;

pub(super) fn tag(action: TagAction) -> Result<(), Fault> {
    match action {
        TagAction::TagLs(args) => {
            let tags = args.reach().operator()?.tags()?;
            if args.json { json(&tags) } else { write(&tags_table(&tags)) }
        }
        TagAction::TagShow(args) => {
            let detail = args.reach().operator()?.tag(&args.tag)?;
            if args.json {
                return json(&detail);
            }
            let none = || Fault::Found(format!("no identity is declared for tag {}", args.tag));
            write(&detail.identity.ok_or_else(none)?.toml)
        }
        TagAction::TagSet(args) => set(&args),
    }
}

fn tags_table(tags: &[TagInfo]) -> String {
    let row = |tag: &TagInfo| {
        let declared = if tag.declared { "declared" } else { "" };
        vec![tag.tag.to_string(), tag.machines.to_string(), declared.to_owned()]
    };
    table(&["TAG", "MACHINES", "IDENTITY"], &tags.iter().map(row).collect::<Vec<_>>())
}

fn set(args: &TagSet) -> Result<(), Fault> {
    let identity = declared(args.identity.as_deref(), args.no_identity)?;
    let identity = identity.ok_or_else(|| Fault::Usage("give --identity FILE or --no-identity".to_owned()))?;
    let detail = args.reach().operator()?.set_tag(&args.tag, &SetTag { identity })?;
    if args.json { json(&detail) } else { Ok(()) }
}

/// What an operator declares: a file's content, empty for nothing, or none where nothing is said of it.
pub(super) fn declared(file: Option<&Path>, none: bool) -> Result<Option<String>, Fault> {
    match (file, none) {
        (Some(_), true) => Err(Fault::Usage("--identity and --no-identity exclude each other".to_owned())),
        (None, true) => Ok(Some(String::new())),
        (None, false) => Ok(None),
        (Some(file), false) => {
            let text = text_of("the identity", file, DECLARED_MAX)?;
            // Empty would mean that nothing is declared.
            let empty = || Fault::Refused(format!("{} declares nothing; --no-identity does that", file.display()));
            (!text.trim().is_empty()).then_some(Some(text)).ok_or_else(empty)
        }
    }
}

/// A text file within its bound.
pub(super) fn text_of(what: &str, file: &Path, most: usize) -> Result<String, Fault> {
    let failed = |error: std::io::Error| Fault::Refused(format!("reading {what} in {}: {error}", file.display()));
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(failed)?;
    open.take(most as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > most {
        return Err(Fault::Refused(format!("{what} in {} has more than {most} bytes", file.display())));
    }
    Ok(text)
}

pub(super) fn identity(args: &MachineIdentity) -> Result<(), Fault> {
    let found = args.reach().operator()?.identity(&args.machine)?;
    if args.json {
        return json(&found);
    }
    let Some(identity) = found.identity else {
        return Err(Fault::Found(format!("no identity is declared for {} or a tag of it", found.machine)));
    };
    let text = toml::to_string_pretty(&identity);
    let text = text.map_err(|error| Fault::Found(format!("writing the identity as TOML: {error}")))?;
    write(&format!("# {}: {}\n{text}", found.machine, found.from.join(", ")))
}
