//! Superblocks of version 1, which differ by where they lie: 1.0 at the end, 1.1 at the start, 1.2 behind 4 KiB.
//!
//! In: a partition. Out: its name, or all that the superblock says of a mirror's member.
//! Promise: what is not a clean mirror's member in step with the others is a doubt with its reason.
//!
//! | offset | field, little endian (kernel: include/uapi/linux/raid/md_p.h, struct mdp_superblock_1) |
//! |---|---|
//! | 0, 4, 8 | magic, major version 1, features |
//! | 16, 32 | the array's UUID (16) and name (32) |
//! | 72, 80, 92 | level, used sectors of each member, number of members |
//! | 96 | sectors from superblock to bitmap (signed) |
//! | 128, 136, 144 | first sector of the data, sectors for it, sector of this superblock |
//! | 160, 184 | this member's number, its flags |
//! | 186, 188 | sectors of the bad-block log, and from the superblock to it (signed) |
//! | 200, 208 | events, sectors known to be in sync |
//! | 216, 220 | checksum, number of roles |
//! | 256 … | roles, 2 bytes each |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::super::peek::{Peek, read as read_at};
use super::{MAGIC, Member, SECTOR, bitmap};
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;

const FIXED: usize = 256;
/// Roles that fit into the 4 KiB that belong to a superblock.
const ROLES_MAX: usize = 1920;
const LENGTH: u64 = 4096;

const BITMAP: u32 = 1;
/// Features by bit, as people know them.
const FEATURES: [&str; 13] = [
    "a bitmap",
    "a member that is being rebuilt",
    "a reshape",
    "bad blocks",
    "a replacement",
    "a reshape backwards",
    "a moved data area",
    "a rebuild by bitmap",
    "a cluster",
    "a journal",
    "a partial parity log",
    "partial parity logs",
    "a layout for level 0",
];
/// Read last, and give up early: neither changes what lies on the member.
const WRITE_MOSTLY: u8 = 1;
const FAIL_FAST: u8 = 2;

const SPARE: u16 = 0xffff;
const FAULTY: u16 = 0xfffe;
const JOURNAL: u16 = 0xfffd;

/// Where the superblock of each minor version lies, in bytes, in the order in which `blkid` looks.
pub(super) fn places(size: u64) -> impl Iterator<Item = (&'static str, u64)> {
    let before_end = (size / SECTOR).checked_sub(16).map(|sectors| sectors / 8 * 8 * SECTOR);
    // A partition of 12 KiB has 1.0 where 1.2 would lie.
    let before_end = before_end.filter(|at| *at != 0 && *at != 4096);
    before_end.map(|at| ("1.0", at)).into_iter().chain([("1.1", 0), ("1.2", 4096)])
}

pub(super) fn recognise(peek: &Peek<'_>, version: &str, at: u64) -> Result<Option<Content>, ExtentError> {
    let Some(raw) = peek.bytes(at, FIXED)? else { return Ok(None) };
    let fields = Fields(&raw);
    if fields.le32(0) != MAGIC || fields.le32(4) != 1 || fields.le64(144) != at / SECTOR {
        return Ok(None);
    }
    let (uuid, label, version) = (fields.uuid(16), fields.text(32, 32), Some(version.to_owned()));
    Ok(Some(Content { uuid, label, version, ..Content::of("linux_raid_member") }))
}

/// The superblock with its roles, after its checksum was compared.
fn raw(part: &dyn ReadAt, at: u64) -> Result<Vec<u8>, ExtentError> {
    let mut bytes = vec![0; FIXED];
    read_at(part, &mut bytes, at, "superblock of mdraid")?;
    let roles = Fields(&bytes).le32(220) as usize;
    believe!(roles <= ROLES_MAX, "superblock of mdraid has {roles} roles, at most {ROLES_MAX} fit");
    bytes.resize(FIXED + 2 * roles, 0);
    let (end, size) = (at.saturating_add(bytes.len() as u64), part.size());
    believe!(end <= size, "superblock of mdraid with {roles} roles ends at {end}, the partition at {size}");
    read_at(part, &mut bytes, at, "superblock of mdraid")?;
    let (said, is) = (Fields(&bytes).le32(216), checksum(&bytes));
    believe!(said == is, "superblock of mdraid has checksum {said:#010x}, its bytes {is:#010x}");
    Ok(bytes)
}

