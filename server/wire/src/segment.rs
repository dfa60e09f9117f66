//! A segment: which chunks make up one stretch of a partition.
//!
//! In: records of at most 1 GiB of addresses. Out: the bytes of one or more segments, and records read back.
//! Promise: what was read back is strictly ascending, disjoint, block-aligned, and inside its partition.
//!
//! | part | size | content (little endian) |
//! |---|---|---|
//! | header | 8 | `RMSG`, version u32 = 1 |
//! | record | 44 each | offset from the segment's first byte u32, length u32, kind u8 (0 data, 1 zero), zero ×3, id 32 |

use crate::frame::CHUNK_MAX;
use crate::id::ChunkId;
use crate::range::{BLOCK, ByteRange, GIB};
use serde::{Deserialize, Serialize};

/// First bytes of a segment.
pub const HEADER: [u8; 8] = *b"RMSG\x01\0\0\0";
/// Bytes per record.
pub const RECORD_LEN: usize = 44;
/// Addresses that one segment covers before any split, in bytes.
pub const SPAN: u64 = GIB;
/// Longest segment, in bytes: it is a chunk.
pub const SEGMENT_MAX: usize = CHUNK_MAX as usize;

/// What a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The bytes of a chunk.
    Data(ChunkId),
    /// Zeros.
    Zero,
}

/// One stretch of a partition. `offset` in bytes from the start of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// First byte.
    pub offset: u64,
    /// Bytes; at most [`CHUNK_MAX`] for data, at most [`SPAN`] for zeros.
    pub len: u32,
    /// Content.
    pub kind: RecordKind,
}

impl Record {
    /// The addresses it covers.
    #[must_use]
    pub const fn range(&self) -> ByteRange {
        ByteRange::between(self.offset, self.offset + self.len as u64)
    }
}

/// A segment as the manifest lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// First address, in bytes from the start of the partition.
    pub first: u64,
    /// Addresses it covers, in bytes: its records start in `first .. first + len`.
    pub len: u64,
    /// The chunk that holds it.
    pub id: ChunkId,
}

/// Why a segment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Not a whole number of records, or none, or too many.
    #[error("segment has {0} bytes, wanted 8 and a multiple of 44, at most {SEGMENT_MAX}")]
    Length(usize),
    /// Not a segment of this version.
    #[error("segment starts with {found:02x?}, wanted {HEADER:02x?}")]
    Header {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// An unknown kind, or reserved bytes in use.
    #[error("record {index}: kind bytes are {found:02x?}")]
    Kind {
        /// Which record.
        index: usize,
        /// Kind and reserved bytes.
        found: [u8; 4],
    },
    /// A zero record with an id.
    #[error("record {index}: zeros carry an id")]
    ZeroId {
        /// Which record.
        index: usize,
    },
    /// A length out of bounds or not whole blocks.
    #[error("record {index}: length {len} is out of bounds or not whole blocks inside a space of {size} bytes")]
    RecordLength {
        /// Which record.
        index: usize,
        /// Its length.
        len: u32,
        /// The partition's size.
        size: u64,
    },
    /// A start outside the segment or not at a block.
    #[error("record {index}: offset {offset} is outside the segment's {span} bytes or not at a block")]
    Offset {
        /// Which record.
        index: usize,
        /// Its offset in the segment.
        offset: u32,
        /// The segment's span.
        span: u64,
    },
    /// Not ascending, or overlapping the one before.
    #[error("record {index}: starts at {start}, the one before ends at {before}")]
    Order {
        /// Which record.
        index: usize,
        /// Its start.
        start: u64,
        /// The end before.
        before: u64,
    },
}

/// The segments for `records`, all of which start in one span of 1 GiB from `first`; split until each fits a chunk.
/// Records must be ascending. A stretch without records gives no segment.
#[must_use]
pub fn encode(records: &[Record], first: u64, span: u64) -> Vec<(ByteRange, Vec<u8>)> {
    if records.is_empty() {
        return Vec::new();
    }
    if HEADER.len() + records.len() * RECORD_LEN <= SEGMENT_MAX {
        return vec![(ByteRange::between(first, first.saturating_add(span)), encode_one(records, first))];
    }
    let half = span / 2 / BLOCK * BLOCK;
    let middle = records.partition_point(|record| record.offset < first.saturating_add(half));
    let mut segments = encode(&records[..middle], first, half);
    segments.extend(encode(&records[middle..], first.saturating_add(half), span - half));
    segments
}

fn encode_one(records: &[Record], first: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER.len() + records.len() * RECORD_LEN);
    bytes.extend_from_slice(&HEADER);
    for record in records {
        let offset = u32::try_from(record.offset - first).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&record.len.to_le_bytes());
        let (kind, id) = match record.kind {
            RecordKind::Data(id) => (0, id.0),
            RecordKind::Zero => (1, [0; 32]),
        };
        bytes.extend_from_slice(&[kind, 0, 0, 0]);
        bytes.extend_from_slice(&id);
    }
    bytes
}

/// Offsets and lengths of records in the gaps are multiples of this many bytes, those in partitions of [`BLOCK`]:
/// a gap ends where a partition begins, and old tables put that at any sector.
pub const GAPS_UNIT: u64 = 512;

