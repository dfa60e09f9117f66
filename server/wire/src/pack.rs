//! A pack: an immutable file of about 16 MiB that holds many chunks.
//!
//! In: frames, one per chunk. Out: the file's bytes in one pass, and its table read back from an untrusted file.
//! Promise: a table that was accepted has frames that tile header to table exactly, within all limits, no id twice.
//!
//! | part | size | content (little endian) |
//! |---|---|---|
//! | header | 8 | `RMPK`, version u32 = 1 |
//! | frames | … | zstd frames back to back |
//! | table | 48 × count | id 32, offset u64, stored u32, raw u32 |
//! | footer | 32 | table offset u64, count u32, zero u32, xxh3-64 of table and these 16 bytes u64, `RMPKEND1` |

use crate::frame::{CHUNK_MAX, FRAME_MAX, FRAME_MIN};
use crate::id::{ChunkId, PackName};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use xxhash_rust::xxh3::Xxh3;

/// First bytes of a pack.
pub const HEADER: [u8; 8] = *b"RMPK\x01\0\0\0";
/// Last bytes of a pack.
pub const END: [u8; 8] = *b"RMPKEND1";
/// Bytes per table entry.
pub const ENTRY_LEN: usize = 48;
/// Bytes of the footer.
pub const FOOTER_LEN: usize = 32;
/// Largest pack, in bytes.
pub const PACK_MAX: u64 = 64 << 20;
/// Where a builder closes a pack, in bytes of frames.
pub const PACK_TARGET: u64 = 16 << 20;
/// Most entries of one pack.
pub const ENTRIES_MAX: u32 = 65_536;

/// Where one chunk lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// Which chunk.
    pub id: ChunkId,
    /// First byte of its frame in the file.
    pub offset: u64,
    /// Bytes of its frame.
    pub stored: u32,
    /// Bytes of the chunk.
    pub raw: u32,
}

/// Why a pack is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Too short or too long.
    #[error("pack has {0} bytes, {min} to {PACK_MAX} are allowed", min = HEADER.len() + ENTRY_LEN + FOOTER_LEN)]
    Length(u64),
    /// Not a pack of this version.
    #[error("pack starts with {found:02x?}, wanted {HEADER:02x?}")]
    Header {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// No end mark: cut short, or not a pack.
    #[error("pack ends with {found:02x?}, wanted {END:02x?}")]
    End {
        /// The last eight bytes.
        found: [u8; 8],
    },
    /// Entry count out of bounds.
    #[error("pack has {0} entries, 1 to {ENTRIES_MAX} are allowed")]
    Count(u32),
    /// Reserved bytes are not zero.
    #[error("footer's reserved field is {0}, wanted 0")]
    Reserved(u32),
    /// Table and footer do not fill the file's end.
    #[error("table of {count} entries at {offset} does not end at the footer of a {len}-byte pack")]
    TableRange {
        /// The table's offset.
        offset: u64,
        /// Entries.
        count: u32,
        /// The pack's length.
        len: u64,
    },
    /// The checksum over table and footer is wrong.
    #[error("table checksum is {found:016x}, footer says {stored:016x}")]
    Checksum {
        /// Computed.
        found: u64,
        /// Stored.
        stored: u64,
    },
    /// Frames do not tile the space from header to table.
    #[error("entry {index}: frame starts at {offset}, the one before ends at {wanted}")]
    Tiling {
        /// Which entry.
        index: usize,
        /// Its offset.
        offset: u64,
        /// Where it should start.
        wanted: u64,
    },
    /// Frames end before or after the table.
    #[error("last frame ends at {end}, the table starts at {table}")]
    LastFrame {
        /// End of the last frame.
        end: u64,
        /// Start of the table.
        table: u64,
    },
    /// Stored length out of bounds.
    #[error("entry {index}: stored length is {stored}, {FRAME_MIN} to {FRAME_MAX} are allowed")]
    Stored {
        /// Which entry.
        index: usize,
        /// Its stored length.
        stored: u32,
    },
    /// Raw length out of bounds.
    #[error("entry {index}: raw length is {raw}, 1 to {CHUNK_MAX} are allowed")]
    Raw {
        /// Which entry.
        index: usize,
        /// Its raw length.
        raw: u32,
    },
    /// The same chunk twice.
    #[error("chunk {0} is listed twice")]
    Twice(ChunkId),
}

