//! The firmware's entry for what was restored.
//!
//! In: restored disks, and the firmware's variables. Out: a note for the receipt, or a warning with the next step.
//! Promise: adds at most one entry, after the disks hold the image; that it cannot is never the end of a restore.

use super::{Ready, Request};
use crate::adapt::size::Resized;
use crate::nvram::Added;
use crate::say::chain;
use ramet_wire::receipt::Proof;

/// Tells the firmware of a whole image where its loader is, when it would not find it by itself. A note for the receipt, and
/// a warning with the next step when the firmware refuses.
pub(super) fn entry(ready: &Ready<'_>, request: &Request) -> (Option<String>, Option<String>) {
    // An image file is started by another machine than this one.
    let devices = ready.disks.iter().all(|(opened, _)| opened.medium.proof() == Proof::Device);
    let wanted = request.nvram.as_ref().filter(|_| devices && request.partitions.is_empty());
    let Some(nvram) = wanted else { return (None, None) };
    if ready.resized.iter().flatten().any(Resized::moves_loader) {
        let text = "the loader's partition lies at another place than in the image: choose it in the firmware's setup";
        return (None, Some(text.to_owned()));
    }
    match nvram.add(&ready.manifest) {
        Ok(Added::Needless(_)) => (None, None),
        Ok(Added::There(name)) => (Some(format!("the firmware's {name} starts the image already")), None),
        Ok(Added::New { name, label, path }) => {
            (Some(format!("added {name} \"{label}\" to the firmware's entries: it starts {path}")), None)
        }
        Err(error) => {
            let next = "choose the loader in the firmware's setup, or copy it to \\EFI\\BOOT\\BOOTX64.EFI";
            (None, Some(format!("{}; the machine may not start from this disk: {next}", chain(&error))))
        }
    }
}
