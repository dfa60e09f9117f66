//! One compressed member of an initramfs, unpacked as a stream.
//!
//! In: a reader that stands at the member's first byte. Out: its bytes; the reader then stands behind it.
//! Promise: dictionaries and blocks have a bound; no byte behind the member is taken; what is not supported is named.
//!
//! | first bytes (hex) | what | here |
//! |---|---|---|
//! | `1f 8b` | gzip, RFC 1952 | yes |
//! | `fd 37 7a 58 5a 00` | xz | yes |
//! | `28 b5 2f fd` | zstd, RFC 8878 | yes |
//! | `02 21 4c 18` | LZ4's legacy frame, which the kernel reads | yes |
//! | `42 5a 68`, `89 4c 5a`, `5d 00 00` | bzip2, lzo, lzma | no |

use super::buffer::Buffer;
use std::io::{self, BufRead as _, Read};

/// Largest dictionary of xz and zstd, in bytes; `xz -9e` takes 64 MiB.
const WINDOW_LOG_MAX: u32 = 27;
const WINDOW_KIB_MAX: u32 = (1 << (WINDOW_LOG_MAX - 10)) + 4096;
/// Raw bytes of a block of LZ4's legacy frame (lz4: doc/lz4_Frame_format.md, "Legacy frame").
const LZ4_BLOCK: usize = 8 << 20;
/// Its longest block, compressed: what cannot be made shorter grows by this much.
const LZ4_STORED_MAX: usize = LZ4_BLOCK + LZ4_BLOCK / 255 + 16;
const LZ4_MAGIC: u32 = 0x184c_2102;

/// How a member is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Lz4,
    /// Its name: known, and not read here.
    Other(&'static str),
}

impl Packing {
    /// By the first bytes (kernel: lib/decompress.c).
    pub fn of(head: &[u8]) -> Option<Self> {
        let table: [(&[u8], Self); 9] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\x1f\x9e", Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"\x02\x21\x4c\x18", Self::Lz4),
            (b"\x5d\0\0", Self::Other("lzma")),
            (b"BZh", Self::Other("bzip2")),
            (b"\x89LZO", Self::Other("lzo")),
            (b"\x04\x22\x4d\x18", Self::Other("LZ4's newer frame, which the kernel does not read")),
        ];
        table.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, packing)| packing)
    }

    /// The unpacked bytes of one member.
    pub fn reader<'a, R: Read>(self, from: &'a mut Buffer<R>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(from)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, false, WINDOW_KIB_MAX)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?.single_frame();
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Lz4 => Box::new(Lz4 { from, block: Vec::new(), at: 0, begun: false }),
            Self::Other(name) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, format!("it is packed with {name}")));
            }
        })
    }
}

/// LZ4's legacy frame: a magic, then blocks, each behind its length; it ends where the input does, at a length of 0, or
/// at another magic (kernel: lib/decompress_unlz4.c).
struct Lz4<'a, R> {
    from: &'a mut Buffer<R>,
    block: Vec<u8>,
    at: usize,
    begun: bool,
}

impl<R: Read> Lz4<'_, R> {
    /// Reads the next block; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            let head = self.from.fill_buf()?;
            let Some(word) = head.first_chunk::<4>() else {
                // What is in the buffer is never less than a word, except at the end.
                return if head.is_empty() { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            };
            let len = u32::from_le_bytes(*word);
            // What is no length of a block belongs to the next member, and stays.
            if self.begun && (len == 0 || (len != LZ4_MAGIC && len as usize > LZ4_STORED_MAX)) {
                return Ok(false);
            }
            self.from.consume(4);
            if len == LZ4_MAGIC {
                self.begun = true;
                continue;
            }
            self.block(len as usize)?;
            return Ok(true);
        }
    }

    fn block(&mut self, len: usize) -> io::Result<()> {
        if !self.begun || len > LZ4_STORED_MAX {
            return Err(invalid(format!("a block of LZ4 has {len} bytes, {LZ4_STORED_MAX} are allowed")));
        }
        let mut packed = Vec::new();
        (&mut *self.from).take(len as u64).read_to_end(&mut packed)?;
        if packed.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(LZ4_BLOCK, 0);
        let raw =
            lz4_flex::block::decompress_into(&packed, &mut self.block).map_err(|error| invalid(error.to_string()))?;
        self.block.truncate(raw);
        self.at = 0;
        Ok(())
    }
}

impl<R: Read> Read for Lz4<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next()? {
                return Ok(0);
            }
        }
        let len = buf.len().min(self.block.len() - self.at);
        buf[..len].copy_from_slice(&self.block[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