/// Writes a pack in one pass into any `Write`; must be finished, or what was written is no pack.
#[must_use = "an unfinished pack has no table and is worthless"]
pub struct PackBuilder<W> {
    out: W,
    hash: Sha256,
    at: u64,
    entries: Vec<PackEntry>,
}

impl<W> std::fmt::Debug for PackBuilder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackBuilder").field("at", &self.at).field("entries", &self.entries.len()).finish()
    }
}

/// A finished pack: its name, its table, its length, and where it was written.
#[derive(Debug)]
pub struct BuiltPack<W> {
    /// SHA-256 of the file.
    pub name: PackName,
    /// The table.
    pub entries: Vec<PackEntry>,
    /// Length of the file, in bytes.
    pub len: u64,
    /// The bytes, or what holds them.
    pub out: W,
}

impl<W: Write> PackBuilder<W> {
    /// Starts a pack by writing its header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let mut builder = Self { out, hash: Sha256::new(), at: 0, entries: Vec::new() };
        builder.put(&HEADER)?;
        Ok(builder)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Appends one chunk's frame. The caller made the frame from the chunk; an id may come only once.
    ///
    /// # Errors
    /// Those of `out`, and `InvalidInput` for a length outside the limits.
    pub fn push(&mut self, id: ChunkId, raw: u32, frame: &[u8]) -> io::Result<()> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let stored = u32::try_from(frame.len()).map_err(|_| invalid("frame too long for a pack"))?;
        if !(FRAME_MIN..=FRAME_MAX).contains(&stored) || !(1..=CHUNK_MAX).contains(&raw) || self.is_full() {
            return Err(invalid("chunk outside the limits of a pack"));
        }
        self.entries.push(PackEntry { id, offset: self.at, stored, raw });
        self.put(frame)
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.at
    }

    /// No chunk yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Time to finish: [`PACK_TARGET`] is reached, or there are as many entries as a pack may have.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.at >= PACK_TARGET || self.entries.len() >= ENTRIES_MAX as usize
    }

    /// Writes table and footer; returns the pack with its name.
    ///
    /// # Errors
    /// Those of `out`; `InvalidInput` for a pack without chunks.
    pub fn finish(mut self) -> io::Result<BuiltPack<W>> {
        if self.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pack without chunks"));
        }
        let count = u32::try_from(self.entries.len()).map_err(io::Error::other)?;
        let tail = encode_tail(&self.entries, self.at, count);
        self.put(&tail)?;
        let name = PackName(self.hash.finalize().into());
        Ok(BuiltPack { name, entries: self.entries, len: self.at, out: self.out })
    }
}

fn encode_tail(entries: &[PackEntry], offset: u64, count: u32) -> Vec<u8> {
    let mut tail = Vec::with_capacity(entries.len() * ENTRY_LEN + FOOTER_LEN);
    for entry in entries {
        tail.extend_from_slice(&entry.id.0);
        tail.extend_from_slice(&entry.offset.to_le_bytes());
        tail.extend_from_slice(&entry.stored.to_le_bytes());
        tail.extend_from_slice(&entry.raw.to_le_bytes());
    }
    tail.extend_from_slice(&offset.to_le_bytes());
    tail.extend_from_slice(&count.to_le_bytes());
    tail.extend_from_slice(&0_u32.to_le_bytes());
    let checksum = xxhash_rust::xxh3::xxh3_64(&tail);
    tail.extend_from_slice(&checksum.to_le_bytes());
    tail.extend_from_slice(&END);
    tail
}

