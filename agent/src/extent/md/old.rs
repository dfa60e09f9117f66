//! Superblocks of version 0.90, in the last 64 KiB.
//!
//! In: a partition. Out: its name, or all that the superblock says of a mirror's member.
//! Promise: what is not a clean mirror's member is a doubt with its reason; so is the other byte order.
//!
//! | word | field (kernel: include/uapi/linux/raid/md_p.h, mdp_super_t), 4 bytes each |
//! |---|---|
//! | 0 … 3 | magic, major version 0, minor 90 (91: a reshape), patch level |
//! | 5, 13 … 15 | the array's UUID |
//! | 7, 8, 10 | level, KiB used of each member, number of members |
//! | 33, 38 | state (bit 0: clean), checksum |
//! | 39, 40 | events |
//! | 992 … 996 | this member: number, device, its role, its state |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::map::Content;
use super::super::peek::{Peek, read as read_at};
use super::one::level_name;
use super::{MAGIC, Member};
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;
use uuid::Uuid;

const LENGTH: usize = 4096;
const RESERVED: u64 = 64 << 10;

const CLEAN: u32 = 1;
/// A bitmap beside the superblock, in what is reserved at the end.
const BITMAP: u32 = 1 << 8;
/// State of a member: active and in sync.
const IN_SYNC: u32 = 1 << 1 | 1 << 2;
const WRITE_MOSTLY: u32 = 1 << 9;

fn place(size: u64) -> Option<u64> {
    (size / RESERVED).checked_sub(1).map(|blocks| blocks * RESERVED)
}

/// Words in the order of the machine that wrote them.
struct Words<'a> {
    fields: Fields<'a>,
    big: bool,
}

impl Words<'_> {
    fn get(&self, word: usize) -> u32 {
        if self.big { self.fields.be32(4 * word) } else { self.fields.le32(4 * word) }
    }

    fn uuid(&self) -> String {
        let mut raw = [0; 16];
        for (bytes, word) in raw.as_chunks_mut::<4>().0.iter_mut().zip([5, 13, 14, 15]) {
            *bytes = self.get(word).to_be_bytes();
        }
        Uuid::from_bytes(raw).hyphenated().to_string()
    }

    fn events(&self) -> u64 {
        u64::from(self.get(40)) << 32 | u64::from(self.get(39))
    }
}

pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    let Some(at) = place(peek.size()) else { return Ok(None) };
    let Some(raw) = peek.bytes(at, 64)? else { return Ok(None) };
    let fields = Fields(&raw);
    let big = fields.be32(0) == MAGIC;
    let words = Words { fields, big };
    if words.get(0) != MAGIC || words.get(1) != 0 {
        return Ok(None);
    }
    let version = Some(format!("{}.{}.{}", words.get(1), words.get(2), words.get(3)));
    Ok(Some(Content { uuid: Some(words.uuid()), version, ..Content::of("linux_raid_member") }))
}

/// The superblock after its checksum was compared, and where it lies.
fn raw(part: &dyn ReadAt) -> Result<(Vec<u8>, u64), ExtentError> {
    let at = place(part.size()).unwrap_or(0);
    let mut bytes = vec![0; LENGTH];
    read_at(part, &mut bytes, at, "superblock of mdraid")?;
    believe!(Fields(&bytes).le32(0) == MAGIC, "superblock of mdraid 0.90 is in big-endian order");
    let words = bytes.as_chunks::<4>().0.iter().zip(0..);
    let sum: u64 = words.map(|(word, at)| if at == 38 { 0 } else { u64::from(u32::from_le_bytes(*word)) }).sum();
    let is = u32::try_from(((sum & 0xffff_ffff) + (sum >> 32)) & 0xffff_ffff).unwrap_or(0);
    let said = Fields(&bytes).le32(4 * 38);
    believe!(said == is, "superblock of mdraid has checksum {said:#010x}, its words {is:#010x}");
    Ok((bytes, at))
}

pub(super) fn events(part: &dyn ReadAt) -> Result<(String, u64), ExtentError> {
    let (bytes, _) = raw(part)?;
    let words = Words { fields: Fields(&bytes), big: false };
    Ok((words.uuid(), words.events()))
}

pub(super) fn read(part: &dyn ReadAt) -> Result<Member, ExtentError> {
    let (bytes, at) = raw(part)?;
    let words = Words { fields: Fields(&bytes), big: false };
    let level = words.get(7).cast_signed();
    believe!(level == 1, "member of a RAID of level {}; only mirrors are looked into", level_name(level));
    let minor = words.get(2);
    believe!(minor == 90, "superblock of mdraid has version 0.{minor}, 0.90 expected");
    let state = words.get(33);
    believe!(state & CLEAN != 0, "the array was not stopped cleanly (state {state:#x})");
    believe!(state & !(CLEAN | BITMAP) == 0, "the array has the state {state:#x}");
    let (role, disks, own) = (words.get(995), words.get(10), words.get(996));
    believe!(
        own & !WRITE_MOSTLY == IN_SYNC && role < disks,
        "the member has the state {own:#x} and the role {role} of {disks}"
    );
    let used = u64::from(words.get(8)) * 1024;
    believe!(used > 0 && used <= at, "the array uses {used} bytes of each member, this one has {at}");
    let areas = vec![ByteRange::between(at, part.size())];
    Ok(Member { uuid: words.uuid(), events: words.events(), data: ByteRange::between(0, used), areas })
}
