//! A chunk: a stretch of logical addresses, and the stretches of devices (stripes) that hold it.
//!
//! In: a chunk item. Out: where a logical address lies, and which bytes of one stripe a logical range takes.
//! Promise: profile, number of stripes and lengths go together; a stripe on a device that is not there is a doubt.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0 | length | | 44 | number of stripes |
//! | 16 | bytes side by side on one device | | 46 | stripes that are copies of each other (RAID10) |
//! | 24 | type: what it holds, profile | | 48 + 32 n | stripe: 0 device, 8 offset there, 16 device's UUID |
//!
//! Source: the kernel's include/uapi/linux/btrfs_tree.h and fs/btrfs/volumes.c.

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::superblock::incompat;
use super::volume::{Format, Member};
use ramet_wire::ByteRange;

/// Bits of a chunk's type.
pub(super) mod kind {
    pub const DATA: u64 = 1 << 0;
    pub const SYSTEM: u64 = 1 << 1;
    pub const METADATA: u64 = 1 << 2;
    /// What it holds; the rest is the profile.
    pub const HOLDS: u64 = DATA | SYSTEM | METADATA;
    pub const RAID0: u64 = 1 << 3;
    pub const RAID1: u64 = 1 << 4;
    pub const DUP: u64 = 1 << 5;
    pub const RAID10: u64 = 1 << 6;
    pub const RAID5: u64 = 1 << 7;
    pub const RAID6: u64 = 1 << 8;
    pub const RAID1C3: u64 = 1 << 9;
    pub const RAID1C4: u64 = 1 << 10;
}

/// Bytes that lie side by side on one device before the next one's turn; the kernel knows no other length.
const STRIPE: u64 = 64 << 10;
const HEADER: usize = 48;
const EACH: usize = 32;
/// Of all chunks together, so that they fit into 40 MiB: 128 TiB in chunks of 1 GiB.
const STRIPES_MAX: u64 = 1 << 19;
const CHUNKS_MAX: usize = 1 << 17;

/// How the stripes of a chunk share its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    /// Each stripe holds all.
    Copies,
    /// In turn; so many stripes next to each other hold the same.
    Striped { copies: u64 },
    /// In turn, and in each row so many stripes hold parity, others from row to row.
    Parity { parity: u64 },
}

/// Where a stripe begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stripe {
    /// Index of the device among [`super::volume::Volume`]'s members.
    pub member: usize,
    /// Bytes from the start of the device.
    pub offset: u64,
}

/// A chunk whose item was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Logical addresses.
    pub range: ByteRange,
    /// See [`kind`].
    pub kind: u64,
    profile: Profile,
    /// Its stripes in [`Chunks`].
    first: usize,
    count: usize,
}

impl Chunk {
    /// Stripes that hold different bytes of one row.
    const fn columns(&self) -> u64 {
        let count = self.count as u64;
        match self.profile {
            Profile::Copies => 1,
            Profile::Striped { copies } => count / copies,
            Profile::Parity { parity } => count - parity,
        }
    }

    /// Length of each stripe in bytes.
    pub const fn stripe_len(&self) -> u64 {
        self.range.len() / self.columns()
    }

    /// The stripe that holds byte `offset` of the chunk (the first of its copies), the place in the stripe, and how
    /// many bytes go on there.
    fn locate(&self, offset: u64) -> (usize, u64, u64) {
        let row_len = self.columns() * STRIPE;
        let (row, column, within) = (offset / row_len, offset % row_len / STRIPE, offset % STRIPE);
        let stripe = match self.profile {
            Profile::Copies => return (0, offset, self.range.len() - offset),
            Profile::Striped { copies } => column * copies,
            Profile::Parity { .. } => (column + row) % self.count as u64,
        };
        (usize::try_from(stripe).unwrap_or(0), row * STRIPE + within, STRIPE - within)
    }

    /// The bytes of stripe `index` that hold the logical addresses `run`, from the stripe's start. With parity, all
    /// rows that `run` touches: what a lost device held is computed from the whole row, free space included.
    pub fn on_stripe(&self, index: usize, run: ByteRange) -> ByteRange {
        let (start, end) = (run.start() - self.range.start(), run.end() - self.range.start());
        let row_len = self.columns() * STRIPE;
        match self.profile {
            Profile::Copies => ByteRange::between(start, end),
            Profile::Striped { copies } => {
                let before = index as u64 / copies * STRIPE;
                let held = |end: u64| end / row_len * STRIPE + (end % row_len).saturating_sub(before).min(STRIPE);
                ByteRange::between(held(start), held(end))
            }
            Profile::Parity { .. } => ByteRange::between(start / row_len * STRIPE, end.div_ceil(row_len) * STRIPE),
        }
    }
}

/// Chunks in the order of their logical addresses.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    list: Vec<Chunk>,
    stripes: Vec<Stripe>,
}

