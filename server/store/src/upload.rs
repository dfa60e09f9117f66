//! Taking in a pack that somebody else built.
//!
//! In: a name, a length and a stream of bytes, none of them trusted. Out: a durable pack, or the rule it broke.
//! Promise: nothing is believed before every frame was decompressed and hashed; memory is one chunk per upload.

use crate::error::{Doing, StoreError};
use crate::files::TempFile;
use crate::session::SessionId;
use crate::store::Store;
use ramet_wire::PackName;
use ramet_wire::frame::{CHUNK_MAX, FRAME_MAX, Opener};
use ramet_wire::pack::{self, ENTRY_LEN, FOOTER_LEN, Footer, HEADER, PACK_MAX, PackEntry};
use ring::digest::{Context, SHA256};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, PoisonError};

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// Received, verified, durable.
    Stored,
    /// It was there already; the body was not read.
    Present,
}

/// Lets as many in at once as there are cores.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Gate {
    pub(crate) fn one_per_core() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { free: Mutex::new(cores), freed: Condvar::new() }
    }

    fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        // Given back also when `work` panics.
        let _back = GiveBack(self);
        work()
    }
}

struct GiveBack<'a>(&'a Gate);

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

impl Store {
    /// Receives a pack of `len` bytes from `body`, verifies it one chunk at a time, and takes it in.
    ///
    /// # Errors
    /// [`StoreError::BadPack`] when length, name, table, a frame or a chunk is not what was said,
    /// [`StoreError::Receiving`] when `body` fails, [`StoreError::NoSession`]; [`StoreError::Full`] and others of the
    /// file system. Nothing is left of it then.
    pub fn add_upload(
        &self,
        session: SessionId,
        name: PackName,
        len: u64,
        body: &mut dyn Read,
    ) -> Result<Added, StoreError> {
        self.may_write("adding a pack")?;
        self.renew(session)?;
        if self.has_good_pack(&name) {
            return Ok(Added::Present);
        }
        let min = (HEADER.len() + ENTRY_LEN + FOOTER_LEN) as u64;
        if !(min..=PACK_MAX).contains(&len) {
            return Err(bad(name, pack::PackError::Length(len)));
        }
        let mut file = self.0.desk.temp().doing(|| format!("receiving pack {name}"))?;
        let found = receive(&mut file, name, len, body)?;
        if found != name {
            return Err(bad(name, format!("its {len} bytes hash to {found}")));
        }
        let entries = self.0.gate.pass(|| verify(&file, name, len))?;
        self.renew(session)?;
        self.add_pack(name, len, &entries, file)?;
        Ok(Added::Stored)
    }
}

fn bad(name: PackName, reason: impl std::fmt::Display) -> StoreError {
    StoreError::BadPack { name, reason: reason.to_string() }
}

/// Copies exactly `len` bytes into `file`; returns their hash.
fn receive(file: &mut TempFile, name: PackName, len: u64, body: &mut dyn Read) -> Result<PackName, StoreError> {
    let mut hash = Context::new(&SHA256);
    let mut buf = vec![0; 256 << 10];
    let mut received = 0_u64;
    loop {
        let count = match body.read(&mut buf) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(StoreError::Receiving { name, received, len, source }),
        };
        if count == 0 {
            break;
        }
        received += count as u64;
        if received > len {
            return Err(bad(name, format!("its body has more than the {len} bytes announced")));
        }
        hash.update(&buf[..count]);
        file.write_all(&buf[..count]).doing(|| format!("receiving pack {name}"))?;
    }
    if received < len {
        return Err(bad(name, format!("its body has {received} bytes, {len} were announced")));
    }
    let mut found = [0; 32];
    found.copy_from_slice(hash.finish().as_ref());
    Ok(PackName(found))
}

/// Checks header, footer, table and every chunk of a received pack.
fn verify(file: &TempFile, name: PackName, len: u64) -> Result<Vec<PackEntry>, StoreError> {
    let doing = || format!("verifying pack {name}");
    let file = file.file().doing(doing)?;
    let mut header = [0; 8];
    file.read_exact_at(&mut header, 0).doing(doing)?;
    pack::check_header(header).map_err(|error| bad(name, error))?;
    let mut footer = [0; FOOTER_LEN];
    file.read_exact_at(&mut footer, len - FOOTER_LEN as u64).doing(doing)?;
    let footer = Footer::parse(&footer, len).map_err(|error| bad(name, error))?;
    let mut table = vec![0; footer.table_len()];
    file.read_exact_at(&mut table, footer.table_offset).doing(doing)?;
    let entries = footer.entries(&table).map_err(|error| bad(name, error))?;
    let mut opener = Opener::new().doing(doing)?;
    let (mut frame, mut raw) = (vec![0; FRAME_MAX as usize], vec![0; CHUNK_MAX as usize]);
    for entry in &entries {
        let frame = &mut frame[..entry.stored as usize];
        file.read_exact_at(frame, entry.offset).doing(doing)?;
        opener
            .open(frame, entry.id, entry.raw, &mut raw)
            .map_err(|error| bad(name, format!("chunk {}: {error}", entry.id)))?;
    }
    Ok(entries)
}
