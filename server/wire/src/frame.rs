//! One chunk's stored form: a single zstd frame (RFC 8878) of known content size.
//!
//! In: a frame and what the pack's table says of it. Out: a chunk whose bytes hash to its id.
//! Promise: a `VerifiedChunk` exists only for bytes that were hashed; nothing over 512 KiB is ever allocated.
//!
//! | offset | size | field of the frame header (little endian) |
//! |---|---|---|
//! | 0 | 4 | magic 0xFD2FB528 |
//! | 4 | 1 | descriptor: bits 7–6 content size flag, 5 single segment, 3 reserved, 2 checksum, 1–0 dictionary id flag |
//! | 5 | 0–1 | window descriptor, absent when single segment |
//! | … | 1, 2, 4 or 8 | content size; required |

use crate::id::ChunkId;
use zstd::zstd_safe;

/// Longest chunk, in raw bytes.
pub const CHUNK_MAX: u32 = 512 * 1024;

/// Longest frame a chunk of [`CHUNK_MAX`] bytes may take, in bytes: incompressible data grows by block headers only.
pub const FRAME_MAX: u32 = CHUNK_MAX + CHUNK_MAX / 256 + 64;

/// Shortest frame: header with a one-byte size, one block header.
pub const FRAME_MIN: u32 = 9;

/// Why a frame is not the chunk it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Raw length out of bounds.
    #[error("raw length is {0}, 1 to {CHUNK_MAX} are allowed")]
    RawLength(u32),
    /// Not a zstd frame.
    #[error("frame starts with {found:#010x}, zstd's magic is 0xfd2fb528")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The header ends too early.
    #[error("frame has {0} bytes, less than its header")]
    Short(usize),
    /// The reserved bit is set, or a dictionary is wanted.
    #[error("frame header descriptor is {0:#04x}: reserved bit or dictionary set")]
    Descriptor(u8),
    /// The header does not give the content size.
    #[error("frame does not state its content size")]
    NoSize,
    /// The header's content size is not the table's.
    #[error("frame says {frame} raw bytes, the table {table}")]
    Size {
        /// What the frame says.
        frame: u64,
        /// What the table says.
        table: u32,
    },
    /// The window is larger than any chunk.
    #[error("frame wants a window of {0} bytes, {CHUNK_MAX} are allowed")]
    Window(u64),
    /// More or less than one frame.
    #[error("frame ends after {found} bytes, the table says {table}")]
    Extent {
        /// Where the frame ends.
        found: usize,
        /// The stored length.
        table: usize,
    },
    /// The compressed data is damaged.
    #[error("decompressing: {0}")]
    Data(&'static str),
    /// The bytes are not the chunk.
    #[error("hash is {found}, wanted {wanted}")]
    Hash {
        /// What the bytes hash to.
        found: ChunkId,
        /// The chunk's id.
        wanted: ChunkId,
    },
}

/// Bytes that were hashed and found to be the chunk. The writer of disks takes nothing else.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedChunk<'a> {
    id: ChunkId,
    bytes: &'a [u8],
}

impl<'a> VerifiedChunk<'a> {
    /// Hashes `bytes`.
    ///
    /// # Errors
    /// [`FrameError::Hash`] with both hashes when they are not the chunk.
    pub fn verify(wanted: ChunkId, bytes: &'a [u8]) -> Result<Self, FrameError> {
        let found = ChunkId::of(bytes);
        if found == wanted { Ok(Self { id: wanted, bytes }) } else { Err(FrameError::Hash { found, wanted }) }
    }

