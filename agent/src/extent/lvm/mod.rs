//! LVM2 physical volumes: what lies in the logical volumes matters, and the text that describes them.
//!
//! In: a partition with LVM's label, and the others of the disks captured together. Out: label, metadata areas, and of
//! each linear or striped logical volume what the reader of its own content says.
//! Promise: any other kind of volume, an unfinished change or copies that disagree are a doubt; a logical volume of which
//! a part is missing, or whose content is in doubt, is copied whole as far as it lies here.

mod area;
mod attach;
mod beside;
mod group;
mod grow;
mod label;
mod layout;
mod text;
mod volume;

pub use attach::{LogicalVolume, VolumeStretch, volumes_of};
pub use grow::{Growth, growth, growth_of};

use super::ExtentError;
use super::bytes::{Fields, clean};
use super::error::believe;
use super::map::{Content, Inside, Layout, Map, Others, Part};
use super::md;
use super::peek::Peek;
use crate::disk::source::ReadAt;
use beside::Neighbour;
use group::{Group, Logical};
use label::Label;
use layout::{Device, Stretch, WALKS_MAX, walks};
use ramet_wire::ByteRange;
use std::sync::Arc;
use volume::Volume;

/// In a group of more volumes none sees its neighbours: a content that spans several of them is then copied whole.
const SIBLINGS_MAX: usize = 64;

/// The label may lie in any of the first four sectors.
pub(super) fn recognise(peek: &Peek<'_>) -> Result<Option<Content>, ExtentError> {
    for sector in 0..4 {
        let Some(raw) = peek.bytes(sector * 512, 64)? else { continue };
        let fields = Fields(&raw);
        if fields.bytes(0, 8) == b"LABELONE" && fields.bytes(24, 8) == b"LVM2 001" {
            let uuid = label::hyphenated(&fields.text(32, 32).unwrap_or_default());
            let version = Some("LVM2 001".to_owned());
            return Ok(Some(Content { uuid: clean(&uuid), version, ..Content::of("LVM2_member") }));
        }
    }
    Ok(None)
}

/// # Errors
/// A doubt as in the promise above; [`ExtentError::Read`] from a device.
pub(super) fn read(part: Part) -> Result<Option<Box<dyn Layout>>, ExtentError> {
    let label = Label::read(&*part.bytes)?;
    let neighbours = beside::neighbours(&md::devices(&part.others, None)?)?;
    let mut always = vec![ByteRange::between(0, label::HEAD)];
    always.extend(label.metadata.iter().chain(&label.boot));
    always.sort_unstable();
    let mut device =
        Device { always, stretches: Vec::new(), maps: Vec::new(), inside: Vec::new(), warnings: Vec::new() };
    believe!(!part.in_group, "it is a volume group in a logical volume, which is not looked into");
    let part = Part { in_group: true, ..part };
    if let Some(copy) = beside::group(&part, &label, &neighbours)? {
        let group = Group::parse(&copy.text)?;
        drop(copy);
        let own = group.physical.iter().position(|physical| physical.uuid == label.uuid);
        let own = own.ok_or_else(|| ExtentError::doubt(format!("volume group {} lost this volume", group.name)))?;
        check_place(&group, own, &label, &device.always)?;
        let volumes = Volumes { part: &part, devices: devices(&part, &group, own, &neighbours)?, group: &group, own };
        volumes.look(&mut device)?;
    }
    Ok(Some(Box::new(device)))
}

/// The extents of the volume lie where its label says, and clear of its areas.
fn check_place(group: &Group, own: usize, label: &Label, always: &[ByteRange]) -> Result<(), ExtentError> {
    let data = group.physical[own].data;
    let (said, start) = (label.data_start, data.start());
    believe!(said == start, "label says that extents start at byte {said}, volume group {} at {start}", group.name);
    for area in always {
        believe!(area.intersect(data).is_none(), "area at {area} lies in the extents at {data}");
    }
    Ok(())
}

