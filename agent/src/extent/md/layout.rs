//! What is to be copied of a mirror's member.
//!
//! In: the member's areas and the map of its content. Out: pieces in the order of the partition.
//! Promise: areas come whole, and the content by its own map, moved to where it lies.

use super::super::map::{Extent, ExtentKind, Inside, Layout, Map, Pieces};
use super::Member;
use ramet_wire::ByteRange;

pub(super) struct Mirror {
    /// Bytes of the partition.
    pub size: u64,
    pub member: Member,
    pub map: Map,
    pub inside: Inside,
}

impl Layout for Mirror {
    fn pieces(&self) -> Pieces<'_> {
        // Nobody knows what a content without a name takes for its own: its superblock may be a forgotten one.
        if self.inside.whole {
            return Box::new(std::iter::once(Ok(Extent::data(0, self.size))));
        }
        let data = self.member.data;
        let area = |range: &ByteRange| Ok(Extent { range: *range, kind: ExtentKind::Data });
        let (before, behind): (Vec<_>, Vec<_>) = self.member.areas.iter().partition(|area| area.start() < data.start());
        let inner = self.map.extents().map(move |extent| {
            let Extent { range, kind } = extent?;
            let range = ByteRange::between(data.start() + range.start(), data.start() + range.end());
            Ok(Extent { range, kind })
        });
        let before = before.into_iter().map(area);
        Box::new(before.chain(inner).chain(behind.into_iter().map(area)))
    }

    fn inside(&self) -> Vec<Inside> {
        vec![self.inside.clone()]
    }

    fn warnings(&self) -> Vec<String> {
        self.inside.warnings.clone()
    }
}
