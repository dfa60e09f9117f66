//! `ramet-agent inspect`.
//!
//! In: disks. Out: what lies on them, as a table for people or one JSON object.
//! Promise: nothing is written; a disk that cannot be read is an error and not an empty table.

use super::args::Inspect;
use super::{Exit, failed, usage};
use crate::inspect::inspect;
use std::io::Write;
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
    } else {
        write!(out, "{report}")
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => failed(Exit::Failed, &error),
    }
}
