//! `ramet-agent inspect`.
//!
//! In: disks. Out: what lies on them, as a table for people or one JSON object.
//! Promise: nothing is written; a disk that cannot be read is an error and not an empty table.

use super::args::Inspect;
use super::{Exit, failed, usage};
use crate::inspect::inspect;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;

pub(super) fn run(args: &Inspect) -> Exit {
    if args.disks.is_empty() {
        return usage("no disk named");
    }
    let paths: Vec<PathBuf> = args.disks.iter().map(PathBuf::from).collect();
    let report = match inspect(&paths, args.extents) {
        Ok(report) => report,
        Err(error) => return failed(Exit::Failed, &error),
    };
    // Extents are found again while they are written: a huge list never stands in memory.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from).and_then(|()| writeln!(out))
    } else if draws() {
        write!(out, "{}", report.drawn())
    } else {
        write!(out, "{report}")
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => failed(Exit::Failed, &error),
    }
}

/// Standard output is a terminal that knows UTF-8, as the first setting of its language says that is there.
fn draws() -> bool {
    let settings = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(std::env::var_os);
    let language = settings.map(|value| value.to_string_lossy().to_uppercase()).find(|value| !value.is_empty());
    std::io::stdout().is_terminal() && language.is_some_and(|value| value.contains("UTF-8") || value.contains("UTF8"))
}
