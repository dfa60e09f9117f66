//! How a restore ends without success.
//!
//! In: the errors of its stages. Out: a refusal, which has written nothing, or a failure, which says how disks were left.
//! Promise: only what runs before the first write can make a `Refused`; each text has the object and both values.

use crate::adapt::before::RefusedAdapt;
use crate::adapt::shrink::ResizeError;
use crate::adapt::size::RefusedSize;
use crate::adapt::system::SystemError;
use crate::disk;
use crate::memory::TooLittle;
use crate::partition::PartitionError;
use crate::transfer::TransferError;
use crate::transfer::fetch::FetchError;
use crate::write::{RefusedMap, SurveyError, WriteError};
use ramet_wire::ImageRef;
use ramet_wire::api::{ErrorKind, ImageState};
use ramet_wire::manifest::ManifestError;
use ramet_wire::receipt::ReceiptError;
use std::io;

/// A restore that did not go through.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Nothing was written; an operator must decide. Exit status 2.
    #[error("refused before anything was written")]
    Refused(#[source] Box<Refused>),
    /// Exit status 1.
    #[error("failed")]
    Failed(#[source] Box<Failed>),
}

impl From<Refused> for RestoreError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<Box<Failed>> for RestoreError {
    fn from(failed: Box<Failed>) -> Self {
        Self::Failed(failed)
    }
}

impl From<Failed> for RestoreError {
    fn from(failed: Failed) -> Self {
        Self::Failed(Box::new(failed))
    }
}

impl RestoreError {
    /// The process's exit status for this ending.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    /// All causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        crate::say::chain(self)
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The store knows that the image is not whole.
    #[error("image {image} is {state:?}, not complete; capturing the healthy source again heals it")]
    State {
        /// Which image.
        image: ImageRef,
        /// What the store says.
        state: ImageState,
    },
    /// What was ordered beyond the copy cannot be done.
    #[error("checking what the clone shall become")]
    Adapt(#[source] RefusedAdapt),
    /// The manifest breaks a rule.
    #[error("reading the manifest")]
    Manifest(#[source] ManifestError),
    /// The store gave another image.
    #[error("asked for {wanted}, the store's manifest is {found}")]
    OtherImage {
        /// Asked for.
        wanted: ImageRef,
        /// Came.
        found: ImageRef,
    },
    /// Too many or too few targets.
    #[error(
        "the image has {disks} disks; {targets} targets and {pairs} pairs were given, exactly {disks} of one kind are needed"
    )]
    Count {
        /// Disks of the image.
        disks: usize,
        /// Targets by order.
        targets: usize,
        /// Targets by ordinal.
        pairs: usize,
    },
    /// No pair for a disk.
    #[error("no target was given for image disk {ordinal}")]
    NoPair {
        /// Which disk.
        ordinal: u32,
    },
    /// No such partition in the image.
    #[error("the image has no partition {number} with content of its own")]
    NoPartition {
        /// Which one.
        number: u32,
    },
    /// A disk under the wrong ordinal.
    #[error("{name} ({serial}) is the captured disk {other}, but would get the content of disk {disk}")]
    Swapped {
        /// The target.
        name: String,
        /// Which disk's content it would get.
        disk: u32,
        /// Which disk it is.
        other: u32,
        /// Its model and serial number.
        serial: String,
    },
    /// Sector sizes differ.
    #[error(
        "image disk {disk} was captured with {wanted}-byte sectors, {name} has {found}: tables and file systems count in sectors"
    )]
    Sector {
        /// Which disk.
        disk: u32,
        /// The target.
        name: String,
        /// The target's.
        found: u32,
        /// The image's.
        wanted: u32,
    },
    /// The target's own table can not be read, but is needed.
    #[error("reading the partition table of {name}")]
    TargetTable {
        /// The target.
        name: String,
        /// Why.
        source: PartitionError,
    },
    /// The target's partition is another.
    #[error("partition {number} was captured as {wanted}, on {name} it is {found}")]
    PartitionDiffers {
        /// The target.
        name: String,
        /// Which partition.
        number: u32,
        /// In the image.
        wanted: String,
        /// On the target.
        found: String,
    },
    /// The guard.
    #[error(transparent)]
    Guard(disk::Refusal),
    /// A segment is missing or wrong.
    #[error("verifying the image")]
    Survey(#[source] SurveyError),
    /// The image does not fit the target.
    #[error("planning {disk}")]
    Map {
        /// The target.
        disk: String,
        /// Why.
        source: RefusedMap,
    },
    /// The store said no.
    #[error("{doing}")]
    Store {
        /// What was under way.
        doing: &'static str,
        /// Its words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This machine is too small.
    #[error("restoring needs more memory than there is")]
    Memory(#[from] TooLittle),
    /// Another size than that of the captured disk.
    #[error("planning the size of {disk}")]
    Size {
        /// The target.
        disk: String,
        /// Why.
        source: RefusedSize,
    },
    /// Only empty disks may be written.
    #[error("{disk} is not empty: {found}; only empty disks may be restored to here")]
    NotBlank {
        /// Which disk.
        disk: String,
        /// What lies on it first.
        found: String,
    },
    /// It would not boot.
    #[error(
        "{image} would not boot here: {reasons}; --ignore boot-check (clone.ignore=boot-check) restores it all the same"
    )]
    Boot {
        /// Which image.
        image: ImageRef,
        /// Why not, then what else is to be known.
        reasons: String,
    },
    /// Somebody looked at the plan.
    #[error("the plan was not confirmed")]
    Declined,
}

