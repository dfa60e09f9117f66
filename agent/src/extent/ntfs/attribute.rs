//! The attributes of one MFT record.
//!
//! In: a record whose update sequence was undone. Out: its attributes in their order, each inside the record.
//! Promise: no length or offset reaches outside the attribute it stands in, or the record is refused.
//!
//! | record | field | | attribute | field | | non-resident | field |
//! |---|---|---|---|---|---|---|---|
//! | 16 | sequence number | | 0 | type | | 16, 24 | first and last virtual cluster |
//! | 20 | first attribute | | 4 | length | | 32 | offset of the mapping pairs |
//! | 22 | flags: 1 in use, 2 directory | | 8 | non-resident | | 40 | allocated length |
//! | 24 | bytes in use | | 9, 10 | name: characters, offset | | 48 | length |
//! | 28 | bytes allocated | | 12 | flags | | 56 | initialized length |
//! | 32 | base record, 0 in a base record | | 16, 20 | resident: length, offset | | | |
//!
//! Source: ntfs-3g, `layout.h` (`MFT_RECORD`, `ATTR_RECORD`).

use super::super::ExtentError;
use super::super::bytes::Fields;
use super::super::error::believe;
use super::fixup;

/// Types of attributes.
pub(super) const ATTRIBUTE_LIST: u32 = 0x20;
pub(super) const VOLUME_NAME: u32 = 0x60;
pub(super) const VOLUME_INFORMATION: u32 = 0x70;
pub(super) const DATA: u32 = 0x80;
pub(super) const INDEX_ROOT: u32 = 0x90;
pub(super) const INDEX_ALLOCATION: u32 = 0xa0;
pub(super) const BITMAP: u32 = 0xb0;
const END: u32 = u32::MAX;

/// The name of an attribute as it lies on the disk: UTF-16, little endian.
pub(super) const UNNAMED: &[u8] = b"";
pub(super) const I30: &[u8] = b"$\0I\x003\x000\0";

const IN_USE: u16 = 1;
const DIRECTORY: u16 = 2;
/// Compressed, encrypted or sparse.
const TRANSFORMED: u16 = 0xc0ff;

/// A number of an MFT record, and how often that record was used anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub number: u64,
    pub sequence: u16,
}

impl Reference {
    pub const fn of(raw: u64) -> Self {
        let bytes = raw.to_le_bytes();
        Self { number: raw & 0xffff_ffff_ffff, sequence: u16::from_le_bytes([bytes[6], bytes[7]]) }
    }
}

/// An MFT record in use, as it is meant.
pub(super) struct Record {
    pub this: Reference,
    pub base: Reference,
    pub directory: bool,
    bytes: Vec<u8>,
    first: usize,
    end: usize,
}

pub(super) struct Attribute<'a> {
    pub kind: u32,
    pub name: &'a [u8],
    pub flags: u16,
    pub body: Body<'a>,
}

pub(super) enum Body<'a> {
    Resident(&'a [u8]),
    Mapped(Mapped<'a>),
}

/// A part of a stream that lies in clusters of its own; lengths in bytes, of the whole stream, are right in the first.
pub(super) struct Mapped<'a> {
    pub first: u64,
    /// Behind the last virtual cluster.
    pub end: u64,
    pub size: u64,
    pub initialized: u64,
    pub pairs: &'a [u8],
}

impl Attribute<'_> {
    pub const fn transformed(&self) -> bool {
        self.flags & TRANSFORMED != 0
    }
}

impl Record {
    /// Undoes the update sequence of record `number` and checks its header.
    pub fn parse(mut bytes: Vec<u8>, number: u64) -> Result<Self, ExtentError> {
        fixup::undo(&mut bytes, b"FILE", &format_args!("MFT record {number}"))?;
        let fields = Fields(&bytes);
        let flags = fields.le16(22);
        believe!(flags & IN_USE != 0, "MFT record {number} is not in use, flags are {flags:#x}");
        let (first, end) = (usize::from(fields.le16(20)), fields.le32(24) as usize);
        let len = bytes.len();
        believe!(
            first >= 42 && first.is_multiple_of(8) && first <= end && end <= len,
            "MFT record {number} uses bytes {first} to {end} of {len}"
        );
        let allocated = fields.le32(28);
        believe!(allocated as usize == len, "MFT record {number} says {allocated} bytes, the boot sector {len}");
        Ok(Self {
            this: Reference { number, sequence: fields.le16(16) },
            base: Reference::of(fields.le64(32)),
            directory: flags & DIRECTORY != 0,
            bytes,
            first,
            end,
        })
    }