/// The sum of all words but the checksum itself, with what flows over added below.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum: u64 = 0;
    for (word, at) in bytes.chunks(4).zip((0..).step_by(4)) {
        let mut whole = [0; 4];
        whole[..word.len()].copy_from_slice(word);
        sum += if at == 216 { 0 } else { u64::from(u32::from_le_bytes(whole)) };
    }
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    u32::try_from(folded & 0xffff_ffff).unwrap_or(0)
}

pub(super) fn events(part: &dyn ReadAt, at: u64) -> Result<(String, u64), ExtentError> {
    let bytes = raw(part, at)?;
    let fields = Fields(&bytes);
    Ok((fields.uuid(16).unwrap_or_default(), fields.le64(200)))
}

pub(super) fn read(part: &dyn ReadAt, at: u64) -> Result<Member, ExtentError> {
    let bytes = raw(part, at)?;
    let fields = Fields(&bytes);
    check_state(fields)?;
    let size = part.size();
    let sectors = |start: u64, len: u64, what: &str| {
        let range = start.checked_mul(SECTOR).zip(len.checked_mul(SECTOR));
        let range = range.and_then(|(start, len)| ByteRange::new(start, len).ok()).filter(|range| range.end() <= size);
        range.ok_or_else(|| {
            ExtentError::doubt(format!("{what} at sector {start}+{len}, the partition has {} sectors", size / SECTOR))
        })
    };
    let (room, used) = (fields.le64(136), fields.le64(80));
    believe!(used > 0 && used <= room, "the array uses {used} sectors of each member, this one has {room}");
    let data = sectors(fields.le64(128), used, "data of the array")?;
    let mut areas = vec![ByteRange::between(at, (at + LENGTH).min(size))];
    if fields.le32(8) & BITMAP != 0 {
        let start = beside(at, fields.le32(96))?;
        areas.push(bitmap::area(part, start, used)?);
    }
    let log = u64::from(fields.le16(186));
    if log > 0 {
        areas.push(sectors(beside(at, fields.le32(188))? / SECTOR, log, "bad-block log")?);
    }
    areas.sort_unstable();
    for pair in areas.windows(2) {
        believe!(pair[0].end() <= pair[1].start(), "area at {} overlaps that at {}", pair[1], pair[0]);
    }
    for area in &areas {
        believe!(area.intersect(data).is_none(), "area at {area} lies in the data at {data}");
    }
    Ok(Member { uuid: fields.uuid(16).unwrap_or_default(), events: fields.le64(200), data, areas })
}

/// A byte `sectors` (signed) away from the superblock.
fn beside(at: u64, sectors: u32) -> Result<u64, ExtentError> {
    let signed = i64::from(sectors.cast_signed());
    let place = signed.checked_mul(512).and_then(|bytes| at.checked_add_signed(bytes));
    place.ok_or_else(|| ExtentError::doubt(format!("area {signed} sectors from the superblock at byte {at}")))
}

/// A member of a mirror, clean and in step.
fn check_state(fields: Fields<'_>) -> Result<(), ExtentError> {
    let level = fields.le32(72).cast_signed();
    believe!(level == 1, "member of a RAID of level {}; only mirrors are looked into", level_name(level));
    let features = fields.le32(8) & !BITMAP;
    let unknown = || format!("feature {features:#x}");
    let name =
        (0..FEATURES.len()).find(|bit| features >> bit & 1 == 1).map_or_else(unknown, |bit| FEATURES[bit].to_owned());
    believe!(features == 0, "the array has {name} (features {features:#x})");
    let flags = fields.u8(184);
    believe!(flags & !(WRITE_MOSTLY | FAIL_FAST) == 0, "the member has the unknown flags {flags:#x}");
    let (number, roles, disks) = (fields.le32(160), fields.le32(220), fields.le32(92));
    believe!(number < roles, "the member is number {number} of {roles}");
    let role = fields.le16(FIXED + 2 * number as usize);
    let what = match role {
        SPARE => "a spare",
        FAULTY => "faulty",
        JOURNAL => "a journal",
        _ => "beyond the array's members",
    };
    believe!(u32::from(role) < disks, "the member is {what} (role {role:#x} of {disks})");
    let synced = fields.le64(208);
    believe!(synced == u64::MAX, "the array was not stopped cleanly: in sync up to sector {synced} only");
    Ok(())
}

/// As people say it.
pub(super) fn level_name(level: i32) -> String {
    match level {
        -1 => "linear".to_owned(),
        -4 => "multipath".to_owned(),
        -5 => "faulty".to_owned(),
        -1_000_000 => "container".to_owned(),
        level => level.to_string(),
    }
}
