//! The disks hold the image; their system becomes what was ordered.
//!
//! In: disks that are written, proven and sealed. Out: what was changed, for the receipt.
//! Promise: what fails here is in the receipt, and the disks hold a whole copy; but for new UUIDs that files do not name.

use super::{Failed, Ready, Request, Watch};
use crate::adapt::system::{self, Held, Settled};
use crate::transfer::Downstream;
use ramet_wire::adapt::Change;

/// The step in which that happens.
const ADAPTING: &str = "adapting";

/// Does it, and puts what was changed with the disks' sizes before it.
pub(super) fn settle_all(
    ready: &Ready<'_>,
    door: &dyn Downstream,
    request: &Request,
    watch: &dyn Watch,
    grown: Vec<Change>,
) -> Result<Settled, Box<Failed>> {
    if system::concerns(&request.adapt) {
        watch.step(ADAPTING);
        door.progress(ADAPTING, 0, 0);
    }
    let disks = ready.disks.iter().map(|(opened, map)| Held { ordinal: map.ordinal, medium: &*opened.medium });
    let disks: Vec<Held<'_>> = disks.collect();
    // A run at a server has a name; one by hand gets one that nobody else has.
    let run = door.run().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut settled = system::settle(&ready.manifest, &disks, &request.adapt, &run)
        .map_err(|error| Box::new(Failed::Renamed(error)))?;
    settled.adapted.changes.splice(0..0, grown);
    Ok(settled)
}