impl Chunks {
    /// Adds the chunk item of the logical address `start`; returns the item's length in bytes.
    ///
    /// # Errors
    /// A doubt that names the chunk.
    pub fn add(&mut self, start: u64, raw: &[u8], format: &Format, members: &[Member]) -> Result<usize, ExtentError> {
        let fields = Fields(raw);
        let count = usize::from(fields.le16(44));
        let item_len = HEADER + count * EACH;
        believe!(raw.len() >= item_len, "chunk {start} has {count} stripes in {} bytes, {item_len} needed", raw.len());
        let (len, side_by_side, kind) = (fields.le64(0), fields.le64(16), fields.le64(24));
        let end = start.checked_add(len).unwrap_or(0);
        let aligned = start.is_multiple_of(format.sector) && len.is_multiple_of(format.sector);
        believe!(aligned && end > start, "chunk {start} has {len} bytes, a multiple of {} expected", format.sector);
        let before = self.list.last().map_or(0, |chunk| chunk.range.end());
        believe!(start >= before, "chunk {start} begins inside the one before, which ends at {before}");
        believe!(side_by_side == STRIPE, "chunk {start} has {side_by_side} bytes side by side, {STRIPE} expected");
        let profile = profile(start, kind, count, fields.le16(46), format)?;
        let first = self.stripes.len();
        let chunk = Chunk { range: ByteRange::between(start, end), kind, profile, first, count };
        let row = chunk.columns() * STRIPE;
        let rows = profile == Profile::Copies || len.is_multiple_of(row);
        believe!(rows, "chunk {start} has {len} bytes, a multiple of {row} expected");
        let most = (self.list.len(), (first + count) as u64);
        believe!(
            most.0 < CHUNKS_MAX && most.1 <= STRIPES_MAX,
            "chunk {start} is one after {} with {} stripes, {CHUNKS_MAX} with {STRIPES_MAX} are possible",
            most.0,
            most.1
        );
        for index in 0..count {
            let stripe = Fields(fields.bytes(HEADER + index * EACH, EACH));
            self.stripes.push(stripe_of(&chunk, stripe, format, members)?);
        }
        self.list.push(chunk);
        Ok(item_len)
    }

    pub fn list(&self) -> &[Chunk] {
        &self.list
    }

    pub fn stripes(&self, chunk: &Chunk) -> &[Stripe] {
        self.stripes.get(chunk.first..chunk.first + chunk.count).unwrap_or_default()
    }

    /// The chunk that holds a logical address.
    pub fn of(&self, at: u64) -> Option<&Chunk> {
        let index = self.list.partition_point(|chunk| chunk.range.end() <= at);
        self.list.get(index).filter(|chunk| chunk.range.start() <= at)
    }

    /// Where the byte at a logical address of `chunk` lies, and how many bytes go on there.
    pub fn place(&self, chunk: &Chunk, at: u64) -> Option<(Stripe, u64)> {
        let (index, offset, len) = chunk.locate(at - chunk.range.start());
        let stripe = self.stripes(chunk).get(index)?;
        Some((Stripe { offset: stripe.offset + offset, ..*stripe }, len))
    }
}

fn profile(start: u64, bits: u64, count: usize, sub_stripes: u16, format: &Format) -> Result<Profile, ExtentError> {
    use kind::{DATA, DUP, HOLDS, METADATA, RAID0, RAID1, RAID1C3, RAID1C4, RAID5, RAID6, RAID10, SYSTEM};
    let holds = match bits & HOLDS {
        DATA | METADATA | SYSTEM => true,
        both => both == DATA | METADATA && format.incompat & incompat::MIXED_GROUPS != 0,
    };
    believe!(holds, "chunk {start} has type {bits:#x}, which holds neither data nor metadata alone");
    let (profile, possible) = match bits & !HOLDS {
        0 => (Profile::Copies, count == 1),
        DUP | RAID1 => (Profile::Copies, count == 2),
        RAID1C3 => (Profile::Copies, count == 3 && format.incompat & incompat::RAID1C34 != 0),
        RAID1C4 => (Profile::Copies, count == 4 && format.incompat & incompat::RAID1C34 != 0),
        RAID0 => (Profile::Striped { copies: 1 }, count >= 1),
        RAID10 => (Profile::Striped { copies: 2 }, count >= 2 && count.is_multiple_of(2) && sub_stripes == 2),
        RAID5 => (Profile::Parity { parity: 1 }, count >= 2 && format.incompat & incompat::RAID56 != 0),
        RAID6 => (Profile::Parity { parity: 2 }, count >= 3 && format.incompat & incompat::RAID56 != 0),
        _ => return Err(ExtentError::doubt(format!("chunk {start} has type {bits:#x}, no profile that is known"))),
    };
    believe!(
        possible,
        "chunk {start} has type {bits:#x} and {count} stripes ({sub_stripes} alike), incompat flags are {:#x}",
        format.incompat
    );
    Ok(profile)
}

fn stripe_of(chunk: &Chunk, fields: Fields<'_>, format: &Format, members: &[Member]) -> Result<Stripe, ExtentError> {
    let (devid, offset, uuid) = (fields.le64(0), fields.le64(8), fields.bytes(16, 16));
    let start = chunk.range.start();
    let Some(member) = members.iter().position(|member| member.devid == devid) else {
        return Err(ExtentError::doubt(format!(
            "chunk {start} has a stripe on device {devid}, which is none of {} devices",
            members.len()
        )));
    };
    let device = &members[member];
    believe!(
        uuid == device.uuid,
        "chunk {start} has a stripe on device {uuid:02x?}, device {devid} is {:02x?}",
        device.uuid
    );
    let end = offset.saturating_add(chunk.stripe_len());
    believe!(
        end <= device.len && offset.is_multiple_of(format.sector),
        "chunk {start} has a stripe at {offset} to {end} of device {devid}, which has {} bytes",
        device.len
    );
    Ok(Stripe { member, offset })
}
