//! A volume group: its physical volumes, and which of their extents make which logical volume.
//!
//! In: the group's text. Out: volumes whose segments follow each other without a gap and overlap nowhere.
//! Promise: all volumes are linear or striped; any other type, flag or field is a doubt that names it.
//!
//! | in the text (lvm2: lib/format_text/export.c) | field |
//! |---|---|
//! | top | `contents`, `version = 1`, and one section: the group |
//! | group | `id`, `seqno`, `extent_size` (sectors), `status`, `flags`, sections `physical_volumes`, `logical_volumes` |
//! | physical volume | `id`, `pe_start` (sectors), `pe_count`, `status`, `flags` |
//! | logical volume | `status`, `flags`, `segment_count`, sections `segment1` … |
//! | segment | `start_extent`, `extent_count`, `type`, `stripe_count`, `stripe_size` (sectors), `stripes` (volume, extent) |

use super::super::ExtentError;
use super::super::error::believe;
use super::label::{bare, hyphenated};
use super::text::{Item, Section, Value};
use ramet_wire::ByteRange;
use std::collections::HashMap;

const SECTOR: u64 = 512;
/// Largest extent, in sectors: far above what LVM makes, and small enough for all products to fit.
const EXTENT_MAX: u64 = 1 << 32;
const STRIPES_MAX: u64 = 128;

/// What may stand in `status` and `flags`. All else says that the volume is not just the sum of its extents.
const GROUP_FLAGS: [&str; 4] = ["RESIZEABLE", "READ", "WRITE", "NOAUTOACTIVATE"];
const PHYSICAL_FLAGS: [&str; 1] = ["ALLOCATABLE"];
const LOGICAL_FLAGS: [&str; 6] = ["READ", "WRITE", "VISIBLE", "FIXED_MINOR", "ACTIVATION_SKIP", "NOAUTOACTIVATE"];
/// Names whose meaning is known here; most of them say nothing about where bytes lie.
const GROUP_NAMES: &str = "id seqno format status flags system_id lock_type lock_args extent_size max_lv max_pv \
    metadata_copies tags profile allocation_policy physical_volumes logical_volumes historical_logical_volumes";
const PHYSICAL_NAMES: &str =
    "id device device_id device_id_type status flags dev_size pe_start pe_count ba_start ba_size tags";
const LOGICAL_NAMES: &str = "id status flags creation_time creation_host segment_count tags allocation_policy \
    profile read_ahead major minor lock_args";
const SEGMENT_NAMES: &str = "start_extent extent_count type stripe_count stripe_size stripes tags";

#[derive(Debug)]
pub(super) struct Group {
    pub name: String,
    pub physical: Vec<Physical>,
    pub logical: Vec<Logical>,
}

#[derive(Debug)]
pub(super) struct Physical {
    /// Without hyphens.
    pub uuid: String,
    /// Where its extents lie, in bytes of the device.
    pub data: ByteRange,
}

#[derive(Debug)]
pub(super) struct Logical {
    pub name: String,
    /// With hyphens.
    pub uuid: String,
    /// Bytes.
    pub size: u64,
    /// Not a hidden part of something else.
    pub visible: bool,
    /// Ascending, without a gap.
    pub segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// In bytes of the logical volume.
    pub range: ByteRange,
    /// Bytes on one area before it is the next one's turn.
    pub stripe: u64,
    /// Index of the physical volume, and the area's first byte on it.
    pub areas: Vec<(usize, u64)>,
}

impl Segment {
    /// Bytes that each area holds.
    pub const fn area_len(&self) -> u64 {
        self.range.len() / self.areas.len() as u64
    }
}

fn doubt(text: String) -> ExtentError {
    ExtentError::doubt(text)
}

/// Every field of `section` is one of `known`; those that are sections are left out where `sections` may have any name.
fn check_names(section: &Section<'_>, known: &str, sections: bool, what: &str) -> Result<(), ExtentError> {
    for (field, value) in &section.0 {
        let free = sections && matches!(value, Value::Section(_));
        let is_known = free || known.split_whitespace().any(|name| name == *field);
        believe!(is_known, "{what} has the unknown field {field}");
    }
    Ok(())
}

/// Every flag is one of `known`; a volume that has others is named with them.
fn check_flags(section: &Section<'_>, known: &[&str], what: &str) -> Result<(), ExtentError> {
    for item in section.list("status").iter().chain(section.list("flags")) {
        let Item::Text(flag) = item else { return Err(doubt(format!("{what} has a flag that is a number"))) };
        believe!(known.contains(flag), "{what} has the flag {flag}");
    }
    Ok(())
}

