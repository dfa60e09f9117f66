//! `ramet-agent restore`.
//!
//! In: disks. Out: nothing yet.
//! Promise: none yet.

use super::args::Restore;
use super::{Exit, usage};

pub(super) fn run(_args: &Restore) -> Exit {
    usage("restore is being joined")
}
