//! The map is brought in line with the packs that are really there.
//!
//! In: names and sizes of all packs. Out: packs read in that the map did not know, and those it knew that are lost.
//! Promise: after it no record names a pack that is not there with the length it had; packs are never changed.

use super::Map;
use super::file::PackRow;
use crate::bulk::Bulk;
use crate::error::{Doing, StoreError};
use ramet_wire::PackName;
use ramet_wire::pack::{self, FOOTER_LEN, Footer, PackEntry};
use std::collections::HashMap;

/// What [`Map::reconcile`] found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reconciled {
    /// Packs read in.
    pub read_in: u64,
    /// Packs that the map knew and that are gone or have another length; condemned ones are not named.
    pub lost: Vec<PackName>,
    /// Packs whose table cannot be read, and why.
    pub unreadable: Vec<(PackName, String)>,
}

impl Map {
    /// Compares names and sizes in the folder with the map.
    pub(crate) fn reconcile(&self) -> Result<Reconciled, StoreError> {
        let mut found = Reconciled::default();
        let before = self.records();
        for prefix in 0..=255 {
            // Known first, listed after: what is added in between is listed and not known, which does no harm.
            let known = self.known_with(prefix);
            let listed = self.bulk.list(prefix)?;
            let there: HashMap<PackName, u64> = listed.iter().map(|pack| (pack.name, pack.len)).collect();
            for row in known.values() {
                if there.get(&row.name) != Some(&row.len) {
                    self.lose(row, &mut found)?;
                }
            }
            for pack in listed {
                if known.get(&pack.name).is_none_or(|row| row.len != pack.len) {
                    self.read_in(&pack.name, pack.len, &mut found)?;
                }
            }
        }
        if self.records() > before.saturating_mul(2) && self.files().len() > 1 {
            // Mostly made anew, in many small files: one file answers with one read.
            self.merge_all()?;
        }
        Ok(found)
    }

    fn known_with(&self, prefix: u8) -> HashMap<PackName, PackRow> {
        let layers = self.read();
        let mut known = HashMap::new();
        let memory = layers.memory().flat_map(|fresh| &fresh.packs).filter(|row| row.name.0[0] == prefix);
        let files = layers.files.iter().flat_map(|file| file.packs_with(prefix));
        for row in files.chain(memory).filter(|row| !layers.marks.dead.contains(&row.name)) {
            known.insert(row.name, *row);
        }
        known
    }

    fn lose(&self, row: &PackRow, found: &mut Reconciled) -> Result<(), StoreError> {
        // Asked again for this one pack: a collect beside us may just have deleted it in good order.
        let stat = self.bulk.stat(&row.name).doing(|| format!("looking for pack {}", row.name))?;
        if stat.is_some_and(|pack| pack.len == row.len) || self.marks().dead.contains(&row.name) {
            return Ok(());
        }
        let condemned = self.mark(|marks| {
            marks.dead.insert(row.name);
            marks.strikes.remove(&row.name);
            let condemned = marks.condemned.contains_key(&row.name);
            if !condemned {
                marks.lost.insert(row.name);
            }
            condemned
        });
        if !condemned {
            found.lost.push(row.name);
        }
        Ok(())
    }

    fn read_in(&self, name: &PackName, len: u64, found: &mut Reconciled) -> Result<(), StoreError> {
        match read_table(&*self.bulk, name, len) {
            Ok(entries) => {
                self.insert(*name, len, &entries)?;
                found.read_in += 1;
                Ok(())
            }
            Err(StoreError::Damaged { reason, .. }) => {
                found.unreadable.push((*name, reason));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads a pack's table, and nothing else of it.
///
/// # Errors
/// `Damaged` for whatever is wrong with its bytes; other errors of the bulk side as they are.
pub(crate) fn read_table(bulk: &dyn Bulk, name: &PackName, len: u64) -> Result<Vec<PackEntry>, StoreError> {
    let damaged = |error: pack::PackError| StoreError::damaged(format!("pack {name}"), error);
    let doing = || format!("reading the table of pack {name}");
    let footer_at = len.checked_sub(FOOTER_LEN as u64).ok_or_else(|| damaged(pack::PackError::Length(len)))?;
    let mut header = [0; 8];
    bulk.read_at(name, 0, &mut header).doing(doing)?;
    pack::check_header(header).map_err(damaged)?;
    let mut footer = [0; FOOTER_LEN];
    bulk.read_at(name, footer_at, &mut footer).doing(doing)?;
    let footer = Footer::parse(&footer, len).map_err(damaged)?;
    let mut table = vec![0; footer.table_len()];
    bulk.read_at(name, footer.table_offset, &mut table).doing(doing)?;
    footer.entries(&table).map_err(damaged)
}
