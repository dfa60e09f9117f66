//! Whether a machine's firmware can start what an image holds.
//!
//! In: the manifest, what is restored, the firmware of this machine. Out: a warning, or nothing.
//! Promise: a warning only, never a refusal: the disk may move to another machine.

use super::Request;
use ramet_wire::manifest::{DiskImage, Manifest};
use ramet_wire::{Table, TableKind};

/// EFI system partition, as GPT and as MBR type.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Where GRUB's core lies on a GPT disk that a BIOS starts.
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";

/// How a machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firmware {
    Bios,
    Uefi,
}

pub(super) fn of_this_machine() -> Firmware {
    if std::path::Path::new("/sys/firmware/efi").exists() { Firmware::Uefi } else { Firmware::Bios }
}

/// Why this machine may not start from the image.
pub(super) fn mismatch(manifest: &Manifest, request: &Request, here: Firmware) -> Option<String> {
    if !request.partitions.is_empty() {
        return None;
    }
    let tables: Vec<&Table> = manifest.disks.iter().map(|disk: &DiskImage| &disk.table).collect();
    judge(&tables, manifest.source.firmware.as_deref(), here)
}

fn judge(tables: &[&Table], from: Option<&str>, here: Firmware) -> Option<String> {
    let entry = |kinds: &[&str]| {
        tables.iter().any(|table| table.entries.iter().any(|entry| kinds.contains(&entry.r#type.as_str())))
    };
    let esp = entry(&ESP);
    let bios = tables.iter().any(|table| table.kind == TableKind::Mbr) || entry(&[BIOS_BOOT]);
    match here {
        Firmware::Bios if esp && !bios => Some(
            "the image starts by UEFI and this machine started by BIOS; switch its firmware to UEFI afterwards"
                .to_owned(),
        ),
        Firmware::Uefi if !esp && from == Some("bios") => Some(
            "the image starts by BIOS and this machine started by UEFI; switch its firmware to BIOS (CSM) afterwards"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramet_wire::{ByteRange, Entry};

    fn table(kind: TableKind, types: &[&str]) -> Table {
        let entry = |of: &&str| Entry {
            number: 1,
            range: ByteRange::between(1 << 20, 2 << 20),
            r#type: (*of).to_owned(),
            guid: None,
            name: None,
            attributes: 0,
            ebr: None,
            extended: false,
        };
        let entries = types.iter().map(entry).collect();
        Table { kind, id: None, usable: None, hybrid: false, entries }
    }

    #[test]
    fn an_image_for_the_other_firmware_is_a_warning_and_one_for_both_is_none() {
        type Row<'a> = (TableKind, &'a [&'a str], Option<&'a str>, Firmware, Option<&'a str>);
        let linux = "0fc63daf-8483-4772-8e79-3d69d8477de4";
        let rows: [Row<'_>; 8] = [
            (TableKind::Gpt, &[ESP[0], linux], Some("uefi"), Firmware::Bios, Some("to UEFI")),
            (TableKind::Gpt, &[ESP[0], linux], None, Firmware::Bios, Some("to UEFI")),
            (TableKind::Gpt, &[ESP[0], linux], Some("uefi"), Firmware::Uefi, None),
            (TableKind::Gpt, &[ESP[0], BIOS_BOOT, linux], Some("uefi"), Firmware::Bios, None),
            (TableKind::Mbr, &["0x83"], Some("bios"), Firmware::Uefi, Some("to BIOS")),
            (TableKind::Mbr, &["0x83"], Some("bios"), Firmware::Bios, None),
            (TableKind::Gpt, &[linux], None, Firmware::Uefi, None),
            (TableKind::Gpt, &[linux], Some("uefi"), Firmware::Bios, None),
        ];
        for (kind, types, from, here, wanted) in rows {
            let found = judge(&[&table(kind, types)], from, here);
            let fits = match (&found, wanted) {
                (Some(text), Some(words)) => text.contains(words),
                (found, wanted) => found.is_none() && wanted.is_none(),
            };
            assert!(fits, "{types:?} from {from:?} on {here:?}: {found:?}");
        }
    }
}