    /// All that has a meaning: the bytes in use without the update sequence.
    pub fn meaning(&self) -> Vec<u8> {
        let (at, len) = fixup::place(&self.bytes);
        let mut bytes = self.bytes[..self.end].to_vec();
        bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = 0);
        bytes
    }

    /// All attributes, in the record's order.
    pub fn attributes(&self) -> Result<Vec<Attribute<'_>>, ExtentError> {
        let number = self.this.number;
        let (mut at, mut all) = (self.first, Vec::new());
        loop {
            let rest = &self.bytes[at..self.end];
            believe!(rest.len() >= 4, "MFT record {number} ends at byte {} without an end mark", self.end);
            let kind = Fields(rest).le32(0);
            if kind == END {
                return Ok(all);
            }
            let len = Fields(rest).le32(4) as usize;
            believe!(
                len >= 24 && len.is_multiple_of(8) && len <= rest.len(),
                "attribute {kind:#x} of MFT record {number} has {len} bytes, {} are left",
                rest.len()
            );
            all.push(attribute(kind, &rest[..len], number)?);
            at += len;
        }
    }

    /// The only attribute of this type and name in this record.
    pub fn attribute(&self, kind: u32, name: &[u8]) -> Result<Option<Attribute<'_>>, ExtentError> {
        let mut found = self.attributes()?.into_iter().filter(|one| one.kind == kind && one.name == name);
        let first = found.next();
        let more = found.count();
        believe!(
            more == 0,
            "MFT record {} has attribute {kind:#x} {} times, once expected",
            self.this.number,
            more + 1
        );
        Ok(first)
    }

    /// The bytes of an attribute that never leaves the record.
    pub fn resident(&self, kind: u32, name: &[u8]) -> Result<Option<&[u8]>, ExtentError> {
        match self.attribute(kind, name)?.map(|one| one.body) {
            None => Ok(None),
            Some(Body::Resident(bytes)) => Ok(Some(bytes)),
            Some(Body::Mapped(part)) => Err(ExtentError::doubt(format!(
                "attribute {kind:#x} of MFT record {} lies outside it, in {} clusters",
                self.this.number,
                part.end.saturating_sub(part.first)
            ))),
        }
    }
}

/// One attribute out of its own bytes, at least 24.
fn attribute(kind: u32, raw: &[u8], number: u64) -> Result<Attribute<'_>, ExtentError> {
    let fields = Fields(raw);
    let inside = |what: &str, at: usize, len: usize| {
        let piece = at.checked_add(len).and_then(|end| raw.get(at..end));
        piece.ok_or_else(|| {
            let whole = raw.len();
            ExtentError::doubt(format!(
                "attribute {kind:#x} of MFT record {number} has its {what} of {len} bytes at {at} of {whole}"
            ))
        })
    };
    let name = inside("name", fields.le16(10).into(), usize::from(fields.u8(9)) * 2)?;
    let body = if fields.u8(8) == 0 {
        Body::Resident(inside("value", fields.le16(20).into(), fields.le32(16) as usize)?)
    } else {
        inside("header", 0, 64)?;
        let pairs = inside("mapping pairs", fields.le16(32).into(), 0).map(|_| &raw[fields.le16(32).into()..])?;
        // An empty stream has -1 as its last cluster.
        let (first, end) = (fields.le64(16), fields.le64(24).wrapping_add(1));
        believe!(first <= end, "attribute {kind:#x} of MFT record {number} has virtual clusters {first} to {end}");
        let (size, initialized) = (fields.le64(48), fields.le64(56));
        Body::Mapped(Mapped { first, end, size, initialized, pairs })
    };
    Ok(Attribute { kind, name, flags: fields.le16(12), body })
}
