//! The group of a physical volume: its text here and beside, and its other physical volumes.
//!
//! In: a label, and the other devices captured together. Out: the text that counts, and devices by UUID.
//! Promise: all copies of the text that can be seen are the same, or the group is a doubt.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::map::{Others, Part};
use super::super::peek::Peek;
use super::area::{Kept, kept};
use super::group::Outline;
use super::label::{Label, hyphenated};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// A text and what it says of itself.
pub(super) struct Copy {
    pub text: String,
    pub outline: Outline,
}

/// Another physical volume.
pub(super) struct Neighbour {
    pub label: Label,
    pub device: Arc<dyn ReadAt>,
}

/// Physical volumes among `others`; those with a damaged label are none.
pub(super) fn neighbours(others: &Others) -> Result<Vec<Neighbour>, ExtentError> {
    let mut found = Vec::new();
    for device in others.iter() {
        if super::recognise(&Peek::new(&**device)?)?.is_none() {
            continue;
        }
        match Label::read(&**device) {
            Ok(label) => found.push(Neighbour { label, device: Arc::clone(device) }),
            Err(error @ ExtentError::Read { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// The text of the group that `label` belongs to, as it lies on the volume itself or, where it keeps none, beside it.
/// Nothing where it belongs to no group.
pub(super) fn group(part: &Part, label: &Label, neighbours: &[Neighbour]) -> Result<Option<Copy>, ExtentError> {
    let mut chosen: Option<Copy> = None;
    let mut empty = 0;
    for area in &label.metadata {
        match kept(&*part.bytes, *area)? {
            Kept::Text(text) => same_or_first(&mut chosen, text, "another area of the same device")?,
            Kept::Nothing => empty += 1,
            Kept::Ignored => {}
        }
    }
    if chosen.is_none() {
        chosen = beside(label, neighbours)?;
    }
    let Some(copy) = &chosen else {
        believe!(
            empty > 0 && !label.belongs,
            "no text of the volume group of physical volume {} on the disks read together",
            hyphenated(&label.uuid)
        );
        return Ok(None);
    };
    let name = &copy.outline.name;
    believe!(empty == 0, "{empty} metadata areas are empty on a physical volume of volume group {name}");
    believe!(copy.outline.members.contains(&label.uuid), "volume group {name} does not know this physical volume");
    check(copy, label, neighbours)?;
    Ok(chosen)
}

fn same_or_first(chosen: &mut Option<Copy>, text: String, where_: &str) -> Result<(), ExtentError> {
    let Some(copy) = chosen else {
        *chosen = Some(Copy { outline: Outline::parse(&text)?, text });
        return Ok(());
    };
    let (name, seqno) = (&copy.outline.name, copy.outline.seqno);
    if copy.text != text {
        let other = Outline::parse(&text)?.seqno;
        return Err(ExtentError::doubt(format!(
            "the text of volume group {name} has number {seqno}, its copy on {where_} number {other}"
        )));
    }
    Ok(())
}

/// A neighbour's text that names this volume.
fn beside(label: &Label, neighbours: &[Neighbour]) -> Result<Option<Copy>, ExtentError> {
    for neighbour in neighbours {
        for area in &neighbour.label.metadata {
            let text = match kept(&*neighbour.device, *area) {
                Ok(Kept::Text(text)) => text,
                Err(error @ ExtentError::Read { .. }) => return Err(error),
                _ => continue,
            };
            match Outline::parse(&text) {
                Ok(outline) if outline.members.contains(&label.uuid) => return Ok(Some(Copy { text, outline })),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Every neighbour of the group has the same text, none of another group claims this volume, none is there twice.
fn check(copy: &Copy, label: &Label, neighbours: &[Neighbour]) -> Result<(), ExtentError> {
    let (name, seqno) = (&copy.outline.name, copy.outline.seqno);
    let mut seen = vec![&label.uuid];
    for Neighbour { label: other, device } in neighbours {
        let member = copy.outline.members.contains(&other.uuid);
        believe!(!member || !seen.contains(&&other.uuid), "physical volume {} is there twice", hyphenated(&other.uuid));
        seen.push(&other.uuid);
        for area in &other.metadata {
            let text = match kept(&**device, *area) {
                Ok(Kept::Text(text)) => text,
                Ok(Kept::Ignored) => continue,
                Ok(Kept::Nothing) if member => {
                    return Err(ExtentError::doubt(format!(
                        "physical volume {} of volume group {name} has no text of it",
                        hyphenated(&other.uuid)
                    )));
                }
                Err(error) if member => return Err(error),
                Err(error @ ExtentError::Read { .. }) => return Err(error),
                Ok(Kept::Nothing) | Err(_) => continue,
            };
            if text == copy.text {
                continue;
            }
            match Outline::parse(&text) {
                Ok(outline) => believe!(
                    !member && outline.id != copy.outline.id && !outline.members.contains(&label.uuid),
                    "the text of volume group {name} has number {seqno}, that of group {} on physical volume {} number {}",
                    outline.name,
                    hyphenated(&other.uuid),
                    outline.seqno
                ),
                Err(error) if member => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok(())
}
