//! Reading a disk, or a part of one, by offset.
//!
//! In: a file or device opened for reading. Out: exactly the bytes asked for, or an error that says where.
//! Promise: a view of a partition can not read a byte of its neighbour.

use ramet_wire::ByteRange;
use std::io;
use std::os::unix::fs::FileExt;

/// Something with bytes at offsets: a disk, a partition of one, or a buffer in a test.
///
/// What lies behind it may be damaged or hostile; only lengths inside `size()` are ever asked for.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` from `offset` (bytes). A read past `size()` is an `UnexpectedEof` error.
    ///
    /// # Errors
    /// Whatever the device answers.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn size(&self) -> u64;
}

/// A file or device of known size.
#[derive(Debug)]
pub struct FileSource {
    file: std::fs::File,
    size: u64,
}

impl FileSource {
    /// Wraps an open file or device of `size` bytes.
    #[must_use]
    pub const fn new(file: std::fs::File, size: u64) -> Self {
        Self { file, size }
    }
}

impl ReadAt for FileSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check(buf.len(), offset, self.size)?;
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check(buf.len(), offset, self.len() as u64)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        buf.copy_from_slice(&self[start..start + buf.len()]);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        (**self).size()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        (**self).size()
    }
}

/// The part `range` of `inner`, with offsets counted from its start.
#[derive(Debug)]
pub struct Window<S> {
    inner: S,
    range: ByteRange,
}

impl<S: ReadAt> Window<S> {
    /// The part `range` of `inner`.
    ///
    /// # Errors
    /// `InvalidInput` when the range ends past `inner`.
    pub fn new(inner: S, range: ByteRange) -> io::Result<Self> {
        if range.end() > inner.size() {
            let text = format!("window {range} ends past {} bytes", inner.size());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { inner, range })
    }
}

impl<S: ReadAt> ReadAt for Window<S> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check(buf.len(), offset, self.range.len())?;
        self.inner.read_exact_at(buf, self.range.start() + offset)
    }

    fn size(&self) -> u64 {
        self.range.len()
    }
}

fn check(len: usize, offset: u64, size: u64) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("reading {len} bytes at {offset}: only {size} bytes are there"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_cannot_read_its_neighbour() {
        let disk: Vec<u8> = (0..100).collect();
        let window = Window::new(&disk, ByteRange::between(10, 20)).unwrap();
        let mut buf = [0; 10];
        window.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(buf[0], 10);
        assert!(window.read_exact_at(&mut buf, 1).is_err());
        assert!(window.read_exact_at(&mut buf[..1], u64::MAX).is_err());
        assert!(Window::new(&disk, ByteRange::between(90, 101)).is_err());
    }
}
