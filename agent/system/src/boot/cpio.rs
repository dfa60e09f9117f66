//! An initramfs: archives one behind the other, each plain or packed, as the kernel takes them.
//!
//! In: a reader. Out: the names of its files, and the bytes of those that somebody wants.
//! Promise: bounded in bytes, files and memory, whatever is inside; nothing is unpacked to anywhere, no name is followed.
//!
//! An archive is cpio's *newc* (kernel: Documentation/driver-api/early-userspace/buffer-format.rst): a header of 110 bytes,
//! a name, data, each padded to 4 bytes; `TRAILER!!!` ends it, zeros may follow.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 6 | `070701`, or `070702` with checksums |
//! | 14 | 8 | mode, in hex |
//! | 54 | 8 | bytes of data |
//! | 94 | 8 | bytes of the name, its NUL included |

use super::buffer::Buffer;
use super::unpack::Packing;
use std::io::{self, BufRead, Read};

/// Most bytes of an initramfs as it lies.
const PACKED_MAX: u64 = 1 << 30;
/// Most bytes of it unpacked, all archives together; Debian's have 0.2 GB.
const RAW_MAX: u64 = 2 << 30;
/// Most files in it.
const FILES_MAX: u64 = 1 << 20;
/// Most members, one behind the other.
const MEMBERS_MAX: u32 = 64;
/// Longest name (kernel: `PATH_MAX`).
const NAME_MAX: u32 = 4096;
const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
/// `S_IFMT` and `S_IFREG` (kernel: include/uapi/linux/stat.h).
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Who looks at the files of an initramfs.
pub(crate) trait Visit {
    /// A regular file. Returns how many of its bytes are wanted at most; none: its name is enough.
    fn file(&mut self, name: &str, size: u64) -> Option<u64>;

    /// The bytes of a file that was wanted; no more than were.
    fn bytes(&mut self, name: &str, bytes: Vec<u8>);
}

/// Why an initramfs cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CpioError {
    /// Reading or unpacking.
    #[error("{0}")]
    Io(io::Error),
    /// Beyond a bound.
    #[error("it has more than {limit} {what}")]
    Much { what: &'static str, limit: u64 },
    /// No archive, no known packing.
    #[error("at byte {at} is neither an archive nor anything packed that is known")]
    Strange { at: u64 },
    /// A header that is none.
    #[error("a header holds {0:?} where hex digits belong")]
    Digits(String),
    /// A name out of bounds.
    #[error("a name has {0} bytes, 1 to {NAME_MAX} are allowed")]
    Name(u32),
    /// Nothing in it.
    #[error("it holds no file")]
    Empty,
}

impl From<io::Error> for CpioError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Io(io::Error::new(error.kind(), "it is cut short")),
            _ => Self::Io(error),
        }
    }
}

/// How much an initramfs may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes as it lies.
    pub packed: u64,
    /// Bytes unpacked, all archives together.
    pub raw: u64,
    /// Files.
    pub files: u64,
}

/// What holds for those of other machines.
pub(crate) const LIMITS: Limits = Limits { packed: PACKED_MAX, raw: RAW_MAX, files: FILES_MAX };

/// What is left of them.
struct Left {
    limits: Limits,
    raw: u64,
    files: u64,
}

/// Shows all files of the initramfs behind `from` to `visit`.
pub(crate) fn walk(from: impl Read, limits: Limits, visit: &mut dyn Visit) -> Result<(), CpioError> {
    let mut source = Buffer::new(from, limits.packed);
    let mut left = Left { limits, raw: limits.raw, files: limits.files };
    for _ in 0..MEMBERS_MAX {
        skip_zeros(&mut source)?;
        let at = source.at();
        let head = source.fill_buf()?;
        if head.is_empty() {
            return if left.files == limits.files { Err(CpioError::Empty) } else { Ok(()) };
        }
        if is_archive(head) {
            archives(&mut source, visit, &mut left)?;
        } else if let Some(packing) = Packing::of(head) {
            let mut unpacked = Buffer::new(packing.reader(&mut source)?, u64::MAX);
            archives(&mut unpacked, visit, &mut left)?;
            if !unpacked.fill_buf()?.is_empty() {
                return Err(CpioError::Strange { at });
            }
        } else {
            return Err(CpioError::Strange { at });
        }
    }
    Err(CpioError::Much { what: "members", limit: MEMBERS_MAX.into() })
}

