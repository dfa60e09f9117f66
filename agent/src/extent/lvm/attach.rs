//! Where logical volumes lie, for those who want to use them.
//!
//! In: devices, of which some are physical volumes. Out: the visible volumes of all groups, as rows over those devices.
//! Promise: a volume that is not linear or striped, or of which a part is missing, is not among them; a group whose copies
//! disagree is a doubt.

use super::super::ExtentError;
use super::super::map::Others;
use super::area::{Kept, kept};
use super::beside::neighbours;
use super::group::{Group, Outline};
use ramet_wire::ByteRange;

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its group's name.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its UUID, with hyphens.
    pub uuid: String,
    /// Bytes.
    pub size: u64,
    /// Its rows, ascending, without a gap.
    pub stretches: Vec<VolumeStretch>,
}

/// Some bytes of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStretch {
    /// In bytes of the volume.
    pub range: ByteRange,
    /// Bytes on one area before it is the next one's turn.
    pub stripe: u64,
    /// Index of the device, and the area's first byte on it.
    pub areas: Vec<(usize, u64)>,
}

/// The logical volumes that lie wholly on `devices`.
///
/// # Errors
/// [`ExtentError::Read`] from a device; a doubt where the text of a group is damaged or its copies differ.
pub fn volumes_of(devices: &Others) -> Result<Vec<LogicalVolume>, ExtentError> {
    let physical = neighbours(devices)?;
    let mut texts: Vec<(Outline, String)> = Vec::new();
    for neighbour in &physical {
        for area in &neighbour.label.metadata {
            let Kept::Text(text) = kept(&*neighbour.device, *area)? else { continue };
            let outline = Outline::parse(&text)?;
            match texts.iter().find(|(known, _)| known.id == outline.id) {
                Some((_, known)) if *known == text => {}
                Some((known, _)) => {
                    let (name, one, other) = (&known.name, known.seqno, outline.seqno);
                    let text = format!("the text of volume group {name} has number {one}, a copy number {other}");
                    return Err(ExtentError::doubt(text));
                }
                None => texts.push((outline, text)),
            }
        }
    }
    let index_of = |uuid: &str| {
        let neighbour = physical.iter().find(|neighbour| neighbour.label.uuid == uuid)?;
        devices.iter().position(|device| std::ptr::addr_eq(&raw const **device, &raw const *neighbour.device))
    };
    let mut found = Vec::new();
    for (_, text) in &texts {
        let group = Group::parse(text)?;
        let on: Vec<Option<usize>> = group.physical.iter().map(|physical| index_of(&physical.uuid)).collect();
        for logical in group.logical.iter().filter(|logical| logical.visible) {
            let stretch = |segment: &super::group::Segment| {
                let areas = segment.areas.iter().map(|(index, at)| Some((on[*index]?, *at))).collect::<Option<_>>()?;
                Some(VolumeStretch { range: segment.range, stripe: segment.stripe, areas })
            };
            let Some(stretches) = logical.segments.iter().map(stretch).collect::<Option<Vec<_>>>() else { continue };
            let name = logical.name.rsplit('/').next().unwrap_or_default().to_owned();
            found.push(LogicalVolume {
                group: group.name.clone(),
                name,
                uuid: logical.uuid.clone(),
                size: logical.size,
                stretches,
            });
        }
    }
    Ok(found)
}
