//! A physical volume on a partition that became larger: more extents, and a logical volume that takes them.
//!
//! In: the device at its new size. Out: the bytes to write, in order: texts, their headers, the label.
//! Promise: only a group of this one physical volume, without areas behind its extents; the text is the old one but for
//! `seqno`, `dev_size`, `pe_count`, and the last segment of one volume; it is read again before it is given out. As LVM does
//! it, a new text lies behind the old one and counts only once the header names it.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::map::probe;
use super::super::peek::read;
use super::area::{Kept, kept};
use super::group::{Group, Logical, Outline};
use super::label::{HEAD, Label, crc};
use super::text::Section;
use super::volume::Volume;
use crate::disk::source::ReadAt;
use ramet_wire::ByteRange;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

const SECTOR: u64 = 512;
/// Formats that grow while they are mounted.
const GROWABLE: [&str; 5] = ["ext2", "ext3", "ext4", "xfs", "btrfs"];

/// What makes a physical volume larger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Offset and bytes, in the order in which they are written, with a flush between.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// Group and name of the logical volume that grows; none where no volume can.
    pub volume: Option<(String, String)>,
    /// Bytes of new extents.
    pub more: u64,
}

/// What is known of a physical volume that may grow.
struct Old {
    label: Label,
    text: String,
    group: Group,
    extent: u64,
}

impl Old {
    fn read(part: &dyn ReadAt) -> Result<Self, ExtentError> {
        let label = Label::read(part)?;
        let start = label.data_start;
        let behind = label.metadata.iter().chain(&label.boot).find(|area| area.end() > start);
        believe!(
            behind.is_none(),
            "it has metadata behind its extents, at {}",
            behind.copied().unwrap_or(ByteRange::between(0, 0))
        );
        let mut text: Option<String> = None;
        for area in &label.metadata {
            match kept(part, *area)? {
                Kept::Text(found) => {
                    believe!(text.as_ref().is_none_or(|text| *text == found), "its two texts differ");
                    text = Some(found);
                }
                Kept::Nothing | Kept::Ignored => {
                    return Err(ExtentError::doubt("one of its metadata areas is not in use"));
                }
            }
        }
        let text = text.ok_or_else(|| ExtentError::doubt("it belongs to no volume group, or keeps no text of it"))?;
        let members = Outline::parse(&text)?.members;
        believe!(
            members == [label.uuid.as_str()],
            "its volume group has {} physical volumes, 1 expected",
            members.len()
        );
        let group = Group::parse(&text)?;
        let data = group.physical[0].data;
        believe!(data.start() == start, "its label says {start} where extents start, its text {}", data.start());
        let root = Section::parse(&text)?;
        let section = root.section(&group.name).ok_or_else(|| ExtentError::doubt("its text has no group"))?;
        let extent = section.number("extent_size")? * SECTOR;
        Ok(Self { label, text, group, extent })
    }
}

/// Whether the physical volume at the start of `part` could grow at all, by what its first MiB say. `_len` is its length.
///
/// # Errors
/// The reason why not; [`ExtentError::Read`].
pub fn growth_of(part: &dyn ReadAt, _len: u64) -> Result<(), ExtentError> {
    Old::read(part).map(drop)
}

/// How the physical volume on `device`, which has become larger, takes all of it. `None` when there is no room for an extent.
///
/// # Errors
/// As [`growth_of`], and when the new text has no room.
pub fn growth(device: &Arc<dyn ReadAt>) -> Result<Option<Growth>, ExtentError> {
    let old = Old::read(&**device)?;
    let (size, data) = (device.size(), old.group.physical[0].data);
    let (had, has) = (data.len() / old.extent, size.saturating_sub(data.start()) / old.extent);
    if has <= had {
        return Ok(None);
    }
    let chosen = choose(&old.group, device)?;
    let text = edit(&old, size, had, has, chosen)?;
    let new = Group::parse(&text)?;
    let more = (has - had) * old.extent;
    check(&old.group, &new, chosen, more)?;
    let mut writes = Vec::new();
    let mut headers = Vec::new();
    for area in &old.label.metadata {
        let (place, header) = put(&**device, *area, &text)?;
        writes.push((place, text.clone().into_bytes()));
        headers.push((area.start(), header));
    }
    writes.append(&mut headers);
    writes.push(label(&**device, size)?);
    let volume = chosen.map(|index| (old.group.name.clone(), short(&old.group.logical[index]).to_owned()));
    Ok(Some(Growth { writes, volume, more }))
}