/// What is compared between copies of a group's text before anything else is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    pub name: String,
    pub id: String,
    pub seqno: u64,
    /// UUIDs of the physical volumes, without hyphens.
    pub members: Vec<String>,
}

impl Outline {
    pub fn parse(text: &str) -> Result<Self, ExtentError> {
        let root = Section::parse(text)?;
        let (name, group) = only_group(&root)?;
        let volumes = group.section("physical_volumes").into_iter().flat_map(Section::sections);
        let members = volumes.map(|(_, volume)| volume.text("id").map(bare)).collect::<Result<_, _>>()?;
        let (id, seqno) = (group.text("id")?.to_owned(), group.number("seqno")?);
        Ok(Self { name: name.to_owned(), id, seqno, members })
    }
}

fn only_group<'a, 'b>(root: &'b Section<'a>) -> Result<(&'a str, &'b Section<'a>), ExtentError> {
    let contents = root.text("contents")?;
    believe!(contents == "Text Format Volume Group", "text of a volume group is of another kind");
    let version = root.number("version")?;
    believe!(version == 1, "text of a volume group has version {version}, 1 expected");
    let mut groups = root.sections();
    match (groups.next(), groups.count()) {
        (Some(group), 0) => Ok(group),
        (first, more) => {
            Err(doubt(format!("text has {} volume groups, 1 expected", more + usize::from(first.is_some()))))
        }
    }
}

impl Group {
    pub fn parse(text: &str) -> Result<Self, ExtentError> {
        let root = Section::parse(text)?;
        let (name, group) = only_group(&root)?;
        check_names(group, GROUP_NAMES, false, &format!("volume group {name}"))?;
        check_flags(group, &GROUP_FLAGS, &format!("volume group {name}"))?;
        let (format, lock) = (group.text("format").unwrap_or("lvm2"), group.text("lock_type").unwrap_or("none"));
        believe!(format == "lvm2", "volume group {name} has the format {format}, lvm2 expected");
        believe!(lock == "none", "volume group {name} is shared with other machines by {lock}");
        let sectors = group.number("extent_size")?;
        believe!(
            (1..=EXTENT_MAX).contains(&sectors),
            "volume group {name} has extents of {sectors} sectors, 1 to {EXTENT_MAX} expected"
        );
        let mut parsed = Parsed { extent: sectors * SECTOR, names: HashMap::new(), physical: Vec::new() };
        for (key, section) in group.section("physical_volumes").into_iter().flat_map(Section::sections) {
            parsed.physical(key, section)?;
        }
        let mut logical = Vec::new();
        for (key, section) in group.section("logical_volumes").into_iter().flat_map(Section::sections) {
            logical.push(parsed.logical(name, key, section)?);
        }
        check_overlaps(&parsed.physical, &logical)?;
        Ok(Self { name: name.to_owned(), physical: parsed.physical, logical })
    }
}

/// What is known of a group while its text is read.
struct Parsed<'a> {
    /// Bytes of an extent.
    extent: u64,
    /// Index of a physical volume by the name that segments use.
    names: HashMap<&'a str, usize>,
    physical: Vec<Physical>,
}

impl<'a> Parsed<'a> {
    fn bytes(&self, extents: u64, what: &str) -> Result<u64, ExtentError> {
        let product = extents.checked_mul(self.extent);
        product.ok_or_else(|| doubt(format!("{what}: {extents} extents of {} bytes", self.extent)))
    }

    fn physical(&mut self, key: &'a str, section: &Section<'a>) -> Result<(), ExtentError> {
        let what = format!("physical volume {key}");
        check_names(section, PHYSICAL_NAMES, false, &what)?;
        check_flags(section, &PHYSICAL_FLAGS, &what)?;
        let sectors = section.number("pe_start")?;
        let start = sectors.checked_mul(SECTOR).ok_or_else(|| doubt(format!("{what} starts at sector {sectors}")))?;
        let len = self.bytes(section.number("pe_count")?, &what)?;
        let data = ByteRange::new(start, len).map_err(|error| doubt(format!("{what}: {error}")))?;
        let uuid = bare(section.text("id")?);
        believe!(!self.physical.iter().any(|other| other.uuid == uuid), "{what} has the UUID of another one");
        self.names.insert(key, self.physical.len());
        self.physical.push(Physical { uuid, data });
        Ok(())
    }

