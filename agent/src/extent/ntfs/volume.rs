//! The master file table, and what it says about the volume.
//!
//! In: a partition with an NTFS boot sector. Out: its records and streams, its label, and the volume's flags.
//! Promise: the first four records are the same in $MFT and $MFTMirr, and no record outside the MFT is read.
//!
//! | record | file | |
//! |---|---|---|
//! | 0, 1 | $MFT, $MFTMirr | the table itself, and a copy of its first records |
//! | 2 | $LogFile | |
//! | 3 | $Volume | $VOLUME_NAME: the label; $VOLUME_INFORMATION: version at 8 and 9, flags at 10 |
//! | 5 | the root directory | |
//! | 6 | $Bitmap | |
//!
//! Flags that say nothing against the allocation map, because what they ask for is done by the next mount: resize the
//! log (0x2), upgrade (0x4), seen by NT 4 (0x8), delete the change journal (0x10), repair object IDs (0x20); 0x80 is a
//! lasting preference. All others make the volume dirty: it is (0x1), it crashed Windows (0x40), a check is wanted,
//! under way or was not followed by a mount (0x100 and above).
//!
//! Source: ntfs-3g, `layout.h` (`NTFS_SYSTEM_FILES`, `VOLUME_INFORMATION`); M. Suhanov, "NTFS today" (the new flags).

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::attribute::{DATA, Record, UNNAMED, VOLUME_INFORMATION, VOLUME_NAME};
use super::boot::Boot;
use super::stream::{self, Stream};
use crate::disk::source::ReadAt;

pub(super) const MFT: u64 = 0;
pub(super) const MIRROR: u64 = 1;
pub(super) const LOG: u64 = 2;
const VOLUME: u64 = 3;
pub(super) const ROOT: u64 = 5;
pub(super) const ALLOCATION: u64 = 6;
/// The mirror may hold more, where a cluster does.
const MIRRORED: u64 = 4;

const HARMLESS: u16 = 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x80;

/// An opened volume.
pub(super) struct Volume<'a> {
    pub part: &'a dyn ReadAt,
    pub boot: Boot,
    pub mft: Stream,
}

impl<'a> Volume<'a> {
    /// Reads boot sector and MFT, and holds the MFT against its mirror.
    pub fn open(part: &'a dyn ReadAt) -> Result<Self, ExtentError> {
        let mut raw = vec![0; in_memory(part.size().min(512))?];
        read(part, &mut raw, 0, "NTFS boot sector")?;
        let boot = Boot::parse(&raw, part.size())?;
        let base = direct(part, &boot, boot.mft, MFT)?;
        let fetch = |number, known: Option<&Stream>| match known {
            Some(known) => in_table(part, &boot, known, number),
            None => Err(ExtentError::doubt(format!("$MFT begins in MFT record {number}, 0 expected"))),
        };
        let mft = stream::open(part, &boot, &base, (DATA, UNNAMED), &fetch)?;
        let Some(mft) = mft.filter(|mft| !mft.transformed) else {
            return Err(ExtentError::doubt("MFT record 0 has no plain data: there is no $MFT"));
        };
        let first = mft.runs().first().and_then(|run| run.place);
        believe!(
            first == Some(boot.mft),
            "$MFT starts at cluster {}, the boot sector says {}",
            first.unwrap_or(0),
            boot.mft
        );
        let volume = Self { part, boot, mft };
        volume.check_mirror()?;
        Ok(volume)
    }

    fn check_mirror(&self) -> Result<(), ExtentError> {
        for number in 0..MIRRORED {
            let copy = direct(self.part, &self.boot, self.boot.mirror, number)?;
            let same = self.record(number)?.meaning() == copy.meaning();
            believe!(same, "MFT record {number} differs between $MFT and $MFTMirr (cluster {})", self.boot.mirror);
        }
        Ok(())
    }

    /// Record `number` of the MFT.
    pub fn record(&self, number: u64) -> Result<Record, ExtentError> {
        in_table(self.part, &self.boot, &self.mft, number)
    }

    /// A stream of the file with this base record.
    pub fn stream(&self, record: &Record, kind: u32, name: &[u8]) -> Result<Option<Stream>, ExtentError> {
        stream::open(self.part, &self.boot, record, (kind, name), &|number, _| self.record(number))
    }

    /// The data of a system file: neither compressed, encrypted nor sparse.
    pub fn system(&self, number: u64) -> Result<Stream, ExtentError> {
        let found = self.stream(&self.record(number)?, DATA, UNNAMED)?.filter(|stream| {
            let holes = stream.runs().iter().any(|run| run.place.is_none());
            !stream.transformed && !holes
        });
        found.ok_or_else(|| ExtentError::doubt(format!("MFT record {number} has no plain data")))
    }

    /// As `blkid` prints it.
    pub fn label(&self) -> Result<Option<String>, ExtentError> {
        let record = self.record(VOLUME)?;
        let name = record.resident(VOLUME_NAME, UNNAMED)?.unwrap_or_default();
        Ok(Fields(name).utf16(0, name.len() / 2))
    }

    /// Why the volume's own flags call it unclean, if they do.
    pub fn dirt(&self) -> Result<Option<String>, ExtentError> {
        let record = self.record(VOLUME)?;
        let information = record.resident(VOLUME_INFORMATION, UNNAMED)?.unwrap_or_default();
        believe!(information.len() >= 12, "$Volume has {} bytes of information, 12 expected", information.len());
        let (fields, flags) = (Fields(information), Fields(information).le16(10));
        let version = (fields.u8(8), fields.u8(9));
        believe!(
            [(1, 2), (3, 0), (3, 1)].contains(&version),
            "$Volume says NTFS {}.{}, 1.2 to 3.1 are known",
            version.0,
            version.1
        );
        let dirty = flags & !HARMLESS != 0;
        Ok(dirty.then(|| format!("the volume is dirty (flags {flags:#06x} in $Volume)")))
    }
}

/// Record `number` of a table of records that lie side by side from `cluster` on.
fn direct(part: &dyn ReadAt, boot: &Boot, cluster: u64, number: u64) -> Result<Record, ExtentError> {
    let offset = cluster * boot.cluster_len + number * boot.record_len;
    let end = offset + boot.record_len;
    believe!(end <= boot.len, "MFT record {number} ends at byte {end}, the volume has {}", boot.len);
    let mut bytes = vec![0; in_memory(boot.record_len)?];
    read(part, &mut bytes, offset, "MFT record")?;
    Record::parse(bytes, number)
}

fn in_table(part: &dyn ReadAt, boot: &Boot, table: &Stream, number: u64) -> Result<Record, ExtentError> {
    let records = table.initialized / boot.record_len;
    believe!(number < records, "MFT record {number} was wanted, there are {records}");
    let mut bytes = vec![0; in_memory(boot.record_len)?];
    table.read(part, number * boot.record_len, &mut bytes)?;
    Record::parse(bytes, number)
}
