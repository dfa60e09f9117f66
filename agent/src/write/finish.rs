//! The last writes, which make it true.
//!
//! In: disks whose every other byte is written and read back. Out: disks that hold the image.
//! Promise: flush; backup table and EBRs; the first MiB without LBA 0; flush; LBA 0 alone, of all disks only after every
//! disk was read back; flush; all of it read back.

use super::crew::Worker;
use super::error::WriteError;
use super::medium::{Medium, Via, is_aligned};
use super::pass::Pass;
use super::readback::first_difference;
use ramet_wire::ByteRange;
use std::sync::atomic::Ordering;

/// Writes the held ranges without their keys, and reads them back. Without this the disk has no table.
///
/// # Errors
/// [`WriteError`]; the disk then has no LBA 0.
pub fn complete(pass: &Pass<'_>, worker: &mut Worker) -> Result<(), WriteError> {
    if !pass.blanked() {
        return Ok(());
    }
    flush(pass.medium)?;
    let parts = pass.map.held.before_keys();
    for part in &parts {
        put(pass, *part, worker)?;
    }
    flush(pass.medium)?;
    if pass.reads_back() { check(pass, &parts, worker) } else { Ok(()) }
}

/// Writes the keys: now the disk is whole. Reads back all that was held.
///
/// # Errors
/// [`WriteError`]; the keys are zeroed again, as far as the disk still lets us.
pub fn seal(pass: &Pass<'_>, worker: &mut Worker) -> Result<(), WriteError> {
    if !pass.blanked() {
        return Ok(());
    }
    let sealed = write_keys(pass, worker);
    match &sealed {
        Ok(()) => pass.set_sealed(),
        Err(_) => break_seal(pass, worker),
    }
    sealed
}

fn write_keys(pass: &Pass<'_>, worker: &mut Worker) -> Result<(), WriteError> {
    for key in &pass.map.held.keys {
        put(pass, *key, worker)?;
    }
    flush(pass.medium)?;
    if pass.reads_back() {
        let all: Vec<ByteRange> = pass.map.held.ranges.iter().map(|held| held.range).collect();
        check(pass, &all, worker)?;
        pass.tally.prove_held(&pass.map.held.credits, pass.map.held.len());
    }
    Ok(())
}

/// A disk that was not read back as it was written must not look whole. Errors are of no more interest here.
fn break_seal(pass: &Pass<'_>, worker: &mut Worker) {
    for key in &pass.map.held.keys {
        let via = via(pass.medium, *key);
        let _ = super::zero::zero(pass.medium, *key, via, &mut worker.run);
    }
    let _ = pass.medium.flush();
}

fn put(pass: &Pass<'_>, part: ByteRange, worker: &mut Worker) -> Result<(), WriteError> {
    let bytes = pass.map.held.bytes(part);
    let mut at = part.start();
    for piece in bytes.chunks(worker.run.len() / 4096 * 4096) {
        let range = ByteRange::between(at, at + piece.len() as u64);
        worker.run[..piece.len()].copy_from_slice(piece);
        let via = via(pass.medium, range);
        pass.medium.write(&worker.run[..piece.len()], at, via).map_err(|source| WriteError::Io {
            disk: pass.medium.name().to_owned(),
            doing: "writing",
            range,
            source,
        })?;
        pass.tally.written.fetch_add(range.len(), Ordering::Relaxed);
        at = range.end();
    }
    Ok(())
}

fn check(pass: &Pass<'_>, parts: &[ByteRange], worker: &mut Worker) -> Result<(), WriteError> {
    match first_difference(pass.medium, &pass.map.held, parts, &mut worker.run)? {
        None => Ok(()),
        Some((at, found, wanted)) => Err(WriteError::Table { disk: pass.medium.name().to_owned(), at, found, wanted }),
    }
}

fn via(medium: &dyn Medium, range: ByteRange) -> Via {
    match medium.direct() {
        Some(align) if is_aligned(range, align) => Via::Direct,
        _ => Via::Cached,
    }
}

fn flush(medium: &dyn Medium) -> Result<(), WriteError> {
    medium.flush().map_err(|source| WriteError::Flush { disk: medium.name().to_owned(), source })
}
