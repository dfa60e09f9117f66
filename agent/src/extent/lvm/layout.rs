//! From extents of logical volumes to those of one physical volume.
//!
//! In: the maps of logical volumes, and where their segments lie. Out: pieces in the order of the device.
//! Promise: memory is that of one volume's walk; a volume is walked again at most [`WALKS_MAX`] times.

use super::super::ExtentError;
use super::super::map::{Extent, ExtentKind, Inside, Layout, Map, Pieces};
use super::group::Logical;
use ramet_wire::ByteRange;

/// How often a volume whose segments lie in another order than its bytes is walked from its start again.
pub(super) const WALKS_MAX: usize = 256;

/// One area of a segment that lies on this device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Where it lies, in bytes of the device.
    pub on: ByteRange,
    /// Index of the logical volume.
    pub volume: usize,
    /// The whole segment, in bytes of the logical volume.
    pub segment: ByteRange,
    /// Bytes on one area before it is the next one's turn.
    pub stripe: u64,
    /// Which of how many areas this is.
    pub area: (u64, u64),
}

impl Stretch {
    /// All stretches of `volume` on the device `on`.
    pub fn of(logical: &Logical, volume: usize, on: usize) -> impl Iterator<Item = Self> + '_ {
        logical.segments.iter().flat_map(move |segment| {
            let (count, len) = (segment.areas.len() as u64, segment.area_len());
            let mine = (0..).zip(&segment.areas).filter(move |(_, (index, _))| *index == on);
            mine.map(move |(area, &(_, at))| Self {
                on: ByteRange::between(at, at + len),
                volume,
                segment: segment.range,
                stripe: segment.stripe,
                area: (area, count),
            })
        })
    }

    /// Bytes of this area that lie before `within`, counted from the segment's start.
    const fn before(&self, within: u64) -> u64 {
        let (area, count) = self.area;
        let (chunk, at) = (within / self.stripe, within % self.stripe);
        let turn = chunk % count;
        let begun = if turn > area {
            self.stripe
        } else if turn == area {
            at
        } else {
            0
        };
        chunk / count * self.stripe + begun
    }

    /// Where the bytes `range` of the logical volume lie on the device, as far as they lie in this area: an area's
    /// stripes follow each other without a gap, so this is one range.
    fn place(&self, range: ByteRange) -> ByteRange {
        let Some(range) = range.intersect(self.segment) else { return ByteRange::between(0, 0) };
        let from = self.before(range.start() - self.segment.start());
        let to = self.before(range.end() - self.segment.start());
        ByteRange::between(self.on.start() + from, self.on.start() + to)
    }
}

/// How often the walk of each volume begins anew, for `stretches` in the order of the device.
pub(super) fn walks(stretches: &[Stretch], volumes: usize) -> Vec<usize> {
    let mut counts = vec![0; volumes];
    let mut last = None;
    for stretch in stretches {
        let goes_on = last.is_some_and(|(volume, end)| volume == stretch.volume && end <= stretch.segment.start());
        last = Some((stretch.volume, stretch.segment.end()));
        if let Some(count) = counts.get_mut(stretch.volume) {
            *count += usize::from(!goes_on);
        }
    }
    counts
}

/// What is to be copied of a physical volume.
pub(super) struct Device {
    /// Label and areas; ascending, disjoint.
    pub always: Vec<ByteRange>,
    /// Ascending, disjoint, and clear of `always`.
    pub stretches: Vec<Stretch>,
    /// By index of the logical volume; all of it where there is none.
    pub maps: Vec<Option<Map>>,
    pub inside: Vec<Inside>,
    pub warnings: Vec<String>,
}

impl Layout for Device {
    fn pieces(&self) -> Pieces<'_> {
        let mut always = self.always.iter().copied().peekable();
        let mut walk = Walk { device: self, next: 0, volume: None };
        let mut ready = walk.next();
        Box::new(std::iter::from_fn(move || {
            let first = match &ready {
                Some(Ok(piece)) => Some(piece.range.start()),
                Some(Err(_)) => return ready.take(),
                None => None,
            };
            if let Some(range) = always.next_if(|range| first.is_none_or(|first| range.start() < first)) {
                return Some(Ok(Extent { range, kind: ExtentKind::Data }));
            }
            let piece = ready.take()?;
            ready = walk.next();
            Some(piece)
        }))
    }

    fn inside(&self) -> Vec<Inside> {
        self.inside.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

/// The walk of one logical volume, as far as it has come.
struct Open<'a> {
    volume: usize,
    extents: Box<dyn Iterator<Item = Result<Extent, ExtentError>> + Send + 'a>,
    /// Reaches past the segment that was walked last.
    ahead: Option<Extent>,
    /// End of the segment that was walked last, in bytes of the logical volume.
    passed: u64,
}

/// Pieces of all stretches.
struct Walk<'a> {
    device: &'a Device,
    next: usize,
    volume: Option<Open<'a>>,
}

impl<'a> Walk<'a> {
    /// The walk for a stretch: the present one, if it has not passed the stretch's segment yet.
    fn open(&mut self, stretch: &Stretch, map: &'a Map) -> &mut Open<'a> {
        let goes_on = |open: &Open<'a>| open.volume == stretch.volume && open.passed <= stretch.segment.start();
        let open = self.volume.take().filter(goes_on).unwrap_or_else(|| Open {
            volume: stretch.volume,
            extents: Box::new(map.extents()),
            ahead: None,
            passed: 0,
        });
        self.volume.insert(open)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Extent, ExtentError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(stretch) = self.device.stretches.get(self.next) {
            let Some(map) = self.device.maps.get(stretch.volume).and_then(Option::as_ref) else {
                self.next += 1;
                return Some(Ok(Extent { range: stretch.on, kind: ExtentKind::Data }));
            };
            let open = self.open(stretch, map);
            let extent = match open.ahead.take().map(Ok).or_else(|| open.extents.next()) {
                Some(Ok(extent)) => extent,
                Some(Err(error)) => {
                    self.next = self.device.stretches.len();
                    return Some(Err(error));
                }
                None => {
                    open.passed = stretch.segment.end();
                    self.next += 1;
                    continue;
                }
            };
            if extent.range.end() > stretch.segment.end() {
                open.ahead = Some(extent);
            }
            if extent.range.end() >= stretch.segment.end() {
                open.passed = stretch.segment.end();
                self.next += 1;
            }
            let range = stretch.place(extent.range);
            if !range.is_empty() {
                return Some(Ok(Extent { range, kind: extent.kind }));
            }
        }
        None
    }
}
