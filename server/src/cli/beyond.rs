//! What becomes of machines beyond the copy, on the command line.
//!
//! In: options of restore and clone. Out: the request's options; plans and calls of clones in words.
//! Promise: a layout is read and judged before anything is sent.

use super::Fault;
use super::args::fleet::{Clone as CloneArgs, Restore};
use super::args::tags::{Awaited, SizeWord};
use super::tags::text_of;
use crate::text::clean;
use ramet_wire::adapt::{Becomes, BootCall, BootSeen, Layout, Size};
use ramet_wire::jobs::{Expect, JobOptions};
use ramet_wire::layout::LAYOUT_MAX;
use std::path::Path;

/// What must answer; a boot is expected of clones alone.
pub(super) fn answers(awaited: &[Awaited]) -> Result<Vec<Expect>, Fault> {
    let answer = |awaited: &Awaited| match awaited {
        Awaited::Answer(expect) => Ok(expect.clone()),
        Awaited::Boot => Err(Fault::Usage("--expect boot is for restore and clone".to_owned())),
    };
    awaited.iter().map(answer).collect()
}

/// The options of restore and clone about what becomes of a machine beyond the copy.
macro_rules! beyond {
    ($name:ident, $of:ty) => {
        pub(super) fn $name(args: &$of) -> Result<JobOptions, Fault> {
            let boot = args.expect.contains(&Awaited::Boot);
            let call = if boot { Some(BootCall::Awaited) } else { args.first_boot.then_some(BootCall::Noted) };
            let expect: Vec<Awaited> = args.expect.iter().filter(|one| **one != Awaited::Boot).cloned().collect();
            Ok(JobOptions {
                expect: answers(&expect)?,
                identity: args.no_identity.then_some(false),
                new_uuids: args.new_uuids,
                size: size(args.size, args.layout.as_deref())?,
                first_boot: call,
                boot_limit: args.boot_limit.map(|limit| limit.0),
                ignore: args.ignore.iter().map(|check| check.0).collect(),
                ..JobOptions::default()
            })
        }
    };
}

beyond!(of_restore, Restore);
beyond!(of_clone, CloneArgs);

fn size(word: Option<SizeWord>, layout: Option<&Path>) -> Result<Size, Fault> {
    match (word, layout) {
        (Some(_), Some(_)) => Err(Fault::Usage("--size and --layout exclude each other".to_owned())),
        (word, None) => Ok(word.map(Size::from).unwrap_or_default()),
        (None, Some(file)) => {
            let text = text_of("the layout", file, LAYOUT_MAX)?;
            let layout = Layout::from_toml(&text);
            layout.map(Size::Layout).map_err(|why| Fault::Refused(format!("{}: {why}", file.display())))
        }
    }
}

/// `web02, new UUIDs, fills its disk, calls`
pub(super) fn becomes(becomes: &Becomes) -> String {
    let mut words = Vec::new();
    if becomes.identity {
        words.push(becomes.hostname.as_deref().map_or_else(|| "its own".to_owned(), |name| clean(name, 64)));
    }
    for (is, word) in [
        (becomes.new_uuids, "new UUIDs"),
        (becomes.size == "fill", "fills its disk"),
        (becomes.size == "layout", "sizes of the layout"),
        (becomes.first_boot, "calls"),
    ] {
        if is {
            words.push(word.to_owned());
        }
    }
    words.join(", ")
}

/// What a clone said of itself.
pub(super) fn boot_lines(seen: &BootSeen, mut line: impl FnMut(&str, String)) {
    let booted = &seen.booted;
    line("booted", format!("as {} at {}, from {} (job {})", booted.host, seen.at, seen.peer, seen.job));
    line("kernel", booted.kernel.clone());
    line("system", booted.os.clone());
    line("id", booted.machine_id.clone());
    line("address", booted.addresses.join(" "));
    booted.ssh_keys.iter().for_each(|key| line("ssh key", key.clone()));
}
