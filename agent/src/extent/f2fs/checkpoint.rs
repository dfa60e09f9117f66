//! The checkpoint of F2FS: two packs, of which the newer valid one counts.
//!
//! In: a checked superblock. Out: the last checkpoint, its SIT version bitmap and its SIT journal.
//! Promise: nothing waits to be replayed, checked or deleted by what its flags say, or it is a doubt.
//!
//! `struct f2fs_checkpoint` in the kernel's include/linux/f2fs_fs.h. A pack lies in a segment of its own: head,
//! payload, orphans, three data summaries (or one or two compact ones), three node summaries, and the head again.
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0 | version | | 136 | blocks of the pack |
//! | 16 | valid blocks | | 140 | first summary, in blocks of the pack |
//! | 32 | free segments | | 144 | valid nodes |
//! | 36, 68 | 8 current node segments, next blocks in them | | 156, 160 | bytes of the SIT and NAT version bitmaps |
//! | 84, 116 | the same for data | | 164 | place of the checksum |
//! | 132 | flags | | 192 | version bitmaps |

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::checksum::{SEED, crc32};
use super::superblock::{BLOCK, SEGMENT, Superblock};
use crate::disk::source::ReadAt;

/// Flags of a checkpoint.
mod flag {
    pub const UMOUNT: u32 = 0x0001;
    pub const COMPACT_SUM: u32 = 0x0004;
    pub const LARGE_NAT_BITMAP: u32 = 0x0400;
    /// Checksums of roll-forward records, NAT bits, discards done: these change nothing of what is in use.
    pub const HARMLESS: u32 = 0x0040 | 0x0080 | 0x0100 | 0x0200;
    /// Something waits: name by bit.
    pub const DOUBTS: [(u32, &str); 8] = [
        (0x0002, "files that were deleted while open wait to be freed"),
        (0x0008, "it was stopped by an error"),
        (0x0010, "it wants to be checked"),
        (0x0020, "it was written for a fast boot, not by an unmount"),
        (0x0800, "its quotas want to be checked"),
        (0x1000, "checkpoints were disabled"),
        (0x2000, "checkpoints were disabled in haste"),
        (0x4000, "it was being resized"),
    ];
}

const BITMAPS: u64 = 192;
const SUM_MIN: usize = 192;
const SUM_MAX: usize = 4092;
/// Blocks of summaries for three node logs, and for three data logs unless they are compact.
const NODE_SUMMARIES: u64 = 3;
const DATA_SUMMARIES: u64 = 3;
/// Number of logs of each kind in use.
const LOGS: usize = 3;
/// A journal in a summary block lies behind its 512 entries of 7 bytes; in a compact one, behind the NAT's.
const JOURNAL_AT: usize = 512 * 7;
const JOURNAL_LEN: usize = 507;

/// The last checkpoint, written by an unmount.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub version: u64,
    pub valid_blocks: u64,
    pub valid_nodes: u64,
    pub free_segments: u64,
    /// Segments that are written to next.
    pub current: Vec<u64>,
    /// The block at which a roll-forward starts: segment, and block in it.
    pub next_node: (u64, u64),
    /// Which copy of each SIT block counts; the highest bit of a byte is the first.
    pub sit_versions: Vec<u8>,
    /// SIT entries newer than those of the SIT, with their count before them.
    pub journal: Vec<u8>,
}

/// What the last checkpoint is of.
pub(super) enum Last {
    Clean(Checkpoint),
    /// Why something waits to be done at the next mount.
    Dirty(String),
}

/// A head whose checksum is right, and the pack's first block.
struct Pack {
    head: Vec<u8>,
    start: u64,
}

impl Checkpoint {
    pub fn last(part: &dyn ReadAt, superblock: &Superblock) -> Result<Last, ExtentError> {
        let pack = newest(part, superblock)?;
        let fields = Fields(&pack.head);
        if let Some(reason) = dirt(fields.le32(132)) {
            return Ok(Last::Dirty(reason));
        }
        let flags = check_flags(fields)?;
        let blocks = u64::from(fields.le32(136));
        let tail = block(part, pack.start + blocks - 1)?;
        let differs = pack.head.iter().zip(&tail).position(|(head, tail)| head != tail);
        believe!(
            differs.is_none(),
            "head and tail of the checkpoint at block {} differ at byte {}",
            pack.start,
            differs.unwrap_or_default()
        );
        let (segments, offsets) = current(fields, superblock)?;
        Ok(Last::Clean(Self {
            version: fields.le64(0),
            valid_blocks: fields.le64(16),
            valid_nodes: u64::from(fields.le32(144)),
            free_segments: u64::from(fields.le32(32)),
            // Hot, warm and cold nodes come first.
            next_node: (segments[1], offsets[1]),
            current: segments,
            sit_versions: sit_versions(part, superblock, &pack, flags)?,
            journal: journal(part, superblock, &pack, flags)?,
        }))
    }
}

fn block(part: &dyn ReadAt, at: u64) -> Result<Vec<u8>, ExtentError> {
    let mut raw = vec![0; in_memory(BLOCK)?];
    read(part, &mut raw, at * BLOCK, "F2FS checkpoint")?;
    Ok(raw)
}

/// A block of a checkpoint whose checksum is right.
fn summed_block(part: &dyn ReadAt, at: u64) -> Result<Option<Vec<u8>>, ExtentError> {
    let raw = block(part, at)?;
    let fields = Fields(&raw);
    let place = usize::try_from(fields.le32(164)).unwrap_or(usize::MAX);
    if !(SUM_MIN..=SUM_MAX).contains(&place) {
        return Ok(None);
    }
    let mut sum = crc32(SEED, fields.bytes(0, place));
    if place < SUM_MAX {
        sum = crc32(sum, fields.bytes(place + 4, SUM_MAX - place));
    }
    Ok((sum == fields.le32(place)).then_some(raw))
}