/// A pack's footer, checked against the file's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// First byte of the table.
    pub table_offset: u64,
    /// Entries in the table.
    pub count: u32,
    checksum: u64,
    fields: [u8; 16],
}

/// Checks the first eight bytes of a pack.
///
/// # Errors
/// [`PackError::Header`].
pub fn check_header(bytes: [u8; 8]) -> Result<(), PackError> {
    if bytes == HEADER { Ok(()) } else { Err(PackError::Header { found: bytes }) }
}

impl Footer {
    /// Reads the last [`FOOTER_LEN`] bytes of a pack of `len` bytes.
    ///
    /// # Errors
    /// `Length`, `End`, `Count`, `Reserved`, `TableRange`.
    pub fn parse(bytes: &[u8; FOOTER_LEN], len: u64) -> Result<Self, PackError> {
        let min = (HEADER.len() + ENTRY_LEN + FOOTER_LEN) as u64;
        if len < min || len > PACK_MAX {
            return Err(PackError::Length(len));
        }
        let mut end = [0; 8];
        end.copy_from_slice(&bytes[24..]);
        if end != END {
            return Err(PackError::End { found: end });
        }
        let mut fields = [0; 16];
        fields.copy_from_slice(&bytes[..16]);
        let (table_offset, count, reserved) = (le64(&bytes[0..8]), le32(&bytes[8..12]), le32(&bytes[12..16]));
        if count == 0 || count > ENTRIES_MAX {
            return Err(PackError::Count(count));
        }
        if reserved != 0 {
            return Err(PackError::Reserved(reserved));
        }
        let table_len = u64::from(count) * ENTRY_LEN as u64;
        let wanted = (len - FOOTER_LEN as u64).checked_sub(table_len);
        if wanted != Some(table_offset) || table_offset < HEADER.len() as u64 {
            return Err(PackError::TableRange { offset: table_offset, count, len });
        }
        Ok(Self { table_offset, count, checksum: le64(&bytes[16..24]), fields })
    }

    /// Bytes of the table.
    #[must_use]
    pub const fn table_len(&self) -> usize {
        self.count as usize * ENTRY_LEN
    }

    /// Reads the table.
    ///
    /// # Errors
    /// `Checksum`, `Tiling`, `LastFrame`, `Stored`, `Raw`, `Twice`, and `TableRange` for a table of another length.
    pub fn entries(&self, table: &[u8]) -> Result<Vec<PackEntry>, PackError> {
        if table.len() != self.table_len() {
            let len = table.len() as u64;
            return Err(PackError::TableRange { offset: self.table_offset, count: self.count, len });
        }
        let mut hash = Xxh3::new();
        hash.update(table);
        hash.update(&self.fields);
        let found = hash.digest();
        if found != self.checksum {
            return Err(PackError::Checksum { found, stored: self.checksum });
        }
        let mut entries = Vec::with_capacity(self.count as usize);
        let mut wanted = HEADER.len() as u64;
        for (index, bytes) in table.chunks_exact(ENTRY_LEN).enumerate() {
            let entry = decode_entry(index, bytes, wanted)?;
            wanted += u64::from(entry.stored);
            entries.push(entry);
        }
        if wanted != self.table_offset {
            return Err(PackError::LastFrame { end: wanted, table: self.table_offset });
        }
        let mut ids: Vec<ChunkId> = entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PackError::Twice(pair[0])),
            None => Ok(entries),
        }
    }
}

fn decode_entry(index: usize, bytes: &[u8], wanted: u64) -> Result<PackEntry, PackError> {
    let mut id = [0; 32];
    id.copy_from_slice(&bytes[..32]);
    let entry = PackEntry {
        id: ChunkId(id),
        offset: le64(&bytes[32..40]),
        stored: le32(&bytes[40..44]),
        raw: le32(&bytes[44..48]),
    };
    if entry.offset != wanted {
        return Err(PackError::Tiling { index, offset: entry.offset, wanted });
    }
    if !(FRAME_MIN..=FRAME_MAX).contains(&entry.stored) {
        return Err(PackError::Stored { index, stored: entry.stored });
    }
    if !(1..=CHUNK_MAX).contains(&entry.raw) {
        return Err(PackError::Raw { index, raw: entry.raw });
    }
    Ok(entry)
}