/// How disks were left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// No byte was written.
    Untouched,
    /// These have no valid first sector: they can not be taken for whole.
    Blank(Vec<String>),
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Untouched => f.write_str("nothing was written"),
            Self::Blank(disks) => write!(
                f,
                "{} is incomplete and was left without a valid first sector; the same command again writes only what is missing",
                disks.join(", ")
            ),
        }
    }
}

/// What broke off.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The store or the way to it, before the first write.
    #[error("{doing} (nothing was written)")]
    Before {
        /// What was under way.
        doing: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The target does not answer, before the first write.
    #[error("{disk}: looking at what it holds (nothing was written)")]
    Looking {
        /// The target.
        disk: String,
        /// Its answer.
        source: io::Error,
    },
    /// Comparing, writing or reading back.
    #[error("{left}")]
    Writing {
        /// How the disks were left.
        left: Left,
        /// What happened.
        source: WriteError,
    },
    /// Room for what does not fit yet.
    #[error("{disk}: making room in memory (nothing was written)")]
    Overflow {
        /// The target.
        disk: String,
        /// Why.
        source: ResizeError,
    },
    /// The disk is whole, but not as large as was asked.
    #[error("{disk} holds the image with its new table, but what lies in it was not grown")]
    Growing {
        /// The target.
        disk: String,
        /// Why.
        source: ResizeError,
    },
    /// The receipt does not say what it should: a mistake in this program.
    #[error("the disks are written, but the receipt does not prove the image")]
    Unproven(#[source] ReceiptError),
    /// New ids without the files that name them.
    #[error("the disks have new UUIDs that their files may not name, and may not boot; run the same restore again")]
    Renamed(#[source] SystemError),
    /// The receipt can not be written down.
    #[error("the disks are written; writing the receipt as JSON")]
    Json(#[source] serde_json::Error),
    /// The server did not take the receipt.
    #[error("the disks are written, but the server has not taken the receipt: restore again, nothing is sent twice")]
    Receipt(#[source] TransferError),
}

/// An error of the store before the first write: away is a failure, a clear answer a refusal.
pub(super) fn before<E>(doing: &'static str, error: E) -> RestoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut refused = true;
    while let Some(error) = cause {
        refused &= !matches!(
            error.downcast_ref(),
            Some(
                TransferError::Away { .. }
                    | TransferError::Store { .. }
                    | TransferError::Answer { kind: ErrorKind::Retry | ErrorKind::Bug | ErrorKind::Unknown, .. }
            )
        );
        refused &= !error.is::<io::Error>();
        cause = error.source();
    }
    let source = Box::new(error);
    if refused { Refused::Store { doing, source }.into() } else { Failed::Before { doing, source }.into() }
}

pub(super) fn at_survey(error: SurveyError) -> RestoreError {
    match error {
        SurveyError::Fetch { source: FetchError::Transfer { .. }, .. } => before("verifying the image", error),
        error => Refused::Survey(error).into(),
    }
}

pub(super) fn at_map(disk: &str, error: RefusedMap) -> RestoreError {
    match error {
        RefusedMap::Fetch(FetchError::Transfer { .. }) => before("planning", error),
        source => Refused::Map { disk: disk.to_owned(), source }.into(),
    }
}

pub(super) fn at_size(disk: &str, error: RefusedSize) -> RestoreError {
    match error {
        RefusedSize::Survey(error) => at_survey(error),
        source => Refused::Size { disk: disk.to_owned(), source }.into(),
    }
}
