//! A logical volume as one row of bytes.
//!
//! In: segments and the devices they lie on. Out: the volume's bytes at offsets.
//! Promise: reads only what its segments name.

use super::group::Segment;
use crate::disk::source::ReadAt;
use std::io;
use std::sync::Arc;

/// A volume of which every device is there.
pub(super) struct Volume {
    /// Ascending, without a gap; each area with its device instead of an index.
    segments: Vec<(Segment, Vec<Arc<dyn ReadAt>>)>,
    size: u64,
}

impl Volume {
    /// Nothing where a device is missing.
    pub fn new(segments: &[Segment], devices: &[Option<Arc<dyn ReadAt>>]) -> Option<Self> {
        let with_devices = |segment: &Segment| {
            let on = |&(index, _): &(usize, u64)| devices.get(index).cloned().flatten();
            Some((segment.clone(), segment.areas.iter().map(on).collect::<Option<Vec<_>>>()?))
        };
        let size = segments.last().map_or(0, |segment| segment.range.end());
        Some(Self { segments: segments.iter().map(with_devices).collect::<Option<_>>()?, size })
    }
}

impl ReadAt for Volume {
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            let text = format!("reading {} bytes at {offset} of a volume of {} bytes", buf.len(), self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        let mut index = self.segments.partition_point(|(segment, _)| segment.range.end() <= offset);
        while let Some((segment, devices)) = self.segments.get(index).filter(|_| !buf.is_empty()) {
            let within = offset - segment.range.start();
            let (chunk, at) = (within / segment.stripe, within % segment.stripe);
            let count = devices.len() as u64;
            let area = usize::try_from(chunk % count).map_err(io::Error::other)?;
            let left = (segment.stripe - at).min(segment.range.end() - offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            devices[area].read_exact_at(now, segment.areas[area].1 + chunk / count * segment.stripe + at)?;
            buf = rest;
            offset += len as u64;
            if offset >= segment.range.end() {
                index += 1;
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}
