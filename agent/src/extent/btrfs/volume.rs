//! Logical addresses of a btrfs as bytes of its devices.
//!
//! In: the devices and chunks. Out: nodes.
//! Promise: a node is read from metadata chunks only, piece by piece where it crosses stripes.

use super::super::ExtentError;
use super::super::error::believe;
use super::super::peek::read;
use super::checksum::Sum;
use super::chunk::{Chunks, kind};
use super::node::{Link, Node};
use crate::disk::source::ReadAt;
use std::sync::Arc;

/// What of the superblock every node is held against.
#[derive(Clone, Debug)]
pub(super) struct Format {
    /// Bytes per sector, the unit of addresses.
    pub sector: u64,
    /// Bytes per node.
    pub node: usize,
    pub sum: Sum,
    /// What nodes and devices carry.
    pub uuid: Vec<u8>,
    /// Incompat flags.
    pub incompat: u64,
}

/// A device of the file system.
#[derive(Clone)]
pub(super) struct Member {
    pub devid: u64,
    pub uuid: Vec<u8>,
    /// Bytes that the file system has of it.
    pub len: u64,
    pub bytes: Arc<dyn ReadAt>,
}

/// The devices of a file system and what lies where on them.
pub(super) struct Volume {
    pub format: Format,
    /// The partition that is mapped comes first.
    pub members: Vec<Member>,
    pub chunks: Chunks,
}

impl Volume {
    /// More nodes than any walk over all stripes can need: each one twice (DUP), and a way down for each chunk.
    pub fn nodes_max(&self) -> u64 {
        let list = self.chunks.list();
        let metadata = list.iter().filter(|chunk| chunk.kind & (kind::METADATA | kind::SYSTEM) != 0);
        let bytes: u64 = metadata.fold(0, |sum, chunk| sum.saturating_add(chunk.range.len()));
        (bytes / self.format.node as u64).saturating_mul(2).saturating_add(32 * (list.len() as u64 + 1))
    }

    /// Reads the node that `link` means.
    ///
    /// # Errors
    /// A doubt about the node; [`ExtentError::Read`] from a device.
    pub fn node(&self, link: Link) -> Result<Node, ExtentError> {
        let mut raw = vec![0; self.format.node];
        let mut done = 0;
        let Some(chunk) = self.chunks.of(link.at) else {
            return Err(ExtentError::doubt(format!("{link} lies in none of {} chunks", self.chunks.list().len())));
        };
        let bits = chunk.kind;
        believe!(
            bits & (kind::METADATA | kind::SYSTEM) != 0,
            "{link} lies in chunk {} of type {bits:#x}, which holds data",
            chunk.range.start()
        );
        let end = link.at.saturating_add(raw.len() as u64);
        believe!(end <= chunk.range.end(), "{link} ends at {end}, its chunk at {}", chunk.range.end());
        while let Some(rest) = raw.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let place = self.chunks.place(chunk, link.at + done as u64);
            let (stripe, len) = place.ok_or_else(|| ExtentError::doubt(format!("{link} lies in no stripe")))?;
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let member = self.members.get(stripe.member);
            let member = member.ok_or_else(|| ExtentError::doubt(format!("{link} lies on no device")))?;
            let what =
                if stripe.member == 0 { "btrfs node" } else { "btrfs node on another device of the file system" };
            read(&*member.bytes, &mut rest[..len], stripe.offset, what)?;
            done += len;
        }
        Node::new(raw, link, &self.format)
    }
}
