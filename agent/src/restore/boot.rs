//! Whether this machine can start what a restore puts onto its disks.
//!
//! In: the manifest, what is restored, the opened targets. Out: a verdict, where there is one to give.
//! Promise: asks the same judge as the server; an image file is started by another machine than this one, and not judged.

use super::{Opened, Request};
use crate::hardware::{self, tree::Tree};
use ramet_wire::agents::DiskSeen;
use ramet_wire::boot::{Target, Verdict, judge};
use ramet_wire::manifest::Manifest;
use ramet_wire::receipt::Proof;

/// What this machine makes of it; none for single partitions, and for image files.
pub(super) fn verdict(manifest: &Manifest, request: &Request, opened: &[Opened]) -> Option<Verdict> {
    let devices = opened.iter().all(|opened| opened.medium.proof() == Proof::Device);
    if !request.partitions.is_empty() || !devices {
        return None;
    }
    let seen = |opened: &Opened| DiskSeen {
        name: opened.medium.name().trim_start_matches("/dev/").to_owned(),
        size: opened.medium.size(),
        sector: opened.medium.sector(),
        controllers: opened.controllers.clone(),
        ..DiskSeen::default()
    };
    let hardware = hardware::report(&Tree::of_this_machine(), None);
    let uefi = std::path::Path::new("/sys/firmware/efi").exists();
    let disks: Vec<DiskSeen> = opened.iter().map(seen).collect();
    let target =
        Target { firmware: Some(if uefi { "uefi" } else { "bios" }), hardware: Some(&hardware), disks: &disks };
    Some(judge(manifest.boot.as_ref(), manifest, &target))
}
