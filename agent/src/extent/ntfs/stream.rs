//! The bytes of an attribute, wherever they lie.
//!
//! In: a base record, and a way to read others. Out: a stream that can be read at any offset.
//! Promise: an attribute list is followed once, in ascending order, each record checked to belong to this file.
//!
//! | offset | entry of an attribute list |
//! |---|---|
//! | 0 | type of the attribute |
//! | 4 | length of the entry |
//! | 6, 7 | name: characters, offset |
//! | 8 | first virtual cluster |
//! | 16 | record that holds the attribute: number in 48 bits, sequence in 16 |
//! | 24 | instance |
//!
//! Source: ntfs-3g, `layout.h` (`ATTR_LIST_ENTRY`).

use super::super::ExtentError;
use super::super::bytes::{Fields, in_memory};
use super::super::error::believe;
use super::super::peek::read;
use super::attribute::{ATTRIBUTE_LIST, Attribute, Body, Record, Reference};
use super::boot::Boot;
use super::runs::{self, Run};
use crate::disk::source::ReadAt;

/// Windows keeps no longer list; in bytes.
const LIST_MAX: u64 = 256 << 10;

/// Lengths in bytes.
#[derive(Debug)]
pub(super) struct Stream {
    pub size: u64,
    pub initialized: u64,
    /// Compressed, encrypted or sparse.
    pub transformed: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Resident(Vec<u8>),
    Runs { runs: Vec<Run>, cluster_len: u64 },
}

/// Reads an MFT record; given is the stream as far as it is known, which is all there is while the MFT itself is opened.
pub(super) type Fetch<'a> = &'a dyn Fn(u64, Option<&Stream>) -> Result<Record, ExtentError>;

/// The stream of this type and name, or `None` where the file has none.
pub(super) fn open(
    part: &dyn ReadAt,
    boot: &Boot,
    base: &Record,
    (kind, name): (u32, &[u8]),
    fetch: Fetch<'_>,
) -> Result<Option<Stream>, ExtentError> {
    let number = base.this.number;
    believe!(base.base == Reference::of(0), "MFT record {number} belongs to record {}", base.base.number);
    let Some(list) = base.attribute(ATTRIBUTE_LIST, &[])? else {
        let Some(attribute) = base.attribute(kind, name)? else { return Ok(None) };
        return Stream::begin(boot, &attribute, number).map(Some);
    };
    let list = Stream::begin(boot, &list, number)?;
    believe!(
        list.size <= LIST_MAX && list.initialized == list.size && !list.transformed,
        "attribute list of MFT record {number} has {} bytes, {} of them written, at most {LIST_MAX} expected",
        list.size,
        list.initialized
    );
    let mut entries = vec![0; in_memory(list.size)?];
    list.read(part, 0, &mut entries)?;
    let (mut rest, mut stream): (&[u8], Option<Stream>) = (&entries, None);
    while !rest.is_empty() {
        let fields = Fields(rest);
        let len = usize::from(fields.le16(4));
        let name_end = usize::from(fields.u8(7)) + usize::from(fields.u8(6)) * 2;
        believe!(
            len >= 26 && len <= rest.len() && name_end <= len,
            "attribute list of MFT record {number} has an entry of {len} bytes with a name up to {name_end}, {} are left",
            rest.len()
        );
        if fields.le32(0) == kind && fields.bytes(fields.u8(7).into(), usize::from(fields.u8(6)) * 2) == name {
            let (first, place) = (fields.le64(8), Reference::of(fields.le64(16)));
            let elsewhere = (place != base.this).then(|| extension(base, place, stream.as_ref(), fetch)).transpose()?;
            let holder = elsewhere.as_ref().unwrap_or(base);
            go_on(&mut stream, boot, &part_at(holder, (kind, name), first, number)?, number)?;
        }
        rest = &rest[len..];
    }
    stream.as_ref().map(Stream::check).transpose()?;
    Ok(stream)
}

fn extension(base: &Record, place: Reference, known: Option<&Stream>, fetch: Fetch<'_>) -> Result<Record, ExtentError> {
    let record = fetch(place.number, known)?;
    believe!(
        record.this == place && record.base == base.this,
        "MFT record {} (use {}) belongs to record {}, the attribute list of record {} wants use {}",
        place.number,
        record.this.sequence,
        record.base.number,
        base.this.number,
        place.sequence
    );
    Ok(record)
}

