//! Old ids in an initramfs, and what lets it name new ones.
//!
//! In: a reader at its first byte. Out: where old ids stand in it; an archive to be put behind it.
//! Promise: as bounded as the walk through it; what cannot be read to its end is an error, not an absence.
//!
//! A kernel unpacks all archives of an initramfs in their order, and a file of a later one takes the place of an earlier
//! one (Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c opens with `O_TRUNC`). So settings
//! follow by an archive behind the others; names of files, and files that are run, do not.

use super::map::Renamed;
use crate::boot::{CpioError, LIMITS, Visit, walk};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Files up to this size are looked into, in bytes: settings, scripts and units are far smaller, libraries name nothing.
const FILE_MAX: u64 = 1 << 20;
/// Where settings lie: read, never run, and by root alone.
const SETTINGS: [&str; 4] = ["conf/", "etc/cmdline.d/", "cryptroot/", "etc/crypttab"];
/// LZ4's legacy frame, of which kernels before 5.12 do not find the end when something lies behind it.
const LZ4: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Archives start at multiples of it.
const ALIGN: usize = 4;

/// Where old ids stand.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    /// Ids in names of files, and in files that are no settings.
    pub fixed: BTreeSet<usize>,
    /// Settings by name, as the last archive has them.
    pub settings: BTreeMap<String, Vec<u8>>,
    /// Other files by name, likewise.
    others: BTreeMap<String, BTreeSet<usize>>,
}

struct Looking<'a> {
    map: &'a Renamed,
    found: Embedded,
}

/// As the kernel takes it: from the top.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").trim_start_matches('/').to_owned()
}

impl Visit for Looking<'_> {
    fn file(&mut self, name: &str, size: u64) -> Option<u64> {
        let name = plain(name);
        // What a later archive has counts.
        self.found.settings.remove(&name);
        self.found.others.remove(&name);
        self.found.fixed.extend(self.map.named_in(name.as_bytes()));
        // Modules and firmware are the most of it.
        let code = name.contains("lib/modules/") || name.contains("lib/firmware/");
        (size <= FILE_MAX && !code).then_some(FILE_MAX)
    }

    fn bytes(&mut self, name: &str, bytes: Vec<u8>) {
        let named = self.map.named_in(&bytes);
        if named.is_empty() {
            return;
        }
        let name = plain(name);
        if SETTINGS.iter().any(|start| name.starts_with(start)) {
            self.found.settings.insert(name, bytes);
        } else {
            self.found.others.insert(name, named.into_iter().collect());
        }
    }
}

/// Where old ids stand in an initramfs.
///
/// # Errors
/// [`CpioError`]: it is no initramfs, is packed in a way that is not known, or has too much in it.
pub(super) fn embedded(from: impl Read, map: &Renamed) -> Result<Embedded, CpioError> {
    let mut looking = Looking { map, found: Embedded::default() };
    walk(from, LIMITS, &mut looking)?;
    let mut found = looking.found;
    found.fixed.extend(found.others.values().flatten());
    Ok(found)
}

impl Embedded {
    /// All ids in settings.
    pub fn in_settings(&self, map: &Renamed) -> BTreeSet<usize> {
        self.settings.values().flat_map(|bytes| map.named_in(bytes)).collect()
    }

    /// `image` with an archive behind it in which the settings name the new ids; none where it names no old ones, or
    /// where nothing may be put behind it.
    pub fn followed(&self, image: &[u8], map: &Renamed) -> Option<Vec<u8>> {
        if self.settings.is_empty() || !may_grow(image) {
            return None;
        }
        let mut grown = image.to_vec();
        pad(&mut grown);
        for (name, bytes) in &self.settings {
            entry(&mut grown, name, 0o100_600, &map.rewrite(bytes)?)?;
        }
        entry(&mut grown, "TRAILER!!!", 0, &[])?;
        Some(grown)
    }
}

/// Kernels find an archive behind what is packed in this way.
pub(super) fn may_grow(image: &[u8]) -> bool {
    !image.windows(LZ4.len()).any(|word| word == LZ4)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// One file of an archive in the format *newc*: magic, then thirteen numbers of eight hex digits.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, bytes: &[u8]) -> Option<()> {
    let (len, name_len) = (u32::try_from(bytes.len()).ok()?, u32::try_from(name.len()).ok()?.checked_add(1)?);
    // Inode, mode, user, group, links, time, size, four of devices, length of the name, checksum.
    let fields = [0, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
    archive.extend_from_slice(b"070701");
    fields.iter().for_each(|field| archive.extend_from_slice(format!("{field:08x}").as_bytes()));
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(bytes);
    pad(archive);
    Some(())
}