    fn logical(&self, group: &str, key: &str, section: &Section<'a>) -> Result<Logical, ExtentError> {
        let name = format!("{group}/{key}");
        let what = format!("logical volume {name}");
        // What kind of thing it is says more to people than what its flags are called.
        for (_, segment) in section.sections() {
            let kind = segment.text("type")?;
            believe!(kind == "striped", "{what} is of type {kind}; only linear and striped are looked into");
        }
        check_names(section, LOGICAL_NAMES, true, &what)?;
        check_flags(section, &LOGICAL_FLAGS, &what)?;
        let segments = section.sections().map(|(_, segment)| self.segment(&name, segment));
        let mut segments = segments.collect::<Result<Vec<_>, _>>()?;
        let (said, count) = (section.number("segment_count")?, segments.len());
        believe!(said == count as u64, "{what} has {count} segments, its text says {said}");
        segments.sort_unstable_by_key(|segment| segment.range);
        let mut size = 0;
        for segment in &segments {
            let start = segment.range.start();
            believe!(
                start == size,
                "segment of logical volume {name} starts at byte {start}, the last one ends at {size}"
            );
            size = segment.range.end();
        }
        let uuid = section.text("id").unwrap_or_default().to_owned();
        let visible = section.list("status").contains(&Item::Text("VISIBLE"));
        Ok(Logical { name, uuid, size, visible, segments })
    }

    fn segment(&self, name: &str, section: &Section<'a>) -> Result<Segment, ExtentError> {
        check_names(section, SEGMENT_NAMES, false, &format!("segment of logical volume {name}"))?;
        let (first, extents) = (section.number("start_extent")?, section.number("extent_count")?);
        let (start, len) = (self.bytes(first, name)?, self.bytes(extents, name)?);
        let range = ByteRange::new(start, len).map_err(|error| doubt(format!("logical volume {name}: {error}")))?;
        believe!(extents > 0, "segment of logical volume {name} at extent {first} has no extents");
        let (count, list) = (section.number("stripe_count")?, section.list("stripes"));
        believe!(
            (1..=STRIPES_MAX).contains(&count) && list.len() as u64 == 2 * count && extents.is_multiple_of(count),
            "segment of logical volume {name} has {count} stripes for {extents} extents in a list of {}",
            list.len()
        );
        let stripe = if count == 1 { len } else { section.number("stripe_size")?.saturating_mul(SECTOR) };
        believe!(
            count == 1 || (stripe > 0 && self.extent.is_multiple_of(stripe)),
            "segment of logical volume {name} has stripes of {stripe} bytes in extents of {}",
            self.extent
        );
        let mut areas = Vec::new();
        for pair in list.as_chunks::<2>().0 {
            let [Item::Text(on), Item::Number(at)] = pair else {
                return Err(doubt(format!("segment of logical volume {name} has a stripe that is no place")));
            };
            let index = self.names.get(on).copied();
            let index =
                index.ok_or_else(|| doubt(format!("logical volume {name} lies on {on}, no physical volume")))?;
            let at = u64::try_from(*at).map_err(|_| doubt(format!("logical volume {name} starts at extent {at}")))?;
            let (at, data) = (self.bytes(at, name)?, self.physical[index].data);
            let room = data.len().checked_sub(at).filter(|room| *room >= len / count);
            believe!(
                room.is_some(),
                "logical volume {name} has {} bytes at {at} of {on}, which has {}",
                len / count,
                data.len()
            );
            areas.push((index, data.start() + at));
        }
        Ok(Segment { range, stripe, areas })
    }
}

/// No extent belongs to two segments.
fn check_overlaps(physical: &[Physical], logical: &[Logical]) -> Result<(), ExtentError> {
    let mut taken: Vec<(usize, ByteRange)> = Vec::new();
    for segment in logical.iter().flat_map(|volume| &volume.segments) {
        let len = segment.area_len();
        taken.extend(segment.areas.iter().map(|&(on, at)| (on, ByteRange::between(at, at + len))));
    }
    taken.sort_unstable();
    for pair in taken.windows(2) {
        let [(on, before), (next_on, after)] = [pair[0], pair[1]];
        believe!(
            on != next_on || before.end() <= after.start(),
            "two segments on physical volume {} overlap: {after} and {before}",
            hyphenated(&physical[on].uuid)
        );
    }
    Ok(())
}
