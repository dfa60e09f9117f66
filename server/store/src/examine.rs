//! One pack, looked at whole; and what is still good in a damaged one, brought to safety.
//!
//! In: a pack in the store. Out: what is wrong with it; or a new pack of its good frames.
//! Promise: a pack is removed only after every good frame of it is durable in another.

use crate::bulk::Bulk;
use crate::error::{Doing, StoreError};
use crate::files::TempFile;
use crate::map::{Location, read_table};
use crate::store::Store;
use ramet_wire::frame::{CHUNK_MAX, FRAME_MAX, Opener};
use ramet_wire::pack::{BuiltPack, HEADER, PackEntry};
use ramet_wire::{ChunkId, PackName};
use ring::digest::{Context, SHA256};

/// What a whole pack looks like.
pub(crate) struct Examined {
    /// Chunks in its table.
    pub chunks: u64,
    /// Chunks whose frames are bad.
    pub bad: Vec<ChunkId>,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
}

/// Reads every byte of a pack once: name against hash, every chunk against its id.
pub(crate) fn examine(bulk: &dyn Bulk, name: &PackName, len: u64) -> Result<Examined, StoreError> {
    let mut examined = Examined { chunks: 0, bad: Vec::new(), problem: None };
    let entries = match read_table(bulk, name, len) {
        Ok(entries) => entries,
        Err(StoreError::Damaged { reason, .. }) => {
            examined.problem = Some(reason);
            return Ok(examined);
        }
        Err(error) => return Err(error),
    };
    let doing = || format!("checking pack {name}");
    let mut hash = Context::new(&SHA256);
    let (mut buf, mut raw) = (vec![0; FRAME_MAX as usize], vec![0; CHUNK_MAX as usize]);
    let mut opener = Opener::new().doing(doing)?;
    let header = &mut buf[..HEADER.len()];
    bulk.read_at(name, 0, header).doing(doing)?;
    hash.update(header);
    let mut at = HEADER.len() as u64;
    for entry in &entries {
        // The table was accepted: frames tile from header to table, none longer than FRAME_MAX.
        let frame = &mut buf[..entry.stored as usize];
        bulk.read_at(name, at, frame).doing(doing)?;
        hash.update(frame);
        at += u64::from(entry.stored);
        if let Err(error) = opener.open(frame, entry.id, entry.raw, &mut raw) {
            examined.bad.push(entry.id);
            examined.problem.get_or_insert(format!("chunk {} at offset {}: {error}", entry.id, entry.offset));
        }
    }
    while at < len {
        let rest = usize::try_from(len - at).unwrap_or(usize::MAX).min(buf.len());
        bulk.read_at(name, at, &mut buf[..rest]).doing(doing)?;
        hash.update(&buf[..rest]);
        at += rest as u64;
    }
    let mut found = [0; 32];
    found.copy_from_slice(hash.finish().as_ref());
    if PackName(found) != *name {
        examined.problem.get_or_insert(format!("its {len} bytes hash to {}", PackName(found)));
    }
    examined.chunks = entries.len() as u64;
    Ok(examined)
}

impl Store {
    /// Copies the good frames of a damaged pack into a new one and removes it. A pack whose frames are all good gets
    /// its old name and bytes back.
    pub(crate) fn salvage(&self, name: &PackName) -> Result<(), StoreError> {
        let built = self.rebuild(name)?;
        if let Some(built) = built {
            let same = built.name == *name;
            self.add_pack(built.name, built.len, &built.entries, built.out)?;
            if same {
                return Ok(());
            }
        }
        let _publishing = self.publishing();
        self.0.map.mark(|marks| {
            marks.dead.insert(*name);
            marks.strikes.remove(name);
        });
        self.0.bulk.remove(name).doing(|| format!("removing damaged pack {name}"))?;
        self.save_strikes()?;
        self.set_condemned(|condemned| {
            condemned.remove(name);
        })
    }

    /// The good frames of a pack, in a new one; none when there are none.
    fn rebuild(&self, name: &PackName) -> Result<Option<BuiltPack<TempFile>>, StoreError> {
        let doing = || format!("bringing good chunks of pack {name} to safety");
        let mut opener = Opener::new().doing(doing)?;
        let mut buf = vec![0; CHUNK_MAX as usize];
        let mut builder = self.pack_builder()?;
        for entry in self.entries_of(name)? {
            let place = Location { pack: *name, offset: entry.offset, stored: entry.stored, raw: entry.raw };
            if let Ok(frame) = self.read_frame(entry.id, &place, &mut opener, &mut buf)? {
                builder.push(entry.id, entry.raw, &frame).doing(doing)?;
            }
        }
        if builder.is_empty() {
            return Ok(None);
        }
        let built = builder.finish().doing(doing)?;
        let out = built.out.into_inner().map_err(|error| error.into_error()).doing(doing)?;
        Ok(Some(BuiltPack { name: built.name, entries: built.entries, len: built.len, out }))
    }

    /// What a pack holds, by its own table, or by the map where that is damaged. In order of offset.
    pub(crate) fn entries_of(&self, name: &PackName) -> Result<Vec<PackEntry>, StoreError> {
        let stat = self.0.bulk.stat(name).doing(|| format!("looking for pack {name}"))?;
        let Some(listed) = stat else { return Ok(Vec::new()) };
        match read_table(&*self.0.bulk, name, listed.len) {
            Err(StoreError::Damaged { .. }) => {}
            other => return other,
        }
        self.0.map.spill()?;
        let mut entries = Vec::new();
        for file in self.0.map.files() {
            let Some(index) = file.pack_index(name) else { continue };
            let mut scan = file.iter();
            while let Some((_, record, _)) = scan.next_record()? {
                if record.pack == index {
                    let offset = u64::from(record.offset);
                    entries.push(PackEntry { id: record.id, offset, stored: record.stored, raw: record.raw });
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.offset);
        entries.dedup();
        Ok(entries)
    }
}