fn le64(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    wide.copy_from_slice(bytes);
    u64::from_le_bytes(wide)
}

fn le32(bytes: &[u8]) -> u32 {
    let mut wide = [0; 4];
    wide.copy_from_slice(bytes);
    u32::from_le_bytes(wide)
}

/// Header, footer and table of a whole pack in memory.
///
/// # Errors
/// Any [`PackError`].
pub fn read_table(pack: &[u8]) -> Result<Vec<PackEntry>, PackError> {
    let len = pack.len() as u64;
    let short = || PackError::Length(len);
    let header: &[u8; 8] = pack.first_chunk().ok_or_else(short)?;
    check_header(*header)?;
    let footer = Footer::parse(pack.last_chunk().ok_or_else(short)?, len)?;
    let at = usize::try_from(footer.table_offset).map_err(|_| short())?;
    footer.entries(pack.get(at..at + footer.table_len()).ok_or_else(short)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(chunks: &[&[u8]]) -> BuiltPack<Vec<u8>> {
        let mut builder = PackBuilder::new(Vec::new()).unwrap();
        for raw in chunks {
            let frame = zstd::bulk::compress(raw, 3).unwrap();
            builder.push(ChunkId::of(raw), u32::try_from(raw.len()).unwrap(), &frame).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn reads_back_the_table_it_wrote_and_is_named_by_its_bytes() {
        let pack = build(&[b"one", b"two", &[9; 4096]]);
        assert_eq!(pack.name, PackName::of(&pack.out));
        assert_eq!(pack.len, pack.out.len() as u64);
        assert_eq!(read_table(&pack.out).unwrap(), pack.entries);
    }

    #[test]
    fn every_flipped_bit_outside_the_frames_is_refused() {
        let pack = build(&[b"one", b"two"]);
        let frames = HEADER.len() * 8..usize::try_from(pack.entries[1].offset).unwrap() * 8 + 8 * 12;
        for bit in (0..pack.out.len() * 8).filter(|bit| !frames.contains(bit)) {
            let mut bad = pack.out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_table(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let pack = build(&[b"one", b"two"]);
        for len in 0..pack.out.len() {
            assert!(read_table(&pack.out[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn refuses_tables_that_lie() {
        let pack = build(&[b"one", b"two"]);
        let body = |entries: &[PackEntry]| {
            let end = pack.entries.last().map(|e| e.offset + u64::from(e.stored)).unwrap();
            let mut bytes = pack.out[..usize::try_from(end).unwrap()].to_vec();
            bytes.extend(encode_tail(entries, end, u32::try_from(entries.len()).unwrap()));
            read_table(&bytes)
        };
        let [one, two] = [pack.entries[0], pack.entries[1]];
        assert!(body(&[one, two]).is_ok());
        assert!(matches!(body(&[two, one]), Err(PackError::Tiling { index: 0, .. })));
        assert!(matches!(body(&[one]), Err(PackError::LastFrame { .. })));
        assert!(matches!(body(&[one, PackEntry { id: one.id, ..two }]), Err(PackError::Twice(_))));
        assert!(matches!(body(&[one, PackEntry { raw: CHUNK_MAX + 1, ..two }]), Err(PackError::Raw { .. })));
        assert!(matches!(body(&[one, PackEntry { raw: 0, ..two }]), Err(PackError::Raw { .. })));
        assert!(matches!(body(&[PackEntry { stored: 0, ..one }, two]), Err(PackError::Stored { .. })));
        assert!(matches!(body(&[one, PackEntry { stored: u32::MAX, ..two }]), Err(PackError::Stored { .. })));
        assert!(matches!(body(&[]), Err(PackError::Length(_) | PackError::Count(0))));
    }
}
