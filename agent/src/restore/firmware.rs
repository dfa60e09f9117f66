//! Whether a machine's firmware can start what an image holds.
//!
//! In: the manifest, what is restored, the firmware of this machine. Out: a warning, or nothing.
//! Promise: a warning only, never a refusal: the disk may move to another machine.

use super::{Ready, Request};
use crate::adapt::size::Resized;
use crate::nvram::Added;
use crate::partition::{BIOS_BOOT, EFI_SYSTEM as ESP};
use crate::say::chain;
use ramet_wire::manifest::{DiskImage, Manifest};
use ramet_wire::receipt::Proof;
use ramet_wire::{Table, TableKind};

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

/// Tells the firmware of a whole image where its loader is, when it would not find it by itself. A note for the receipt, and
/// a warning with the next step when the firmware refuses.
pub(super) fn entry(ready: &Ready<'_>, manifest: &Manifest, request: &Request) -> (Option<String>, Option<String>) {
    // An image file is started by another machine than this one.
    let devices = ready.disks.iter().all(|(opened, _)| opened.medium.proof() == Proof::Device);
    let wanted = request.nvram.as_ref().filter(|_| devices && request.partitions.is_empty());
    let Some(nvram) = wanted else { return (None, None) };
    if ready.resized.iter().flatten().any(Resized::moves_loader) {
        let text = "the loader's partition lies at another place than in the image: choose it in the firmware's setup";
        return (None, Some(text.to_owned()));
    }
    match nvram.add(manifest) {
        Ok(Added::Needless(_)) => (None, None),
        Ok(Added::There(name)) => (Some(format!("the firmware's {name} starts the image already")), None),
        Ok(Added::New { name, label, path }) => {
            (Some(format!("added {name} \"{label}\" to the firmware's entries: it starts {path}")), None)
        }
        Err(error) => {
            let next = "choose the loader in the firmware's setup, or copy it to \\EFI\\BOOT\\BOOTX64.EFI";
            (None, Some(format!("{}; the machine may not start from this disk: {next}", chain(&error))))
        }
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
