//! Numbers and texts out of on-disk structures.
//!
//! In: the bytes of a structure, from anywhere. Out: little- or big-endian numbers, UUIDs and cleaned texts.
//! Promise: nothing here panics; a field outside the bytes reads as zero, so callers check the length once.

use uuid::Uuid;

/// Bytes of a structure with fields at fixed offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).unwrap_or(&[])
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.bytes(at, N).try_into().unwrap_or([0; N])
    }

    pub fn u8(self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    pub fn le16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub fn le32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub fn le64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    pub fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    pub fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    pub fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    /// Sixteen bytes in the order they are printed; `None` when all are zero.
    pub fn uuid(self, at: usize) -> Option<String> {
        let raw: [u8; 16] = self.array(at);
        (raw != [0; 16]).then(|| Uuid::from_bytes(raw).hyphenated().to_string())
    }

    /// The text up to the first NUL, without spaces at its end; `None` when nothing is left.
    pub fn text(self, at: usize, len: usize) -> Option<String> {
        let raw = self.bytes(at, len);
        let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
        clean(&String::from_utf8_lossy(&raw[..end]))
    }

    /// The UTF-16LE text of at most `units` units up to the first NUL.
    pub fn utf16(self, at: usize, units: usize) -> Option<String> {
        let raw = self.bytes(at, units.saturating_mul(2));
        let units: Vec<u16> =
            raw.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).take_while(|&u| u != 0).collect();
        clean(&String::from_utf16_lossy(&units))
    }
}

/// Texts from a disk are shown on consoles: no control characters, no spaces at the end.
pub(super) fn clean(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|c| !c.is_control()).collect();
    let kept = kept.trim_end();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// A number of bytes as a length in memory. The callers' bounds are far below 2^32, so a failure is a wrong bound.
pub(super) fn in_memory(bytes: u64) -> Result<usize, super::ExtentError> {
    usize::try_from(bytes).map_err(|_| super::ExtentError::doubt(format!("{bytes} bytes do not fit in memory")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_outside_the_bytes_is_zero() {
        let fields = Fields(&[1, 2, 3]);
        assert_eq!(fields.le16(1), 0x0302);
        assert_eq!(fields.le32(0), 0);
        assert_eq!(fields.le64(usize::MAX), 0);
        assert_eq!(fields.text(2, 5), None);
    }

    #[test]
    fn texts_lose_control_characters_and_padding() {
        assert_eq!(Fields(b"a\x1b[31mb  \0zz").text(0, 12).as_deref(), Some("a[31mb"));
        assert_eq!(Fields(b"      \0").text(0, 7), None);
        assert_eq!(Fields(b"h\0i\0\0\0x\0").utf16(0, 4).as_deref(), Some("hi"));
    }
}