    /// The chunk's id.
    #[must_use]
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// The raw bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Checks a frame's header against the table, without decompressing.
///
/// # Errors
/// Every [`FrameError`] except `Data` and `Hash`.
pub fn check(frame: &[u8], raw: u32) -> Result<(), FrameError> {
    if raw == 0 || raw > CHUNK_MAX {
        return Err(FrameError::RawLength(raw));
    }
    let short = || FrameError::Short(frame.len());
    let magic = u32::from_le_bytes(frame.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(short)?);
    if magic != zstd_safe::MAGICNUMBER {
        return Err(FrameError::Magic { found: magic });
    }
    let descriptor = *frame.get(4).ok_or_else(short)?;
    if descriptor & 0b0000_1011 != 0 {
        return Err(FrameError::Descriptor(descriptor));
    }
    let single_segment = descriptor & 0x20 != 0;
    let window = if single_segment { None } else { Some(window_size(*frame.get(5).ok_or_else(short)?)) };
    let at = if single_segment { 5 } else { 6 };
    let (width, bias) = match descriptor >> 6 {
        0 if single_segment => (1, 0),
        0 => return Err(FrameError::NoSize),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let field = frame.get(at..at + width).ok_or_else(short)?;
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(field);
    let size = u64::from_le_bytes(wide).saturating_add(bias);
    if size != u64::from(raw) {
        return Err(FrameError::Size { frame: size, table: raw });
    }
    if let Some(window) = window.filter(|window| *window > u64::from(CHUNK_MAX)) {
        return Err(FrameError::Window(window));
    }
    let found = zstd_safe::find_frame_compressed_size(frame)
        .map_err(|code| FrameError::Data(zstd_safe::get_error_name(code)))?;
    if found == frame.len() { Ok(()) } else { Err(FrameError::Extent { found, table: frame.len() }) }
}

fn window_size(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

/// A decompressor with its context, one per thread.
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    /// A fresh one.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()? })
    }

    /// Decompresses `frame` into the start of `buf` and hashes it. `buf` must have room for `raw` bytes.
    ///
    /// # Errors
    /// Any [`FrameError`]; the bytes in `buf` are then worthless.
    pub fn open<'a>(
        &mut self,
        frame: &[u8],
        id: ChunkId,
        raw: u32,
        buf: &'a mut [u8],
    ) -> Result<VerifiedChunk<'a>, FrameError> {
        check(frame, raw)?;
        let raw = raw as usize;
        let room = buf.get_mut(..raw).ok_or(FrameError::Data("buffer too small"))?;
        let written = self.zstd.decompress_to_buffer(frame, room).map_err(|_| FrameError::Data("corrupted frame"))?;
        if written != raw {
            return Err(FrameError::Data("frame gave fewer bytes than it said"));
        }
        VerifiedChunk::verify(id, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(raw: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(raw, 3).unwrap()
    }

    #[test]
    fn opens_what_zstd_made() {
        let mut buf = vec![0; CHUNK_MAX as usize];
        for raw in [vec![7; 1], vec![7; 300], vec![1; 70_000], (0..=255).cycle().take(512 << 10).collect()] {
            let frame = pack(&raw);
            let id = ChunkId::of(&raw);
            let len = u32::try_from(raw.len()).unwrap();
            let chunk = Opener::new().unwrap().open(&frame, id, len, &mut buf).unwrap();
            assert_eq!(chunk.bytes(), raw);
        }
    }

    #[test]
    fn refuses_a_bomb_two_frames_and_a_missing_size() {
        let bomb = pack(&vec![0; 8 << 20]);
        assert_eq!(check(&bomb, 4096), Err(FrameError::Size { frame: 8 << 20, table: 4096 }));
        let two = [pack(&[1; 4096]), pack(&[1; 4096])].concat();
        assert!(matches!(check(&two, 4096), Err(FrameError::Extent { .. })));
        let mut stream = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        std::io::Write::write_all(&mut stream, &[1; 4096]).unwrap();
        assert_eq!(check(&stream.finish().unwrap(), 4096), Err(FrameError::NoSize));
        assert_eq!(check(&pack(&[1]), 0), Err(FrameError::RawLength(0)));
        assert!(matches!(check(&[0; 40], 4096), Err(FrameError::Magic { found: 0 })));
    }

    #[test]
    fn refuses_a_window_larger_than_a_chunk_and_a_dictionary() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x50, 0, 0x10, 0, 0, 1, 0, 0];
        assert_eq!(check(&frame, 4096), Err(FrameError::Window(1 << 20)));
        let dictionary = [0x28, 0xb5, 0x2f, 0xfd, 0x81, 0x50, 0, 0x10, 0, 0];
        assert_eq!(check(&dictionary, 4096), Err(FrameError::Descriptor(0x81)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let raw: Vec<u8> = (0..4096_u32).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
        let frame = pack(&raw);
        let mut opener = Opener::new().unwrap();
        let mut buf = vec![0; CHUNK_MAX as usize];
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(chunk) = opener.open(&bad, ChunkId::of(&raw), 4096, &mut buf) {
                assert_eq!(chunk.bytes(), raw, "bit {bit}");
            }
        }
    }
}
