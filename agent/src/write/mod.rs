//! Back onto the disk: what goes where, what is already there, and the order of writes that makes it true.
//!
//! In: an image's records and verified chunks; targets that the guard let through. Out: disks that hold the image, and
//! what was proven of it.
//! Promise: nothing is written before the whole plan was checked; LBA 0 is the last write; only verified chunks, zeros
//! and the rehearsed table are ever written.

mod buffer;
mod compare;
mod crew;
mod error;
mod finish;
mod held;
mod map;
mod medium;
mod pass;
mod place;
mod plan;
mod readback;
mod refused;
mod segments;
mod signs;
mod sink;
mod stream;
mod tally;
mod target;
#[cfg(test)]
pub(crate) mod testing;
mod view;
mod zero;

pub use buffer::Aligned;
pub use crew::{Crew, Worker};
pub use error::WriteError;
pub use finish::{complete, seal};
pub use map::{DiskMap, Mode, RefusedMap};
pub use medium::{Medium, MediumView, Via};
pub use pass::{Pass, Settings};
pub use place::Placed;
pub use plan::{DiskPlan, Plan, identity, placed_table};
pub use segments::{Segments, Survey, SurveyError, each_record, survey, view_of};
pub use signs::{end_metadata, lies_on};
pub use tally::Tally;
pub use target::TargetDisk;
pub use view::{Chunks, GapView};