/// As the kernel chooses: of the packs whose head and tail have right checksums and one version, the newer one.
fn newest(part: &dyn ReadAt, superblock: &Superblock) -> Result<Pack, ExtentError> {
    let mut newest: Option<Pack> = None;
    for start in [superblock.checkpoints, superblock.checkpoints + SEGMENT] {
        let Some(head) = summed_block(part, start)? else { continue };
        let blocks = u64::from(Fields(&head).le32(136));
        if !(3..=SEGMENT).contains(&blocks) {
            continue;
        }
        let Some(tail) = summed_block(part, start + blocks - 1)? else { continue };
        let version = Fields(&head).le64(0);
        if version != Fields(&tail).le64(0) {
            continue;
        }
        // Versions may wrap around.
        let ahead = |other: &Pack| version.wrapping_sub(Fields(&other.head).le64(0)).cast_signed() > 0;
        if newest.as_ref().is_none_or(ahead) {
            newest = Some(Pack { head, start });
        }
    }
    newest.ok_or_else(|| {
        let first = superblock.checkpoints;
        ExtentError::doubt(format!("neither checkpoint is valid (blocks {first} and {})", first + SEGMENT))
    })
}

/// Why a checkpoint with these flags is none of a clean unmount, if it is not.
fn dirt(flags: u32) -> Option<String> {
    if let Some((_, reason)) = flag::DOUBTS.iter().find(|(bit, _)| flags & bit != 0) {
        return Some(format!("the last checkpoint has flags {flags:#x}: {reason}"));
    }
    let reason = || format!("the file system is dirty (flags {flags:#x}): the last checkpoint is of no unmount");
    (flags & flag::UMOUNT == 0).then(reason)
}

fn check_flags(fields: Fields<'_>) -> Result<u32, ExtentError> {
    let flags = fields.le32(132);
    let known = flag::UMOUNT | flag::COMPACT_SUM | flag::LARGE_NAT_BITMAP | flag::HARMLESS;
    believe!(
        flags & !known == 0,
        "the last checkpoint has flags {flags:#x}, of which {:#x} are not known",
        flags & !known
    );
    Ok(flags)
}

/// Segments that are written to, nodes first, and the next block in each.
fn current(fields: Fields<'_>, superblock: &Superblock) -> Result<(Vec<u64>, Vec<u64>), ExtentError> {
    let (mut segments, mut offsets) = (Vec::new(), Vec::new());
    for (segments_at, offsets_at) in [(36, 68), (84, 116)] {
        for log in 0..LOGS {
            let segment = u64::from(fields.le32(segments_at + 4 * log));
            let offset = u64::from(fields.le16(offsets_at + 2 * log));
            believe!(
                segment < superblock.main_segments && offset < SEGMENT,
                "a log goes on at block {offset} of segment {segment}, there are {SEGMENT} in each of {}",
                superblock.main_segments
            );
            segments.push(segment);
            offsets.push(offset);
        }
    }
    Ok((segments, offsets))
}

/// The bitmaps follow the fields, SIT before NAT. A payload takes the SIT's; large ones lie NAT before SIT and behind
/// a checksum that stands first.
fn sit_versions(part: &dyn ReadAt, superblock: &Superblock, pack: &Pack, flags: u32) -> Result<Vec<u8>, ExtentError> {
    let fields = Fields(&pack.head);
    let (sit, nat) = (u64::from(fields.le32(156)), u64::from(fields.le32(160)));
    for (name, have, segments) in [("SIT", sit, superblock.sit_segments), ("NAT", nat, superblock.nat_segments)] {
        let need = segments / 2 * SEGMENT / 8;
        believe!(have == need, "the {name} version bitmap has {have} bytes, {need} expected for {segments} segments");
    }
    let at = if flags & flag::LARGE_NAT_BITMAP != 0 {
        let first = if fields.le32(164) == 192 { BITMAPS + 4 } else { BITMAPS };
        first + nat
    } else if superblock.payload > 0 {
        BLOCK
    } else {
        BITMAPS
    };
    let len = BLOCK * (1 + superblock.payload);
    believe!(at + sit <= len, "the SIT version bitmap ends at byte {} of a checkpoint of {len}", at + sit);
    let mut raw = vec![0; in_memory(len)?];
    read(part, &mut raw, pack.start * BLOCK, "F2FS checkpoint")?;
    Ok(Fields(&raw).bytes(in_memory(at)?, in_memory(sit)?).to_vec())
}

/// The journal of the SIT lies in the summary of cold data.
fn journal(part: &dyn ReadAt, superblock: &Superblock, pack: &Pack, flags: u32) -> Result<Vec<u8>, ExtentError> {
    let fields = Fields(&pack.head);
    let (blocks, first) = (u64::from(fields.le32(136)), u64::from(fields.le32(140)));
    let compact = flags & flag::COMPACT_SUM != 0;
    let data = blocks.saturating_sub(first + NODE_SUMMARIES + 1);
    let fits = if compact { (1..DATA_SUMMARIES).contains(&data) } else { data == DATA_SUMMARIES };
    believe!(
        first > superblock.payload && fits,
        "the checkpoint has {blocks} blocks, {} before its summaries, {data} data summaries, compact: {compact}",
        first
    );
    let (at, in_block) = if compact { (first, JOURNAL_LEN) } else { (first + DATA_SUMMARIES - 1, JOURNAL_AT) };
    let raw = block(part, pack.start + at)?;
    Ok(Fields(&raw).bytes(in_block, JOURNAL_LEN).to_vec())
}
