//! What starts from a system: kernels, their initramfs, the drivers in both.
//!
//! In: a system's tree. Out: the facts by which [`ramet_wire::boot::judge`] says whether a machine starts it.
//! Promise: reads, and changes nothing; what cannot be read becomes a reason, not an error.

pub mod bios;
mod buffer;
mod cpio;
mod index;
mod initramfs;
mod kernels;
pub mod pe;
#[cfg(test)]
mod tests;
mod unpack;

use crate::root::{Root, RootError};
pub(crate) use cpio::{CpioError, LIMITS, Visit, walk};
use index::Tables;
use initramfs::{Aboard, TABLE_MAX};
use kernels::{Image, Where};
use ramet_wire::boot::{Drivers, Initramfs, KERNELS_MAX, Kernel, OPAQUE_MAX, TEXT_MAX};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};

/// Where kernels keep their modules: `/lib` is a link to `/usr/lib` in most systems, and `/usr` may be a file system of
/// its own.
const MODULES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
/// Programs of which one is in every system: their headers say for which processors it is.
const PROGRAMS: [&str; 4] = ["/sbin/init", "/usr/lib/systemd/systemd", "/bin/sh", "/usr/bin/sh"];

/// The kernels of the system in `root`, the newest first, at most [`KERNELS_MAX`].
///
/// # Errors
/// [`RootError`]: the folders in which kernels lie cannot be listed.
pub fn kernels(root: &Root) -> Result<Vec<Kernel>, RootError> {
    let images = kernels::find(root)?;
    Ok(images.into_iter().take(KERNELS_MAX).map(|image| kernel(root, image)).collect())
}

fn kernel(root: &Root, image: Image) -> Kernel {
    let Image { release, path, initramfs } = image;
    let (aboard, initramfs) = match initramfs {
        None => (Aboard::default(), None),
        Some(place) => {
            let read = read(root, &place, &release);
            let unread = read.as_ref().err().map(|why| clip(why));
            (read.unwrap_or_default(), Some(Initramfs { path: clip(place.path()), unread }))
        }
    };
    let tables = tables(root, &release).or(aboard.tables);
    let found = tables.drivers(&aboard.modules);
    // Without patterns a built-in driver cannot be told from one that is missing.
    let mut builtin = tables.has_builtin() && tables.has_aliases();
    let mut opaque = found.opaque;
    if opaque.len() > OPAQUE_MAX {
        opaque.truncate(OPAQUE_MAX);
        builtin = false;
    }
    let drivers = Drivers::pack(found.drivers).ok();
    builtin &= drivers.is_some();
    Kernel { release, path: clip(&path), initramfs, drivers, builtin, opaque }
}

/// The modules in an initramfs, or why they are not known.
fn read(root: &Root, place: &Where, release: &str) -> Result<Aboard, String> {
    let open = |path: &str| match root.file(path) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(format!("{path} is not there")),
        Err(error) => Err(error.to_string()),
    };
    let read = |from: Box<dyn Read>| {
        initramfs::read(from, release).map_err(|error| format!("reading {}: {error}", place.path()))
    };
    match place {
        Where::File(path) => read(Box::new(open(path)?)),
        Where::Inside(path, at, len) => {
            let mut file: File = open(path)?;
            file.seek(SeekFrom::Start(*at)).map_err(|error| format!("reading {path}: {error}"))?;
            read(Box::new(file.take(*len)))
        }
    }
}

/// Paths of the modules of kernel `release` in the initramfs `bytes`, relative to `/lib/modules/RELEASE`.
///
/// # Errors
/// A sentence: why it cannot be read.
pub fn modules_in(bytes: &[u8], release: &str) -> Result<Vec<String>, String> {
    let aboard = initramfs::read(bytes, release).map_err(|error| error.to_string())?;
    Ok(aboard.modules.into_iter().collect())
}

/// The tables in the first folder that has any; what cannot be read is as if it were not there.
fn tables(root: &Root, release: &str) -> Tables {
    let mut tables = Tables::default();
    for folder in MODULES {
        let bytes = |name: &str| root.read(format!("{folder}/{release}/{name}"), TABLE_MAX).ok().flatten();
        let text = |name: &str| bytes(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        tables = tables.or(Tables {
            dep: text("modules.dep"),
            alias: text("modules.alias"),
            builtin: text("modules.builtin"),
            builtin_info: bytes("modules.builtin.modinfo"),
        });
    }
    tables
}

/// For which processors the system's programs are, as `uname -m` says it; empty where that is not known.
#[must_use]
pub fn architecture(root: &Root) -> String {
    let header = |path: &&str| {
        let mut head = Vec::new();
        root.file(path).ok()??.take(20).read_to_end(&mut head).ok()?;
        (head.len() == 20 && head.starts_with(b"\x7fELF")).then_some(head)
    };
    let Some(head) = PROGRAMS.iter().find_map(header) else { return String::new() };
    // ELF: e_ident[EI_CLASS], e_ident[EI_DATA], e_machine (elf.h).
    let machine = if head[5] == 2 { [head[19], head[18]] } else { [head[18], head[19]] };
    match (u16::from_le_bytes(machine), head[4]) {
        (62, _) => "x86_64",
        (3, _) => "i686",
        (183, _) => "aarch64",
        (40, _) => "armv7l",
        (243, 2) => "riscv64",
        (243, _) => "riscv32",
        (21, _) => "ppc64le",
        (22, _) => "s390x",
        _ => "",
    }
    .to_owned()
}

/// At most [`TEXT_MAX`] characters, none of them a control character, at least one.
#[must_use]
pub fn clip(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
    if clean.is_empty() { "?".to_owned() } else { clean }
}