/// The part of a stream that begins at virtual cluster `first`; one record may hold several.
fn part_at<'a>(
    holder: &'a Record,
    (kind, name): (u32, &[u8]),
    first: u64,
    number: u64,
) -> Result<Attribute<'a>, ExtentError> {
    let begins_here = |one: &Attribute<'_>| match &one.body {
        Body::Resident(_) => first == 0,
        Body::Mapped(part) => part.first == first,
    };
    let mut found = holder.attributes()?.into_iter().filter(|one| one.kind == kind && one.name == name);
    found.find(begins_here).ok_or_else(|| {
        ExtentError::doubt(format!(
            "MFT record {} lacks attribute {kind:#x} of record {number} from virtual cluster {first}",
            holder.this.number
        ))
    })
}

fn go_on(stream: &mut Option<Stream>, boot: &Boot, part: &Attribute<'_>, number: u64) -> Result<(), ExtentError> {
    let Some(begun) = stream else {
        *stream = Some(Stream::first_part(boot, part, number)?);
        return Ok(());
    };
    match (&mut begun.content, &part.body) {
        (Content::Runs { runs, .. }, Body::Mapped(mapped)) => {
            runs::append(runs, mapped, boot.clusters, &format!("attribute {:#x} of MFT record {number}", part.kind))
        }
        _ => Err(ExtentError::doubt(format!(
            "attribute {:#x} of MFT record {number} has several parts, one of them inside its record",
            part.kind
        ))),
    }
}

impl Stream {
    /// A stream that has all its parts in one attribute.
    fn begin(boot: &Boot, attribute: &Attribute<'_>, number: u64) -> Result<Self, ExtentError> {
        let stream = Self::first_part(boot, attribute, number)?;
        stream.check()?;
        Ok(stream)
    }

    fn first_part(boot: &Boot, attribute: &Attribute<'_>, number: u64) -> Result<Self, ExtentError> {
        let transformed = attribute.transformed();
        Ok(match &attribute.body {
            Body::Resident(bytes) => {
                let size = bytes.len() as u64;
                Self { size, initialized: size, transformed, content: Content::Resident(bytes.to_vec()) }
            }
            Body::Mapped(part) => {
                let mut runs = Vec::new();
                let what = format!("attribute {:#x} of MFT record {number}", attribute.kind);
                runs::append(&mut runs, part, boot.clusters, &what)?;
                believe!(
                    part.initialized <= part.size,
                    "{what} has {} bytes, {} of them written",
                    part.size,
                    part.initialized
                );
                let content = Content::Runs { runs, cluster_len: boot.cluster_len };
                Self { size: part.size, initialized: part.initialized, transformed, content }
            }
        })
    }

    /// The runs are as long as the stream.
    fn check(&self) -> Result<(), ExtentError> {
        if let Content::Runs { runs, cluster_len } = &self.content {
            let clusters = runs.last().map_or(0, |run| run.end());
            believe!(
                clusters >= self.size.div_ceil(*cluster_len),
                "a stream of {} bytes has {clusters} clusters of {cluster_len} bytes",
                self.size
            );
        }
        Ok(())
    }

    /// The clusters it occupies; none for a resident one.
    pub fn runs(&self) -> &[Run] {
        match &self.content {
            Content::Resident(_) => &[],
            Content::Runs { runs, .. } => runs,
        }
    }

    /// Fills `buf` from `offset` in the stream with what lies on the disk there, written by the file system or not;
    /// zeros out of holes.
    pub fn read(&self, part: &dyn ReadAt, mut offset: u64, mut buf: &mut [u8]) -> Result<(), ExtentError> {
        let (end, wanted) = (self.size, buf.len() as u64);
        believe!(
            offset.checked_add(wanted).is_some_and(|wanted| wanted <= end),
            "byte {offset} and {wanted} more were wanted of a stream of {end} bytes"
        );
        let (runs, cluster_len) = match &self.content {
            Content::Resident(bytes) => {
                buf.copy_from_slice(Fields(bytes).bytes(in_memory(offset)?, buf.len()));
                return Ok(());
            }
            Content::Runs { runs, cluster_len } => (runs, *cluster_len),
        };
        while !buf.is_empty() {
            let cluster = offset / cluster_len;
            let Some(run) = runs.get(runs.partition_point(|run| run.end() <= cluster)) else {
                return Err(ExtentError::doubt(format!("virtual cluster {cluster} of a stream lies in no run")));
            };
            // A hole may be longer than any volume.
            let skipped = offset - run.first * cluster_len;
            let len = in_memory((run.len.saturating_mul(cluster_len) - skipped).min(buf.len() as u64))?;
            let (piece, rest) = buf.split_at_mut(len);
            match run.place {
                Some(place) => read(part, piece, place * cluster_len + skipped, "NTFS stream")?,
                None => piece.fill(0),
            }
            offset += len as u64;
            buf = rest;
        }
        Ok(())
    }
}
