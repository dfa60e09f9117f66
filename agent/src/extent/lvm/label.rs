//! The label of a physical volume: which one it is, and where its areas lie.
//!
//! In: the first four sectors of a partition. Out: UUID, size, areas.
//! Promise: a wrong checksum, a second label, or an area outside the partition is a doubt.
//!
//! | offset in the label's sector | field (lvm2: lib/label/label.h, lib/format_text/layout.h) |
//! |---|---|
//! | 0, 8 | `LABELONE`, the sector's own number |
//! | 16 | CRC of what follows to the end of the sector |
//! | 20, 24 | offset of the header of the physical volume, `LVM2 001` |
//! | header + 0, 32 | UUID (32 letters), size of the device in bytes |
//! | header + 40 | data areas, then metadata areas: offset and size in bytes, each list ends with a zero offset |
//! | behind them | extension: version, flags (bit 0: belongs to a group), then areas for boot loaders likewise |

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::super::peek::read;
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;

const SECTOR: usize = 512;
/// Sectors in which a label may lie.
const SECTORS: usize = 4;
/// Bytes at the start of a partition that belong to the label.
pub(super) const HEAD: u64 = (SECTOR * SECTORS) as u64;
const MAGIC: &[u8] = b"LABELONE";
const TYPE: &[u8] = b"LVM2 001";
const UUID: usize = 32;
/// Extension with the flag "belongs to a group".
const EXTENSION: u32 = 2;
const BELONGS: u32 = 1;

/// What the label says.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// Without hyphens.
    pub uuid: String,
    /// Where physical extents start, in bytes.
    pub data_start: u64,
    pub metadata: Vec<ByteRange>,
    /// For boot loaders: copied as they lie.
    pub boot: Vec<ByteRange>,
    /// The label says that the volume belongs to a group.
    pub belongs: bool,
}

/// LVM's CRC-32: the usual polynomial with a start of its own and no inversion at the end.
pub(super) fn crc(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
    pieces.iter().for_each(|piece| hasher.update(piece));
    !hasher.finalize()
}

/// UUIDs are compared without their hyphens.
pub(super) fn bare(uuid: &str) -> String {
    uuid.chars().filter(|letter| *letter != '-').collect()
}

/// As people know them.
pub(super) fn hyphenated(uuid: &str) -> String {
    let mut text = String::with_capacity(uuid.len() + 6);
    for (at, letter) in uuid.chars().enumerate() {
        if [6, 10, 14, 18, 22, 26].contains(&at) {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

impl Label {
    pub fn read(part: &dyn ReadAt) -> Result<Self, ExtentError> {
        let mut raw = [0; SECTOR * SECTORS];
        believe!(part.size() >= HEAD, "a physical volume of {} bytes, its label alone needs {HEAD}", part.size());
        read(part, &mut raw, 0, "label of a physical volume")?;
        let mut found = raw.chunks_exact(SECTOR).zip(0..).filter(|(sector, _)| sector.starts_with(MAGIC));
        let Some((sector, number)) = found.next() else {
            return Err(ExtentError::doubt("no label of a physical volume"));
        };
        let others = found.count();
        believe!(others == 0, "{} labels of physical volumes, 1 expected", others + 1);
        Self::parse(sector, number, part.size())
    }

    fn parse(sector: &[u8], number: u64, size: u64) -> Result<Self, ExtentError> {
        let fields = Fields(sector);
        let (said, is) = (fields.le32(16), crc(&[fields.bytes(20, SECTOR - 20)]));
        believe!(said == is, "label has checksum {said:#010x}, its bytes {is:#010x}");
        let own = fields.le64(8);
        believe!(own == number, "label says that it lies in sector {own}, it lies in {number}");
        believe!(fields.bytes(24, TYPE.len()) == TYPE, "label is of an unknown type");
        let header = fields.le32(20) as usize;
        let last = SECTOR - UUID - 8;
        believe!((32..=last).contains(&header), "header of the physical volume at {header}, 32 to {last} expected");
        let uuid = fields.bytes(header, UUID);
        believe!(uuid.iter().all(u8::is_ascii_alphanumeric), "UUID of the physical volume is no text");
        let device = fields.le64(header + UUID);
        believe!(device <= size, "physical volume has {device} bytes, the partition {size}");
        let (data, at) = areas(fields, header + UUID + 8, size, true)?;
        let (metadata, at) = areas(fields, at, size, false)?;
        believe!(data.len() == 1, "{} data areas, 1 expected", data.len());
        let (version, flags) = (fields.le32(at), fields.le32(at + 4));
        believe!(version <= EXTENSION, "extension has version {version}, at most {EXTENSION} known");
        believe!(flags & !BELONGS == 0, "extension has flags {flags:#x}, {BELONGS:#x} known");
        let boot = if version == 0 { Vec::new() } else { areas(fields, at + 8, size, false)?.0 };
        let mut all = [&metadata[..], &boot].concat();
        all.sort_unstable();
        for pair in all.windows(2) {
            believe!(pair[0].end() <= pair[1].start(), "area at {} overlaps that at {}", pair[1], pair[0]);
        }
        Ok(Self {
            uuid: String::from_utf8_lossy(uuid).into_owned(),
            data_start: data[0].start(),
            metadata,
            boot,
            belongs: flags & BELONGS != 0,
        })
    }
}

/// A list of areas and where the next one starts. Data areas have no size: they reach to the end.
fn areas(fields: Fields<'_>, mut at: usize, size: u64, data: bool) -> Result<(Vec<ByteRange>, usize), ExtentError> {
    let mut found = Vec::new();
    loop {
        believe!(at + 16 <= SECTOR, "list of areas reaches byte {}, the label ends at {SECTOR}", at + 16);
        let (start, len) = (fields.le64(at), fields.le64(at + 8));
        at += 16;
        if start == 0 {
            return Ok((found, at));
        }
        let range = ByteRange::new(start, len).map_err(|error| ExtentError::doubt(format!("area: {error}")))?;
        believe!(start >= HEAD && range.end() <= size, "area at {range}, the partition has {size} bytes");
        believe!(data || len >= 2 * SECTOR as u64, "area at {range} is shorter than two sectors");
        found.push(range);
    }
}
