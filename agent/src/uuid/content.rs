//! The UUID of one content: which one it gets, or why it keeps the one that it has.
//!
//! In: a partition or volume, those beside it, and what the manifest says of it. Out: its new UUID and the bytes for it.
//! Promise: before and after the rehearsal every structure was read as for a capture, and the UUID is the new one.

use super::UuidError;
use super::format::{self, Keep};
use super::patch::{Groups, Rehearsed};
use super::seed::Seed;
use crate::disk::source::ReadAt;
use crate::extent::{self, Content, ExtentError, Others};
use ramet_system::refer::Needs;
use std::sync::Arc;

/// A partition or volume.
#[derive(Clone)]
pub(super) struct Subject {
    /// For people: `disk 0 partition 1`.
    pub name: String,
    pub bytes: Arc<dyn ReadAt>,
    /// What the manifest says.
    pub said: Option<Content>,
}

/// What becomes of the UUID of a group of subjects: one, or all devices of a btrfs.
pub(super) enum Outcome {
    New {
        old: String,
        new: String,
        needs: Option<Needs>,
        patches: Vec<Groups>,
    },
    /// It was written before.
    There {
        old: String,
        new: String,
    },
    Kept(String),
}

/// Subjects with a UUID, grouped by what they hold: each group gets one UUID.
pub(super) struct Found {
    pub subjects: Vec<usize>,
    pub content: Content,
}

/// # Errors
/// [`UuidError::Look`] where a device does not answer.
pub(super) fn groups(subjects: &[Subject]) -> Result<Vec<Found>, UuidError> {
    let mut found: Vec<Found> = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let content = extent::probe(&*subject.bytes).map_err(|source| look(subject, source))?;
        if content.uuid.is_none() {
            continue;
        }
        let same = |other: &&mut Found| {
            content.kind == "btrfs" && other.content.kind == content.kind && other.content.uuid == content.uuid
        };
        match found.iter_mut().find(same) {
            Some(group) => group.subjects.push(index),
            None => found.push(Found { subjects: vec![index], content }),
        }
    }
    Ok(found)
}

fn look(subject: &Subject, source: ExtentError) -> UuidError {
    UuidError::Look { name: subject.name.clone(), source }
}

/// # Errors
/// [`UuidError::Look`] where a device does not answer.
pub(super) fn decide(subjects: &[Subject], found: &Found, all: &[Found], seed: Seed) -> Result<Outcome, UuidError> {
    let members: Vec<&Subject> = found.subjects.iter().filter_map(|&index| subjects.get(index)).collect();
    let Some(first) = members.first() else { return Ok(Outcome::Kept("it has no device".to_owned())) };
    match attempt(&members, found, all, seed) {
        Ok(outcome) => Ok(outcome),
        Err(Keep::Because(reason)) => Ok(Outcome::Kept(reason)),
        Err(Keep::Error(source)) => Err(look(first, source)),
    }
}

fn attempt(members: &[&Subject], found: &Found, all: &[Found], seed: Seed) -> Result<Outcome, Keep> {
    let Content { kind, uuid: Some(current), .. } = &found.content else { return format::because("it has none") };
    let Some(format) = format::of(kind) else { return format::because(format::why_not(kind)) };
    let id = seed.id(&format!("{} content", members[0].name));
    let new = (format.spell)(id);
    let old = match &members[0].said {
        Some(said) if said.kind != *kind => {
            return format::because(format!("it holds {kind}, the image says {}", said.kind));
        }
        Some(said) => said.uuid.clone().unwrap_or_else(|| current.clone()),
        None => current.clone(),
    };
    if *current == new {
        return Ok(Outcome::There { old, new });
    }
    if *current != old {
        return format::because(format!("its UUID is {current}, the image says {old}"));
    }
    let twins = all.iter().filter(|other| other.content.uuid == found.content.uuid).count();
    if twins > 1 {
        return format::because(format!("{twins} contents of the image have it: what names them means any of them"));
    }
    let before: Vec<Arc<dyn ReadAt>> = members.iter().map(|member| Arc::clone(&member.bytes)).collect();
    check(&before, kind, current)?;
    let (mut patches, mut needs) = (Vec::new(), None);
    for bytes in &before {
        let change = (format.change)(&**bytes, id)?;
        needs = needs.or(change.needs);
        patches.push(change.groups);
    }
    let rehearsed = |(inner, patches): (Arc<dyn ReadAt>, &Groups)| -> Arc<dyn ReadAt> {
        Arc::new(Rehearsed { inner, patches: patches.clone() })
    };
    let after: Vec<Arc<dyn ReadAt>> = before.into_iter().zip(&patches).map(rehearsed).collect();
    check(&after, kind, &new)?;
    Ok(Outcome::New { old, new, needs, patches })
}

/// Every device is clean and all of it is believed.
fn check(devices: &[Arc<dyn ReadAt>], kind: &str, uuid: &str) -> Result<(), Keep> {
    for (index, bytes) in devices.iter().enumerate() {
        let others: Others = extent::others(devices, index);
        let map = extent::map_beside(Arc::clone(bytes), others)?;
        if map.whole {
            let reason = map.warnings.first().map_or("its structures are not known", String::as_str);
            return format::because(reason.strip_prefix("copied whole: ").unwrap_or(reason));
        }
        let state = map.content.state.as_deref().unwrap_or("clean");
        if !state.starts_with("clean") {
            return format::because(format!("it is not clean: {state}"));
        }
        if map.content.kind != kind || map.content.uuid.as_deref() != Some(uuid) {
            let found = map.content.uuid.unwrap_or_default();
            return format::because(format!("it reads as {} {found}, {kind} {uuid} expected", map.content.kind));
        }
    }
    Ok(())
}
