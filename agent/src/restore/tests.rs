//! Restores of whole images onto disks in memory, files and loop devices.

mod end;
mod order;
mod parts;
mod real;
mod refuse;
mod repeat;
mod store;

use super::*;
use crate::partition::testing::Image;
use crate::write::testing::{Captured, Ram, Shelf, noise};
use ramet_wire::adapt::Adapt;
use ramet_wire::{ByteRange, MIB};
use std::sync::{Arc, LazyLock, Mutex};

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
        blank_only: false,
        force_size: false,
        ignore_boot_check: false,
        nvram: None,
        adapt: Adapt::default(),
    }
}

pub(super) fn opened(disk: &Arc<Ram>) -> Opened {
    Opened { medium: Box::new(disk.clone()), model: None, serial: None, wwn: None, controllers: Vec::new() }
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

/// 12 MiB with GPT: partition 1 of 2 MiB from 1 MiB with a run of zeros, partition 14 of 4 MiB from 4 MiB.
pub(super) fn gpt_disk() -> Vec<u8> {
    static DISK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let args = ["-n1:2048:+2M", "-n14:8192:+4M", "-c1:root"];
        let mut bytes = Image::with_sgdisk(12 << 20, &args).bytes();
        let mib = 1 << 20;
        bytes[mib..3 * mib].copy_from_slice(&noise(2 * mib, 1));
        bytes[4 * mib..8 * mib].copy_from_slice(&noise(4 * mib, 2));
        bytes[2 * mib..2 * mib + (300 << 10)].fill(0);
        bytes
    });
    DISK.clone()
}

/// What an image of `gpt_disk` leaves out: 1 MiB in partition 14, of which the zones of first and last MiB cover nothing.
pub(super) fn captured(bytes: &Vec<u8>) -> Captured<'_> {
    let mut captured = Captured::of(bytes);
    captured.extents.insert(14, vec![range(0, MIB), range(2 * MIB, 4 * MIB)]);
    captured
}

/// Where a restore of `gpt_disk` writes nothing: the hole in partition 14, and what lies in no partition and no gap.
pub(super) fn free() -> [ByteRange; 3] {
    [range(5 * MIB, 6 * MIB), range(3 * MIB, 4 * MIB), range(8 * MIB, 11 * MIB)]
}

pub(super) fn assert_restored(found: &[u8], source: &[u8], untouched: &[u8]) {
    assert_eq!(found.len(), source.len());
    for (at, sector) in found.chunks(512).enumerate() {
        let (from, to) = (at * 512, at * 512 + sector.len());
        let free = free().iter().any(|free| free.contains(range(from as u64, to as u64)));
        let wanted = if free { untouched } else { source };
        assert!(sector == &wanted[from..to], "sector at {from}, free {free}");
    }
}

/// The refusal's text, after making sure that no disk was written to.
pub(super) fn refusal(shelf: &Shelf, request: &Request, disks: &[&Arc<Ram>]) -> String {
    let error = onto(shelf, request, disks).unwrap_err();
    assert!(matches!(error, RestoreError::Refused(_)), "{}", error.chain());
    assert_eq!(error.exit_status(), 2);
    assert!(disks.iter().all(|disk| disk.ops().is_empty()));
    assert_eq!(*shelf.failures.lock().unwrap(), [error.chain()]);
    error.chain()
}

/// The failure's text.
pub(super) fn failure(shelf: &Shelf, request: &Request, disks: &[&Arc<Ram>]) -> String {
    let error = onto(shelf, request, disks).unwrap_err();
    assert!(matches!(error, RestoreError::Failed(_)), "{}", error.chain());
    assert_eq!(error.exit_status(), 1);
    error.chain()
}

pub(super) fn lba_0_is_zero(disk: &Arc<Ram>) -> bool {
    disk.content()[..512].iter().all(|byte| *byte == 0)
}