/// Reads a segment's bytes. `before` is the end of the last record of the segment before it; `size` the space's;
/// `unit` is [`BLOCK`] for a partition and [`GAPS_UNIT`] for the gaps.
///
/// # Errors
/// Any [`SegmentError`].
pub fn decode(
    bytes: &[u8],
    segment: &SegmentRef,
    before: u64,
    size: u64,
    unit: u64,
) -> Result<Vec<Record>, SegmentError> {
    let body = bytes.get(HEADER.len()..).ok_or(SegmentError::Length(bytes.len()))?;
    if body.is_empty() || body.len() % RECORD_LEN != 0 || bytes.len() > SEGMENT_MAX {
        return Err(SegmentError::Length(bytes.len()));
    }
    let mut found = [0; 8];
    found.copy_from_slice(&bytes[..8]);
    if found != HEADER {
        return Err(SegmentError::Header { found });
    }
    let mut records = Vec::with_capacity(body.len() / RECORD_LEN);
    let mut before = before;
    for (index, bytes) in body.chunks_exact(RECORD_LEN).enumerate() {
        let record = decode_record(index, bytes, segment, size, unit)?;
        if record.offset < before {
            return Err(SegmentError::Order { index, start: record.offset, before });
        }
        before = record.range().end();
        records.push(record);
    }
    Ok(records)
}

fn decode_record(
    index: usize,
    bytes: &[u8],
    segment: &SegmentRef,
    size: u64,
    unit: u64,
) -> Result<Record, SegmentError> {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (offset, len) = (word(0), word(4));
    let kind = [bytes[8], bytes[9], bytes[10], bytes[11]];
    let mut id = [0; 32];
    id.copy_from_slice(&bytes[12..]);
    let (kind, max) = match kind {
        [0, 0, 0, 0] => (RecordKind::Data(ChunkId(id)), CHUNK_MAX),
        [1, 0, 0, 0] if id != [0; 32] => return Err(SegmentError::ZeroId { index }),
        [1, 0, 0, 0] => (RecordKind::Zero, 1 << 30),
        found => return Err(SegmentError::Kind { index, found }),
    };
    let start = segment
        .first
        .checked_add(u64::from(offset))
        .filter(|start| u64::from(offset) < segment.len && start.is_multiple_of(unit));
    let Some(start) = start else {
        return Err(SegmentError::Offset { index, offset, span: segment.len });
    };
    let end = start
        .checked_add(u64::from(len))
        .filter(|end| len > 0 && len <= max && *end <= size && (u64::from(len).is_multiple_of(unit) || *end == size));
    match end {
        Some(_) => Ok(Record { offset: start, len, kind }),
        None => Err(SegmentError::RecordLength { index, len, size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 4 * GIB;

    fn data(offset: u64, len: u32) -> Record {
        Record { offset, len, kind: RecordKind::Data(ChunkId::of(&offset.to_le_bytes())) }
    }

    fn read(segments: &[(ByteRange, Vec<u8>)]) -> Result<Vec<Record>, SegmentError> {
        let mut all: Vec<Record> = Vec::new();
        for (range, bytes) in segments {
            let segment = SegmentRef { first: range.start(), len: range.len(), id: ChunkId::of(bytes) };
            let before = all.last().map_or(0, |record| record.range().end());
            all.extend(decode(bytes, &segment, before, SIZE, BLOCK)?);
        }
        Ok(all)
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let records = [
            data(GIB, 4096),
            Record { offset: GIB + 8192, len: 1 << 20, kind: RecordKind::Zero },
            data(GIB + (2 << 20), 512 << 10),
        ];
        let segments = encode(&records, GIB, SPAN);
        assert_eq!(segments.len(), 1);
        assert_eq!(read(&segments).unwrap(), records);
        assert!(encode(&[], 0, SPAN).is_empty());
    }

    #[test]
    fn a_full_segment_is_split_at_its_middle_address() {
        let records: Vec<Record> = (0..SPAN / 8192).map(|i| data(i * 8192, 4096)).collect();
        let segments = encode(&records, 0, SPAN);
        assert!(segments.len() > 1);
        assert!(segments.iter().all(|(range, bytes)| bytes.len() <= SEGMENT_MAX && range.len().is_power_of_two()));
        assert_eq!(read(&segments).unwrap(), records);
    }

    #[test]
    fn refuses_records_that_overlap_leave_or_misalign() {
        let one = |records: &[Record]| read(&[(ByteRange::between(0, SPAN), encode_one(records, 0))]);
        assert!(matches!(one(&[data(4096, 8192), data(8192, 4096)]), Err(SegmentError::Order { index: 1, .. })));
        assert!(matches!(one(&[data(8192, 4096), data(4096, 4096)]), Err(SegmentError::Order { index: 1, .. })));
        assert!(matches!(one(&[data(512, 4096)]), Err(SegmentError::Offset { .. })));
        assert!(matches!(one(&[data(SPAN, 4096)]), Err(SegmentError::Offset { .. })));
        assert!(matches!(one(&[data(0, 1000)]), Err(SegmentError::RecordLength { .. })));
        assert!(matches!(one(&[data(0, 0)]), Err(SegmentError::RecordLength { .. })));
        assert!(matches!(one(&[data(0, CHUNK_MAX + 4096)]), Err(SegmentError::RecordLength { .. })));
        assert!(matches!(one(&[]), Err(SegmentError::Length(8))));
    }

    #[test]
    fn the_last_record_of_a_partition_need_not_be_whole_blocks() {
        let segment = SegmentRef { first: 0, len: SPAN, id: ChunkId([0; 32]) };
        let bytes = encode_one(&[data(4096, 512)], 0);
        assert!(decode(&bytes, &segment, 0, 4608, BLOCK).is_ok());
        assert!(decode(&bytes, &segment, 0, 4096, BLOCK).is_err());
        assert!(decode(&bytes, &segment, 0, 8192, BLOCK).is_err());
        assert!(decode(&bytes, &segment, 0, 8192, GAPS_UNIT).is_ok());
    }
}