/// The group's devices in the order of its text; nothing for those that are not there.
fn devices(
    part: &Part,
    group: &Group,
    own: usize,
    neighbours: &[Neighbour],
) -> Result<Vec<Option<Arc<dyn ReadAt>>>, ExtentError> {
    let mut devices = Vec::with_capacity(group.physical.len());
    for (index, physical) in group.physical.iter().enumerate() {
        let other = || neighbours.iter().find(|neighbour| neighbour.label.uuid == physical.uuid);
        let device =
            if index == own { Some(Arc::clone(&part.bytes)) } else { other().map(|other| Arc::clone(&other.device)) };
        let size = device.as_ref().map_or(u64::MAX, |device| device.size());
        let end = physical.data.end();
        believe!(
            end <= size,
            "extents of physical volume {} end at byte {end}, it has {size}",
            label::hyphenated(&physical.uuid)
        );
        devices.push(device);
    }
    Ok(devices)
}

/// The logical volumes of a group.
struct Volumes<'a> {
    part: &'a Part,
    group: &'a Group,
    devices: Vec<Option<Arc<dyn ReadAt>>>,
    /// Index of the physical volume that is being mapped.
    own: usize,
}

impl Volumes<'_> {
    /// Looks into every volume of which a part lies here.
    fn look(&self, device: &mut Device) -> Result<(), ExtentError> {
        let logical = &self.group.logical;
        let stretches = logical.iter().enumerate().flat_map(|(index, volume)| Stretch::of(volume, index, self.own));
        device.stretches.extend(stretches);
        device.stretches.sort_unstable_by_key(|stretch| stretch.on);
        let open = |volume: &Logical| Volume::new(&volume.segments, &self.devices).filter(|_| volume.visible);
        let bytes: Vec<_> = logical.iter().map(|volume| open(volume).map(|v| Arc::new(v) as Arc<dyn ReadAt>)).collect();
        for ((index, walks), volume) in walks(&device.stretches, logical.len()).into_iter().enumerate().zip(logical) {
            if walks == 0 {
                device.maps.push(None);
                continue;
            }
            let name = &volume.name;
            let (map, inside) = self.look_into(&bytes, index, name, walks)?;
            let named = |warning: &String| format!("logical volume {name}: {warning}");
            device.warnings.extend(inside.warnings.iter().map(named));
            device.inside.push(inside);
            device.maps.push(map);
        }
        Ok(())
    }

    fn look_into(
        &self,
        bytes: &[Option<Arc<dyn ReadAt>>],
        index: usize,
        name: &str,
        walks: usize,
    ) -> Result<(Option<Map>, Inside), ExtentError> {
        let volume = &self.group.logical[index];
        let whole = |content, reason: String| {
            let warnings = vec![format!("copied whole: {reason}")];
            let (size, used_bytes) = (volume.size, volume.size);
            Inside { name: name.to_owned(), content, size, used_bytes, whole: true, warnings, inside: Vec::new() }
        };
        let Some(own) = &bytes[index] else {
            return Ok((None, whole(Content::unknown(), self.why_closed(volume))));
        };
        let siblings = || bytes.iter().enumerate().filter(|(at, _)| *at != index).filter_map(|(_, one)| one.clone());
        let others: Others = if bytes.len() > SIBLINGS_MAX { Others::from([]) } else { siblings().collect() };
        let (map, inside) = self.part.map_inside(Arc::clone(own), others, name).map_err(|error| named(name, error))?;
        if walks > WALKS_MAX {
            let reason =
                format!("it lies in {walks} runs on this physical volume, at most {WALKS_MAX} are looked into");
            return Ok((None, whole(inside.content, reason)));
        }
        Ok((Some(map), inside))
    }

    fn why_closed(&self, volume: &Logical) -> String {
        let areas = volume.segments.iter().flat_map(|segment| &segment.areas);
        let missing = areas.map(|(on, _)| *on).find(|on| self.devices[*on].is_none());
        match missing {
            Some(on) => {
                format!(
                    "physical volume {} is not among the disks read together",
                    label::hyphenated(&self.group.physical[on].uuid)
                )
            }
            None => "it is hidden, as only parts of other volumes are".to_owned(),
        }
    }
}

/// A volume that another machine has mounted makes its physical volume used by that machine.
fn named(name: &str, error: ExtentError) -> ExtentError {
    match error {
        ExtentError::MountedElsewhere(text) => ExtentError::MountedElsewhere(format!("logical volume {name}: {text}")),
        error => error,
    }
}
