//! Restores of whole images onto disks in memory, files and loop devices.

mod order;

use super::*;
use crate::partition::testing::Image;
use crate::write::testing::{Captured, Ram, Shelf, noise};
use ramet_wire::{ByteRange, MIB};
use std::sync::Arc;
use std::sync::Mutex;

/// Says yes, or no, and remembers the plan.
pub(super) struct Viewer {
    pub answer: bool,
    pub plan: Mutex<Option<Plan>>,
}

impl Viewer {
    pub fn yes() -> Self {
        Self { answer: true, plan: Mutex::new(None) }
    }
}

impl Watch for Viewer {
    fn confirm(&self, plan: &Plan) -> bool {
        *self.plan.lock().unwrap() = Some(plan.clone());
        self.answer
    }

    fn progress(&self, now: &Progress) {
        assert!(now.done <= now.total);
    }
}

pub(super) fn request() -> Request {
    Request {
        image: "web".parse().unwrap(),
        targets: vec!["/dev/ram".into()],
        pairs: Vec::new(),
        partitions: Vec::new(),
        read_back: true,
        dry_run: false,
        force_size: false,
    }
}

pub(super) fn opened(disk: &Arc<Ram>) -> Opened {
    Opened { medium: Box::new(disk.clone()), model: None, serial: None, wwn: None }
}

/// Restores onto disks in memory.
pub(super) fn onto(door: &Shelf, request: &Request, disks: &[&Arc<Ram>]) -> Result<Box<Outcome>, RestoreError> {
    let mut request = request.clone();
    if request.pairs.is_empty() {
        request.targets = disks.iter().map(|_| "/dev/ram".into()).collect();
    }
    let open = |_: &[(&DiskImage, PathBuf)]| Ok(disks.iter().map(|disk| opened(disk)).collect());
    match restore_onto(door, &request, &Viewer::yes(), &open)? {
        Ending::Restored(outcome) => Ok(outcome),
        Ending::Planned(plan) => panic!("{plan}"),
    }
}

pub(super) fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::between(start, end)
}

/// 24 MiB with GPT: partition 1 of 4 MiB from 1 MiB, partition 14 of 8 MiB behind it with a hole, both full of noise.
pub(super) fn gpt_disk() -> Vec<u8> {
    let args = ["-n1:2048:+4M", "-n14:12288:+8M", "-c1:root"];
    let mut bytes = Image::with_sgdisk(24 << 20, &args).bytes();
    let mib = 1 << 20;
    bytes[mib..5 * mib].copy_from_slice(&noise(4 * mib, 1));
    bytes[6 * mib..14 * mib].copy_from_slice(&noise(8 * mib, 2));
    bytes[2 * mib..2 * mib + (300 << 10)].fill(0);
    bytes
}

/// What an image of `gpt_disk` leaves out: 1 MiB in partition 14.
pub(super) fn captured(bytes: &Vec<u8>) -> Captured<'_> {
    let mut captured = Captured::of(bytes);
    captured.extents.insert(14, vec![range(0, 3 * MIB), range(4 * MIB, 8 * MIB)]);
    captured
}

/// Where a restore of `gpt_disk` may write: everything but the hole in partition 14 and the unused middle.
pub(super) fn kept_free() -> [ByteRange; 3] {
    [range(9 * MIB, 10 * MIB), range(5 * MIB, 6 * MIB), range(14 * MIB, 23 * MIB)]
}

pub(super) fn assert_restored(found: &[u8], source: &[u8], untouched: &[u8]) {
    assert_eq!(found.len(), source.len());
    for at in (0..found.len()).step_by(512) {
        let here = range(at as u64, at as u64 + 512);
        let free = kept_free().iter().any(|free| free.contains(here));
        let wanted = if free { untouched } else { source };
        assert!(found[at..at + 512] == wanted[at..at + 512], "sector at {at}, free {free}");
    }
}