fn short(logical: &Logical) -> &str {
    logical.name.rsplit('/').next().unwrap_or_default()
}

/// The volume that lies last among those whose content can grow.
fn choose(group: &Group, device: &Arc<dyn ReadAt>) -> Result<Option<usize>, ExtentError> {
    let mut chosen: Option<(u64, usize)> = None;
    for (index, logical) in group.logical.iter().enumerate().filter(|(_, logical)| logical.visible) {
        let Some(last) = logical.segments.last().filter(|segment| segment.areas.len() == 1) else { continue };
        let Some(volume) = Volume::new(&logical.segments, &[Some(Arc::clone(device))]) else { continue };
        let place = last.areas[0].1;
        if GROWABLE.contains(&probe(&volume)?.kind.as_str()) && chosen.is_none_or(|(best, _)| best < place) {
            chosen = Some((place, index));
        }
    }
    Ok(chosen.map(|(_, index)| index))
}

/// The new text.
fn edit(old: &Old, size: u64, had: u64, has: u64, chosen: Option<usize>) -> Result<String, ExtentError> {
    let mut text = old.text.clone();
    let root = Section::parse(&old.text)?;
    let name = old.group.name.as_str();
    let group = root.section(name).ok_or_else(|| ExtentError::doubt("its text has no group"))?;
    let physical = group.section("physical_volumes").and_then(|all| all.sections().next().map(|(key, _)| key));
    let physical = physical.ok_or_else(|| ExtentError::doubt("its text has no physical volume"))?;
    set(&mut text, &[name], "seqno", group.number("seqno")? + 1)?;
    set(&mut text, &[name, "physical_volumes", physical], "pe_count", has)?;
    // Absent in old texts.
    let _ = set(&mut text, &[name, "physical_volumes", physical], "dev_size", size / SECTOR);
    let Some(logical) = chosen.map(|index| &old.group.logical[index]) else { return Ok(text) };
    let path = [name, "logical_volumes", short(logical)];
    let volume = group.section("logical_volumes").and_then(|all| all.section(short(logical)));
    let volume = volume.ok_or_else(|| ExtentError::doubt("its text has no such volume"))?;
    let count = volume.number("segment_count")?;
    let extents: u64 = logical.size / old.extent;
    let last = logical.segments.last().ok_or_else(|| ExtentError::doubt("a volume without segments"))?;
    let end = (last.areas[0].1 + last.range.len() - old.group.physical[0].data.start()) / old.extent;
    let of_last = |(_, section): &(&str, &Section<'_>)| {
        section.number("start_extent").is_ok_and(|start| start * old.extent == last.range.start())
    };
    if let (true, Some((key, section))) = (end == had, volume.sections().find(of_last)) {
        let more = section.number("extent_count")? + (has - had);
        set(&mut text, &[name, "logical_volumes", short(logical), key], "extent_count", more)?;
        return Ok(text);
    }
    let mut segment = String::new();
    let key = (count + 1..).map(|n| format!("segment{n}")).find(|key| volume.section(key).is_none());
    let _ = write!(
        segment,
        "\n{} {{\nstart_extent = {extents}\nextent_count = {}\n\ntype = \"striped\"\nstripe_count = 1\n\nstripes = [\n\"{physical}\", {had}\n]\n}}\n",
        key.unwrap_or_default(),
        has - had
    );
    set(&mut text, &path, "segment_count", count + 1)?;
    let at = span(&text, &path)?.end;
    text.insert_str(at, &segment);
    Ok(text)
}

/// Everything else is as it was.
fn check(old: &Group, new: &Group, chosen: Option<usize>, more: u64) -> Result<(), ExtentError> {
    believe!(old.logical.len() == new.logical.len() && new.physical.len() == 1, "the new text lost a volume");
    let grown = new.physical[0].data.len() - old.physical[0].data.len();
    believe!(grown == more, "the new text has {grown} bytes more, {more} expected");
    for (index, (old, new)) in old.logical.iter().zip(&new.logical).enumerate() {
        let more = if chosen == Some(index) { more } else { 0 };
        let same = old.name == new.name && old.uuid == new.uuid && old.size + more == new.size;
        believe!(same, "the new text has volume {} of {} bytes, {} expected", new.name, new.size, old.size + more);
    }
    Ok(())
}

