//! A buffer in which the next few bytes can always be seen.
//!
//! In: a reader, and how much it may give. Out: its bytes.
//! Promise: what is shown is at least [`AHEAD`] bytes, except at the end; more than the limit is an error, not an end.

use std::io::{self, BufRead, Read};

/// Longest magic that anybody looks for, and more.
pub(super) const AHEAD: usize = 16;
const SIZE: usize = 256 << 10;

pub(super) struct Buffer<R> {
    inner: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes that came from `inner`.
    came: u64,
    limit: u64,
}

impl<R: Read> Buffer<R> {
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, bytes: vec![0; SIZE].into(), start: 0, end: 0, came: 0, limit }
    }

    /// How many bytes were taken.
    pub fn at(&self) -> u64 {
        self.came - (self.end - self.start) as u64
    }
}

impl<R: Read> Read for Buffer<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let shown = self.fill_buf()?;
        let len = shown.len().min(buf.len());
        buf[..len].copy_from_slice(&shown[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<R: Read> BufRead for Buffer<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.end - self.start < AHEAD {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < AHEAD {
                match self.inner.read(&mut self.bytes[self.end..]) {
                    Ok(0) => break,
                    Ok(len) => {
                        self.end += len;
                        self.came += len as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if self.came > self.limit {
                return Err(io::Error::other(format!("it has more than {} bytes", self.limit)));
            }
        }
        Ok(&self.bytes[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
    }
}