/// Archives until something else begins. What is packed is read to its end, so that the source stands behind it.
fn archives(source: &mut impl BufRead, visit: &mut dyn Visit, left: &mut Left) -> Result<(), CpioError> {
    loop {
        let head = source.fill_buf()?;
        match head.first() {
            None => return Ok(()),
            Some(0) => {
                let zeros = head.iter().take_while(|byte| **byte == 0).count();
                source.consume(zeros);
                spend(left, zeros as u64)?;
            }
            Some(b'0') => archive(source, visit, left)?,
            Some(_) => return Ok(()),
        }
    }
}

/// One archive, to its trailer.
fn archive(source: &mut impl BufRead, visit: &mut dyn Visit, left: &mut Left) -> Result<(), CpioError> {
    loop {
        let mut header = [0_u8; HEADER];
        source.read_exact(&mut header)?;
        if !is_archive(&header) {
            return Err(CpioError::Digits(String::from_utf8_lossy(&header[..6]).into_owned()));
        }
        let (mode, size, name_len) = (field(&header, 14)?, u64::from(field(&header, 54)?), field(&header, 94)?);
        if !(1..=NAME_MAX).contains(&name_len) {
            return Err(CpioError::Name(name_len));
        }
        let mut name = vec![0; name_len as usize];
        source.read_exact(&mut name)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        let behind_name = HEADER as u64 + u64::from(name_len);
        skip(source, behind_name.next_multiple_of(4) - behind_name)?;
        spend(left, behind_name.saturating_add(size))?;
        if name == TRAILER {
            return skip(source, size);
        }
        left.files = left.files.checked_sub(1).ok_or(CpioError::Much { what: "files", limit: left.limits.files })?;
        let padded = size.next_multiple_of(4);
        // A name that is no UTF-8 is none that anybody here looks for.
        let name = String::from_utf8(name).unwrap_or_default();
        match if mode & KIND == REGULAR { visit.file(&name, size) } else { None } {
            Some(most) => {
                let mut bytes = Vec::new();
                (&mut *source).take(size.min(most)).read_to_end(&mut bytes)?;
                skip(source, padded - bytes.len() as u64)?;
                visit.bytes(&name, bytes);
            }
            None => skip(source, padded)?,
        }
    }
}

fn spend(left: &mut Left, bytes: u64) -> Result<(), CpioError> {
    let rest = left.raw.checked_sub(bytes);
    left.raw = rest.ok_or(CpioError::Much { what: "bytes when unpacked", limit: left.limits.raw })?;
    Ok(())
}

/// Exactly `len` bytes, or it is cut short. The end of the input counts as padding.
fn skip(source: &mut impl BufRead, len: u64) -> Result<(), CpioError> {
    let skipped = io::copy(&mut source.take(len), &mut io::sink())?;
    let padding = len - skipped < 4 && source.fill_buf()?.is_empty();
    if skipped == len || padding { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

fn skip_zeros(source: &mut impl BufRead) -> Result<(), CpioError> {
    loop {
        let zeros = source.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(());
        }
        source.consume(zeros);
    }
}

fn is_archive(head: &[u8]) -> bool {
    head.starts_with(b"070701") || head.starts_with(b"070702")
}

fn field(header: &[u8; HEADER], at: usize) -> Result<u32, CpioError> {
    let text = std::str::from_utf8(&header[at..at + 8]).unwrap_or_default();
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = u32::from_str_radix(text, 16).ok().filter(|_| digits);
    value.ok_or_else(|| CpioError::Digits(String::from_utf8_lossy(&header[at..at + 8]).into_owned()))
}