/// Where in an area the text goes, and the area's header that names it.
fn put(part: &dyn ReadAt, area: ByteRange, text: &str) -> Result<(u64, Vec<u8>), ExtentError> {
    let mut header = vec![0; 512];
    read(part, &mut header, area.start(), "header of a metadata area")?;
    let number = |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (offset, len) = (number(40), number(48));
    let new = text.len() as u64;
    let behind = (offset + len).next_multiple_of(SECTOR);
    let wraps = offset + len > area.len();
    let place = if !wraps && behind + new <= area.len() {
        behind
    } else {
        let free_to = if wraps { behind - area.len() } else { SECTOR };
        believe!(free_to + new <= offset, "its metadata area of {} bytes has no room for {new} more", area.len());
        free_to.max(SECTOR)
    };
    header[40..48].copy_from_slice(&place.to_le_bytes());
    header[48..56].copy_from_slice(&new.to_le_bytes());
    header[56..60].copy_from_slice(&crc(&[text.as_bytes()]).to_le_bytes());
    let sum = crc(&[&header[4..512]]);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    Ok((area.start() + place, header))
}

/// The label's sector with another size of the device.
fn label(part: &dyn ReadAt, size: u64) -> Result<(u64, Vec<u8>), ExtentError> {
    let mut raw = vec![0; usize::try_from(HEAD).unwrap_or_default()];
    read(part, &mut raw, 0, "label of a physical volume")?;
    let found = raw.chunks_exact(512).position(|sector| sector.starts_with(b"LABELONE"));
    let index = found.ok_or_else(|| ExtentError::doubt("no label of a physical volume"))?;
    let mut sector = raw[index * 512..(index + 1) * 512].to_vec();
    let header = sector.get(20..24).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    // Label::read has checked that the header lies in the sector.
    sector[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
    let sum = crc(&[&sector[20..512]]);
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    Ok((index as u64 * SECTOR, sector))
}

/// Sets a number in the section that `path` names.
fn set(text: &mut String, path: &[&str], key: &str, value: u64) -> Result<(), ExtentError> {
    let inside = span(text, path)?;
    let found = entry(text, inside, key, false)?;
    text.replace_range(found, &value.to_string());
    Ok(())
}

/// The inside of a section.
fn span(text: &str, path: &[&str]) -> Result<Range<usize>, ExtentError> {
    path.iter().try_fold(0..text.len(), |inside, name| entry(text, inside, name, true))
}

/// In `inside`, the place of what belongs to `name`: between the braces of a section, or the digits of a number. `text` has
/// been parsed: braces match and quotes end.
fn entry(text: &str, inside: Range<usize>, name: &str, section: bool) -> Result<Range<usize>, ExtentError> {
    let missing = || ExtentError::doubt(format!("text of a volume group lacks {name}"));
    let (bytes, mut at) = (text.as_bytes(), inside.start);
    let mut depth = 0_u32;
    let mut word = 0..0;
    while at < inside.end {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < inside.end && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'#' => at += bytes[at..inside.end].iter().position(|byte| *byte == b'\n').unwrap_or(inside.end - at),
            b'{' => {
                if depth == 0 && section && text.get(word.clone()) == Some(name) {
                    return Ok(at + 1..closing(bytes, at + 1, inside.end).ok_or_else(missing)?);
                }
                depth += 1;
            }
            b'}' => depth = depth.saturating_sub(1),
            b'=' if depth == 0 && !section && text.get(word.clone()) == Some(name) => {
                let start = at + 1 + bytes[at + 1..inside.end].iter().take_while(|byte| **byte == b' ').count();
                let digits = bytes[start..inside.end].iter().take_while(|byte| byte.is_ascii_digit()).count();
                return if digits > 0 { Ok(start..start + digits) } else { Err(missing()) };
            }
            byte if is_word(byte) => {
                let len = bytes[at..inside.end].iter().take_while(|byte| is_word(**byte)).count();
                word = at..at + len;
                at += len - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Err(missing())
}

fn closing(bytes: &[u8], mut at: usize, end: usize) -> Option<usize> {
    let mut depth = 0_u32;
    while at < end {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < end && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'#' => at += bytes[at..end].iter().position(|byte| *byte == b'\n').unwrap_or(end - at),
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+')
}
