//! Members of Linux software RAID: a mirror's member holds all of its content, so that is looked into.
//!
//! In: a partition with a superblock of mdraid. Out: superblock, bitmap and bad-block log, and of a mirror that is clean
//! and in step what the reader of its content says.
//! Promise: any other level, an array that is being rebuilt or reshaped, was not stopped cleanly or has moved on without
//! this member, and anything unknown is a doubt; so is a content that is in doubt itself.

mod bitmap;
mod layout;
mod old;
mod one;

use super::ExtentError;
use super::error::believe;
use super::map::{Content, Layout, Others, Part};
use super::peek::Peek;
use crate::disk::source::{ReadAt, Window};
use layout::Mirror;
use ramet_wire::ByteRange;
use std::sync::Arc;

const MAGIC: u32 = 0xa92b_4efc;
const SECTOR: u64 = 512;

/// What a superblock says.
#[derive(Debug)]
struct Member {
    /// The array's UUID.
    uuid: String,
    /// Grows with every change of the array's state: members that differ are not in step.
    events: u64,
    /// This member's bytes of the array.
    data: ByteRange,
    /// Superblock, bitmap, bad-block log: ascending.
    areas: Vec<ByteRange>,
}

/// Named as `blkid` does. More than one superblock is a matter for [`read`].
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    for (version, at) in one::places(peek.size()) {
        if let Some(content) = one::recognise(peek, version, at)? {
            return Ok(Some(content));
        }
    }
    old::recognise(peek)
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn read(part: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let member = member(&*part.bytes)?;
    for other in siblings(&part.others, &member.uuid)? {
        believe!(
            other <= member.events,
            "this member has seen {} events, another one of the same array {other}: it is out of step",
            member.events
        );
    }
    let inner = Window::new(Arc::clone(&part.bytes), member.data);
    let inner = inner.map_err(|error| ExtentError::doubt(format!("data of the array: {error}")))?;
    let (map, inside) = part.map_inside(Arc::new(inner), devices(&part.others, Some(&member.uuid))?, "")?;
    // Some other content may lie over the whole partition, under a superblock that was forgotten at its end.
    if let Some(reason) = inside.warnings.first().filter(|_| inside.whole) {
        return Err(ExtentError::doubt(format!("the content of the mirror is in doubt: {reason}")));
    }
    Ok(Some(Box::new(Mirror { size: part.bytes.size(), member, map, inside })))
}

/// The one superblock of a mirror's member that can be looked into.
fn member(part: &dyn ReadAt) -> Result<Member, ExtentError> {
    let peek = Peek::new(part)?;
    let mut found = Vec::new();
    for (version, at) in one::places(peek.size()) {
        if one::recognise(&peek, version, at)?.is_some() {
            found.push(at);
        }
    }
    let old = old::recognise(&peek)?.is_some();
    let count = found.len() + usize::from(old);
    believe!(count == 1, "{count} superblocks of mdraid, 1 expected");
    match found.first() {
        Some(at) => one::read(part, *at),
        None => old::read(part),
    }
}

/// A disk is a member of an array whose superblock, with a right checksum, lies where a table may lie.
pub(super) fn at_a_table(disk: &dyn ReadAt) -> Result<bool, ExtentError> {
    let peek = Peek::new(disk)?;
    for (version, at) in one::places(peek.size()).filter(|(version, _)| *version != "1.0") {
        if one::recognise(&peek, version, at)?.is_none() {
            continue;
        }
        match one::events(disk, at) {
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            Err(_) => {}
            Ok(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// What lies at the start of a member whose superblock lies at its end.
pub(super) enum AtStart {
    /// The content of a mirror, in these bytes.
    Content(ByteRange),
    /// A part of an array that [`read`] does not look into.
    Part,
    /// Not for the array to say: the superblock lies at the start itself.
    Unknown,
}

/// # Errors
/// [`ExtentError::Read`] from the device.
pub(super) fn at_start(peek: &Peek<'_>) -> Result<AtStart, ExtentError> {
    let end = one::places(peek.size()).next().filter(|(version, _)| *version == "1.0");
    let end = end.map(|(version, at)| one::recognise(peek, version, at)).transpose()?.flatten();
    if end.is_none() && old::recognise(peek)?.is_none() {
        return Ok(AtStart::Unknown);
    }
    match member(peek.part()) {
        Ok(member) => Ok(AtStart::Content(member.data)),
        Err(error @ ExtentError::Read { .. }) => Err(error),
        Err(_) => Ok(AtStart::Part),
    }
}

/// Events of the other members of the array `uuid`.
fn siblings(others: &Others, uuid: &str) -> Result<Vec<u64>, ExtentError> {
    let mut events = Vec::new();
    for other in others.iter() {
        match events_of(&**other) {
            Ok(Some((found, seen))) if found == uuid => events.push(seen),
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            _ => {}
        }
    }
    Ok(events)
}

/// The array of a member and the events it has seen, in whatever state it is.
fn events_of(part: &dyn ReadAt) -> Result<Option<(String, u64)>, ExtentError> {
    let peek = Peek::new(part)?;
    for (version, at) in one::places(peek.size()) {
        if one::recognise(&peek, version, at)?.is_some() {
            return one::events(part, at).map(Some);
        }
    }
    if old::recognise(&peek)?.is_some() { old::events(part).map(Some) } else { Ok(None) }
}

/// `others` as a running system shows them: mirrors in place of their members, without those of the array `own`.
/// Members that can not be looked into show nothing.
pub(super) fn devices(others: &Others, own: Option<&str>) -> Result<Others, ExtentError> {
    let mut seen: Vec<String> = own.iter().map(|uuid| (*uuid).to_owned()).collect();
    let mut shown: Vec<Arc<dyn ReadAt>> = Vec::with_capacity(others.len());
    for other in others.iter() {
        if recognise(&Peek::new(&**other)?)?.is_none() {
            shown.push(Arc::clone(other));
            continue;
        }
        let member = match member(&**other) {
            Ok(member) if !seen.contains(&member.uuid) => member,
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            _ => continue,
        };
        // A member that fell behind the others of its array shows what the array held some time ago.
        if siblings(others, &member.uuid)?.into_iter().any(|events| events > member.events) {
            continue;
        }
        if let Ok(window) = Window::new(Arc::clone(other), member.data) {
            shown.push(Arc::new(window));
            seen.push(member.uuid);
        }
    }
    Ok(shown.into())
}
